"""A file name in an open folder, with its part and its journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .._naming import printable
from .files import Files, remove
from .journal import Journal, create, delete, journal_of, load, part_of, save, side_files

__all__ = ["Entry"]


class Entry(NamedTuple):
    """The name *name* in the folder *directory*, which is open as *dir_fd*.

    :param side: which of the names for side files, part and journal, is the download's: the first that no other
        program's file has.
    """

    files: Files
    directory: Path
    dir_fd: int
    name: str
    side: int = 0

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
        return self.renamed(part_of(self.name, self.side))

    @property
    def journal_file(self) -> Entry:
        """The file that holds the journal of the part."""
        return self.renamed(journal_of(self.name, self.side))

    @property
    def begun(self) -> bool:
        """Whether one of the side files is there, whosever it is."""
        return any(self.renamed(file).stat() is not None for file in side_files(self.name, self.side))

    def renamed(self, name: str) -> Entry:
        """Return another name in the same folder."""
        return Entry(self.files, self.directory, self.dir_fd, name)

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
        return load(self.files, self.journal_file.name, self.dir_fd)

    def save(self, journal: Journal, *, durable: bool) -> None:
        """Replace the journal atomically; the part's lock must be held."""
        save(self.files, self.journal_file.name, self.dir_fd, journal, durable=durable)

    def create_journal(self, journal: Journal, *, durable: bool) -> bool:
        """Create the journal atomically; return False where there is one already."""
        return create(self.files, self.journal_file.name, self.dir_fd, journal, durable=durable)

    def delete_journal(self) -> None:
        """Remove the journal and its draft; the part's lock must be held."""
        delete(self.files, self.journal_file.name, self.dir_fd)
