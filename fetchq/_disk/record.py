"""Whose a finished file is: a record in its extended attributes (xattr(7)), kept where the file system can."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import NamedTuple

from .._models import Resource
from .entry import Entry
from .files import Files
from .journal import Identity

__all__ = ["FileRecord", "adopt", "read", "write"]

# ext4 keeps all attributes of a file in one block of 4 KiB.
MAX_BYTES = 1024
_RECORD = "user.fetchq.record"
# https://www.freedesktop.org/wiki/CommonExtendedAttributes/
_ORIGIN = "user.xdg.origin.url"
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class FileRecord(NamedTuple):
    """What was known about a file when it was finished.

    :param key: :attr:`Identity.key` of its download.
    :param size: bytes, and *mtime_ns* the modification time: a file that differs was changed since.
    """

    key: str
    size: int
    mtime_ns: int
    etag: str | None
    last_modified: str | None

    def is_unchanged(self, found: os.stat_result) -> bool:
        """Whether the file of this stat is still as it was finished."""
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)

    def is_of(self, seen: Resource) -> bool:
        """Whether the file holds what the server has now, by length and every validator that both have."""
        pairs = [(self.etag, seen.etag), (self.last_modified, seen.last_modified)]
        known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
        return seen.length in (None, self.size) and bool(known) and all(a == b for a, b in known)


def write(files: Files, fd: int, identity: Identity, etag: str | None, last_modified: str | None) -> None:
    """Record on the open file whose it is; best effort, since many file systems have no attributes."""
    found = files.fstat(fd)
    record = FileRecord(identity.key, found.st_size, found.st_mtime_ns, etag, last_modified)
    value = _ENCODER.encode(record).encode()
    if len(value) <= MAX_BYTES:
        with suppress(OSError):
            files.set_attribute(fd, _RECORD, value)
            files.set_attribute(fd, _ORIGIN, identity.url.encode("utf-8", "replace")[:MAX_BYTES])


def adopt(entry: Entry, identity: Identity, seen: Resource) -> None:
    """Record on a finished file that its bytes were found to be this download's."""
    with suppress(OSError):
        fd = entry.files.open(entry.name, os.O_RDONLY | os.O_NONBLOCK, entry.dir_fd)
        try:
            write(entry.files, fd, identity, seen.etag, seen.last_modified)
        finally:
            entry.files.close(fd)


def read(entry: Entry) -> FileRecord | None:
    """Return the record on the file *entry*; None when there is none that can be read."""
    try:
        fd = entry.files.open(entry.name, os.O_RDONLY | os.O_NONBLOCK, entry.dir_fd)
    except OSError:
        return None
    try:
        key, size, mtime_ns, etag, last_modified = json.loads(entry.files.attribute(fd, _RECORD))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    finally:
        entry.files.close(fd)
    texts = all(value is None or isinstance(value, str) for value in (etag, last_modified))
    return FileRecord(key, size, mtime_ns, etag, last_modified) if isinstance(key, str) and texts else None
