"""HTTP/1.1 on the wire as plain functions: request heads out, response heads and chunked coding in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import httpx

__all__ = [
    "ChunkedDecoder",
    "Fields",
    "RequestHead",
    "ResponseHead",
    "head_end",
    "joined",
    "parse_head",
    "request_head",
]

Fields = list[tuple[bytes, bytes]]

_BREAKS_LINE = re.compile(rb"[ \r\n\0]")
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9]{2})(?: ([^\n]*))?")  # RFC 9112 section 4
# A line may end in LF alone (RFC 9112 section 2.2), so an empty line has two spellings.
_EMPTY_LINE = re.compile(rb"\n\r?\n")
# RFC 9112 section 7.1; some servers end the line with LF alone.
_CHUNK_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r]*)?\r?")
# Eighteen digits always fit the signed 64-bit offset that a file has.
_LENGTH_DIGITS = 18
# Chunk extensions carry nothing we need; the longest seen in use are signatures of about 100 bytes.
_CHUNK_LINE = 1024
_BODILESS = frozenset({204, 205, 304})
# Fields that a user agent reads as one value (RFC 9110 section 5.3). Proxies and scripts repeat them.
_SINGLETONS = frozenset(
    {
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "etag",
        "last-modified",
        "location",
        "retry-after",
    }
)
# Of these two different values stay joined, so that they are found to be no value.
_DECISIVE = frozenset({"content-encoding", "content-length", "content-range", "location"})
# A line that is no field but may be meant as one of these leaves in doubt where the body ends, or what it is.
_DECIDES = re.compile(
    rb"(?i)[^a-z]*(?:content.?(?:length|encoding|range)|transfer.?encoding|location)(?![a-z])[^a-z]*"
)
# Transfer codings that are none: what RFC 2616 called identity, and an empty member of the list.
_NO_CODING = frozenset({"", "identity"})
# Request fields that decide about the message's framing or its exchange.
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "expect"})


class ResponseHead(NamedTuple):
    """A response's status line and fields, and how they delimit the body (RFC 9112 section 6.3).

    :param headers: the fields with names in lower case, repeated ones joined (RFC 9110 section 5.3).
    :param length: bytes of the body; None when it is *chunked* or else ends with the connection.
    :param keep_alive: the connection may serve another exchange after this one.
    :param ascii: all of it is ASCII.
    :param skipped: the first line that is no field and was left out; else empty.
    """

    version: bytes
    status: int
    reason: bytes
    fields: Fields
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool
    ascii: bool
    skipped: bytes = b""


class RequestHead(NamedTuple):
    """A request head in bytes, and what its fields say about the body and the connection.

    :param length: bytes of the body, 0 for none.
    :param expects_continue: the body waits for a 100 (RFC 9110 section 10.1.1).
    """

    method: bytes
    data: bytes
    length: int
    chunked: bool
    keep_alive: bool
    expects_continue: bool


def request_head(method: bytes, target: bytes, fields: Fields) -> RequestHead:
    """Write a request head, *target* and fields byte for byte as given.

    :raises httpx.LocalProtocolError: a method, target, field name or value that would break the framing, a body
        that is framed in two ways, or not exactly one Host (RFC 9112 section 3.2).
    """
    if not TOKEN.fullmatch(method) or _BREAKS_LINE.search(target):
        raise httpx.LocalProtocolError("the request's method or target holds what HTTP forbids")
    lines, length, chunked, keep_alive, expects = _field_lines(tuple(fields))
    data = b"%b %b HTTP/1.1\r\n%b" % (method, target, lines)
    return RequestHead(method, data, length, chunked, keep_alive, expects)


# The requests to one server differ in their target only.
@lru_cache(64)
def _field_lines(fields: tuple[tuple[bytes, bytes], ...]) -> tuple[bytes, int, bool, bool, bool]:
    """Return the fields and the empty line as bytes, and what RequestHead says about the framing."""
    names = [_lowered(name) for name, _ in fields]
    lines = [b"%b: %b\r\n" % field for field in fields]
    data = b"".join([*lines, b"\r\n"])
    # Each line ends in one CR and one LF, so a further one came with a value.
    count = len(lines) + 1
    if "" in names or data.count(b"\n") != count or data.count(b"\r") != count or b"\0" in data:
        raise httpx.LocalProtocolError("a header of the request holds what HTTP forbids")
    framing: dict[str, list[str]] = {}
    for name, (_, value) in zip(names, fields, strict=True):
        if name in _FRAMING:
            framing.setdefault(name, []).append(value.decode("latin-1").lower())
    return data, *_framed(framing)


def _framed(framing: Mapping[str, list[str]]) -> tuple[int, bool, bool, bool]:
    if len(framing.get("host", ())) != 1:
        raise httpx.LocalProtocolError("a request needs exactly one Host header")
    length, coding = framing.get("content-length"), framing.get("transfer-encoding")
    if coding is not None and (coding != ["chunked"] or length is not None):
        raise httpx.LocalProtocolError(
            "a request's body is framed by Content-Length or by Transfer-Encoding: chunked, and nothing else"
        )
    return (
        0 if length is None else _length_of(",".join(length), httpx.LocalProtocolError),
        coding is not None,
        not any("close" in value for value in framing.get("connection", ())),
        "100-continue" in framing.get("expect", ()),
    )


def head_end(data: bytearray, start: int, stop: int) -> int:
    """Return where the head in ``data[:stop]`` ends; 0 when it is incomplete.

    :param start: bytes already searched by an earlier call.
    """
    # The empty line may have begun up to three bytes before what is new.
    found = _EMPTY_LINE.search(data, max(0, start - 3), stop)
    return found.end() if found else 0


def parse_head(data: bytes, *, method: bytes, max_headers: int) -> ResponseHead:
    """Parse a response head, its empty line included.

    Folded lines are joined by a space, as RFC 9112 section 5.2 asks of a user agent; NUL and a bare CR are
    refused, since recipients disagree about them (section 2.2). A line that is no field is left out, as curl
    and browsers do, unless it may be meant as one that decides where the body ends, what it is or where it is.

    :raises httpx.RemoteProtocolError: it is no HTTP/1.0 or 1.1 head, or has more than *max_headers* fields.
    """
    text = data.replace(b"\r\n", b"\n")
    if b"\0" in text or b"\r" in text:
        raise httpx.RemoteProtocolError("the response head holds a NUL or a bare CR")
    first, *lines = text.rstrip(b"\n").split(b"\n")
    found = _STATUS_LINE.fullmatch(first)
    if found is None:
        raise httpx.RemoteProtocolError(f"the answer does not begin like HTTP/1.1: {first[:40]!r}")
    fields, headers, skipped = _fields(lines)
    if len(fields) > max_headers:
        raise httpx.RemoteProtocolError(f"the response has more than {max_headers} headers")
    version, status, reason = found[1], int(found[2]), found[3] or b""
    length, chunked = _framing(method, status, headers)
    # Two framings at once, or chunked in HTTP/1.0: good for one response only (RFC 9112 section 6.1).
    faulty = chunked and (version == b"HTTP/1.0" or "content-length" in headers)
    keep_alive = not faulty and _keeps_alive(version, headers.get("connection", ""))
    return ResponseHead(
        version, status, reason, fields, headers, length, chunked, keep_alive, text.isascii(), skipped
    )


def _fields(lines: list[bytes]) -> tuple[Fields, dict[str, str], bytes]:
    """Return the fields as they were sent, and joined, and the first line that is none."""
    fields: Fields = []
    headers: dict[str, str] = {}
    folded, skipped, skipping = False, b"", True
    for line in lines:
        name, colon, value = line.partition(b":")
        key = _lowered(name)
        if key and colon:
            value = value.strip(b" \t")
            fields.append((name, value))
            text = value.decode("latin-1")
            headers[key] = _with_repeated(key, headers[key], text) if key in headers else text
            skipping = False
        elif line[:1] in (b" ", b"\t") and not skipping:
            name, value = fields.pop()
            fields.append((name, b"%b %b" % (value, line.strip(b" \t"))))
            folded = True
        else:
            _check_skippable(line)
            skipped, skipping = skipped or line, True
    return fields, joined(fields) if folded else headers, skipped


def _check_skippable(line: bytes) -> None:
    """Refuse to leave out a line that may be meant as a field on which the body depends.

    :raises httpx.RemoteProtocolError: its name differs from such a field's only by what no name may hold.
    """
    name, colon, _ = line.partition(b":")
    if _DECIDES.fullmatch(name) if colon else _DECIDES.match(line):
        raise httpx.RemoteProtocolError(f"the response has a malformed header line: {line[:40]!r}")


def joined(fields: Fields) -> dict[str, str]:
    """Join repeated fields (RFC 9110 section 5.3), names in lower case.

    A plain dict, since httpx.Headers scans all fields for each of the thirty or so names that are looked up.
    """
    headers: dict[str, str] = {}
    for name, value in fields:
        key, text = _lowered(name), value.decode("latin-1")
        headers[key] = _with_repeated(key, headers[key], text) if key in headers else text
    return headers


def _with_repeated(key: str, before: str, text: str) -> str:
    """Return the value of a field that came before as *before* and now as *text*."""
    if key in _SINGLETONS and (text == before or key not in _DECISIVE):
        return before
    return f"{before}, {text}"


def _lowered(name: bytes) -> str:
    """Return a field's name in lower case; empty for what is none."""
    return _known_name(name) if len(name) <= _USUAL_NAME else _read_name(name)


