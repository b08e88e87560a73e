"""The values that the whole package shares: Job, Resource, Span, Result, Preview."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from ._arguments import (
    URL,
    AnyPath,
    GivenOptionalPath,
    Pairs,
    PairsLike,
    check_fields,
    check_media_type,
    convert_fields,
    path,
    seconds_of,
    signature_of,
    text,
)
from ._errors import FetchError, UsageError

__all__ = [
    "Again",
    "Buffer",
    "FormFile",
    "IfExists",
    "Job",
    "Pairs",
    "Preview",
    "Resource",
    "Result",
    "Span",
    "TLSOptions",
    "redact",
]

# Bytes as the network delivers and the disk accepts them.
Buffer = bytes | bytearray | memoryview
IfExists = Literal["skip", "rename", "overwrite", "error"]


@lru_cache(maxsize=1024)
def redact(url: str) -> str:
    """Return *url* without user, password and fragment, and with its query as ``***``.

    The whole query is masked because a signed URL may carry its secret under any name.
    """
    if not ("@" in url or "?" in url or "#" in url) and url.isascii() and url.isprintable():
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if not parts.netloc:
        # Not a URL with a host, but text before an @ may still be a password.
        return url.partition("?")[0].partition("#")[0].rpartition("@")[2]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "***" if parts.query else "", ""))


@dataclass(frozen=True, slots=True)
class FormFile:
    """A file that a form sends.

    :param path: of the file, which is read as it is sent; also gives its name.
    :param content: sent instead of what is at *path*.
    :param type: its media type; default: as its name says, else ``application/octet-stream``.
    :param filename: sent instead of the name at the end of *path*.
    :param confined: must lie below the current folder, as a queue file's must.
    """

    path: Path
    content: bytes | None = field(default=None, kw_only=True, repr=False)
    type: str | None = field(default=None, kw_only=True)
    filename: str | None = field(default=None, kw_only=True)
    confined: bool = field(default=False, kw_only=True)

    if TYPE_CHECKING:

        def __init__(
            self,
            path: AnyPath,
            *,
            content: bytes | None = None,
            type: str | None = None,
            filename: str | None = None,
            confined: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Check and convert the fields."""
        object.__setattr__(self, "path", path(self.path, name="path"))
        check_fields(self)

    @property
    def shown(self) -> str:
        """The name that the server is told."""
        return self.path.name if self.filename is None else self.filename


Files: TypeAlias = "tuple[tuple[str, FormFile], ...]"
# What is accepted for files: a path stands for a FormFile.
FilesLike: TypeAlias = "Mapping[str, AnyPath | FormFile] | Iterable[tuple[str, AnyPath | FormFile]]"


def _files(value: Any) -> Files:
    found: list[tuple[str, FormFile]] = []
    for item in value.items() if isinstance(value, Mapping) else value:
        if not isinstance(item, tuple) or len(item) != 2:
            raise UsageError("files must be a mapping, or pairs of name and file.")
        name, file = item
        found.append((text(name, name="files"), file if isinstance(file, FormFile) else FormFile(file)))
    return tuple(found)


# A path that is read as another type than it may be given as takes no plain None for a type checker.
_NOT_GIVEN: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """How the servers of one job are verified, and who they are told it is; None in a field: as for the run.

    :param insecure: certificates are not verified.
    :param cacert: PEM file or folder of the certificate authorities to trust.
    :param cert: PEM file of a client certificate.
    :param key: PEM file of its key, where *cert* does not hold that.
    :param key_password: of that key.
    :param tls_min: oldest TLS version to accept.
    """

    insecure: bool | None = None
    cacert: GivenOptionalPath = _NOT_GIVEN
    cert: GivenOptionalPath = _NOT_GIVEN
    key: GivenOptionalPath = _NOT_GIVEN
    key_password: str | None = field(default=None, repr=False)
    tls_min: Literal["1.0", "1.1", "1.2", "1.3"] | None = None

    def __post_init__(self) -> None:
        """Check and convert the fields."""
        check_fields(self)


# Fields that a job has which asks for a URL alone; the others are the class's.
_PLAIN = frozenset({"url", "source", "confined"})
_CONVERTED_HERE = frozenset({"timeout", "expect_type", "tls", "bearer", "content", "json", "form", "files"})


