"""The journal: which bytes of a part can be trusted, and of which resource they are. It has a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from .._models import Resource, Span, redact
from .._ranges import clip
from .._retry import http_date
from .fallbacks import replace, sync
from .files import Files, UnnamedError, remove, write_all

__all__ = [
    "Identity",
    "Journal",
    "create",
    "delete",
    "journal_of",
    "load",
    "part_of",
    "save",
    "side_files",
]

# A journal holds a URL and at most some hundred spans, a few KiB; a larger file is none.
MAX_BYTES = 1 << 20
# Version of the journal's format, under a key that no other program's JSON has.
_MAGIC = {"fetchq_journal": 1}


class Identity:
    """Which download a part belongs to. Computed on first use: small files seldom need it.

    :ivar url: without secrets and query.
    :ivar key: tells URLs apart that differ in their secrets, without holding these.
    :param full: everything that tells one download from another.
    :param url: of the download; by default *full*.
    """

    def __init__(self, full: str, url: str | None = None) -> None:
        self._full = full
        self._url = full if url is None else url
        self._key = ""

    @property
    def url(self) -> str:
        return redact(self._url).partition("?")[0]

    @property
    def key(self) -> str:
        # Not functools.cached_property, which locks until Python 3.12.
        if not self._key:
            self._key = hashlib.sha256(self._full.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self._key

    def __repr__(self) -> str:
        return f"Identity({self.url!r})"


class Journal(NamedTuple):
    """What is known about a part: which download's bytes it holds, and which of them are on disk.

    :param url: as in :class:`Identity`, and so is *key*.
    :param length: bytes of the whole resource, if the server sent it.
    :param pid: process that wrote this last.
    """

    url: str
    key: str
    length: int | None
    etag: str | None
    last_modified: str | None
    spans: tuple[Span, ...]
    pid: int

    @classmethod
    def new(cls, identity: Identity) -> Journal:
        """Return the journal of a part that holds nothing yet."""
        return cls(identity.url, identity.key, None, None, None, (), os.getpid())

    @classmethod
    def of(cls, identity: Identity, resource: Resource, spans: tuple[Span, ...]) -> Journal:
        """Return the journal of this process's download of *resource*."""
        facts = (resource.length, resource.etag, resource.last_modified)
        return cls(identity.url, identity.key, *facts, spans, os.getpid())

    def belongs_to(self, identity: Identity) -> bool:
        """Whether a download of *identity* may go on with this part.

        The query may differ, as a signed URL's does each time, where a strong ETag will show whether the bytes
        are still the same.
        """
        strong = self.etag is not None and not self.etag.startswith(("W/", "w/"))
        return self.key == identity.key or (strong and self.url == identity.url)

    def has_owner(self) -> bool:
        """Whether the process that wrote this last is still running."""
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass  # it is another user's
        return True

    def describes(self, found: os.stat_result) -> bool:
        """Whether a file has the length and the date of the resource; False where the server sent no date."""
        date = http_date(self.last_modified)
        return date is not None and found.st_size == self.length and int(found.st_mtime) == int(date)

    def within(self, size: int) -> Journal:
        """Return the journal with its spans cut to a part of *size* bytes."""
        end = size if self.length is None else min(size, self.length)
        return self._replace(spans=clip(self.spans, end))


def part_of(name: str, side: int = 0) -> str:
    """Return the unfinished file's name.

    :param side: 1 and up where lower ones are files of another program.
    """
    return f"{name}.part.{side}" if side else f"{name}.part"


def draft_of(target: str) -> str:
    """Return the name under which the journal file *target* is written before it replaces that."""
    return f"{target}.tmp"


def journal_of(name: str, side: int = 0) -> str:
    """Return the journal's name."""
    return f"{part_of(name, side)}.json"


def side_files(name: str, side: int) -> tuple[str, str, str]:
    """Return the names of the unfinished file, its journal, and the draft of a new journal."""
    journal = journal_of(name, side)
    return part_of(name, side), journal, draft_of(journal)


def load(files: Files, name: str | Path, dir_fd: int | None = None) -> Journal | None:
    """Read the journal file *name*; return None for anything but a complete journal."""
    try:
        # Without waiting for a writer, should it be a FIFO.
        fd = files.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd)
    except OSError:
        return None
    try:
        found = files.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return None
        text = bytearray(found.st_size)
        size = files.preadv(fd, [text], 0)
    except OSError:
        return None
    finally:
        files.close(fd)
    return _decode(bytes(text[:size]), Path(name).name)


