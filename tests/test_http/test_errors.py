"""Whatever goes wrong outside leaves the edge as one FetchError: a sentence that helps and tells no secret."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from fetchq import _errors as errors
from fetchq._errors import FetchError, NetworkError
from fetchq._http.errors import FAILURES, translate
from fetchq._http.http11.connection import UnsentError
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import answer, serving
from .edge import body_of, mocked, opened, runs

REQUEST = httpx.Request("GET", "http://h/?sig=s3cret")


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def tls(reason: str, kind: type[ssl.SSLError] = ssl.SSLError) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] as OpenSSL says it (_ssl.c:1006)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "kind", "transient", "words"),
    [
        (httpx.ConnectTimeout(""), errors.TimedOutError, True, "--connect-timeout"),
        (httpx.ReadTimeout(""), errors.TimedOutError, True, "--read-timeout"),
        (httpx.WriteTimeout(""), errors.TimedOutError, True, "--write-timeout"),
        (httpx.PoolTimeout(""), errors.TimedOutError, True, "--pool-timeout"),
        (httpx.TimeoutException(""), errors.TimedOutError, True, "time limit"),
        (TimeoutError(), errors.TimedOutError, True, "time limit"),
        (caused(httpx.ConnectError(""), TimeoutError()), errors.TimedOutError, True, "time limit"),
        (
            caused(httpx.ConnectError(""), socket.gaierror(-2, "x")),
            errors.NetworkError,
            True,
            "Cannot find h: check",
        ),
        (
            caused(httpx.ConnectError(""), OSError("all failed")),
            errors.NetworkError,
            True,
            "Cannot connect to h: no reason given",
        ),
        (
            caused(
                httpx.ConnectError(""), caused(OSError("all"), ExceptionGroup("", [ConnectionRefusedError()]))
            ),
            errors.NetworkError,
            True,
            "refuses connections",
        ),
        (caused(httpx.ConnectError(""), OSError(113, "No route")), errors.NetworkError, True, "no route"),
        (httpx.ReadError(""), errors.NetworkError, True, "broke off"),
        (httpx.WriteError(""), errors.NetworkError, True, "broke off"),
        (httpx.CloseError(""), errors.NetworkError, True, "broke off"),
        (ConnectionResetError(104, "Connection reset by peer"), errors.NetworkError, True, "reset by peer"),
        (
            caused(httpx.ConnectError(""), tls("WRONG_VERSION_NUMBER")),
            errors.TLSError,
            False,
            "perhaps this port is for http, not for https.",
        ),
        (
            caused(httpx.ConnectError(""), tls("TLSV1_ALERT_PROTOCOL_VERSION")),
            errors.TLSError,
            False,
            "--tls-min",
        ),
        (
            caused(httpx.ReadError(""), tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")),
            errors.TLSError,
            False,
            "--cert FILE",
        ),
        (
            caused(httpx.ConnectError(""), tls("EOF", ssl.SSLEOFError)),
            errors.NetworkError,
            True,
            "Cannot connect to h: eof.",
        ),
        (
            caused(httpx.ReadError(""), tls("BAD_RECORD_MAC")),
            errors.NetworkError,
            True,
            "broke off: bad record mac.",
        ),
        (httpx.ProxyError("407 Proxy Authentication Required"), errors.AuthenticationError, False, "proxy"),
        (httpx.ProxyError("Invalid username/password"), errors.AuthenticationError, False, "proxy"),
        (httpx.ProxyError("502 Bad Gateway"), errors.NetworkError, True, "502 bad gateway"),
        (
            httpx.RemoteProtocolError("Server disconnected without sending a response."),
            errors.NetworkError,
            True,
            "closed the connection",
        ),
        (
            httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
            errors.NetworkError,
            True,
            "closed the connection",
        ),
        (httpx.RemoteProtocolError("<ConnectionTerminated>"), errors.NetworkError, True, "closed"),
        (httpx.RemoteProtocolError("<StreamReset stream_id:1>"), errors.NetworkError, True, "closed"),
        (httpx.RemoteProtocolError("Receive buffer too long"), errors.TooLargeError, False, "head"),
        (httpx.RemoteProtocolError("the response head exceeds 9 bytes"), errors.TooLargeError, False, "head"),
        (
            httpx.RemoteProtocolError("illegal status line: b's3cret'"),
            errors.ProtocolError,
            False,
            "illegal status line",
        ),
        (httpx.LocalProtocolError("Too little data"), errors.ProtocolError, True, "too little data"),
        (httpx.DecodingError(""), errors.ProtocolError, False, "Content-Encoding"),
        (httpx.TooManyRedirects(""), errors.ProtocolError, False, "too often"),
        (httpx.UnsupportedProtocol("ftp"), errors.UsageError, False, "http and https"),
        (httpx.InvalidURL("s3cret"), errors.ProtocolError, False, "redirects"),
        (httpx.CookieConflict("s3cret"), errors.ProtocolError, False, "cookies"),
        (httpx.StreamConsumed(), errors.UsageError, False, "event hook"),
        (httpx.StreamClosed(), errors.UsageError, False, "read already"),
        (UnicodeError("label too long"), errors.UsageError, False, "only valid http"),
        (
            httpx.HTTPStatusError("s3cret", request=REQUEST, response=httpx.Response(503)),
            errors.StatusError,
            True,
            "503",
        ),
        (
            httpx.HTTPStatusError("s3cret", request=REQUEST, response=httpx.Response(410)),
            errors.StatusError,
            False,
            "410",
        ),
        (
            httpx.HTTPStatusError("s3cret", request=REQUEST, response=httpx.Response(401)),
            errors.AuthenticationError,
            False,
            "401",
        ),
        (httpx.RequestError("s3cret"), errors.NetworkError, True, "RequestError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_every_foreign_exception_has_its_fetch_error(
    error: Exception, kind: type[FetchError], transient: bool, words: str
) -> None:
    assert isinstance(error, FAILURES)
    told = translate(error, "h")
    assert type(told) is kind
    assert told.transient is transient
    assert words in str(told)
    assert "s3cret" not in str(told)
    assert str(told).endswith(".")


def test_no_exception_of_httpx_is_forgotten() -> None:
    all_of_them = [
        each for each in vars(httpx).values() if isinstance(each, type) and issubclass(each, Exception)
    ]
    assert len(all_of_them) > 20
    assert [each for each in all_of_them if not issubclass(each, FAILURES)] == []


@pytest.mark.parametrize(
    ("kind", "unsent"),
    [
        (UnsentError, True),
        (httpx.ConnectError, True),
        (httpx.RemoteProtocolError, False),
        (httpx.ReadError, False),
    ],
)
def test_what_the_server_did_not_receive_may_be_sent_again(kind: type[Exception], unsent: bool) -> None:
    error = translate(kind("the server closed the connection before it received the request"), "host")
    assert isinstance(error, NetworkError)
    assert error.transient
    assert error.unsent is unsent


@runs
async def test_refused_and_unknown_hosts_are_told_apart() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with opened() as client:
            with pytest.raises(errors.NetworkError, match="refuses connections"):
                await client.open(Job(f"http://127.0.0.1:{bound.getsockname()[1]}/?k=s3cret"))
            with pytest.raises(errors.NetworkError, match=r"Cannot find no-such\.invalid") as caught:
                await client.open(Job("http://no-such.invalid/?k=s3cret"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "kind", "transient"),
    [
        (None, errors.NetworkError, True),
        (b"HTTP/1.1 200", errors.NetworkError, True),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", errors.ProtocolError, False),
        (answer(headers=("Content-Length: x",)), errors.ProtocolError, False),
        (answer(headers=tuple(f"X-{i}: y" for i in range(300))), errors.TooLargeError, False),
        (answer(headers=("X: " + "y" * 100_000,)), errors.TooLargeError, False),
    ],
    ids=["nothing", "half a head", "ssh", "bad length", "many headers", "large head"],
)
@runs
async def test_answers_that_are_none(data: bytes | None, kind: type[FetchError], transient: bool) -> None:
    async with serving(lambda _: data) as server, opened() as client:
        with pytest.raises(FetchError) as caught:
            await client.open(Job(server.url + "/?k=s3cret"))
    assert (type(caught.value), caught.value.transient) == (kind, transient)
    assert server.host in str(caught.value)
    assert "s3cret" not in str(caught.value)


@runs
async def test_silence_is_timed_out() -> None:
    async with (
        serving(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: ") as server,
        opened(Network(env=False, read_timeout=0.1)) as client,
    ):
        with pytest.raises(errors.TimedOutError, match="--read-timeout"):
            await client.open(Job(server.url))


@pytest.mark.parametrize("raised", [RuntimeError("bug"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_bugs_and_cancellation_pass(raised: BaseException) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        raise raised

    async def ask() -> None:
        async with mocked(handle) as theirs, opened(client=theirs) as client:
            await client.open(Job("http://h/"))

    with pytest.raises(type(raised)):
        asyncio.run(ask())


class Leaking(httpx.AsyncByteStream):
    """A body that ends with the exception of a lower layer."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"x"
        raise self.error

    async def aclose(self) -> None:
        raise self.error


@pytest.mark.parametrize("make", [ConnectionResetError, lambda: httpx.ReadError(""), TimeoutError])
@runs
async def test_what_leaks_from_a_body_is_translated_and_closing_never_complains(
    make: Callable[[], Exception],
) -> None:
    async with (
        mocked(lambda _: httpx.Response(200, stream=Leaking(make()))) as theirs,
        opened(client=theirs) as client,
    ):
        reply = await client.open(Job("http://h/"))
        with pytest.raises(errors.NetworkError):
            await body_of(reply)
        await (await client.open(Job("http://h/"))).aclose()
