"""The unfinished file, open and locked: one process at a time, and never a file that has another name."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from .._errors import DiskError, LockedError
from .._naming import printable
from .._settings import IfExists
from .entry import Entry
from .fallbacks import lock, replace
from .journal import Identity, Journal

__all__ = ["LockedPart", "OpenedPart", "begun_side", "locked_error", "open_part"]

# Names for side files that are looked at: each that is passed over belongs to another program.
MAX_SIDES = 100


@dataclass(slots=True)
class LockedPart:
    """A part that belongs to this job while it is open.

    :param entry: the name that the file is to get; its folder is open, and is closed with the part.
    :param wanted: the name that was asked for; ``entry.name`` is the first of its candidates that was free.
    :param size: bytes in the part when it was opened.
    :param journal: what an earlier run noted about this download, as far as a part of this size can hold it.
    :param release: makes the name free for other jobs of the run; its argument is *got*.
    :param identity: of the download.
    :param if_exists: what to do about a file that has the name by then.
    :param passed: candidates that other files have, although nothing says whose these are.
    :param unnamed: the part has no name yet (``O_TMPFILE``): the file gets its first one when it is finished.
    :ivar got: name of the file that the download has in the end; None while it has none.
    :ivar stopping: a copy of it that is being made is to end; set from another thread.
    """

    entry: Entry
    wanted: str
    fd: int
    size: int
    journal: Journal | None
    release: Callable[[str | None], None]
    identity: Identity
    if_exists: IfExists
    passed: tuple[str, ...] = ()
    unnamed: bool = False
    got: str | None = None
    stopping: bool = False

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
        # The part first: without its journal it would be taken for another program's.
        entry.part.remove()
        entry.delete_journal()
        return True

    def put_aside(self) -> Path:
        """Keep wrong bytes as ``NAME.part.bad``, which no download resumes; return its path."""
        # A file without a name is on the target's disk, wherever parts are.
        part = (self.entry._replace(temp=None) if self.unnamed else self.entry).part
        aside = part.renamed(f"{part.name}.bad")
        if self.unnamed:
            aside.remove()
            aside.files.link_unnamed(self.fd, aside.name, aside.dir_fd)
        else:
            replace(aside.files, part.name, aside.name, aside.dir_fd)
        return aside.path

    def close(self) -> None:
        """Release lock and name."""
        self.entry.files.close(self.fd)
        self.release(self.got)
        self.entry.close()

    def abandon(self) -> None:
        """Close a part that is not going to be used; an empty one is removed."""
        try:
            self.drop_if_empty()
        finally:
            self.close()


class OpenedPart(NamedTuple):
    """A part that is open and locked, of *size* bytes."""

    entry: Entry
    fd: int
    size: int

    def discard(self) -> None:
        """Close the part; an empty one is removed."""
        try:
            if not self.size:
                self.entry.part.remove()
                self.entry.delete_journal()
        finally:
            self.entry.files.close(self.fd)


def open_part(
    entry: Entry, identity: Identity, *, take_over: bool, durable: bool = False
) -> OpenedPart | Literal["taken"] | None:
    """Open and lock the part, made when missing; return None to try again, ``taken`` for another download's.

    :param take_over: use another download's part, unless it is locked.
    :param durable: a new journal survives power loss.
    :raises LockedError: another process works on the same download.
    """
    own = _own_side(entry, identity, take_over=take_over, durable=durable)
    if own is None:
        return "taken"
    files, part = own.files, own.part
    try:
        fd = files.open(part.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, part.dir_fd)
    except FileExistsError:
        try:
            # Without waiting for a reader, should it be a FIFO.
            fd = files.open(part.name, os.O_RDWR | os.O_NONBLOCK, part.dir_fd)
        except FileNotFoundError:
            return None
    size = None
    try:
        if not lock(files, fd):
            journal = own.journal()
            if journal is not None and not journal.belongs_to(identity):
                return "taken"
            raise locked_error(own)
        size = _size_if_own(own, fd)
    finally:
        if size is None:
            files.close(fd)
    return None if size is None else OpenedPart(own, fd, size)


def _own_side(entry: Entry, identity: Identity, *, take_over: bool, durable: bool) -> Entry | None:
    """Return *entry* with side files that are this download's, or new; None where another download's are.

    A side file that no readable journal of ours names is another program's, and stays as it is.
    """
    side = 0
    while side < MAX_SIDES:
        beside = entry.beside(side)
        journal = beside.journal()
        if journal is None:
            if beside.begun:
                side += 1
            # The journal comes before the part, so that a part of ours always has one.
            elif beside.create_journal(Journal.new(identity), durable=durable):
                return beside
        elif journal.belongs_to(identity) or take_over:
            return beside
        elif journal.spans or beside.part.stat() is not None or journal.has_owner():
            return None
        else:
            # Its process was killed before it made the part.
            beside.delete_journal()
    raise DiskError(f"{entry.shown}: {MAX_SIDES} names for its part are taken; choose another name.")


def begun_side(entry: Entry, identity: Identity) -> Entry | None:
    """Return *entry* with the side files of this download; None where it has not been begun."""
    for side in range(MAX_SIDES):
        beside = entry.beside(side)
        journal = beside.journal()
        if journal is not None:
            return beside if journal.belongs_to(identity) else None
        if not beside.begun:
            return None
    return None


def locked_error(entry: Entry) -> LockedError:
    """Return the error for a part that another process has locked."""
    journal = entry.journal()
    pid = journal.pid if journal is not None and journal.has_owner() else None
    owner = "this process" if pid == os.getpid() else f"process {pid}" if pid is not None else "another process"
    return LockedError(
        f"{entry.shown} is being downloaded by {owner}; wait for it to end, or choose another name"
        " with --output.",
        pid=pid,
    )


def _size_if_own(entry: Entry, fd: int) -> int | None:
    """Return the locked part's size; None when its name no longer leads to it, or other names do."""
    open_file, named = entry.files.fstat(fd), entry.part.stat()
    if not stat.S_ISREG(open_file.st_mode):
        raise DiskError(f"{entry.part.shown} is not a regular file; move it away.")
    if named is None or not os.path.samestat(open_file, named):
        return None
    if open_file.st_nlink > 1:
        # It is a second name of a finished file, or of a file of the user's, which writing would change.
        entry.part.remove()
        entry.delete_journal()
        return None
    return open_file.st_size