def _read_name(name: bytes) -> str:
    return name.decode("ascii").lower() if TOKEN.fullmatch(name) else ""


# The same few dozen names come with every response; the cache is bounded in entries and in their length.
_known_name = lru_cache(512)(_read_name)
_USUAL_NAME = 64


def _framing(method: bytes, status: int, headers: dict[str, str]) -> tuple[int | None, bool]:
    if method == b"HEAD" or status < 200 or status in _BODILESS:
        return 0, False
    coding = headers.get("transfer-encoding")
    if coding is not None:
        codings = [one for word in coding.lower().split(",") if (one := word.strip(" \t")) not in _NO_CODING]
        # No TE is sent, so no other coding may be used (RFC 9112 section 7.4).
        if codings and codings != ["chunked"]:
            raise httpx.RemoteProtocolError(f"the response has an unasked transfer coding: {coding[:60]!r}")
        if codings:
            return None, True
        del headers["transfer-encoding"]
    length = headers.get("content-length")
    return (None if length is None else _length_of(length, httpx.RemoteProtocolError)), False


def _length_of(value: str, error: type[httpx.ProtocolError]) -> int:
    # A list of equal values is one value repeated by some intermediary (RFC 9110 section 8.6).
    digits, *others = {one.strip(" \t") for one in value.split(",")} if "," in value else (value,)
    if others or not (digits.isascii() and digits.isdigit()):
        raise error(f"Content-Length is not one number: {value[:60]!r}")
    if len(digits.lstrip("0")) > _LENGTH_DIGITS:
        raise error("Content-Length is larger than any disk")
    return int(digits)


