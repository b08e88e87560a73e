"""HTTP/1.1 on the wire as plain functions: request heads out, response heads and chunked bodies in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import httpx

__all__ = ["Chunked", "RequestHead", "ResponseHead", "head_end", "joined", "parse_head", "request_head"]

Fields = list[tuple[bytes, bytes]]

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([^\n]*))?")  # RFC 9112 section 4
# A line may end in LF alone (RFC 9112 section 2.2), so an empty line has two spellings.
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r]*)?\r")  # RFC 9112 section 7.1
# Eighteen digits always fit the signed 64-bit offset that a file has.
_LENGTH_DIGITS = 18
# Chunk extensions carry nothing we want; the longest seen in use are signatures of about 100 bytes.
_CHUNK_LINE = 1024
_BODILESS = frozenset({204, 304})


class ResponseHead(NamedTuple):
    """A response's status line and fields, and how they delimit the body (RFC 9112 section 6.3).

    ``headers`` are the fields with names in lower case, repeated ones joined (RFC 9110 section 5.3). ``length``
    is the body's bytes; None when it is ``chunked`` or, if not that, ends with the connection.
    """

    version: bytes
    status: int
    reason: bytes
    fields: Fields
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool


class RequestHead(NamedTuple):
    """A request head in bytes, and what its fields promise about the body."""

    method: bytes
    data: bytes
    length: int
    chunked: bool
    keep_alive: bool


def request_head(method: bytes, target: bytes, fields: Fields) -> RequestHead:
    """Write a request head, *target* and fields byte for byte as given.

    :raises httpx.LocalProtocolError: a method, target, field name or value that would break the framing.
    """
    length, chunked, keep_alive = 0, False, True
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    for name, value in fields:
        if not _lowered(name):
            raise httpx.LocalProtocolError(f"{name!r} cannot be a header name")
        lines.append(b"%b: %b\r\n" % (name, value))
        lowered = name.lower()
        if lowered == b"content-length":
            length = _length_of(value.decode("latin-1"), httpx.LocalProtocolError)
        elif lowered == b"transfer-encoding":
            chunked = True
        elif lowered == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
    lines.append(b"\r\n")
    data = b"".join(lines)
    breaks = data.count(b"\n") != len(lines) or data.count(b"\r") != len(lines) or b"\0" in data
    if breaks or b" " in target or not TOKEN.fullmatch(method):
        raise httpx.LocalProtocolError("the request's method, target or a header holds what HTTP forbids")
    return RequestHead(method, data, length, chunked, keep_alive)


def head_end(data: bytearray, start: int, stop: int) -> int:
    """Find where the head in ``data[:stop]`` ends; 0 when it is not all there yet.

    :param start: bytes already searched by an earlier call.
    """
    # The empty line may have begun up to three bytes before what is new.
    found = _EMPTY_LINE.search(data, max(0, start - 3), stop)
    return found.end() if found else 0


def parse_head(data: bytes, *, method: bytes, max_headers: int) -> ResponseHead:
    """Parse a response head, its empty line included.

    Folded lines are joined by a space, as RFC 9112 section 5.2 asks of a user agent; a space before the
    colon, NUL and a bare CR are refused, since recipients disagree about them (sections 5.1 and 2.2).

    :raises httpx.RemoteProtocolError: it is no HTTP/1.0 or 1.1 head, or has more than *max_headers*
        fields.
    """
    if b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        raise httpx.RemoteProtocolError("the response head holds a NUL or a bare CR")
    first, *lines = data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise httpx.RemoteProtocolError(f"the answer does not begin like HTTP/1.1: {first[:40]!r}")
    fields, headers = _fields(lines)
    if len(fields) > max_headers:
        raise httpx.RemoteProtocolError(f"the response has more than {max_headers} headers")
    version, status, reason = found[1], int(found[2]), found[3] or b""
    length, chunked = _framing(method, status, headers)
    # Two framings at once, or chunked in HTTP/1.0: good for one answer only (RFC 9112 section 6.1).
    faulty = chunked and (version == b"HTTP/1.0" or "content-length" in headers)
    keep_alive = not faulty and _keeps_alive(version, headers.get("connection", ""))
    return ResponseHead(version, status, reason, fields, headers, length, chunked, keep_alive)


def joined(fields: Fields) -> dict[str, str]:
    """Join repeated fields (RFC 9110 section 5.3); a plain dict, since some thirty are looked for each time."""
    headers: dict[str, str] = {}
    for name, value in fields:
        _join(headers, _lowered(name), value)
    return headers


def _join(headers: dict[str, str], name: str, value: bytes) -> None:
    text = value.decode("latin-1")
    headers[name] = f"{headers[name]}, {text}" if name in headers else text


def _lowered(name: bytes) -> str:
    """Give a field's name in lower case; empty for what is none."""
    return _known_name(name) if len(name) <= _USUAL_NAME else _read_name(name)


