"""A complete, verified part becomes the file of its name in one step, and overwrites nothing unasked."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from .._errors import ExistsError
from .._naming import candidate, candidate_number, printable
from .._settings import Disk
from . import record
from .context import DiskContext
from .copying import copied, discard_copy, is_copy_of
from .entry import Entry
from .existing import TAKEN, Existing
from .fallbacks import replace, sync, touch
from .files import NameTakenError
from .lock import LockedPart

__all__ = ["Finished", "Finishing", "publish"]

# Two files are compared this many bytes at a time: few enough for memory, many enough that calls do not count.
COMPARED = 1 << 18


class Finished(NamedTuple):
    """A complete, verified file under its final name.

    :param digests: algorithm to lower-case hex.
    """

    path: Path
    size: int
    digests: dict[str, str]


class Finishing(NamedTuple):
    """What is known of a verified part that becomes a file.

    :param size: bytes in it.
    :param digests: algorithm to lower-case hex.
    :param mtime: modification time to set, in seconds since the epoch.
    :param etag: the server's, and so is *last_modified*.
    """

    size: int
    digests: dict[str, str]
    mtime: float | None
    etag: str | None
    last_modified: str | None


def publish(part: LockedPart, context: DiskContext, finishing: Finishing) -> Finished | Existing:
    """Make the part the finished file of its name, and remove what is left of it; it stays open.

    With ``fsync`` each step is on disk before the next one relies on it: bytes, name, then the journal's end.

    :raises NameTakenError: an unnamed part's name has been given to another file meanwhile.
    :raises ExistsError: the name was taken meanwhile, and ``--if-exists error`` was asked for.
    """
    settings = context.settings
    existing = _identical(part, finishing.size)
    if existing is None:
        name = _name(part, context, finishing)
        if name is not None:
            part.got = name
            _clear(part, durable=settings.fsync)
            return Finished(part.entry.renamed(name).path, finishing.size, finishing.digests)
        existing = Existing(part.entry.path, TAKEN, finishing.size)
    else:
        part.got = existing.path.name
    _clear(part, durable=False)
    return existing


def _name(part: LockedPart, context: DiskContext, finishing: Finishing) -> str | None:
    """As :func:`_give_name`, by way of a copy where the part is on another file system."""
    try:
        return _give_name(part, context.settings, finishing)
    except OSError as error:
        # Also between two mounts of one file system, which have the same device.
        if error.errno != errno.EXDEV:
            raise
    for name in chain([part.entry.name], _later(part)):
        if is_copy_of(part, name):
            return name
        if part.entry.renamed(name).stat() is None:
            break
    with copied(part, context, finishing.size) as copy:
        return _give_name(copy, context.settings, finishing)


def _identical(part: LockedPart, size: int) -> Existing | None:
    """Find the same bytes in a file of which nothing says whose it is.

    A file of this run is another job's, and is not among those: two jobs get two files though their bytes are
    the same. No clock is asked which came first: a file server's may be ahead of this machine's.
    """
    for other in map(part.entry.renamed, part.passed):
        if _same_bytes(part, other, size):
            return Existing(other.path, "identical file already there", size)
    return None


def _give_name(part: LockedPart, settings: Disk, finishing: Finishing) -> str | None:
    """Return the name that the part got, with date and record; None where it is taken and is to be left so."""
    entry = part.entry
    if finishing.mtime is not None and settings.remote_time:
        touch(entry.files, part.fd, finishing.mtime)
    if settings.xattr:
        record.write(entry.files, part.fd, part.identity, finishing.etag, finishing.last_modified)
    if settings.fsync:
        sync(entry.files, part.fd)
    if part.if_exists == "overwrite" and not part.unnamed:
        replace(entry.files, entry.part.name, entry.name, entry.dir_fd, entry.part.dir_fd)
        return entry.name
    if _link(part, entry.name):
        return entry.name
    if part.unnamed:
        raise NameTakenError
    if part.if_exists == "error":
        kept = "" if entry.is_landing else f"; the bytes are kept in {printable(entry.part.name)}"
        raise ExistsError(f"{entry.shown} appeared while it was downloaded{kept}.")
    return None if part.if_exists == "skip" else next(name for name in _later(part) if _link(part, name))


def _later(part: LockedPart) -> Iterator[str]:
    """Yield the candidates that come after the part's name."""
    number = candidate_number(part.wanted, part.entry.name) or 0
    return (candidate(part.wanted, later) for later in count(number + 1))


def _link(part: LockedPart, name: str) -> bool:
    """Link the part under *name* as well; return False when that is taken."""
    entry = part.entry
    try:
        if part.unnamed:
            entry.files.link_unnamed(part.fd, name, entry.dir_fd)
        else:
            entry.files.link(entry.part.name, name, entry.dir_fd, entry.part.dir_fd)
    except FileExistsError:
        return False
    except OSError:
        # For any reason. Without link(2) no call is both atomic and sure not to overwrite: look, then rename.
        if entry.renamed(name).stat() is not None:
            return False
        entry.files.replace(entry.part.name, name, entry.dir_fd, entry.part.dir_fd)
    return True


def _clear(part: LockedPart, *, durable: bool) -> None:
    """Remove what is left of part and journal.

    In this order: a journal without a part tells the next run what happened; a part without a journal could be
    another program's file. Of a copy nothing is left when there is neither.

    :param durable: the new name survives power loss before they go.
    """
    if durable:
        sync(part.entry.files, part.entry.dir_fd)
    if part.unnamed:
        return
    # The file has its name: what cannot be removed is left for the next run to tidy.
    with suppress(OSError):
        part.entry.part.remove()
        discard_copy(part.entry, part.identity)
        part.entry.delete_journal()


def _same_bytes(part: LockedPart, other: Entry, size: int) -> bool:
    files = other.files
    try:
        found = other.stat()
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        fd = files.open(other.name, os.O_RDONLY | os.O_NONBLOCK, other.dir_fd)
    except OSError:
        return False  # a copy that cannot be read is of no use
    ours, theirs = bytearray(COMPARED), bytearray(COMPARED)
    try:
        for offset in range(0, size, COMPARED):
            count = files.preadv(part.fd, [ours], offset)
            if count != files.preadv(fd, [theirs], offset) or ours[:count] != theirs[:count]:
                return False
    except OSError:
        return False
    finally:
        files.close(fd)
    return True
