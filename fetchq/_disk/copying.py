"""A part on another file system than its target: it is copied beside that, and the copy gets the name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from .._errors import DiskError
from .._naming import printable
from .context import DiskContext
from .entry import Entry
from .files import translate, write_all
from .journal import Identity, Journal
from .lock import LockedPart, OpenedPart, begun_side, locked_error, open_part

__all__ = ["copied", "discard_copy", "is_copy_of"]

# Bytes that are read and written at a time: a copy that is to end does so within a few milliseconds.
COPIED = 1 << 20
# Each means that another process ended its copy between two of our calls.
MAX_ROUNDS = 16


@contextmanager
def copied(part: LockedPart, context: DiskContext, size: int) -> Iterator[LockedPart]:
    """Yield a copy of the complete *part* beside its target, as a part that gets that name.

    The copy has a journal and a lock, as a part has, so that what a kill leaves of it is known for ours; the
    journal vouches for none of its bytes. Whatever goes wrong removes it, and *part* is kept. What is left of
    it once it has its name is for :func:`discard_copy`.

    :param size: bytes of *part*.
    :raises DiskError: the target's file system is full, or refuses; the message says where *part* is.
    """
    entry, kept = part.entry, f"All bytes are kept in {printable(str(part.path))}."
    try:
        opened = _open(entry.landing(), part.identity, durable=context.settings.fsync)
        copy = replace(part, entry=opened.entry, fd=opened.fd)
        try:
            _empty(copy, opened.size, durable=context.settings.fsync)
            context.reserved.release(entry.dir_fd)
            context.reserved.require(copy.fd, entry.path, size, reserve=True)
            _copy(part, copy, size)
            yield copy
        except BaseException:
            _remove(copy.entry)
            raise
        finally:
            context.reserved.release(copy.fd)
            entry.files.close(copy.fd)
    except OSError as error:
        told = translate(error, entry.path)
        raise type(told)(f"{told} {kept}") from error
    except DiskError as error:
        error.args = (f"{error} {kept}",)
        raise


def is_copy_of(part: LockedPart, name: str) -> bool:
    """Whether *name*, beside the target, is a copy of *part* that was named before a kill."""
    landing = begun_side(part.entry.landing(), part.identity)
    copy, found = None if landing is None else landing.part.stat(), part.entry.renamed(name).stat()
    return copy is not None and found is not None and os.path.samestat(copy, found)


def discard_copy(entry: Entry, identity: Identity) -> None:
    """Remove what is left of a copy beside its target: another name of the file, or what a kill left."""
    if entry.temp is None:
        return
    landing = entry.landing()
    # What cannot be removed now is looked at again by the next copy.
    with suppress(OSError, DiskError):
        opened = open_part(landing, identity, take_over=False) if landing.begun else None
        if isinstance(opened, OpenedPart):
            try:
                _remove(opened.entry)
            finally:
                landing.files.close(opened.fd)


def _open(landing: Entry, identity: Identity, *, durable: bool) -> OpenedPart:
    for _ in range(MAX_ROUNDS):
        # One of another download was begun for the same target: its bytes are in a part of its own.
        opened = open_part(landing, identity, take_over=True, durable=durable)
        if isinstance(opened, OpenedPart):
            return opened
    raise locked_error(landing)


def _empty(copy: LockedPart, size: int, *, durable: bool) -> None:
    """Start over in the file for the copy, which has *size* bytes of whatever download."""
    copy.entry.save(Journal.new(copy.identity), durable=durable)
    if size:
        copy.entry.files.truncate(copy.fd, 0)


def _copy(part: LockedPart, copy: LockedPart, size: int) -> None:
    files, offset = part.entry.files, 0
    buffer = memoryview(bytearray(min(size, COPIED)))
    while offset < size:
        if part.stopping:
            raise DiskError(f"{part.entry.shown} was not finished, as the run ended.")
        count = files.preadv(part.fd, [buffer[: size - offset]], offset)
        if count == 0:
            raise DiskError(f"{printable(str(part.path))} became shorter while it was copied.")
        offset += write_all(files, copy.fd, [buffer[:count]], offset)


def _remove(entry: Entry) -> None:
    """Remove a copy and its journal; in this order, since a part without a journal is another program's."""
    with suppress(OSError):
        entry.part.remove()
        entry.delete_journal()
