"""The unfinished file, open and locked: one process at a time, and never a file that has another name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .._errors import DiskError, DiskFullError, LockedError
from .._naming import printable
from .._units import size as shown
from .entry import Entry
from .journal import Journal

__all__ = ["LockedPart", "open_part", "require_room"]


@dataclass(slots=True)
class LockedPart:
    """A part that belongs to this job while it is open.

    :param entry: the name that the file is to get; its folder is open, and is closed with the part.
    :param wanted: the name that was asked for; ``entry.name`` is the first of its candidates that was free.
    :param size: bytes in the part when it was opened.
    :param journal: what an earlier run noted about this download, as far as a part of this size can hold it.
    :param release: makes the name free for other jobs of the run; its argument is whether it has been used.
    :param unnamed: the part has no name yet (``O_TMPFILE``): the file gets its first one when it is finished.
    """

    entry: Entry
    wanted: str
    fd: int
    size: int
    journal: Journal | None
    release: Callable[[bool], None]
    unnamed: bool = False

    @property
    def path(self) -> Path:
        """Where the unfinished file is."""
        return self.entry.part.path

    def require_own_name(self) -> os.stat_result:
        """Return the stat of the part, after checking that its name is still its own.

        :raises DiskError: it was moved, replaced or removed.
        """
        entry = self.entry
        open_file, named = entry.files.fstat(self.fd), entry.part.stat()
        if named is None or not os.path.samestat(open_file, named):
            raise DiskError(f"{printable(str(self.path))} was moved or removed while it was written.")
        return open_file

    def drop_if_empty(self) -> bool:
        """Remove part and journal if the part holds nothing; return whether it did not."""
        entry = self.entry
        if self.unnamed:
            return True
        if entry.files.fstat(self.fd).st_size:
            return False
        # The journal first: one without a part would have to be told from one of a finished file.
        entry.delete_journal(durable=False)
        entry.part.remove()
        return True

    def put_aside(self) -> Path:
        """Keep wrong bytes as ``NAME.part.bad``, which no download resumes; return its path."""
        part = self.entry.part
        aside = part.renamed(f"{part.name}.bad")
        if self.unnamed:
            aside.remove()
            aside.files.link_unnamed(self.fd, aside.name, aside.dir_fd)
        else:
            aside.files.replace(part.name, aside.name, aside.dir_fd)
        return aside.path

    def close(self, *, used: bool = True) -> None:
        """Release lock and name. *used* is False for an unnamed file that never got its name."""
        self.entry.files.close(self.fd)
        self.entry.files.close(self.entry.dir_fd)
        self.release(used)

    def abandon(self) -> None:
        """Close a part that is not going to be used; an empty one is removed."""
        try:
            self.drop_if_empty()
        finally:
            self.close(used=not self.unnamed)


def open_part(entry: Entry, locked: Callable[[], LockedError]) -> tuple[int, int] | None:
    """Open and lock the part, made when missing; return descriptor and size, or None to try again.

    :param locked: returns the error to raise when another process has the lock.
    """
    files = entry.files
    try:
        fd = files.open(entry.part.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, entry.dir_fd)
    except FileExistsError:
        try:
            # Without waiting for a reader, should it be a FIFO.
            fd = files.open(entry.part.name, os.O_RDWR | os.O_NONBLOCK, entry.dir_fd)
        except FileNotFoundError:
            return None
    size = None
    try:
        if not files.lock(fd):
            raise locked()
        size = _size_if_own(entry, fd)
    finally:
        if size is None:
            files.close(fd)
    return None if size is None else (fd, size)


def _size_if_own(entry: Entry, fd: int) -> int | None:
    """Return the locked part's size; None when its name no longer leads to it, or other names do."""
    open_file, named = entry.files.fstat(fd), entry.part.stat()
    if not stat.S_ISREG(open_file.st_mode):
        raise DiskError(f"{entry.part.shown} is not a regular file; move it away.")
    if named is None or not os.path.samestat(open_file, named):
        return None
    if open_file.st_nlink > 1:
        # It is a second name of a finished file, or of a file of the user's, which writing would change.
        entry.delete_journal(durable=False)
        entry.part.remove()
        return None
    return open_file.st_size


def require_room(part: LockedPart, length: int, min_free: int) -> None:
    """Check that *length* bytes fit on the disk and leave *min_free*.

    :raises DiskFullError: they do not.
    """
    entry = part.entry
    free = entry.files.free(part.fd)
    if free is None:
        return
    # st_blocks counts units of 512 bytes (stat(2)), whatever the file system's block is.
    allocated = entry.files.fstat(part.fd).st_blocks * 512
    missing = max(0, length - allocated)
    if missing and free - missing < min_free:
        raise DiskFullError(
            f"{printable(entry.name)} needs {shown(missing)} more, and the disk of"
            f" {printable(str(entry.directory))} has {shown(free)} free,"
            f" of which {shown(min_free)} must stay free."
        )
