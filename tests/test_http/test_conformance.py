"""One suite over our transport and httpx's own, where they agree."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchq._http.http11.buffers import LARGE_BUFFER

from ..conftest import clean_env, run
from ..servers import Server, caddy, hypercorn, nginx
from .sites import (
    BODY,
    OK,
    VIEWS,
    Make,
    answering,
    both,
    chunks_of,
    client,
    ours,
    request_of,
    reset,
    site,
    sized,
    step,
    stock,
    until,
)

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
@pytest.mark.parametrize("extensions", [None, VIEWS])
def test_httpx_decodes_and_splits_what_the_transport_gives(
    make: Make, extensions: dict[str, Any] | None, trusting: ssl.SSLContext
) -> None:
    text = "".join(f"line {number}\n" for number in range(200_000))
    packed = gzip.compress(BODY)
    answers = [sized(text.encode()), sized(packed, b"Content-Encoding: gzip\r\n"), sized(BODY)]

    async def work() -> None:
        async with site(answering(*answers)) as server, client(make(trusting)) as http:
            async with http.stream("GET", server.url, extensions=extensions) as response:
                assert [line async for line in response.aiter_lines()] == text.splitlines()
            assert (await http.get(server.url, extensions=extensions)).content == BODY
            async with http.stream("GET", server.url, extensions=extensions) as response:
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
                await http.put(server.url, content=bytes(64 * LARGE_BUFFER))

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


@both
def test_requests_wait_for_a_free_connection(make: Make, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        transport = make(trusting, max_connections=1)
        async with site(answering(*[sized(b"hello")] * 5)) as server, client(transport) as http:
            responses = await asyncio.gather(*(http.get(server.url) for _ in range(5)))
            assert [response.content for response in responses] == [b"hello"] * 5
            assert server.connections == 1

    run(work())


@both
def test_no_free_connection_in_time_is_a_pool_timeout(make: Make, trusting: ssl.SSLContext) -> None:
    answer = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            await answer.wait()
            writer.write(sized(b"hello"))

    async def work() -> None:
        transport = make(trusting, max_connections=1)
        async with site(handler) as server, client(transport, pool=0.05) as http:
            first = asyncio.create_task(http.get(server.url))
            await until(lambda: server.connections == 1)
            with pytest.raises(httpx.PoolTimeout):
                await http.get(server.url)
            answer.set()
            assert (await first).content == b"hello"
            assert (await http.get(server.url)).content == b"hello"
            assert server.connections == 1

    run(work())


@both
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_that_is_expected_is_sent(make: Make, streamed: bool, trusting: ssl.SSLContext) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nExpect: 100-continue\r\n" in head
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"ontent-" in head:
            body = await reader.readexactly(10)
        else:
            body = await reader.readuntil(b"0\r\n\r\n")
        writer.write(sized(body))

    async def parts() -> AsyncIterator[bytes]:
        yield b"hello"
        yield b"world"

    async def work() -> None:
        async with site(handler) as server, client(make(trusting)) as http:
            content = parts() if streamed else b"helloworld"
            response = await http.put(server.url, content=content, headers={"Expect": "100-continue"})
            assert response.content == (b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n" if streamed else b"helloworld")

    run(work())


@both
@pytest.mark.parametrize("tls", [False, True])
def test_the_network_stream_knows_both_ends(
    make: Make, tls: bool, trusting: ssl.SSLContext, serving: ssl.SSLContext
) -> None:
    async def work() -> None:
        handler = answering(OK + b"\r\nhello")
        async with (
            site(handler, serving if tls else None) as server,
            client(make(trusting)) as http,
            http.stream("GET", server.url) as response,
        ):
            facts = response.extensions["network_stream"]
            assert facts.get_extra_info("server_addr") == ("127.0.0.1", httpx.URL(server.url).port)
            assert facts.get_extra_info("client_addr") == facts.get_extra_info("socket").getsockname()
            session = facts.get_extra_info("ssl_object")
            assert (session.version() if tls else session) == ("TLSv1.3" if tls else None)
            assert facts.get_extra_info("no such thing") is None

    run(work())


@both
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Host", b"a"), (b"Host", b"b")],
        [(b"Host", b"a"), (b"Content-Length", b"5"), (b"Content-Length", b"6")],
        [(b"Host", b"a"), (b"Transfer-Encoding", b"gzip")],
    ],
)
def test_a_request_that_http_forbids_is_a_local_protocol_error(
    make: Make, fields: list[tuple[bytes, bytes]], trusting: ssl.SSLContext
) -> None:
    async def work() -> None:
        async with site(answering(sized(b""))) as server, make(trusting) as transport:
            request = httpx.Request("PUT", server.url, headers=fields, stream=httpx.ByteStream(b"hello"))
            with pytest.raises(httpx.LocalProtocolError):
                await transport.handle_async_request(request)

    run(work())


@both
@pytest.mark.parametrize("sent", [b"", OK + b"Content-", OK + b"Content-Length: 9\r\n\r\nhello"])
def test_a_cancelled_request_leaves_the_connection_s_place_free(
    make: Make, sent: bytes, trusting: ssl.SSLContext
) -> None:
    first = True

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal first
        await request_of(reader)
        if first:
            first = False
            writer.write(sent)
            await reader.read()
        else:
            writer.write(sized(b"hello"))

    async def work() -> None:
        transport = make(trusting, max_connections=1)
        async with site(handler) as server, client(transport, pool=5.0) as http:
            task = asyncio.create_task(http.get(server.url))
            await until(lambda: not first)
            await step(task, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await http.get(server.url)).content == b"hello"

    run(work())


# Real servers: the same requests over both, and both must bring the same.

SMALL, LARGE = random.Random(5).randbytes(10_240), random.Random(6).randbytes(3_000_000)
CASES: dict[str, tuple[str, str, dict[str, str], bytes | None]] = {
    "small": ("GET", "small", {}, SMALL),
    "large": ("GET", "large", {}, LARGE),
    "empty": ("GET", "empty", {}, b""),
    "head": ("HEAD", "large", {}, b""),
    "range": ("GET", "large", {"Range": "bytes=1000000-1000099"}, None),
    "no such range": ("GET", "small", {"Range": "bytes=99999-"}, None),
    "unchanged": ("GET", "small", {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, None),
    "missing": ("GET", "nothing", {}, None),
    "close": ("GET", "small", {"Connection": "close"}, SMALL),
    "another method": ("DELETE", "small", {}, None),
}
# What differs from one answer to the next.
VOLATILE = {"date"}


@pytest.fixture(scope="module", params=[caddy, nginx, hypercorn], ids=["caddy", "nginx", "hypercorn"])
def real(
    request: pytest.FixtureRequest, authority: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("real")
    for name, data in (("small", SMALL), ("large", LARGE), ("empty", b"")):
        (root / name).write_bytes(data)
    with request.param(root, authority) as server:
        yield server


async def bring(make: Make, context: ssl.SSLContext, url: str, case: str) -> tuple[object, ...]:
    method, _, headers, body = CASES[case]
    async with client(make(context)) as http:
        for _ in range(2):  # the second request over the kept connection
            response = await http.request(method, url, headers=headers)
            assert body is None or response.content == body
        fields = [field for field in response.headers.multi_items() if field[0] not in VOLATILE]
        return response.status_code, response.http_version, response.reason_phrase, fields, response.content


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_real_servers_answer_both_alike(real: Server, case: str, tls: bool, trusting: ssl.SSLContext) -> None:
    url = real.url(CASES[case][1], tls=tls)

    async def work() -> None:
        assert await bring(ours, trusting, url, case) == await bring(stock, trusting, url, case)

    run(work())


@both
def test_real_servers_serve_many_at_once(make: Make, real: Server, trusting: ssl.SSLContext) -> None:
    async def work() -> None:
        async with client(make(trusting, max_connections=4)) as http:
            urls = [real.url("small", tls=bool(number % 2)) for number in range(40)]
            responses = await asyncio.gather(*(http.get(url) for url in urls))
            assert {response.content for response in responses} == {SMALL}

    run(work())


def test_a_program_with_its_own_client(real: Server, tmp_path: Path, authority: Path) -> None:
    program = """
import asyncio, ssl, sys
import fetchq, httpx

async def main(url, cafile, path):
    transport = fetchq.Transport(verify=ssl.create_default_context(cafile=cafile))
    async with httpx.AsyncClient(transport=transport) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        with open(path, "wb") as file:
            async for chunk in response.aiter_bytes():
                file.write(chunk)

asyncio.run(main(*sys.argv[1:]))
"""
    for tls in (False, True):
        target = tmp_path / f"large-{tls}"
        words = [real.url("large", tls=tls), str(authority / "ca.pem"), str(target)]
        command = [sys.executable, "-W", "error", "-c", program, *words]
        done = subprocess.run(command, env=clean_env(), capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert target.read_bytes() == LARGE
