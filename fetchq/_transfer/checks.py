"""What the caller and the server have promised about the bytes: plain functions."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .. import _digests, _naming, _ranges, _retry
from .._digests import Checksum
from .._disk import Identity
from .._errors import ProtocolError, TooLargeError
from .._models import Job, Resource, Span
from .._ranges import Ask
from .._settings import IfExists, Queue
from .context import Placement, Reply
from .segments import UNKNOWN_END

__all__ = [
    "algorithms",
    "check_length",
    "checksums",
    "continues",
    "framed",
    "identity",
    "if_exists",
    "media_type",
    "next_ask",
    "overlap",
    "place",
    "resumable_method",
    "same_file",
    "splittable",
]


# Fewer bytes than this may be equal by chance, where they are zeros or a text's usual words.
LEAST_OVERLAP = 1024


def place(job: Job, base: Path, name: str = "", placement: Placement | None = None) -> tuple[Path, str]:
    """Return folder and name of a job's target; *name* is the server's, for a job that has none of its own.

    :param placement: its template's folder and name go before the server's.
    :raises UsageError: the job's own path cannot be used.
    """
    out = None if job.out == "-" else job.out
    if name and job.method.upper() == "HEAD":
        # Another name than the file's own, which may be fetched too.
        name = _naming.sanitise(f"{name}.head", dotfiles=True)
    if placement is None or job.out is not None:
        return _naming.place(base, out, dir=job.dir, name=name, confined=job.confined)
    folder, name = _naming.place(base, out, dir=job.dir, name=placement.name or name, confined=job.confined)
    return (folder if placement.folder is None else folder / placement.folder), name


def identity(job: Job, copy: int = 0) -> Identity:
    """Return which download a job's files belong to: all that chooses the bytes that are asked for.

    :param copy: of equal jobs, which are to have files of their own.
    """
    rest = (*job.files, *([copy] if copy else []))
    more = (job.method.upper(), job.params, job.content, job.form, job.json, *rest)
    plain = resumable_method(job) and not job.params and not copy
    return Identity(job.url if plain else f"{job.url}\0{more!r}", job.url)


def if_exists(job: Job, chosen: IfExists | None) -> IfExists:
    """Return what to do about another file of the job's name: one that the user gave is meant."""
    return job.if_exists or chosen or ("overwrite" if job.out is not None else "rename")


def next_ask(known: Resource, spans: tuple[Span, ...], overlap: int, *, plain: bool) -> Ask:
    """Ask for the first bytes of *known* that the *spans* leave out."""
    length = known.length
    hole = Span(spans[-1].stop, UNKNOWN_END) if length is None else _ranges.missing(spans, length)[0]
    return _ranges.ask_for(hole, known, overlap, plain=plain)


def overlap(most: int, failures: int) -> int:
    """Return how many bytes to compare, at *most*, when a part is resumed.

    A connection that breaks off within them each time would never get further: they become fewer.

    :param failures: attempts in a row that failed, none of which but the first made progress.
    """
    return max(most >> 2 * max(0, failures - 1), min(most, LEAST_OVERLAP))


def resumable_method(job: Job) -> bool:
    """Whether a job's answer may be asked for in ranges: a GET without a body."""
    return job.method.upper() == "GET" and not job.has_body


def continues(known: Resource, seen: Resource) -> bool:
    """Whether a part begun with *known*, found only under the server's own name, is of this resource."""
    return not seen.encoding and _ranges.same_resource(known, seen) is not False


def splittable(job: Job, known: Resource, queue: Queue, version: str) -> bool:
    """Whether several connections may fetch one file: ranges, and a validator for each of them.

    With a number of connections that the user gave, a server that says nothing of ranges is tried.

    :param version: of the protocol. With HTTP/2 all requests share one connection, so a second gains nothing.
    """
    vouched = known.strong_etag is not None and known.length is not None
    tried = known.ranges or queue.connections is not None
    alone = queue.per_file == 1 or version.startswith("HTTP/2")
    return vouched and tried and resumable_method(job) and not alone


def framed(reply: Reply) -> bool:
    """Whether a body says where it ends; one that ends with the connection may be cut short unseen."""
    told = "content-length" in reply.headers or "transfer-encoding" in reply.headers
    return told or reply.status == 204 or reply.version.startswith("HTTP/2")


def media_type(reply: Reply) -> str:
    """Return type and subtype of the body, in lower case; empty where the server names none."""
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_length(job: Job, seen: Resource, most: int | None) -> None:
    """Refuse a length that the caller has ruled out.

    :raises TooLargeError: more than *most* bytes.
    :raises ProtocolError: not the size that the job announces.
    """
    if seen.length is None:
        return
    if most is not None and seen.length > most:
        raise TooLargeError(f"The file has {seen.length} bytes, more than the {most} allowed by --max-size.")
    if job.size is not None and seen.length != job.size:
        raise ProtocolError(f"The file has {seen.length} bytes, not the {job.size} that were announced.")


def checksums(own: Checksum | None, seen: Resource | None) -> list[Checksum]:
    """Return what the finished file must hash to: the caller's checksum, and what the server promises besides.

    A server's digest is of what it sent (RFC 9530 section 3), so it says nothing of a decoded body.
    """
    promised = seen.digests if seen is not None and not seen.encoding else {}
    if own is None and not promised:
        return []
    asked = [] if own is None else [own]
    decided = _digests.algorithms(asked)
    return asked + [Checksum(value, (name,)) for name, value in promised.items() if name not in decided]


def algorithms(own: Checksum | None, seen: Resource, *, sha256: bool, likely: bool = True) -> list[str]:
    """Return the digests to compute while streaming: the caller's, and what the server promised.

    :param sha256: compute that where the caller asks for none.
    :param likely: of a checksum without an algorithm only the usual one; the file can be read again.
    """
    names = _digests.algorithms(checksums(own, seen), likely=likely)
    return ["sha256", *(name for name in names if name != "sha256")] if sha256 and own is None else names


def same_file(found: os.stat_result, seen: Resource | None) -> bool:
    """Whether a finished file is this very resource: its size, and the server's date as its mtime."""
    date = _retry.http_date(seen.last_modified) if seen is not None else None
    return (
        seen is not None
        and date is not None
        and stat.S_ISREG(found.st_mode)
        and found.st_size == seen.length
        and int(found.st_mtime) == int(date)
    )
