"""A file name in an open folder, with its part and its journal."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from .._naming import printable, shorten
from .files import Files, remove
from .journal import Journal, create, delete, journal_of, load, part_of, save, side_files

__all__ = ["Entry", "TempFolder", "temp_name"]

# Bytes of a target's name that the names of its side files in another folder begin with. With the digest and
# the longest suffix that is less than the 143 that eCryptfs allows.
_KEPT_NAME = 96


def temp_name(target: Path, name: str) -> str:
    """Return what side files in a folder for all targets are called after: no other target has the same.

    :param target: absolute path of the target's folder, without symbolic links.
    """
    path = f"{target}\0{name}".encode("utf-8", "surrogatepass")
    return f"{shorten(name, _KEPT_NAME)}.{hashlib.sha256(path).hexdigest()[:16]}"


class TempFolder(NamedTuple):
    """The folder *directory*, open as *dir_fd*, where side files are in place of the target's own folder.

    :param target: absolute path of that one, without symbolic links.
    """

    directory: Path
    dir_fd: int
    target: Path


class Entry(NamedTuple):
    """The name *name* in the folder *directory*, which is open as *dir_fd*.

    :param side: which of the names for side files, part and journal, is the download's: the first that no other
        program's file has.
    :param temp: where these are, if not in *directory* under *name*.
    """

    files: Files
    directory: Path
    dir_fd: int
    name: str
    side: int = 0
    temp: TempFolder | None = None

    @property
    def path(self) -> Path:
        """Where the finished file goes."""
        return self.directory / self.name

    @property
    def shown(self) -> str:
        """:attr:`path` as a terminal can show it."""
        return printable(str(self.path))

    @property
    def part(self) -> Entry:
        """The unfinished file."""
        return self._side_file(part_of(self._stem, self.side))

    @property
    def journal_file(self) -> Entry:
        """The file that holds the journal of the part."""
        return self._side_file(journal_of(self._stem, self.side))

    @property
    def begun(self) -> bool:
        """Whether one of the side files is there, whosever it is."""
        return any(self._side_file(file).stat() is not None for file in side_files(self._stem, self.side))

    @property
    def _stem(self) -> str:
        return self.name if self.temp is None else temp_name(self.temp.target, self.name)

    def _side_file(self, name: str) -> Entry:
        if self.temp is None:
            return self.renamed(name)
        return Entry(self.files, self.temp.directory, self.temp.dir_fd, name)

    def renamed(self, name: str) -> Entry:
        """Return another name in the same folder."""
        if name == self.name and not self.side:
            return self
        return Entry(self.files, self.directory, self.dir_fd, name, temp=self.temp)

    def landing(self) -> Entry:
        """Return the same name with side files of the same names in its own folder; it is not to be closed."""
        target = self.directory if self.temp is None else self.temp.target
        return self._replace(side=0, temp=TempFolder(self.directory, self.dir_fd, target))

    @property
    def is_landing(self) -> bool:
        """Whether the side files are those of :meth:`landing`."""
        return self.temp is not None and self.temp.dir_fd == self.dir_fd

    def close(self) -> None:
        """Close the folders."""
        self.files.close(self.dir_fd)
        if self.temp is not None:
            self.files.close(self.temp.dir_fd)

    def beside(self, side: int) -> Entry:
        """Return the same name with other side files."""
        return self._replace(side=side)

    def stat(self) -> os.stat_result | None:
        """Return the stat of what has the name, be it a symbolic link; None when nothing has."""
        return self.files.stat(self.name, self.dir_fd)

    def remove(self) -> None:
        """Remove the file of that name, if there is one."""
        remove(self.files, self.name, self.dir_fd)

    def journal(self) -> Journal | None:
        """Return the journal; None when there is none that can be read."""
        file = self.journal_file
        return load(self.files, file.name, file.dir_fd)

    def save(self, journal: Journal, *, durable: bool) -> None:
        """Replace the journal atomically; the part's lock must be held."""
        file = self.journal_file
        save(self.files, file.name, file.dir_fd, journal, durable=durable)

    def create_journal(self, journal: Journal, *, durable: bool) -> bool:
        """Create the journal atomically; return False where there is one already."""
        file = self.journal_file
        return create(self.files, file.name, file.dir_fd, journal, durable=durable)

    def delete_journal(self) -> None:
        """Remove the journal and its draft; the part's lock must be held."""
        file = self.journal_file
        delete(self.files, file.name, file.dir_fd)
