"""HTTP/1.1 on the wire as plain functions: request heads out, response heads and chunked bodies in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from . import _faults

__all__ = ["Chunked", "Head", "Request", "head_end", "parse_head", "request_head"]

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


class Head(NamedTuple):
    """A response's status line and fields, and how they delimit the body (RFC 9112 section 6.3).

    ``length`` is the body's bytes; None when it is ``chunked`` or, if not that, ends with the connection.
    """

    version: bytes
    status: int
    reason: bytes
    fields: Fields
    length: int | None
    chunked: bool
    keep_alive: bool


class Request(NamedTuple):
    """A request head in bytes, and what its fields promise about the body."""

    method: bytes
    data: bytes
    length: int
    chunked: bool
    keep_alive: bool


def request_head(method: bytes, target: bytes, fields: Fields) -> Request:
    """Write a request head, *target* and fields byte for byte as given.

    :raises _faults.LocalProtocolError: a method, target, field name or value that would break the framing.
    """
    length, chunked, keep_alive = 0, False, True
    lines = [b"%b %b HTTP/1.1\r\n" % (method, target)]
    for name, value in fields:
        if not TOKEN.fullmatch(name):
            raise _faults.LocalProtocolError(f"{name!r} cannot be a header name")
        lines.append(b"%b: %b\r\n" % (name, value))
        lowered = name.lower()
        if lowered == b"content-length":
            length = _length_of([value], _faults.LocalProtocolError)
        elif lowered == b"transfer-encoding":
            chunked = True
        elif lowered == b"connection":
            keep_alive = keep_alive and b"close" not in value.lower()
    lines.append(b"\r\n")
    data = b"".join(lines)
    breaks = data.count(b"\n") != len(lines) or data.count(b"\r") != len(lines) or b"\0" in data
    if breaks or b" " in target or not TOKEN.fullmatch(method):
        raise _faults.LocalProtocolError("the request's method, target or a header holds what HTTP forbids")
    return Request(method, data, length, chunked, keep_alive)


def head_end(data: bytearray, start: int, stop: int) -> int:
    """Find where the head in ``data[:stop]`` ends; 0 when it is not all there yet.

    :param start: bytes already searched by an earlier call.
    """
    # The empty line may have begun up to three bytes before what is new.
    found = _EMPTY_LINE.search(data, max(0, start - 3), stop)
    return found.end() if found else 0


def parse_head(data: bytes, *, method: bytes, max_headers: int) -> Head:
    """Parse a response head, its empty line included.

    Folded lines are joined by a space, as RFC 9112 section 5.2 asks of a user agent; a space before the
    colon, NUL and a bare CR are refused, since recipients disagree about them (sections 5.1 and 2.2).

    :raises _faults.RemoteProtocolError: it is no HTTP/1.0 or 1.1 head, or has more than *max_headers* fields.
    """
    if b"\0" in data or data.count(b"\r") != data.count(b"\r\n"):
        raise _faults.RemoteProtocolError("the response head holds a NUL or a bare CR")
    first, *lines = data.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise _faults.RemoteProtocolError(f"the answer does not begin like HTTP/1.1: {first[:40]!r}")
    fields = _fields(lines)
    if len(fields) > max_headers:
        raise _faults.RemoteProtocolError(f"the response has more than {max_headers} headers")
    version, status, reason = found[1], int(found[2]), found[3] or b""
    told = _hop_fields(fields)
    length, chunked = _framing(method, status, told)
    # Two framings at once, or chunked in HTTP/1.0: good for one answer only (RFC 9112 section 6.1).
    faulty = chunked and (version == b"HTTP/1.0" or bool(told[b"content-length"]))
    keep_alive = not faulty and _keeps_alive(version, told[b"connection"])
    return Head(version, status, reason, fields, length, chunked, keep_alive)


def _fields(lines: Iterable[bytes]) -> Fields:
    fields: Fields = []
    for line in lines:
        if line[:1] in (b" ", b"\t"):
            if not fields:
                raise _faults.RemoteProtocolError("the response's first header line begins with a space")
            name, value = fields.pop()
            fields.append((name, b"%b %b" % (value, line.strip(b" \t"))))
            continue
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.fullmatch(name):
            raise _faults.RemoteProtocolError(f"the response has a malformed header line: {line[:40]!r}")
        fields.append((name, value.strip(b" \t")))
    return fields


def _hop_fields(fields: Fields) -> dict[bytes, list[bytes]]:
    told: dict[bytes, list[bytes]] = {b"connection": [], b"content-length": [], b"transfer-encoding": []}
    for name, value in fields:
        values = told.get(name.lower())
        if values is not None:
            values.append(value)
    return told


def _framing(method: bytes, status: int, told: dict[bytes, list[bytes]]) -> tuple[int | None, bool]:
    codings, lengths = told[b"transfer-encoding"], told[b"content-length"]
    if method == b"HEAD" or status < 200 or status in _BODILESS:
        return 0, False
    if codings:
        # We never send TE, so no other coding may be used (RFC 9112 section 7.4).
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise _faults.RemoteProtocolError(f"the response has an unasked transfer coding: {codings!r}")
        return None, True
    return (_length_of(lengths, _faults.RemoteProtocolError) if lengths else None), False


def _length_of(values: list[bytes], error: type[_faults.ProtocolError]) -> int:
    # A list of equal values is one value repeated by some intermediary (RFC 9110 section 8.6).
    told = {one.strip(b" \t") for value in values for one in value.split(b",")}
    digits = told.pop()
    if told or not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
        raise error(f"Content-Length is not one number: {b', '.join(values)[:60]!r}")
    return int(digits)


def _keeps_alive(version: bytes, connection: list[bytes]) -> bool:
    words = {word.strip(b" \t") for word in b",".join(connection).lower().split(b",")}
    # RFC 9112 section 9.3.
    return b"close" not in words and (version != b"HTTP/1.0" or b"keep-alive" in words)


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

        :raises _faults.RemoteProtocolError: it is not chunked coding.
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
            raise _faults.RemoteProtocolError("a chunk's extension or a trailer line is too long")
        if end:
            line, self._line = self._line[:-1], b""
            self._part(self, line)
        return read + (end or len(piece))

    def _size(self, line: bytes) -> None:
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise _faults.RemoteProtocolError(f"the response has a malformed chunk size: {line[:40]!r}")
        self._left = int(found[1], 16)
        self._part = Chunked._after if self._left else Chunked._field

    def _after(self, line: bytes) -> None:
        if line != b"\r":
            raise _faults.RemoteProtocolError("a chunk of the response is longer than its size says")
        self._part = Chunked._size

    def _field(self, line: bytes) -> None:
        self._trailer -= len(line) + 1
        if self._trailer < 0:
            raise _faults.RemoteProtocolError("the response's trailers are too large")
        self.done = line in (b"", b"\r")