def _convert_more(given: dict[str, Any]) -> None:
    """Check and convert, in place, the fields of a job that need more than their type says."""
    if (timeout := given.get("timeout")) is not None:
        seconds_of(timeout, name="timeout")
    if (expected := given.get("expect_type")) is not None:
        check_media_type(expected, name="--expect-type")
    if not isinstance(given.get("tls"), TLSOptions | None):
        raise UsageError("tls must be a fetchq.TLSOptions.")
    if given.get("user") is not None and given.get("bearer") is not None:
        raise UsageError("user and bearer are for the same server: give one of them.")
    if given.get("files"):
        given["files"] = _files(given["files"])
    if (
        given.get("content") is not None
        or given.get("json") is not None
        or given.get("form")
        or given.get("files")
    ):
        given.setdefault("method", "POST")


@dataclass(frozen=True, init=False, repr=False)  # __repr__ masks the URL
class Job:
    """One file to download.

    :param url: http or https; relative only where a base URL is set.
    :param out: target path, relative to the directory or absolute; ``-`` is stdout, one that ends with ``/`` a
        folder; default: a name from the response.
    :param mirrors: other URLs of the same bytes, tried in order when one fails.
    :param dir: directory of this job, relative to the run's or absolute; default: the run's.
    :param confined: ``out`` and ``dir`` may not lead out of the run's directory, as in a queue file.
    :param method: HTTP method; default: GET, or POST with a body. A response to anything but GET is never
        resumed or split. The file of a HEAD is the response's head as text, a field a line.
    :param headers: sent to the origin of ``url`` only.
    :param cookies: sent to the origin of ``url`` only, beside the run's.
    :param params: appended to the query of ``url``, which itself is sent byte for byte.
    :param content: request body as bytes; excludes ``json`` and ``form``.
    :param json: request body as JSON; excludes ``content`` and ``form``.
    :param form: request body as a form, urlencoded unless there are files; excludes ``content`` and ``json``.
    :param files: files that the form sends besides, as multipart/form-data (RFC 7578), by the names of its
        fields; each a path or a :class:`FormFile`, read from disk as it is sent.
    :param checksum: ``ALGO:HEX``; a file with another digest is refused.
    :param size: expected size in bytes; a file of another size is refused.
    :param priority: jobs with a larger number start first, among ``Queue.lookahead`` jobs.
    :param retries: further attempts, without progress, after one that failed; default: the run's.
    :param timeout: limit in seconds of every single wait, or of each of ``connect``, ``read``, ``write`` and
        ``pool`` by its name; infinity for no limit; default: the run's.
    :param deadline: seconds that the job may take in all, waits between its attempts included; default: the
        run's.
    :param redirects: whether redirects are followed; default: as for the run.
    :param proxy: URL of the proxy for this job; default: the run's.
    :param user: user and password for the origin of ``url``; default: the URL's own, else the run's.
    :param bearer: token for the origin of ``url``, unless that names a user; excludes ``user``; default: the
        run's.
    :param retry_unsafe: whether POST and PATCH are repeated too after a failure on the way; default: as for the
        run.
    :param expect_type: media type that the answer must have, such as ``application/zip`` or ``image/*``;
        default: the run's.
    :param tls: a :class:`TLSOptions`, how its servers are verified; default: as for the run. Jobs with other
        options share no connection.
    :param if_exists: what to do about another file of that name; default: the run's.
    :param id: the caller's name for the job, repeated in results and events.
    :param source: ``FILE:LINE`` of a queue file, for messages.
    """

    if TYPE_CHECKING:
        # What may be passed, for each field below; the fields are what it becomes.
        def __init__(
            self,
            url: str | URL,
            out: AnyPath | None = None,
            *,
            mirrors: Iterable[str | URL] = (),
            dir: AnyPath | None = None,
            confined: bool = False,
            method: str = "GET",
            headers: PairsLike = (),
            cookies: PairsLike = (),
            params: PairsLike = (),
            content: bytes | None = None,
            json: Any = None,
            form: PairsLike = (),
            files: FilesLike = (),
            checksum: str | None = None,
            size: int | None = None,
            priority: int = 0,
            retries: float | None = None,
            timeout: float | Mapping[str, float] | None = None,
            deadline: float | None = None,
            proxy: str | URL | None = None,
            if_exists: IfExists | None = None,
            redirects: bool | None = None,
            user: tuple[str, str] | None = None,
            bearer: str | None = None,
            retry_unsafe: bool | None = None,
            expect_type: str | None = None,
            tls: TLSOptions | None = None,
            id: str | None = None,
            source: str = "",
        ) -> None: ...
    else:

        def __init__(self, url: Any, out: Any = None, **given: Any) -> None:
            """Check and convert what is given; ``out`` that names a folder becomes part of ``dir``.

            The other fields are the class's: a dataclass's own method sets each of two dozen, which takes three
            times as long, and a line of a queue names two or three.
            """
            convert_fields(Job, given)
            if out is not None:
                out = out if type(out) is str else str(path(out, name="out"))
                if out and out.rpartition("/")[2] in {"", ".", ".."}:
                    given["dir"], out = Path(given.get("dir") or "", out), None
            if not _CONVERTED_HERE.isdisjoint(given):
                _convert_more(given)
            if out is not None:
                given["out"] = out
            vars(self).update(given, url=url if type(url) is str else text(url, name="url"))

    @classmethod
    def of_line(cls, url: str, source: str) -> Job:
        """Return the job of a line of a queue file that is a URL and nothing else, at a third of the cost."""
        job = object.__new__(cls)
        vars(job).update(url=url, source=source, confined=True)
        return job

    url: str
    out: str | None = None
    mirrors: tuple[str, ...] = field(default=(), kw_only=True)
    dir: Path | None = field(default=None, kw_only=True)
    confined: bool = field(default=False, kw_only=True)
    method: str = field(default="GET", kw_only=True)
    headers: Pairs = field(default=(), kw_only=True, repr=False)
    cookies: Pairs = field(default=(), kw_only=True, repr=False)
    params: Pairs = field(default=(), kw_only=True, repr=False)
    content: bytes | None = field(default=None, kw_only=True, repr=False)
    json: Any = field(default=None, kw_only=True, repr=False)
    form: Pairs = field(default=(), kw_only=True, repr=False)
    files: Files = field(default=(), kw_only=True, repr=False)
    checksum: str | None = field(default=None, kw_only=True)
    size: int | None = field(default=None, kw_only=True)
    priority: int = field(default=0, kw_only=True, metadata={"signed": True})
    retries: float | None = field(default=None, kw_only=True)
    timeout: float | Mapping[str, float] | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    redirects: bool | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True, repr=False)
    user: tuple[str, str] | None = field(default=None, kw_only=True, repr=False)
    bearer: str | None = field(default=None, kw_only=True, repr=False)
    retry_unsafe: bool | None = field(default=None, kw_only=True)
    expect_type: str | None = field(default=None, kw_only=True)
    tls: TLSOptions | None = field(default=None, kw_only=True)
    if_exists: IfExists | None = field(default=None, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    source: str = field(default="", kw_only=True)

    def __repr__(self) -> str:
        out = f", out={self.out!r}" if self.out else ""
        return f"Job({redact(self.url)!r}{out})"

    @property
    def is_plain(self) -> bool:
        """Whether it is known to ask for its URL and for nothing besides, as most lines of a long list do."""
        return vars(self).keys() <= _PLAIN

    @property
    def has_body(self) -> bool:
        """Whether its request has a body."""
        return self.content is not None or self.json is not None or bool(self.form or self.files)

    @property
    def key(self) -> str:
        """Which row of the store is the job's: that of its ``id``, else that of its :attr:`fingerprint`.

        A hash, so that a secret in the URL or body cannot be read from the store.
        """
        return self.fingerprint if self.id is None else _hashed(f"id\0{self.id}")

    @property
    def fingerprint(self) -> str:
        """Equal for the same job in every run: a hash of its URL, method, body and target."""
        if self.is_plain:
            return _hashed(f"('GET', {self.url!a}, None, '', None, (), ())")  # as below, at half the cost
        words = (self.method, self.url, self.out, str(self.dir or ""), self.content, self.form, self.params)
        told = ascii(words)  # injective, and the same in every version of Python
        if self.files:
            told += ascii(self.files)
        if self.json is not None:
            told += json.dumps(self.json, default=str, separators=(",", ":"))
        return _hashed(told)


Job.__signature__ = signature_of(Job)  # type: ignore[attr-defined] # what inspect.signature() and help() show


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open byte range ``[start, stop)``."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as the server describes it.

    :param url: URL after redirects, redacted.
    :param length: bytes of the complete representation; None if unknown.
    :param etag: entity tag as sent, with quotes and ``W/`` (RFC 9110 section 8.8.3).
    :param last_modified: Last-Modified as sent, an HTTP date.
    :param ranges: the server answered 206, or sent ``Accept-Ranges: bytes``.
    :param encoding: content codings except identity, lower case; None without any.
    :param digests: algorithm name to lower-case hex, promised for the complete representation.
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
        """The entity tag if it may be sent in If-Range (RFC 9110 section 13.1.5), that is, if it is strong.

        One without quotes is none: a server that sends it does not find it equal in If-Range.
        """
        return self.etag if self.etag and len(self.etag) > 1 and self.etag[0] == self.etag[-1] == '"' else None


PlanKind = Literal["fresh", "resume", "restart", "done"]


ResultStatus = Literal["done", "resumed", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended.

    :param status: ``done``, ``resumed`` (done, with bytes from an earlier run), ``skipped`` (the file was
        there already) or ``failed``.
    :param path: the finished file; None for stdout and failures.
    :param size: bytes of the finished file.
    :param received: body bytes received in this run, those of failed attempts included.
    :param digests: algorithm name to lower-case hex, computed while streaming, in this run or the one that
        fetched the file.
    :param verified: what proved in this run that the file is complete: a ``digest``, the ``length`` of a framed
        body, or ``nothing``, where the body ended with its connection, or none came for a file that is there.
    :param elapsed: seconds from the first attempt to the end, waits included.
    :param attempts: requests made.
    :param headers: of the last answer that was judged, names in lower case and repeated fields joined (RFC 9110
        section 5.3); empty where the server was not asked.
    :param reason: why the job was skipped or resumed, or failed without an attempt; else empty.
    :param final_url: URL that answered last, after redirects, without secrets; None where none was asked.
    :param etag: entity tag of the file as its server sent it, in this run or the one that fetched it, and
    :param last_modified: its date as sent; None where the server names none.
    :param error: why the job failed; else None.
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
    # A cookie in them is a secret.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    reason: str = ""
    final_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    error: FetchError | None = None

    @property
    def ok(self) -> bool:
        """Whether the complete file is there."""
        return self.error is None

    @property
    def sha256(self) -> str | None:
        """SHA-256 in lower-case hex; None if it was not computed."""
        return self.digests.get("sha256")

    def unwrap(self) -> Result:
        """Return the result itself.

        :raises FetchError: the job failed.
        """
        if self.error is not None:
            raise self.error
        return self


class Again(NamedTuple):
    """An attempt failed, and another is to follow.

    :param wait: seconds until the next attempt; infinity for when the job is resumed.
    :param state: opaque state, to be passed to the next attempt.
    :param in_line: it follows when the host may be asked, and not after *wait*.
    :param host: whom the next attempt asks; None for the same as before.
    """

    wait: float
    state: object
    in_line: bool = False
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do for a job (``--dry-run``).

    :param name: path of the file, relative to the run's directory if it is below it; ``-`` is stdout.
    :param status: ``fresh``, ``resume``, ``done`` (the file is there) or ``failed``.
    :param size: bytes of the complete file; None if the server does not tell.
    :param have: bytes that the part holds.
    :param resumable: an interrupted download could be resumed.
    :param error: why it would fail; else None.
    :param asked: the server was asked. It is not about a request that may change something there.
    """

    job: Job
    name: str
    status: Literal["fresh", "resume", "done", "failed"]
    size: int | None = None
    have: int = 0
    resumable: bool = False
    error: FetchError | None = None
    asked: bool = True