def _keeps_alive(version: bytes, connection: str) -> bool:
    # RFC 9112 section 9.3.
    if connection == "keep-alive":
        return True
    words = {word.strip(" \t") for word in connection.lower().split(",")}
    return "close" not in words and (version != b"HTTP/1.0" or "keep-alive" in words)


class ChunkedDecoder:
    """Decodes a chunked body in place, so that its payload is contiguous in the buffer it was received in.

    :param max_trailer: most bytes of the trailer section, which is read and dropped.
    :ivar done: the trailer section has ended.
    :ivar surplus: bytes that came after it.
    """

    __slots__ = ("_left", "_line", "_part", "_trailer", "done", "surplus")

    def __init__(self, max_trailer: int) -> None:
        self._left = 0
        self._line = b""  # the start of a line of which the rest is still to come
        # Reads the next line. A function of the class: a bound method would be a reference cycle.
        self._part: Callable[[ChunkedDecoder, bytes], None] = ChunkedDecoder._size
        self._trailer = max_trailer
        self.done = False
        self.surplus = 0

    def decode(self, view: memoryview, start: int, stop: int) -> int:
        """Strip the coding from ``view[start:stop]`` and return the new *stop*.

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
        self._part = ChunkedDecoder._after if self._left else ChunkedDecoder._field

    def _after(self, line: bytes) -> None:
        if line not in (b"", b"\r"):
            raise httpx.RemoteProtocolError("a chunk of the response is longer than its size says")
        self._part = ChunkedDecoder._size

    def _field(self, line: bytes) -> None:
        self._trailer -= len(line) + 1
        if self._trailer < 0:
            raise httpx.RemoteProtocolError("the response's trailers are too large")
        self.done = line in (b"", b"\r")
