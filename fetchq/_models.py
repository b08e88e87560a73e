"""The words of the trade as values: Job, Resource, Span, Result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from ._errors import FetchError

__all__ = ["Again", "Buffer", "Job", "Preview", "Resource", "Result", "Span", "redact"]

# What a read from the network gives, and a write to the disk takes.
Buffer = bytes | bytearray | memoryview
Pairs = tuple[tuple[str, str], ...]


@lru_cache(maxsize=1024)
def redact(url: str) -> str:
    """Give *url* without what may be secret: user, password, query values and fragment.

    Query values are masked as a whole because a signed URL's secret can hide under any name.
    """
    if not ("@" in url or "?" in url or "#" in url) and url.isascii() and url.isprintable():
        return url  # nothing of the kind is in it
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if not parts.netloc:
        # No URL after all, but what stands before an @ may be a password all the same.
        return url.partition("?")[0].partition("#")[0].rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "***" if parts.query else "", ""))


@dataclass(frozen=True, slots=True, repr=False)  # its own masks the URL
class Job:
    """What is wanted: a URL, where it may also be had, and under which name it is to be kept.

    :param url: http or https; relative only where a base URL is set.
    :param out: target name relative to the directory, may hold folders; ``-`` is stdout; default: from
        the response.
    :param mirrors: other URLs of the same bytes, tried in turn when the first fails.
    :param dir: directory of this job; default: the run's.
    :param method: HTTP method; anything but GET is fetched whole and never resumed.
    :param headers: sent to the origin of ``url`` only.
    :param params: added to the query of ``url``, whose own query is kept byte for byte.
    :param content: request body as bytes.
    :param json: request body as JSON; excludes ``content`` and ``form``.
    :param form: request body as an urlencoded form.
    :param checksum: ``ALGO:HEX``; the file is refused when it differs.
    :param size: expected bytes; the file is refused when it differs.
    :param priority: larger goes first, within the scheduler's look-ahead.
    :param retries: attempts in a row without progress; default: the run's.
    :param timeout: seconds each wait may take; default: the run's.
    :param id: the caller's own name for the job, repeated in results and events.
    :param source: where the job was written, ``FILE:LINE``, for messages.
    """

    url: str
    out: str | None = None
    mirrors: tuple[str, ...] = field(default=(), kw_only=True)
    dir: Path | None = field(default=None, kw_only=True)
    method: str = field(default="GET", kw_only=True)
    headers: Pairs = field(default=(), kw_only=True, repr=False)
    params: Pairs = field(default=(), kw_only=True, repr=False)
    content: bytes | None = field(default=None, kw_only=True, repr=False)
    json: Any = field(default=None, kw_only=True, repr=False)
    form: Pairs = field(default=(), kw_only=True, repr=False)
    checksum: str | None = field(default=None, kw_only=True)
    size: int | None = field(default=None, kw_only=True)
    priority: int = field(default=0, kw_only=True)
    retries: float | None = field(default=None, kw_only=True)
    timeout: float | None = field(default=None, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    source: str = field(default="", kw_only=True)

    def __repr__(self) -> str:
        out = f", out={self.out!r}" if self.out else ""
        return f"Job({redact(self.url)!r}{out})"

    @property
    def key(self) -> str:
        """Identity in the store: the same line of the same queue gives the same key in every run.

        A hash, so that a secret in the URL or the body cannot be read back from the store.
        """
        if self.id is not None:
            told = f"id\0{self.id}"
        else:
            words = (self.method, self.url, self.out, str(self.dir or ""), self.content, self.form, self.params)
            told = ascii(words)  # one text for each set of words, and the same in every release of Python
            if self.json is not None:
                told += json.dumps(self.json, default=str, separators=(",", ":"))
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open byte range ``[start, stop)``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Resource:
    """What the server says the thing is.

    :param url: final URL after redirects, redacted.
    :param length: bytes of the complete representation, if told.
    :param etag: entity tag as sent, quotes and ``W/`` included (RFC 9110 section 8.8.3).
    :param last_modified: as sent, an HTTP date.
    :param ranges: a validated 206 was seen, or ``Accept-Ranges: bytes``.
    :param encoding: content coding other than identity, lower case.
    :param digests: algorithm name to lower-case hex, as the server promises for the whole representation.
    """

    url: str
    length: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    ranges: bool = False
    encoding: str | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def strong_etag(self) -> str | None:
        """The entity tag where it may stand in If-Range (RFC 9110 section 13.1.5): not a weak one."""
        return self.etag if self.etag and not self.etag.startswith(("W/", "w/")) else None


PlanKind = Literal["fresh", "resume", "restart", "done"]


ResultStatus = Literal["done", "resumed", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended.

    :param status: ``done``, ``resumed`` (done, with bytes from an earlier run), ``skipped`` (was already
        there) or ``failed``.
    :param path: the finished file; None for stdout and failures.
    :param size: bytes of the finished file.
    :param received: body bytes that the network brought in this run.
    :param digests: algorithm to hex, computed while streaming.
    :param verified: what stands behind the bytes: ``digest``, ``length`` or ``nothing``.
    :param elapsed: seconds from first attempt to end, waits included.
    :param attempts: requests that were made.
    :param reason: why it was skipped or resumed; empty otherwise.
    """

    job: Job
    status: ResultStatus
    path: Path | None = None
    size: int = 0
    received: int = 0
    digests: Mapping[str, str] = field(default_factory=dict)
    verified: Literal["digest", "length", "nothing"] = "nothing"
    elapsed: float = 0.0
    attempts: int = 0
    reason: str = ""
    error: FetchError | None = None

    @property
    def ok(self) -> bool:
        """True when the file is there, complete."""
        return self.error is None

    @property
    def sha256(self) -> str | None:
        """Lower-case hex, where SHA-256 was the digest computed."""
        return self.digests.get("sha256")

    def unwrap(self) -> Result:
        """Give the result itself, or raise its error."""
        if self.error is not None:
            raise self.error
        return self


class Again(NamedTuple):
    """An attempt ended without the file, and another is worth its while.

    :param wait: seconds until then.
    :param state: what the attempt left behind, to be handed back; nobody between looks inside.
    """

    wait: float
    state: object


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do about a job, without doing it.

    :param name: the file's name, relative to the run's directory where it lies below it; ``-`` is stdout.
    :param size: bytes in all, where the server says so.
    :param have: bytes that are here already.
    :param resumable: a broken download could go on where it broke off.
    """

    job: Job
    name: str
    status: Literal["fresh", "resume", "done", "failed"]
    size: int | None = None
    have: int = 0
    resumable: bool = False
    error: FetchError | None = None
