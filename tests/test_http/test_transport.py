"""What only our transport promises: chunks, buffers, pauses, ends, and bounds against servers."""

from __future__ import annotations

import asyncio
import gc
import math
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import fetchq
from fetchq._http.http11 import connection as _connection
from fetchq._http.http11.buffers import LARGE_BUFFER
from fetchq._http.http11.connection import Connection
from fetchq._http.http11.timer import Timer
from fetchq._http.http11.transport import ResponseStream

from ..conftest import run
from .sites import (
    BODY,
    OK,
    VIEWS,
    ClockedLoop,
    Handler,
    answering,
    client,
    ours,
    request_of,
    served,
    site,
    sized,
    until,
)


def test_chunks_are_whole_buffers(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(answering(sized(BODY), sized(BODY)), trusting) as (server, http, _):
            async with http.stream("GET", server.url, extensions=VIEWS) as response:
                sizes = [len(chunk) async for chunk in response.aiter_bytes()]
            assert sum(sizes) == len(BODY)
            # A slow moment of the machine may hand on a buffer early, never one larger than the others.
            assert max(sizes) == LARGE_BUFFER
            extensions = {"fetchq": {"buffer": 20_000}}
            async with http.stream("GET", server.url, extensions=extensions) as response:
                chunks = [chunk async for chunk in response.aiter_raw()]
            assert b"".join(chunks) == BODY
            assert max(len(chunk) for chunk in chunks[1:]) <= 20_000

    run(work())


def test_a_response_closed_early_holds_no_buffers(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(answering(sized(BODY)), trusting) as (server, _, transport):
            request = httpx.Request("GET", server.url, extensions=VIEWS)
            response = await transport.handle_async_request(request)
            connection = next(iter(transport._pool._open))
            await until(lambda: bool(connection.body.ready))
            await response.aclose()
            stream = response.stream
            assert isinstance(stream, ResponseStream)
            assert not stream._ready
            with pytest.raises(httpx.StreamClosed):
                await stream.__anext__()

    run(work())


def test_chunks_stay_as_they_are_while_somebody_holds_them(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(answering(sized(BODY), sized(BODY[::-1])), trusting) as (server, http, _):
            async with http.stream("GET", server.url, extensions=VIEWS) as response:
                held = [chunk async for chunk in response.aiter_raw()]
            assert (await http.get(server.url)).content == BODY[::-1]
            assert b"".join(held) == BODY

    run(work())


@pytest.mark.parametrize("tls", [False, True])
def test_a_paused_reader_stops_the_socket(tls: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext) -> None:
    sent = 0
    total = 128 * LARGE_BUFFER
    block = bytes(LARGE_BUFFER)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_of(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(block)
            sent += len(block)
            await writer.drain()

    async def work() -> None:
        transport = ours(trusting)
        async with (
            site(handler, serving if tls else None) as server,
            client(transport) as http,
            http.stream("GET", server.url) as response,
        ):
            chunks = response.aiter_bytes()
            got = len(await anext(chunks))
            connection = next(iter(transport._pool._open))
            await until(lambda: connection._reading_paused)
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.05)
            # Our buffers, the TLS layers' and the kernel's, which grow to some 10 MiB on loopback.
            assert sent < total // 2
            intake = connection._body
            assert intake is not None
            assert sum(len(chunk) for chunk in intake.ready) <= 2 * LARGE_BUFFER
            async for chunk in chunks:
                got += len(chunk)
            assert got == total

    run(work())


def test_a_slow_stream_flows(trusting: ssl.SSLContext) -> None:
    taken, again = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Content-Length: 15\r\n\r\nhello")
        await taken.wait()
        writer.write(b"world")
        await again.wait()
        writer.write(b"!!!!!")

    async def work() -> None:
        async with (
            # No read timeout within the test's time, so only the flush can bring the second piece.
            served(handler, trusting, read=1000.0) as (server, http, _),
            http.stream("GET", server.url) as response,
        ):
            chunks = response.aiter_bytes()
            assert await anext(chunks) == b"hello"
            asyncio.get_running_loop().call_soon(taken.set)
            assert await anext(chunks) == b"world"
            again.set()
            assert await anext(chunks) == b"!!!!!"

    run(work())


async def keep(chunks: AsyncIterator[bytes], got: bytearray) -> None:
    async for chunk in chunks:
        got += chunk


def test_framing_alone_is_neither_a_chunk_nor_a_timeout(trusting: ssl.SSLContext) -> None:
    steps = [asyncio.Event(), asyncio.Event()]

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        await steps[0].wait()
        writer.write(b"5;a=")
        await steps[1].wait()
        writer.write(b"b\r\nhello\r\n0\r\n\r\n")

    async def work() -> None:
        async with served(handler, trusting, read=1000.0) as (server, http, transport):
            task = asyncio.create_task(http.get(server.url))
            await until(lambda: any(each._body is not None for each in transport._pool._open))
            connection = next(iter(transport._pool._open))
            steps[0].set()
            decoder = connection.body._decoder
            assert decoder is not None
            await until(lambda: decoder._line == b"5;a=" and connection._waiter is not None)
            assert connection._timer._when > asyncio.get_running_loop().time() + 100
            steps[1].set()
            assert (await task).content == b"hello"

    run(work())


def test_a_drip_reaches_the_reader_before_its_buffer_is_full(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        handler = endless(OK + b"Content-Length: 99999999\r\n\r\n", b"x")
        async with (
            served(handler, trusting) as (server, http, _),
            http.stream("GET", server.url) as response,
        ):
            chunks = response.aiter_bytes()
            assert set(await anext(chunks)) | set(await anext(chunks)) == set(b"x")

    run(work())


def test_what_has_come_is_given_before_the_error(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(sized(BODY)[: 2 * LARGE_BUFFER + 777])

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            got = bytearray()
            async with http.stream("GET", server.url) as response:
                with pytest.raises(httpx.RemoteProtocolError, match="before the body's end"):
                    await keep(response.aiter_bytes(), got)
            assert sized(BODY)[: 2 * LARGE_BUFFER + 777].endswith(got)
            assert len(got) > 2 * LARGE_BUFFER

    run(work())


@pytest.mark.parametrize("polite", [False, True])
def test_tls_cut_short_is_no_end_of_a_body(
    polite: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"\r\nhello")
        await writer.drain()
        if not polite:
            writer.transport.abort()  # a FIN without the close_notify that says it was meant

    async def work() -> None:
        async with site(handler, serving) as server, client(ours(trusting)) as http:
            if polite:
                assert (await http.get(server.url)).content == b"hello"
            else:
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.get(server.url)

    run(work())


def test_nothing_is_lost_when_tls_ends_while_the_reader_is_paused(
    trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    body = BODY[:400_000]

    async def work() -> None:
        transport = ours(trusting)
        async with site(answering(OK + b"\r\n" + body), serving) as server, client(transport) as http:
            extensions = {"fetchq": {"buffer": 16_384}}
            async with http.stream("GET", server.url, extensions=extensions) as response:
                connection = next(iter(transport._pool._open))
                await until(lambda: connection._reading_paused)
                await until(lambda: not server.tasks)  # all was written, the close follows
                for _ in range(20):
                    await asyncio.sleep(0)
                assert await response.aread() == body

    run(work())


def endless(start: bytes, again: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(start)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    return handler


@pytest.mark.parametrize(
    ("start", "again", "message"),
    [
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n", "interim"),
        (b"", b"HTTP/1.1 103 Hints\r\nLink: " + b"x" * 1000 + b"\r\n\r\n", "exceeds"),
        (OK, b"X: " + b"y" * 1000 + b"\r\n", "exceeds"),
        (OK + b"X: ", b"y" * 5000, "exceeds"),
        (OK + b"".join(b"X%d: y\r\n" % number for number in range(60)) + b"\r\n", b"", "headers"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: " + b"y" * 500 + b"\r\n", "trailers"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1", b";x=" + b"y" * 500, "extension"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"", "switched"),
        (b"\x16\x03\x01", b"\0" * 10, "not HTTP"),
    ],
)
def test_what_never_ends_is_ended(start: bytes, again: bytes, message: str, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with served(endless(start, again), trusting) as (server, http, _):
            with pytest.raises(httpx.RemoteProtocolError, match=message):
                await http.get(server.url)

    run(work())


@pytest.mark.parametrize("head", [OK + b"X: y\r\n" * 1000, b"HTTP/1.1 102 Processing\r\n\r\n" * 100])
def test_a_head_that_drips_is_a_read_timeout(head: bytes, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for byte in head:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.001)

    async def work() -> None:
        async with served(handler, trusting, read=0.05) as (server, http, _):
            with pytest.raises(httpx.ReadTimeout, match="only a part"):
                await http.get(server.url)

    run(work())


def test_a_server_that_speaks_first_is_refused(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            with pytest.raises(httpx.RemoteProtocolError, match=r"not HTTP|before it was asked"):
                await http.get(server.url)

    run(work())


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno", sized(b"no")]
)
def test_a_final_answer_instead_of_continue_leaves_the_body_unsent(
    answer: bytes, trusting: ssl.SSLContext
) -> None:
    rest: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        rest.append(await reader.read())

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            response = await http.put(server.url, content=b"hello", headers={"Expect": "100-continue"})
            assert response.content == b"no"
            await until(lambda: bool(rest))  # the connection was not kept
            assert rest == [b""]

    run(work())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_server_that_says_nothing_to_expect_gets_the_body_all_the_same(
    streamed: bool, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "_CONTINUE_SECONDS", 0.01)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        tail = b"5\r\nhello\r\n0\r\n\r\n" if b"chunked" in head else b"hello"
        writer.write(sized(b"%d" % (await reader.readexactly(len(tail)) == tail)))

    async def parts() -> AsyncIterator[bytes]:
        yield b"hello"

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            content = parts() if streamed else b"hello"
            response = await http.put(server.url, content=content, headers={"Expect": "100-continue"})
            assert response.content == b"1"

    run(work())


def test_continue_is_heard_at_once(trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "_CONTINUE_SECONDS", 1000.0)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(sized(await reader.readexactly(5)))

    async def work() -> None:
        async with served(handler, trusting) as (server, http, _):
            response = await http.put(server.url, content=b"hello", headers={"Expect": "100-continue"})
            assert response.content == b"hello"

    run(work())


def test_a_server_name_that_tls_cannot_spell_is_a_connect_error(
    trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    async def work() -> None:
        async with site(answering(b""), serving) as server, client(ours(trusting)) as http:
            with pytest.raises(httpx.ConnectError, match=r"label empty|leading dot"):
                await http.get(server.url, extensions={"sni_hostname": ".example"})

    run(work())
    gc.collect()  # an open socket would be a ResourceWarning, which is an error here


def test_connect_is_refused_with_a_sentence(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with client(ours(trusting)) as http:
            with pytest.raises(httpx.LocalProtocolError, match="tunnel"):
                await http.request("CONNECT", "http://127.0.0.1:1/")

    run(work())


def test_a_path_is_no_verify() -> None:
    with pytest.raises(TypeError, match="SSLContext"):
        fetchq.Transport(verify="ca.pem")  # type: ignore[arg-type] # what httpx once took


def test_certificates_are_loaded_for_https_only(
    serving: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bool] = []
    create = httpx.create_ssl_context

    def noting(*, verify: bool, trust_env: bool) -> ssl.SSLContext:
        loaded.append(verify)
        return create(verify=verify, trust_env=trust_env)

    monkeypatch.setattr(httpx, "create_ssl_context", noting)

    async def work() -> None:
        async with client(fetchq.Transport(verify=False)) as http:
            async with site(answering(sized(b"a"))) as server:
                await http.get(server.url)
            assert not loaded
            async with site(answering(sized(b"a")), serving) as server:
                assert (await http.get(server.url)).content == b"a"
                await http.get(server.url)
        assert loaded == [False]
        async with client(fetchq.Transport()) as http, site(answering(b""), serving) as server:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.get(server.url)

    run(work())


def test_http11_is_all_that_is_offered(trusting: ssl.SSLContext, serving: ssl.SSLContext) -> None:
    serving.set_alpn_protocols(["h2", "http/1.1"])
    trusting.set_alpn_protocols(["h2"])

    async def work() -> None:
        handler = answering(OK + b"\r\nhello")
        async with (
            site(handler, serving) as server,
            client(ours(trusting)) as http,
            http.stream("GET", server.url) as response,
        ):
            session = response.extensions["network_stream"].get_extra_info("ssl_object")
            assert session.selected_alpn_protocol() == "http/1.1"

    run(work())


@pytest.mark.parametrize(("answer", "complete"), [(sized(b"hello"), True), (sized(BODY), False)])
def test_what_the_response_s_extension_tells(answer: bytes, complete: bool, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with (
            served(answering(answer.replace(b"OK", b"Fine")), trusting) as (server, http, _),
            http.stream("GET", server.url) as response,
        ):
            told = response.extensions["fetchq"]
            assert told["headers"] == {"content-length": response.headers["content-length"]}
            assert told["complete"] is complete
            assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "Fine")

    run(work())


@pytest.mark.parametrize(("extensions", "kinds"), [(None, {bytes}), (VIEWS, {bytes, memoryview})])
def test_chunks_are_bytes_unless_views_are_accepted(
    extensions: dict[str, Any] | None, kinds: set[type], trusting: ssl.SSLContext
) -> None:
    async def work() -> None:
        async with (
            served(answering(sized(BODY)), trusting) as (server, http, _),
            http.stream("GET", server.url, extensions=extensions) as response,
        ):
            assert {type(chunk) async for chunk in response.aiter_bytes()} <= kinds

    run(work())


def test_fields_that_are_no_ascii_read_as_httpx_reads_them(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        answer = sized(b"", "X-Name: caf\u00e9\r\n".encode())
        async with served(answering(answer), trusting) as (server, http, _):
            response = await http.get(server.url)
            assert response.headers["x-name"] == "caf\u00e9"
            assert response.headers.encoding == "utf-8"

    run(work())


def test_an_early_answer_ends_the_sending(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield bytes(LARGE_BUFFER)

    async def work() -> None:
        async with served(handler, trusting) as (server, http, transport):
            response = await http.put(server.url, content=parts())
            assert (response.status_code, response.content) == (413, b"no")
            assert not len(transport._pool._idle)

    run(work())


@pytest.mark.parametrize("content", [b"", b"abcd", b"abcdef"])
def test_a_request_body_of_the_wrong_length_is_refused(content: bytes, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with site(answering(sized(b""))) as server, client(ours(trusting)) as http:
            with pytest.raises(httpx.LocalProtocolError, match=r"."):
                await http.put(server.url, content=content, headers={"Content-Length": "5"})

    run(work())


def test_errors_say_something(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    async def work() -> None:
        async with served(handler, trusting, read=0.02) as (server, http, _):
            with pytest.raises(httpx.ReadTimeout, match="the server sent nothing"):
                await http.get(server.url)
        async with client(ours(trusting), connect=0.02) as http, site(handler) as server:
            with pytest.raises(httpx.ConnectTimeout, match=r"127\.0\.0\.1:\d+ did not answer"):
                await http.get(server.url.replace("http:", "https:"))
        async with client(ours(trusting)) as http:
            with pytest.raises(httpx.ConnectError, match="cannot connect to"):
                await http.get(f"http://{'a' * 70}.invalid/")

    run(work())


def test_an_unknown_bug_is_no_protocol_error(monkeypatch: pytest.MonkeyPatch, trusting: ssl.SSLContext) -> None:
    """Whatever breaks in a callback ends the request instead of leaving it to wait for ever."""

    def broken(_self: Connection) -> None:
        raise ZeroDivisionError

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        async with served(answering(sized(b"hello")), trusting) as (server, http, _):
            monkeypatch.setattr(Connection, "_read_head", broken)
            with pytest.raises(httpx.ReadError):
                await http.get(server.url)

    run(work())


@pytest.mark.parametrize("early", [0.0, 0.001])
@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([(0, 5)], [5]),
        ([(0, 5), (1, 8)], [8]),
        ([(0, 5), (1, 3)], [3]),
        ([(0, 5), (1, math.inf)], []),
        ([(0, 5), (1, math.inf), (2, 4)], [4]),
        ([(0, 5), (6, 8)], [5, 8]),
        ([(0, 5), (1, 7), (2, 9), (6, 7)], [7]),
    ],
)
def test_a_timer_calls_back_once_at_the_time_set_last(
    moves: list[tuple[float, float]], expected: list[float], early: float
) -> None:
    loop = ClockedLoop(early)
    rung: list[float] = []
    timer = Timer(loop, lambda: rung.append(loop.now))  # type: ignore[arg-type] # the two calls that it uses
    for at, when in moves:
        loop.run_until(at)
        timer.set(when)
    loop.run_until(100)
    assert rung == pytest.approx(expected, abs=0.002)


def test_a_closed_timer_is_silent_and_holds_nothing() -> None:
    loop = ClockedLoop()
    rung: list[float] = []
    timer = Timer(loop, lambda: rung.append(loop.now))  # type: ignore[arg-type] # the two calls that it uses
    timer.set(5)
    timer.close()
    timer.set(3)
    assert not loop.pending
    loop.run_until(100)
    assert rung == []
    assert timer._callback is None
