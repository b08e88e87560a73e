"""One exchange as values: what was asked, and the answer as it will go over the wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal as OneOf
from urllib.parse import parse_qs, urlsplit

from .resource import Content, Literal, Resource


@dataclass
class Request:
    """What arrived, and what became of it; header names are in lower case.

    ``sent`` counts body bytes written, ``closed_early`` says that the peer left before the end, ``at`` is the
    origin's clock in seconds, ``active`` how many requests were being answered then, this one included.
    """

    number: int
    connection: int
    at: float
    active: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    status: int = 0
    sent: int = 0
    closed_early: bool = False
    finished: bool = False

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def if_range(self) -> str | None:
        return self.headers.get("if-range")


@dataclass(frozen=True)
class Pace:
    """*size* bytes, then *every* seconds of nothing."""

    size: int
    every: float


@dataclass(frozen=True)
class Cut:
    """How the body ends before its time, after so many bytes."""

    after: int
    how: OneOf["close", "reset", "stall"]


@dataclass
class Answer:
    """A reply as it will be sent. Behaviours edit it; the origin sends it as it then is, right or wrong.

    ``start`` and ``stop`` say which bytes of ``content`` go out, whatever the headers claim. ``raw`` replaces
    everything. ``turn`` counts the requests of this route, from 1.
    """

    request: Request
    resource: Resource
    turn: int
    status: int = 200
    reason: str | None = None
    version: str = "HTTP/1.1"
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: Content = field(default_factory=lambda: Literal(b""))
    start: int = 0
    stop: int = 0
    chunk: int = 0
    extension: bytes = b""
    ending: bytes = b"0\r\n\r\n"
    prologue: Iterable[bytes] = ()
    wait: float = 0.0
    head_pace: Pace | None = None
    body_pace: Pace | None = None
    cut: Cut | None = None
    close: bool = False
    raw: tuple[bytes, ...] | None = None

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def set(self, name: str, value: str) -> None:
        self.remove(name)
        self.headers.append((name, value))

    def remove(self, name: str) -> None:
        self.headers = [item for item in self.headers if item[0].lower() != name.lower()]

    def say(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        """Become an answer of its own that has nothing to do with the resource."""
        self.status = status
        self.headers = [("Content-Type", kind)]
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.headers.append(("Content-Length", str(len(body))))
        self.content, self.start, self.stop = Literal(body), 0, len(body)

    def whole(self) -> None:
        """Become 200 with all of the resource."""
        self.status = 200
        self.headers = _facts(self.resource)
        self.content, self.start, self.stop = self.resource.content, 0, self.resource.size
        self.set("Content-Length", str(self.resource.size))

    def part(self, start: int, stop: int) -> None:
        """Become 206 with these bytes of the resource, labelled as what they are."""
        self.whole()
        self.status, self.start, self.stop = 206, start, stop
        self.set("Content-Range", f"bytes {start}-{stop - 1}/{self.resource.size}")
        self.set("Content-Length", str(stop - start))

    def well(self) -> None:
        """Become what RFC 9110 asks for, with the resource as it is now."""
        size = self.resource.size
        if _not_modified(self.request.headers, self.resource):
            self.say(304)
            return
        self.whole()
        asked = _asked(self.request.range, size) if self.resource.ranges else None
        if asked is None or not _unchanged(self.request.if_range, self.resource):
            return
        if asked[0] >= size or asked[0] >= asked[1]:
            self.say(416)
            self.set("Content-Range", f"bytes */{size}")
        else:
            self.part(*asked)

    def head(self) -> bytes:
        reason = self.reason
        if reason is None:
            reason = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Unknown"
        lines = [
            f"{self.version} {self.status} {reason}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


Behaviour = Callable[[Answer], None]


def _facts(resource: Resource) -> list[tuple[str, str]]:
    told = [("Content-Type", "application/octet-stream")]
    if resource.ranges:
        told.append(("Accept-Ranges", "bytes"))
    if resource.etag is not None:
        told.append(("ETag", resource.etag))
    if resource.last_modified is not None:
        told.append(("Last-Modified", resource.last_modified))
    return [*told, *resource.headers]


def _asked(header: str | None, size: int) -> tuple[int, int] | None:
    """The one range that was asked for as ``(start, stop)``; None for none, several or nonsense."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _not_modified(headers: Mapping[str, str], resource: Resource) -> bool:
    """RFC 9110 section 13.2.2: where there is a tag, the date does not count."""
    if "if-none-match" in headers:
        return resource.etag is not None and headers["if-none-match"] == resource.etag
    return resource.last_modified is not None and headers.get("if-modified-since") == resource.last_modified


def _unchanged(if_range: str | None, resource: Resource) -> bool:
    """RFC 9110 section 13.1.5: strong comparison for a tag, an exact match for a date."""
    if if_range is None:
        return True
    if if_range.startswith('"'):
        return if_range == resource.etag
    return if_range == resource.last_modified
