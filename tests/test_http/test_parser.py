"""Heads and chunked bodies: tables of what is accepted and refused, and fuzzing of every parser."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchq._http.http11.body import BodyReader
from fetchq._http.http11.buffers import LARGE_BUFFER as BUFFER
from fetchq._http.http11.buffers import Buffers
from fetchq._http.http11.parser import ChunkedDecoder, ResponseHead, head_end, parse_head, request_head

OK = b"HTTP/1.1 200 OK\r\n"


def parse(data: bytes, method: bytes = b"GET") -> ResponseHead:
    return parse_head(data, method=method, max_headers=100)


@pytest.mark.parametrize(
    ("data", "status", "reason", "fields"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b"OK", []),
        (b"HTTP/1.1 200\r\n\r\n", 200, b"", []),
        (b"HTTP/1.1 200 \r\n\r\n", 200, b"", []),
        (b"HTTP/1.0 404 Not  Found\n\n", 404, b"Not  Found", []),
        (OK + b"A: b\r\n\r\n", 200, b"OK", [(b"A", b"b")]),
        (OK + b"A:b\r\nA: c \t\r\n\r\n", 200, b"OK", [(b"A", b"b"), (b"A", b"c")]),
        (OK + b"A:\r\n\r\n", 200, b"OK", [(b"A", b"")]),
        (b"HTTP/1.1 200 OK\nA: b\nC: d\r\n\n", 200, b"OK", [(b"A", b"b"), (b"C", b"d")]),
        (OK + b"A: b\r\n  c\r\n\td\r\n\r\n", 200, b"OK", [(b"A", b"b c d")]),
        (OK + b"A: \xff:\xfe\r\n\r\n", 200, b"OK", [(b"A", b"\xff:\xfe")]),
        # A line that is no field is left out, and with it what is folded to it.
        (OK + b"A : b\r\nC: d\r\n\r\n", 200, b"OK", [(b"C", b"d")]),
        (
            OK + b"C: d\r\nPHP Warning:  Content-Length: x in /a.php\r\n on line 3\r\n\r\n",
            200,
            b"OK",
            [(b"C", b"d")],
        ),
        (OK + b": b\r\n\r\n", 200, b"OK", []),
        (OK + b"no colon\r\nA: b\r\n\r\n", 200, b"OK", [(b"A", b"b")]),
        (OK + b" A: b\r\nC: d\r\n\r\n", 200, b"OK", [(b"C", b"d")]),
        (OK + b"A\xe9: b\r\n\r\n", 200, b"OK", []),
        (OK + b"Relocation plan: none\r\nLocations\r\n\r\n", 200, b"OK", []),
    ],
)
def test_a_head_is_read(data: bytes, status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    head = parse(data)
    assert (head.status, head.reason, head.fields) == (status, reason, fields)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        OK + b"Content-Length : 5\r\n\r\n",
        OK + b"Content Length: 5\r\n\r\n",
        OK + b"Content-Length 5\r\n\r\n",
        OK + b" Content-Length: 5\r\n\r\n",
        OK + b"\xefTransfer-Encoding: chunked\r\n\r\n",
        OK + b"transfer-encoding\t: chunked\r\n\r\n",
        OK + b"Content-Encoding : gzip\r\n\r\n",
        OK + b"Content-Range : bytes 0-4/10\r\n\r\n",
        OK + b"Location : /elsewhere\r\n\r\n",
        OK + b"A: b\0c\r\n\r\n",
        OK + b"A: b\rc\r\n\r\n",
        OK + b"A: b\r\n" * 101 + b"\r\n",
    ],
)
def test_a_malformed_head_is_refused(data: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        parse(data)


@pytest.mark.parametrize(
    ("fields", "method", "length", "chunked"),
    [
        (b"Content-Length: 5\r\n", b"GET", 5, False),
        (b"content-length: 0\r\n", b"GET", 0, False),
        (b"Content-Length: 5, 5\r\n", b"GET", 5, False),
        (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"GET", 5, False),
        (b"Content-Length: 5\r\n", b"HEAD", 0, False),
        (b"Transfer-Encoding: Chunked\r\n", b"GET", None, True),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"GET", None, True),
        (b"Transfer-Encoding: chunked\r\n", b"HEAD", 0, False),
        (b"", b"GET", None, False),
        (b"Transfer-Encoding: identity\r\n", b"GET", None, False),
        (b"Transfer-Encoding: Identity\r\nContent-Length: 5\r\n", b"GET", 5, False),
        (b"Transfer-Encoding: chunked,\r\n", b"GET", None, True),
        (b"Transfer-Encoding: , chunked\r\nTransfer-Encoding: identity\r\n", b"GET", None, True),
        (b"Content-Length: 000000000000000000000005\r\n", b"GET", 5, False),
    ],
)
def test_what_delimits_the_body(fields: bytes, method: bytes, length: int | None, chunked: bool) -> None:
    head = parse(OK + fields + b"\r\n", method)
    assert (head.length, head.chunked) == (length, chunked)


@pytest.mark.parametrize("status", [b"204 No Content", b"205 Reset Content", b"304 No", b"103 Early Hints"])
def test_some_statuses_have_no_body(status: bytes) -> None:
    assert parse(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n").length == 0


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5 bytes\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 9999999999999999999\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_framing_that_cannot_be_trusted_is_refused(fields: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        parse(OK + fields + b"\r\n")


def test_a_length_beyond_all_measure_is_called_that() -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="larger than any disk"):
        parse(OK + b"Content-Length: 1000000000000000000\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "keeps"),
    [
        (OK + b"\r\n", True),
        (OK + b"Connection: Close\r\n\r\n", False),
        (OK + b"Connection: keep-alive, close\r\n\r\n", False),
        (OK + b"Connection: keep-alive\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", True),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", False),
    ],
)
def test_when_the_connection_stays(data: bytes, keeps: bool) -> None:
    assert parse(data).keep_alive is keeps


def test_a_request_head_is_written_as_given() -> None:
    target = b"/a%2fb/../c%7E?sig=%2F+a%20b&x"
    request = request_head(b"GET", target, [(b"Host", b"h"), (b"X", b"\xff")])
    assert request.data == b"GET " + target + b" HTTP/1.1\r\nHost: h\r\nX: \xff\r\n\r\n"
    assert (request.length, request.chunked, request.keep_alive) == (0, False, True)


@pytest.mark.parametrize(
    ("fields", "length", "chunked", "keeps"),
    [
        ([(b"Content-Length", b"7")], 7, False, True),
        ([(b"transfer-encoding", b"chunked")], 0, True, True),
        ([(b"Connection", b"Close"), (b"Connection", b"x")], 0, False, False),
    ],
)
def test_what_a_request_promises(
    fields: list[tuple[bytes, bytes]], length: int, chunked: bool, keeps: bool
) -> None:
    request = request_head(b"PUT", b"/", [(b"Host", b"h"), *fields])
    assert (request.length, request.chunked, request.keep_alive) == (length, chunked, keeps)


@pytest.mark.parametrize(
    ("method", "target", "name", "value"),
    [
        (b"GET", b"/", b"X", b"a\r\nB: c"),
        (b"GET", b"/", b"X", b"a\nB: c"),
        (b"GET", b"/", b"X", b"a\rb"),
        (b"GET", b"/", b"X", b"a\0b"),
        (b"GET", b"/", b"X: y", b"a"),
        (b"GET", b"/", b"", b"a"),
        (b"GET", b"/ HTTP/1.1\r\nX: y", b"A", b"b"),
        (b"GET", b"/a b", b"A", b"b"),
        (b"G T", b"/", b"A", b"b"),
        (b"GET", b"/", b"Content-Length", b"x"),
        (b"GET", b"/", b"Transfer-Encoding", b"gzip, chunked"),
        (b"GET", b"/", b"Host", b"another"),
    ],
)
def test_a_request_that_would_break_the_framing_is_refused(
    method: bytes, target: bytes, name: bytes, value: bytes
) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        request_head(method, target, [(b"Host", b"h"), (name, value)])


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Host", b"h"), (b"Content-Length", b"5"), (b"Content-Length", b"6")],
        [(b"Host", b"h"), (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        [(b"Host", b"h"), (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
    ],
)
def test_a_request_without_a_host_or_framed_twice_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        request_head(b"PUT", b"/", fields)


@pytest.mark.parametrize(("value", "expects"), [(b"100-Continue", True), (b"something", False)])
def test_an_expectation_is_recognised(value: bytes, expects: bool) -> None:
    head = request_head(b"PUT", b"/", [(b"Host", b"h"), (b"Expect", value)])
    assert head.expects_continue is expects


@pytest.mark.parametrize(
    ("fields", "joined"),
    [
        (b"ETag: a\r\netag: a\r\n", {"etag": "a"}),
        (b'ETag: "a"\r\nETag: "b"\r\n', {"etag": '"a"'}),
        (b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", {"content-encoding": "gzip"}),
        (b"Content-Encoding: a\r\nContent-Encoding: b\r\n", {"content-encoding": "a, b"}),
        (b"Content-Range: a\r\nContent-Range: b\r\n", {"content-range": "a, b"}),
        (b"Vary: a\r\nVary: a\r\n", {"vary": "a, a"}),
        (
            b"Content-Disposition: a\r\nX: y\r\n z\r\nContent-Disposition: a\r\n",
            {"content-disposition": "a", "x": "y z"},
        ),
    ],
)
def test_equal_repeats_of_a_field_with_one_value_are_one(fields: bytes, joined: dict[str, str]) -> None:
    assert parse(OK + fields + b"\r\n").headers == joined


@pytest.mark.parametrize(("lines", "skipped"), [(b"A: b\r\n", b""), (b"A: b\r\n: c\r\nno colon\r\n", b": c")])
def test_what_was_left_out_is_told(lines: bytes, skipped: bytes) -> None:
    assert parse(OK + lines + b"\r\n").skipped == skipped


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: OK + tail + b"\r\n\r\n"))
@example(OK + b"\r\n" * 5)
def test_any_bytes_are_a_head_or_a_protocol_error(data: bytes) -> None:
    try:
        head = parse(data)
    except httpx.RemoteProtocolError:
        return
    assert 100 <= head.status <= 999
    assert all(b"\n" not in name + value and b"\r" not in name + value for name, value in head.fields)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bc"]), max_size=30), st.data())
def test_the_end_of_a_head_is_found_however_it_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = bytearray(b"".join(parts))
    expected = head_end(whole, 0, len(whole))
    searched = 0
    for stop in sorted({*data.draw(st.sets(st.integers(0, len(whole)))), len(whole)}):
        end = head_end(whole, searched, stop)
        if end:
            assert end == expected
            return
        searched = stop
    assert not expected


def decode(pieces: Sequence[bytes], max_trailer: int = 4096) -> tuple[bytes, bool, int]:
    """The payload, whether the body ended, and the bytes after it."""
    chunked = ChunkedDecoder(max_trailer)
    payload, surplus = b"", 0
    for piece in pieces:
        if chunked.done:
            surplus += len(piece)
            continue
        view = memoryview(bytearray(b"XY" + piece))  # decoding begins somewhere inside a buffer
        stop = chunked.decode(view, 2, len(view))
        payload += bytes(view[2:stop])
        surplus += chunked.surplus
    return payload, chunked.done, surplus


def cut(data: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("coded", "payload", "surplus"),
    [
        (b"0\r\n\r\n", b"", 0),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", 0),
        (b"00005\r\nhello\r\n000\r\n\r\n", b"hello", 0),
        (b'5;name="v"\r\nhello\r\n1 ; x\r\n!\r\n0;last\r\n\r\n', b"hello!", 0),
        (b"A\r\n0123456789\r\n0\r\nETag: x\r\nB: c\r\n\r\n", b"0123456789", 0),
        (b"1\r\n\r\r\n1\r\n\n\r\n0\r\n\n", b"\r\n", 0),
        (b"1\r\na\r\n0\r\n\r\nHTTP/1.1", b"a", 8),
        (b"5\nhello\n1;a=b\n!\r\n0\n\n", b"hello!", 0),
        (b"00000000000000000000005\r\nhello\r\n0\r\n\r\n", b"hello", 0),
    ],
)
def test_chunked_coding_is_removed(coded: bytes, payload: bytes, surplus: int) -> None:
    assert decode([coded]) == (payload, True, surplus)
    assert decode([bytes([byte]) for byte in coded]) == (payload, True, surplus)


@pytest.mark.parametrize(
    "coded",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"5\r\nhello!\r\n",
        b"1000000000000000\r\n",
        b"5;" + b"x" * 2000,
        b"0\r\n" + b"A: b\r\n" * 2000,
        b"0\r\n" + b"x" * 2000,
    ],
)
def test_malformed_chunks_are_refused(coded: bytes) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        decode([coded])
    with pytest.raises(httpx.RemoteProtocolError):
        decode([bytes([byte]) for byte in coded])


def outcome(pieces: Sequence[bytes]) -> object:
    try:
        return decode(pieces)
    except httpx.RemoteProtocolError as error:
        return str(error)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.sets(st.integers(0, 2500)))
def test_chunks_come_out_the_same_however_they_are_cut(chunks: list[bytes], places: set[int]) -> None:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert decode(cut(coded, places)) == (b"".join(chunks), True, 0)


@given(
    st.lists(st.sampled_from([b"0", b"5", b"a", b"\r\n", b"\n", b";x", b"hello"]), max_size=20).map(b"".join),
    st.sets(st.integers(0, 60)),
)
def test_any_bytes_decode_or_fail_alike_however_they_are_cut(coded: bytes, places: set[int]) -> None:
    whole, pieces = outcome([coded]), outcome(cut(coded, places))
    assert type(whole) is type(pieces)
    if isinstance(whole, tuple):
        assert pieces == whole


def head(*, length: int | None, chunked: bool = False) -> ResponseHead:
    return ResponseHead(b"HTTP/1.1", 200, b"OK", [], {}, length, chunked, True, True)


def receive(intake: BodyReader, body: bytes, reads: list[int]) -> bytes:
    """Feed *body* as a socket would, at most so many bytes a read, and take each chunk when it is ready."""
    got = b""
    turn = 0
    while body and not intake.complete:
        room = intake.room()
        assert len(room) > 0
        count = min(len(room), len(body), reads[turn % len(reads)])
        turn += 1
        room[:count] = body[:count]
        body = body[count:]
        intake.received(count)
        while intake.ready:
            got += bytes(intake.ready.popleft())
    return got


@given(
    size=st.sampled_from([16384, 20000, BUFFER]),
    length=st.integers(0, 200_000),
    early=st.integers(0, 70_000),
    reads=st.lists(st.integers(1, 100_000), min_size=1, max_size=5),
    surplus=st.integers(0, 2),
    known=st.booleans(),
)
@example(size=16384, length=65536, early=0, reads=[70_000], surplus=0, known=True)
@example(size=16384, length=32768, early=40000, reads=[16384], surplus=1, known=True)
def test_a_body_arrives_whole_through_any_buffers(
    size: int, length: int, early: int, reads: list[int], surplus: int, known: bool
) -> None:
    body = (bytes(range(256)) * (length // 256 + 1))[:length]
    sent = body + b"!" * (surplus if known else 0)
    early = min(early, len(sent), 60_000)
    own = memoryview(bytearray(65537))
    own[100 : 100 + early] = sent[:early]
    told = head(length=length if known else None)
    intake = BodyReader(told, own, 100, 100 + early, buffers=Buffers(), size=size, max_trailer=1000)
    got = b"".join(bytes(chunk) for chunk in intake.ready)
    intake.ready.clear()
    got += receive(intake, sent[early:], reads)
    if not known:
        assert intake.end(clean=True)
        got += b"".join(bytes(chunk) for chunk in intake.ready)
    assert got == body
    assert intake.complete
    assert intake.surplus or not known or early <= length


@pytest.mark.parametrize("length", [100, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER])
def test_a_byte_beyond_the_body_shows_in_the_same_read(length: int) -> None:
    own = memoryview(bytearray(65537))
    intake = BodyReader(head(length=length), own, 0, 0, buffers=Buffers(), size=BUFFER, max_trailer=1000)
    left = length
    while not intake.complete:
        room = intake.room()
        count = min(len(room), left + 1)
        assert not intake.surplus
        intake.received(count)
        left -= count
    assert (left, intake.surplus) == (-1, True)


def test_a_full_buffer_is_handed_on_without_a_copy() -> None:
    intake = BodyReader(
        head(length=3 * BUFFER),
        memoryview(bytearray(65537)),
        0,
        0,
        buffers=Buffers(),
        size=BUFFER,
        max_trailer=1000,
    )
    room = intake.room()
    assert len(room) == BUFFER
    intake.received(BUFFER)
    chunk = intake.ready.popleft()
    assert isinstance(chunk, memoryview)
    assert chunk.obj is room.obj
    assert len(chunk) == BUFFER
    assert intake.room().obj is not chunk.obj


def test_a_buffer_is_used_again_only_when_nobody_holds_it() -> None:
    buffers = Buffers()
    held = buffers.take(BUFFER)
    first = id(held.obj)
    part = held[10:20]
    held.release()
    other = buffers.take(BUFFER)
    assert id(other.obj) != first
    part.release()
    again = buffers.take(BUFFER)
    assert (id(again.obj), len(again)) == (first, BUFFER + 1)


def test_buffers_kept_for_use_again_are_bounded() -> None:
    buffers = Buffers()
    held = [buffers.take(BUFFER) for _ in range(40)]
    assert len({id(view.obj) for view in held}) == 40
    assert len(buffers._known) == 32
