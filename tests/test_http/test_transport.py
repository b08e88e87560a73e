"""The fast transport beside httpx's own: one suite over both where they agree, then what only ours promises."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchq._http.http11 import connect as _connect
from fetchq._http.http11.buffers import LARGE_BUFFER as BUFFER
from fetchq._http.http11.connect import SocketAddress
from fetchq._http.http11.connection import Connection
from fetchq._http.http11.transport import Transport

from ..conftest import run

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Make = Callable[[ssl.SSLContext], httpx.AsyncBaseTransport]
MAX_HEAD = 16 * 1024
BODY = random.Random(4).randbytes(5 * BUFFER + 12345)


def fast(context: ssl.SSLContext, *, keepalive: int = 10, expiry: float = 60.0) -> Transport:
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=keepalive, keepalive_expiry=expiry)
    return Transport(verify=context, limits=limits, max_head=MAX_HEAD, max_headers=50)


def stock(context: ssl.SSLContext) -> httpx.AsyncHTTPTransport:
    return httpx.AsyncHTTPTransport(verify=context)


both = pytest.mark.parametrize("make", [fast, stock])


@pytest.fixture
def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority / "ca.pem"))


@pytest.fixture
def serving(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


class Site:
    """A raw server: ``handler`` has each connection to itself; ``connections`` counts them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._handler(reader, writer)
                await writer.drain()
                if writer.can_write_eof():
                    writer.write_eof()
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def site(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    started = Site(handler)
    server = await asyncio.start_server(started.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    started.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    try:
        yield started
    finally:
        server.close()
        await started.stop()


def client(transport: httpx.AsyncBaseTransport, **timeouts: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport, timeout=httpx.Timeout(10.0, **timeouts), headers={"Accept-Encoding": "identity"}
    )


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """One request, with its body if it has a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            head += await reader.readexactly(int(line.split(b":")[1]))
    return head


def answering(*answers: bytes, piece: int | None = None) -> Handler:
    """A handler that gives each request of a connection its answer, cut into pieces if asked, then closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_of(reader)
            step = piece or len(answer) or 1
            for at in range(0, len(answer), step):
                writer.write(answer[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)

    return handler


def sized(body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)


def chunks_of(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another task or the peer brings about; the test's time limit is the bound."""
    while not condition():  # noqa: ASYNC110 -- the code under test has no event to wait for
        await asyncio.sleep(0.005)


# What both must do.

OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = {
    "content-length": (sized(b"hello"), b"hello"),
    "empty": (sized(b""), b""),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks_of(b"hello world", 4), b"hello world"),
    "chunk extensions and trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"hello",
    ),
    "ends with the connection": (OK + b"\r\nhello", b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + sized(b"hello"),
        b"hello",
    ),
    "Content-Length as a list": (OK + b"Content-Length: 5, 5\r\n\r\nhello", b"hello"),
    "Content-Length twice": (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "both lengths": (
        OK + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks_of(b"hello", 5),
        b"hello",
    ),
    "folded line": (OK + b"X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello"),
}


@both
@pytest.mark.parametrize("piece", [None, 1, 7])
@pytest.mark.parametrize("case", WHOLE)
def test_an_answer_is_read(make: Make, case: str, piece: int | None, trusting: ssl.SSLContext) -> None:
    answer, body = WHOLE[case]

    async def work() -> None:
        async with site(answering(answer, piece=piece)) as server, client(make(trusting)) as http:
            response = await http.get(server.url)
            assert response.content == body
            assert response.http_version == answer[:8].decode()
            assert response.status_code == int(answer.rpartition(b"HTTP/1.")[2][2:5])

    run(work())


BROKEN = {
    "nothing": b"",
    "half a head": OK + b"Content-Le",
    "short body": OK + b"Content-Length: 9\r\n\r\nhello",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nhello",
    "chunk too long": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
    "chunk size of letters": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "different lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "unknown transfer coding": OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "NUL in a value": OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nhello",
    "no colon": OK + b"Content-Length\r\n\r\n",
}


@both
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer_is_a_remote_protocol_error(make: Make, case: str, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with site(answering(BROKEN[case])) as server, client(make(trusting)) as http:
            with pytest.raises(httpx.RemoteProtocolError, match=r"."):
                await http.get(server.url)

    run(work())


@both
@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("coding", ["length", "chunks of 100", "chunks of 64 KiB", "one chunk", "until closed"])
def test_a_large_body_arrives_unchanged(
    make: Make, coding: str, tls: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    sizes = {"chunks of 100": 100, "chunks of 64 KiB": 65536, "one chunk": len(BODY)}
    body = BODY[:300_000] if coding == "chunks of 100" else BODY
    if coding == "length":
        answer = sized(body)
    elif coding == "until closed":
        answer = OK + b"\r\n" + body
    else:
        answer = OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks_of(body, sizes[coding])

    async def work() -> None:
        handler = answering(answer, piece=100_001)
        async with site(handler, serving if tls else None) as server, client(make(trusting)) as http:
            assert (await http.get(server.url)).content == body

    run(work())


@both
def test_httpx_decodes_and_splits_what_the_transport_gives(make: Make, trusting: ssl.SSLContext) -> None:
    text = "".join(f"line {number}\n" for number in range(200_000))
    packed = gzip.compress(BODY)
    answers = [sized(text.encode()), sized(packed, b"Content-Encoding: gzip\r\n"), sized(BODY)]

    async def work() -> None:
        async with site(answering(*answers)) as server, client(make(trusting)) as http:
            async with http.stream("GET", server.url) as response:
                assert [line async for line in response.aiter_lines()] == text.splitlines()
            assert (await http.get(server.url)).content == BODY
            async with http.stream("GET", server.url) as response:
                pieces = [piece async for piece in response.aiter_bytes(100_000)]
            assert b"".join(pieces) == BODY
            assert {len(piece) for piece in pieces[:-1]} == {100_000}
            assert response.num_bytes_downloaded == len(BODY)
            assert server.connections == 1

    run(work())


@both
def test_a_head_request_has_no_body(make: Make, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        head = OK + b"Content-Length: 1000\r\n\r\n"
        async with site(answering(head, sized(b"hello"))) as server, client(make(trusting)) as http:
            assert (await http.head(server.url)).headers["content-length"] == "1000"
            assert (await http.get(server.url)).content == b"hello"
            assert server.connections == 1

    run(work())


@both
def test_the_request_goes_out_byte_for_byte(make: Make, trusting: ssl.SSLContext) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await request_of(reader))
            writer.write(sized(b""))

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:
            for target in ("a%2fb/%7Ec;d=e/./x", "?sig=%2F%2b+a%20b&&x=", "%41//b?"):
                await http.get(server.url + target, headers={"X-Odd": "a  b"})
                expected = httpx.URL(server.url + target).raw_path
                assert seen[-1].startswith(b"GET " + expected + b" HTTP/1.1\r\nHost: 127.0.0.1:")
                assert b"\r\nX-Odd: a  b\r\n" in seen[-1]
            assert b"GET /a%2fb/%7Ec" in seen[0]

    run(work())


@both
@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_body_is_sent(make: Make, streamed: bool, trusting: ssl.SSLContext) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 300_000):
            yield BODY[at : at + 300_000]
            yield b""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        if b"content-length" in head.lower():
            body = await reader.readexactly(len(BODY))
        else:
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        writer.write(sized(b"%d" % (body == BODY)))

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:
            response = await http.put(server.url, content=parts() if streamed else BODY)
            assert response.content == b"1"

    run(work())


@both
def test_a_header_that_would_start_another_is_refused(make: Make, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with site(answering(sized(b""))) as server, client(make(trusting)) as http:
            with pytest.raises(httpx.LocalProtocolError, match=r"."):
                await http.get(server.url, headers={"X": "a\r\nB: c"})

    run(work())


@both
@pytest.mark.parametrize("fields", [b"Connection: close\r\n", b""])
def test_a_connection_is_used_again_unless_the_server_says_close(
    make: Make, fields: bytes, trusting: ssl.SSLContext
) -> None:
    async def work() -> None:
        answers = [sized(b"hello", fields)] * 3
        async with site(answering(*answers)) as server, client(make(trusting)) as http:
            for _ in range(3):
                assert (await http.get(server.url)).content == b"hello"
            assert server.connections == (3 if fields else 1)

    run(work())


@both
def test_a_connection_is_not_used_again_when_we_said_close(make: Make, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with site(answering(sized(b"a"), sized(b"b"))) as server, client(make(trusting)) as http:
            for _ in range(2):
                assert (await http.get(server.url, headers={"Connection": "close"})).content == b"a"
            assert server.connections == 2

    run(work())


@both
def test_a_body_left_unread_closes_the_connection(make: Make, trusting: ssl.SSLContext) -> None:
    closed = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Content-Length: 99999999\r\n\r\nhello")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        closed.set()

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:
            async with http.stream("GET", server.url) as response:
                assert response.status_code == 200
            await closed.wait()

    run(work())


@both
def test_a_server_that_sends_nothing_is_a_read_timeout(make: Make, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    async def work() -> None:
        async with site(handler) as server, client(make(trusting), read=0.05) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get(server.url)

    run(work())


@both
@pytest.mark.parametrize(
    "coding", [b"Content-Length: 9\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"]
)
def test_a_body_that_stalls_is_a_read_timeout(make: Make, coding: bytes, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + coding)
        await reader.read()

    async def work() -> None:
        async with site(handler) as server, client(make(trusting), read=0.1) as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.get(server.url)

    run(work())


@both
def test_a_server_that_reads_nothing_is_a_write_timeout(make: Make, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    async def work() -> None:
        async with site(handler) as server, client(make(trusting), write=0.1) as http:
            with pytest.raises(httpx.WriteTimeout):
                await http.put(server.url, content=bytes(64 * BUFFER))

    run(work())


@both
def test_a_handshake_that_never_ends_is_a_connect_timeout(make: Make, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def work() -> None:
        async with site(handler) as server, client(make(trusting), connect=0.1) as http:
            with pytest.raises(httpx.ConnectTimeout):
                await http.get(server.url.replace("http:", "https:"))

    run(work())


@both
def test_nobody_listening_is_a_connect_error(make: Make, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with client(make(trusting)) as http:
                with pytest.raises(httpx.ConnectError, match=r"."):
                    await http.get(f"http://127.0.0.1:{unused.getsockname()[1]}/")

    run(work())


def chain(error: BaseException | None) -> list[type[BaseException]]:
    return [] if error is None else [type(error), *chain(error.__cause__ or error.__context__)]


@both
def test_a_stranger_s_certificate_is_a_connect_error(make: Make, serving: ssl.SSLContext) -> None:
    async def work() -> None:
        handler = answering(sized(b"secret"))
        async with site(handler, serving) as server, client(make(ssl.create_default_context())) as http:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await http.get(server.url)
            assert ssl.SSLCertVerificationError in chain(caught.value)

    run(work())


@both
def test_plain_text_where_tls_is_expected_is_a_connect_error(make: Make, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:
            with pytest.raises(httpx.ConnectError, match=r"."):
                await http.get(server.url.replace("http:", "https:"))

    run(work())


@both
def test_the_server_name_can_be_given(make: Make, trusting: ssl.SSLContext, serving: ssl.SSLContext) -> None:
    names: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: names.append(name)

    async def work() -> None:
        async with site(answering(sized(b"hello")), serving) as server, client(make(trusting)) as http:
            response = await http.get(server.url, extensions={"sni_hostname": "localhost"})
            assert response.content == b"hello"
            assert names == ["localhost"]

    run(work())


@both
def test_other_schemes_are_refused(make: Make, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with make(trusting) as transport:
            with pytest.raises(httpx.UnsupportedProtocol):
                await transport.handle_async_request(httpx.Request("GET", "ftp://127.0.0.1/x"))

    run(work())


@both
def test_a_reset_is_a_network_or_protocol_error(make: Make, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Content-Length: 99\r\n\r\nhello")
        await writer.drain()
        reset(writer)

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:
            with pytest.raises(httpx.ReadError):
                await http.get(server.url)

    run(work())


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


@both
def test_many_at_once_on_one_client(make: Make, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            target = (await request_of(reader)).split(b" ")[1]
            writer.write(sized(target * 100))

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:

            async def fetch(number: int) -> None:
                assert (await http.get(f"{server.url}{number}")).text == f"/{number}" * 100

            await asyncio.gather(*(fetch(number) for number in range(50)))

    run(work())


# What only ours promises.


@contextlib.asynccontextmanager
async def straight(
    handler: Handler, context: ssl.SSLContext, *, keepalive: int = 10, expiry: float = 60.0, **timeouts: float
) -> AsyncIterator[tuple[Site, httpx.AsyncClient, Transport]]:
    transport = fast(context, keepalive=keepalive, expiry=expiry)
    async with site(handler) as server, client(transport, **timeouts) as http:
        yield server, http, transport
    assert not transport._pool._open
    assert not len(transport._pool._idle)


def test_chunks_are_whole_buffers(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with straight(answering(sized(BODY), sized(BODY)), trusting) as (server, http, _):
            async with http.stream("GET", server.url) as response:
                sizes = [len(chunk) async for chunk in response.aiter_bytes()]
            assert sum(sizes) == len(BODY)
            # A slow moment of the machine may hand on a buffer early, never one larger than the others.
            assert max(sizes) == BUFFER
            extensions = {"fetchq": {"buffer": 20_000}}
            async with http.stream("GET", server.url, extensions=extensions) as response:
                chunks = [chunk async for chunk in response.aiter_raw()]
            assert b"".join(chunks) == BODY
            assert max(len(chunk) for chunk in chunks[1:]) <= 20_000

    run(work())


def test_chunks_stay_as_they_are_while_somebody_holds_them(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with straight(answering(sized(BODY), sized(BODY[::-1])), trusting) as (server, http, _):
            async with http.stream("GET", server.url) as response:
                held = [chunk async for chunk in response.aiter_raw()]
            assert (await http.get(server.url)).content == BODY[::-1]
            assert b"".join(held) == BODY

    run(work())


@pytest.mark.parametrize("tls", [False, True])
def test_a_paused_reader_stops_the_socket(tls: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext) -> None:
    sent = 0
    total = 128 * BUFFER
    block = bytes(BUFFER)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_of(reader)
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(block)
            sent += len(block)
            await writer.drain()

    async def work() -> None:
        transport = fast(trusting)
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
            assert sum(len(chunk) for chunk in intake.ready) <= 2 * BUFFER
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
            straight(handler, trusting, read=1000.0) as (server, http, _),
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
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n5;")
        await asyncio.sleep(0.05)
        writer.write(b"a=b\r\n")
        await asyncio.sleep(0.15)  # longer than a buffer with bytes in it would be kept back
        writer.write(b"hello\r\n0\r\n\r\n")

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, _):
            assert (await http.get(server.url)).content == b"hello"

    run(work())


def test_what_has_come_is_given_before_the_error(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(sized(BODY)[: 2 * BUFFER + 777])

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, _):
            got = bytearray()
            async with http.stream("GET", server.url) as response:
                with pytest.raises(httpx.RemoteProtocolError, match="before the body's end"):
                    await keep(response.aiter_bytes(), got)
            assert sized(BODY)[: 2 * BUFFER + 777].endswith(got)
            assert len(got) > 2 * BUFFER

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
        async with site(handler, serving) as server, client(fast(trusting)) as http:
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
        transport = fast(trusting)
        async with site(answering(OK + b"\r\n" + body), serving) as server, client(transport) as http:
            extensions = {"fetchq": {"buffer": 16_384}}
            async with http.stream("GET", server.url, extensions=extensions) as response:
                connection = next(iter(transport._pool._open))
                await until(lambda: connection._reading_paused)
                await asyncio.sleep(0.05)  # the rest and the close reach the socket meanwhile
                assert await response.aread() == body

    run(work())


def dying(*, first: bytes) -> tuple[Handler, list[bytes]]:
    """A handler that answers a connection's first request and closes when it has read the second."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_of(reader))
        writer.write(first)
        seen.append(await request_of(reader))

    return handler, seen


@pytest.mark.parametrize(("method", "times"), [("GET", 3), ("PUT", 3), ("POST", 2)])
def test_a_stale_connection_is_replaced_once(method: str, times: int, trusting: ssl.SSLContext) -> None:
    handler, seen = dying(first=sized(b"hello"))

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, _):
            await http.get(server.url)
            if times == 3:
                assert (await http.request(method, server.url, content=b"abc")).content == b"hello"
            else:
                with pytest.raises(httpx.RemoteProtocolError, match="without sending an answer"):
                    await http.request(method, server.url, content=b"abc")
            assert len(seen) == times
            assert server.connections == times - 1

    run(work())


def test_a_stale_connection_is_not_replaced_after_a_byte_or_on_a_fresh_one(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(sized(b"hello"))
        await request_of(reader)
        writer.write(b"HTTP/1.1 2")

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, _):
            await http.get(server.url)
            with pytest.raises(httpx.RemoteProtocolError, match="before the head's end"):
                await http.get(server.url)
            assert server.connections == 1
        async with straight(answering(b""), trusting) as (server, http, _):
            with pytest.raises(httpx.RemoteProtocolError, match="without sending an answer"):
                await http.get(server.url)
            assert server.connections == 1

    run(work())


@pytest.mark.parametrize("answer", [sized(b"hello") + b"!", sized(b"") + sized(b""), sized(BODY) + b"!"])
def test_a_connection_with_bytes_nobody_asked_for_is_closed(answer: bytes, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with straight(answering(answer, answer), trusting) as (server, http, _):
            first = (await http.get(server.url)).content
            assert (await http.get(server.url)).content == first
            assert server.connections == 2

    run(work())


def test_idle_connections_notice_the_end_at_once(trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with straight(answering(sized(b"a"), sized(b"b")), trusting) as (server, http, transport):
            await http.get(server.url)
            assert len(transport._pool._idle) == 1
            await http.get(server.url)
            await until(lambda: not len(transport._pool._idle))  # the handler has ended and closed
            assert not transport._pool._idle._by_endpoint

    run(work())


def test_an_end_the_loop_has_not_seen_yet_is_noticed_before_use(trusting: ssl.SSLContext) -> None:
    closed = threading.Event()

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            with listener.accept()[0] as sock:
                sock.recv(65536)
                sock.sendall(sized(b"hello"))
            closed.set()

    async def work(url: str) -> None:
        async with client(fast(trusting)) as http:
            for _ in range(2):
                # A POST is never sent twice, so it would fail on the connection that is closed.
                assert (await http.post(url, content=b"abc")).content == b"hello"
                closed.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,), daemon=True)
        server.start()
        run(work(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        server.join()


def test_idle_connections_are_few_and_do_not_grow_old(trusting: ssl.SSLContext) -> None:
    gate = asyncio.Barrier(4)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await gate.wait()
        writer.write(sized(b"hello"))
        await reader.read()

    async def work() -> None:
        async with straight(handler, trusting, keepalive=2, expiry=0.05) as (server, http, transport):
            await asyncio.gather(*(http.get(server.url) for _ in range(4)))
            assert len(transport._pool._idle) <= 2
            await until(lambda: not transport._pool._open)
            assert not len(transport._pool._idle)

    run(work())


def endless(start: bytes, again: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(start)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0.001)

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
        async with straight(endless(start, again), trusting) as (server, http, _):
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
            await asyncio.sleep(0.005)

    async def work() -> None:
        async with straight(handler, trusting, read=0.1) as (server, http, _):
            with pytest.raises(httpx.ReadTimeout, match="only a part"):
                await http.get(server.url)

    run(work())


def test_a_server_that_speaks_first_is_refused(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, _):
            with pytest.raises(httpx.RemoteProtocolError, match=r"not HTTP|before it was asked"):
                await http.get(server.url)

    run(work())


def test_an_early_answer_ends_the_sending(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield bytes(BUFFER)

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, transport):
            response = await http.put(server.url, content=parts())
            assert (response.status_code, response.content) == (413, b"no")
            assert not len(transport._pool._idle)

    run(work())


@pytest.mark.parametrize("content", [b"", b"abcd", b"abcdef"])
def test_a_request_body_of_the_wrong_length_is_refused(content: bytes, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with site(answering(sized(b""))) as server, client(fast(trusting)) as http:
            with pytest.raises(httpx.LocalProtocolError, match=r"."):
                await http.put(server.url, content=content, headers={"Content-Length": "5"})

    run(work())


def test_errors_say_something(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    async def work() -> None:
        async with straight(handler, trusting, read=0.02) as (server, http, _):
            with pytest.raises(httpx.ReadTimeout, match="the server sent nothing"):
                await http.get(server.url)
        async with client(fast(trusting), connect=0.02) as http, site(handler) as server:
            with pytest.raises(httpx.ConnectTimeout, match=r"127\.0\.0\.1:\d+ did not answer"):
                await http.get(server.url.replace("http:", "https:"))
            with pytest.raises(httpx.ConnectError, match="cannot connect to"):
                await http.get(f"http://{'a' * 70}.invalid/")

    run(work())


async def step(task: asyncio.Task[Any], turns: int) -> None:
    for _ in range(turns):
        if task.done():
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("tls", [False, True])
def test_cancelling_at_any_moment_leaks_nothing(
    tls: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            writer.write(sized(BODY[:300_000]))
            await writer.drain()

    async def fetch(http: httpx.AsyncClient, url: str) -> bytes:
        return (await http.get(url)).content

    async def work() -> None:
        transport = fast(trusting, keepalive=2)
        async with site(handler, serving if tls else None) as server, client(transport) as http:
            finished = 0
            for turns in range(60):
                task = asyncio.create_task(fetch(http, server.url))
                await step(task, turns)
                task.cancel()
                done = (await asyncio.gather(task, return_exceptions=True))[0]
                finished += done == BODY[:300_000]
                await until(lambda: len(transport._pool._open) == len(transport._pool._idle))
            assert finished < 60
            assert await fetch(http, server.url) == BODY[:300_000]
        assert not transport._pool._open
        gc.collect()  # an open socket would be a ResourceWarning, which is an error here

    run(work())


def listening(*ports: int) -> Callable[[str, int], Coroutine[Any, Any, list[SocketAddress]]]:
    """A resolver that finds these ports of this machine under any name."""

    async def resolve(_host: str, _port: int) -> list[SocketAddress]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    return resolve


def test_the_first_address_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(silent: int, refusing: int, answering: int) -> None:
        monkeypatch.setattr(_connect, "_ATTEMPT_DELAY", 0.01)
        for ports in ((refusing, answering), (silent, answering), (silent, refusing, answering)):
            monkeypatch.setattr(_connect, "_resolve", listening(*ports))
            with await _connect.dial("host", 80) as sock:
                assert sock.getpeername()[1] == answering
        monkeypatch.setattr(_connect, "_resolve", listening(refusing, refusing))
        with pytest.raises(ConnectionRefusedError):
            await _connect.dial("host", 80)

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as unused,
        contextlib.ExitStack() as stack,
    ):
        unused.bind(("127.0.0.1", 0))
        for _ in range(4):  # once its queue is full, a listener leaves further connections waiting
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0)
            sock.connect_ex(full.getsockname())
        run(work(full.getsockname()[1], unused.getsockname()[1], listener.getsockname()[1]))
    gc.collect()


def test_the_families_take_turns() -> None:
    def at(family: int, number: int) -> SocketAddress:
        return (family, socket.SOCK_STREAM, 0, "", number)

    six = [at(socket.AF_INET6, number) for number in range(3)]
    four = [at(socket.AF_INET, number) for number in range(2)]
    assert list(_connect._interleaved([*six, *four])) == [six[0], four[0], six[1], four[1], six[2]]


def test_cancelling_while_connecting_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(port: int) -> None:
        monkeypatch.setattr(_connect, "_resolve", listening(port, port))
        for turns in range(20):
            task = asyncio.create_task(_connect.dial("host", port))
            await step(task, turns)
            task.cancel()
            for result in await asyncio.gather(task, return_exceptions=True):
                if isinstance(result, socket.socket):
                    result.close()

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        run(work(listener.getsockname()[1]))
    gc.collect()  # an open socket would be a ResourceWarning, which is an error here


def test_a_body_whose_reader_is_cancelled_closes_its_connection(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK + b"Content-Length: 5\r\n\r\n")
        await reader.read()

    async def work() -> None:
        async with straight(handler, trusting) as (server, _, transport):
            response = await transport.handle_async_request(httpx.Request("GET", server.url))
            task = asyncio.create_task(response.aread())
            await step(task, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: not transport._pool._open)

    run(work())


def test_closing_the_transport_ends_what_is_under_way(trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        await reader.read()

    async def work() -> None:
        async with straight(handler, trusting) as (server, http, transport):
            task = asyncio.create_task(http.get(server.url))
            await until(lambda: bool(transport._pool._open) and server.connections == 1)
            await transport.aclose()
            with pytest.raises(httpx.ReadError, match="closed"):
                await task

    run(work())


def test_an_unknown_bug_is_no_protocol_error(monkeypatch: pytest.MonkeyPatch, trusting: ssl.SSLContext) -> None:
    """Whatever breaks in a callback ends the request instead of leaving it to wait for ever."""

    def broken(_self: Connection) -> None:
        raise ZeroDivisionError

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        async with straight(answering(sized(b"hello")), trusting) as (server, http, _):
            monkeypatch.setattr(Connection, "_read_head", broken)
            with pytest.raises(httpx.ReadError):
                await http.get(server.url)

    run(work())