def _read_name(name: bytes) -> str:
    return name.decode("ascii").lower() if TOKEN.fullmatch(name) else ""


# The same few dozen names come with every answer; what is remembered is bounded in number and length.
_known_name = lru_cache(512)(_read_name)
_USUAL_NAME = 64


def _fields(lines: list[bytes]) -> tuple[Fields, dict[str, str]]:
    """Give the fields as they came, and joined."""
    fields: Fields = []
    headers: dict[str, str] = {}
    folded = False
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not fields:
                raise httpx.RemoteProtocolError("the response's first header line begins with a space")
            name, value = fields.pop()
            fields.append((name, b"%b %b" % (value, line.strip(b" \t"))))
            folded = True
            continue
        name, colon, value = line.partition(b":")
        key = _lowered(name)
        if not colon or not key:
            raise httpx.RemoteProtocolError(f"the response has a malformed header line: {line[:40]!r}")
        value = value.strip(b" \t")
        fields.append((name, value))
        _join(headers, key, value)
    return fields, joined(fields) if folded else headers


def _framing(method: bytes, status: int, headers: Mapping[str, str]) -> tuple[int | None, bool]:
    if method == b"HEAD" or status < 200 or status in _BODILESS:
        return 0, False
    coding = headers.get("transfer-encoding")
    if coding is not None:
        # We never send TE, so no other coding may be used (RFC 9112 section 7.4).
        if coding.lower() != "chunked":
            raise httpx.RemoteProtocolError(f"the response has an unasked transfer coding: {coding[:60]!r}")
        return None, True
    length = headers.get("content-length")
    return (None if length is None else _length_of(length, httpx.RemoteProtocolError)), False


def _length_of(value: str, error: type[httpx.ProtocolError]) -> int:
    # A list of equal values is one value repeated by some intermediary (RFC 9110 section 8.6).
    told = {one.strip(" \t") for one in value.split(",")}
    digits = told.pop()
    if told or not (digits.isascii() and digits.isdigit()) or len(digits) > _LENGTH_DIGITS:
        raise error(f"Content-Length is not one number: {value[:60]!r}")
    return int(digits)


def _keeps_alive(version: bytes, connection: str) -> bool:
    # RFC 9112 section 9.3.
    if connection == "keep-alive":
        return True
    words = {word.strip(" \t") for word in connection.lower().split(",")}
    return "close" not in words and (version != b"HTTP/1.0" or "keep-alive" in words)


class Chunked:
    """Decodes a chunked body in place, so that payload lies side by side in the buffer it arrived in.

    ``done`` turns true after the trailer section, which is read within its bounds and dropped;
    ``surplus`` then counts the bytes that came after it.

    :param max_trailer: most bytes of the trailer section.
    """

    __slots__ = ("_left", "_line", "_part", "_trailer", "done", "surplus")

    def __init__(self, max_trailer: int) -> None:
        self._left = 0
        self._line = b""  # the start of a line that the last read cut in two
        # What the next line is; the class's own function, since a bound method would make a cycle.
        self._part: Callable[[Chunked, bytes], None] = Chunked._size
        self._trailer = max_trailer
        self.done = False
        self.surplus = 0

    def decode(self, view: memoryview, start: int, stop: int) -> int:
        """Strip the coding from ``view[start:stop]`` and give the new *stop*.

        :raises httpx.RemoteProtocolError: it is not chunked coding.
        """
        write = read = start
        while read < stop and not self.done:
            if not self._left:
                read = self._next_line(view, read, stop)
                continue
            count = min(self._left, stop - read)
            if write != read:
                view[write : write + count] = view[read : read + count]
            self._left -= count
            read += count
            write += count
        self.surplus = stop - read
        return write

    def _next_line(self, view: memoryview, read: int, stop: int) -> int:
        piece = bytes(view[read : min(stop, read + _CHUNK_LINE)])
        end = piece.find(b"\n") + 1
        self._line += piece[:end] if end else piece
        if len(self._line) > _CHUNK_LINE:
            raise httpx.RemoteProtocolError("a chunk's extension or a trailer line is too long")
        if end:
            line, self._line = self._line[:-1], b""
            self._part(self, line)
        return read + (end or len(piece))

    def _size(self, line: bytes) -> None:
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise httpx.RemoteProtocolError(f"the response has a malformed chunk size: {line[:40]!r}")
        self._left = int(found[1], 16)
        self._part = Chunked._after if self._left else Chunked._field

    def _after(self, line: bytes) -> None:
        if line != b"\r":
            raise httpx.RemoteProtocolError("a chunk of the response is longer than its size says")
        self._part = Chunked._size

    def _field(self, line: bytes) -> None:
        self._trailer -= len(line) + 1
        if self._trailer < 0:
            raise httpx.RemoteProtocolError("the response's trailers are too large")
        self.done = line in (b"", b"\r")