def save(files: Files, target: str, dir_fd: int, journal: Journal, *, durable: bool) -> None:
    """Replace the journal file *target* atomically; its part's lock must be held.

    :param durable: it survives power loss from here on.
    """
    draft = draft_of(target)
    # Created anew each time: a file of that name is left from a crash, or is another name of a user's file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        fd = files.open(draft, flags, dir_fd)
    except FileExistsError:
        remove(files, draft, dir_fd)
        fd = files.open(draft, flags, dir_fd)
    _write(files, fd, target, journal, durable=durable)
    replace(files, draft, target, dir_fd)
    if durable:
        sync(files, dir_fd)


def create(files: Files, target: str, dir_fd: int, journal: Journal, *, durable: bool) -> bool:
    """Create the journal file *target*, complete; return False where something has the name.

    No lock is held yet, so a draft with a name could be another process's: the file has no name until it is
    complete. Where the system has no such files, a crash leaves half a journal, which no run touches again.
    """
    try:
        fd = files.open_unnamed(dir_fd)
    except UnnamedError:
        return _create_named(files, target, dir_fd, journal, durable=durable)
    try:
        _fill(files, fd, target, journal, durable=durable)
        files.link_unnamed(fd, target, dir_fd)
    except UnnamedError:
        return _create_named(files, target, dir_fd, journal, durable=durable)
    except FileExistsError:
        return False
    finally:
        files.close(fd)
    return True


def _create_named(files: Files, target: str, dir_fd: int, journal: Journal, *, durable: bool) -> bool:
    try:
        fd = files.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd)
    except FileExistsError:
        return False
    try:
        _write(files, fd, target, journal, durable=durable)
    except OSError:
        remove(files, target, dir_fd)
        raise
    return True


def _write(files: Files, fd: int, target: str, journal: Journal, *, durable: bool) -> None:
    try:
        _fill(files, fd, target, journal, durable=durable)
    finally:
        files.close(fd)


def _fill(files: Files, fd: int, target: str, journal: Journal, *, durable: bool) -> None:
    write_all(files, fd, [_encode(journal, target)], 0)
    if durable:
        sync(files, fd)


def delete(files: Files, target: str, dir_fd: int) -> None:
    """Remove the journal file *target*, and before it the draft that a process killed in :func:`save` leaves.

    The part's lock must be held.
    """
    remove(files, draft_of(target), dir_fd)
    remove(files, target, dir_fd)


def _encode(journal: Journal, name: str) -> bytes:
    spans = [[span.start, span.stop] for span in journal.spans]
    # With its own name, so that a journal that was moved beside another part is rejected.
    facts = journal._asdict() | {"spans": spans, "name": name}
    return json.dumps(_MAGIC | {"crc32": _checksum(facts), "part": facts}, indent=1).encode()


def _checksum(facts: Any) -> str:
    return f"{zlib.crc32(json.dumps(facts, sort_keys=True).encode()):08x}"


def _decode(text: bytes, name: str) -> Journal | None:
    try:
        outer = json.loads(text)
        facts = outer["part"]
        if outer["fetchq_journal"] != 1 or outer["crc32"] != _checksum(facts) or facts.pop("name") != name:
            return None
        return _journal(**facts)
    # A file cut by a crash, or written by another program, can be wrong in each of these ways.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _journal(
    url: Any, key: Any, length: Any, etag: Any, last_modified: Any, spans: Any, pid: Any
) -> Journal | None:
    texts = isinstance(url, str) and isinstance(key, str)
    tags = all(value is None or isinstance(value, str) for value in (etag, last_modified))
    if not (texts and tags and _is_size(pid) and (length is None or _is_size(length))):
        return None
    pairs = tuple(Span(start, stop) for start, stop in spans)
    if not all(_is_size(span.start) and _is_size(span.stop) and span.start <= span.stop for span in pairs):
        return None
    return Journal(url, key, length, etag, last_modified, pairs, pid)


def _is_size(value: Any) -> bool:
    return type(value) is int and value >= 0
