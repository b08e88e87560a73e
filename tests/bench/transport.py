"""``fetchq.Transport`` beside httpx's own transport: ``python -m tests.bench.transport``.

Everything runs interleaved in one process against nginx on loopback, which is started here. The ratios are
telling, the figures are the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpcore
import httpx
import trustme

import fetchq

MIB = 1 << 20
FILES = 2000
TASKS = 16
LIMITS = httpx.Limits(max_connections=TASKS, max_keepalive_connections=TASKS, keepalive_expiry=30)
CONF = """
daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; default_type application/octet-stream;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{
    listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl; root {root}/data;
    ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
  }}
}}
"""


class LargeReads(httpcore.AsyncNetworkStream, asyncio.BufferedProtocol):
    """A network stream for httpcore that gives whatever one read into 1 MiB brings, more than it asked for."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(MIB))
        self._fill = 0
        self._eof = False
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._fill :]

    def buffer_updated(self, nbytes: int) -> None:
        self._fill += nbytes
        if self._fill == len(self._view) and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._eof = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._eof = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._fill and not self._eof:
            self._waiter = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout):
                await self._waiter
        data = bytes(self._view[: self._fill])
        self._fill = 0
        if self._transport is not None and not self._transport.is_reading() and not self._eof:
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._transport is not None:
            self._transport.write(buffer)

    async def aclose(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        assert self._transport is not None
        self._transport = await loop.start_tls(
            self._transport, self, ssl_context, server_hostname=server_hostname
        )
        return self

    def get_extra_info(self, info: str) -> object:
        if info == "is_readable":
            return self._eof
        return self._transport.get_extra_info(info) if self._transport is not None else None


class LargeReadsBackend(httpcore.AsyncNetworkBackend):
    """Connects :class:`LargeReads`."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        _, stream = await asyncio.get_running_loop().create_connection(LargeReads, host, port)
        return stream


Make = Callable[[ssl.SSLContext], httpx.AsyncBaseTransport]


def ours(context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    return fetchq.Transport(verify=context, limits=LIMITS)


def stock(context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(verify=context, limits=LIMITS)


def trick(context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    transport = httpx.AsyncHTTPTransport(verify=context)
    transport._pool = httpcore.AsyncConnectionPool(
        ssl_context=context,
        max_connections=TASKS,
        max_keepalive_connections=TASKS,
        keepalive_expiry=30,
        network_backend=LargeReadsBackend(),
    )
    return transport


# Returns how many bytes the body at a URL has.
Fetch = Callable[[str], Awaitable[int]]
Way = Callable[["Origin"], contextlib.AbstractAsyncContextManager[Fetch]]


@contextlib.asynccontextmanager
async def alone(origin: Origin) -> AsyncIterator[Fetch]:
    """As fetchq's own downloads go: no client, and chunks that are not copied."""
    async with ours(origin.context) as transport:

        async def fetch(url: str) -> int:
            request = httpx.Request("GET", url, extensions={"fetchq": {}})
            response = await transport.handle_async_request(request)
            return sum([len(chunk) async for chunk in response.aiter_bytes()])

        yield fetch


def behind(make: Make) -> Way:
    """As a program goes that uses httpx's client, over the transport that *make* returns."""

    @contextlib.asynccontextmanager
    async def way(origin: Origin) -> AsyncIterator[Fetch]:
        async with httpx.AsyncClient(transport=make(origin.context), trust_env=False, timeout=30) as client:

            async def fetch(url: str) -> int:
                async with client.stream("GET", url) as response:
                    return sum([len(chunk) async for chunk in response.aiter_bytes()])

            yield fetch

    return way


WAYS: dict[str, Way] = {
    "client, fetchq.Transport": behind(ours),
    "client, httpx's transport": behind(stock),
    "client, httpx's transport, large reads": behind(trick),
    "fetchq.Transport alone": alone,
}


class Origin(NamedTuple):
    http: str
    https: str
    context: ssl.SSLContext


class Figure(NamedTuple):
    wall: float
    cpu: float


async def one_file(fetch: Fetch, url: str, size: int) -> None:
    got = await fetch(url)
    assert got == size, got


async def many_files(fetch: Fetch, base: str, files: int) -> None:
    left = iter(range(files))

    async def task() -> None:
        for number in left:
            assert await fetch(f"{base}/small/{number % 100}") == 10240

    async with asyncio.TaskGroup() as group:
        for _ in range(TASKS):
            group.create_task(task())


def measure(way: Way, origin: Origin, work: Callable[[Fetch], Awaitable[None]]) -> Figure:
    async def run() -> Figure:
        async with way(origin) as fetch:
            start, cpu = time.perf_counter(), time.process_time()
            await work(fetch)
            return Figure(time.perf_counter() - start, time.process_time() - cpu)

    return asyncio.run(run())


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def nginx(size: int) -> Iterator[Origin]:
    program = shutil.which("nginx")
    if program is None:
        sys.exit("nginx is not on PATH: install it to run this benchmark")
    with tempfile.TemporaryDirectory(prefix="fetchq-bench-") as folder:
        root = Path(folder)
        root.chmod(0o755)  # nginx's workers run as another user
        (root / "data" / "small").mkdir(parents=True)
        block = os.urandom(MIB)
        with (root / "data" / "big").open("wb") as file:
            for _ in range(size // MIB):
                file.write(block)
        for number in range(100):
            (root / "data" / "small" / str(number)).write_bytes(block[:10240])
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.cert_chain_pems[0].write_to_path(root / "cert.pem")
        certificate.private_key_pem.write_to_path(root / "key.pem")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        http, https = free_port(), free_port()
        (root / "conf").write_text(CONF.format(root=root, http=http, https=https))
        process = subprocess.Popen(
            [program, "-p", folder, "-c", str(root / "conf"), "-e", str(root / "error.log")]
        )
        try:
            await_port(http)
            yield Origin(f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}", context)
        finally:
            process.terminate()
            process.wait()


def await_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    sys.exit("nginx did not start")


def compare(origin: Origin, names: list[str], *, size: int, rounds: int) -> Iterator[str]:
    def big(base: str) -> Callable[[Fetch], Awaitable[None]]:
        return lambda fetch: one_file(fetch, f"{base}/big", size)

    def small(fetch: Fetch) -> Awaitable[None]:
        return many_files(fetch, origin.http, FILES)

    works = {
        "one file, http": (big(origin.http), size / 1e6, "MB/s"),
        "one file, https": (big(origin.https), size / 1e6, "MB/s"),
        f"{FILES} x 10 KiB": (small, FILES, "files/s"),
    }
    yield "| work | way | rate | CPU | wall over the first's |"
    yield "|---|---|---|---|---|"
    for title, (work, amount, unit) in works.items():
        figures: dict[str, list[Figure]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                figures[name].append(measure(WAYS[name], origin, work))
        walls = {name: statistics.median(f.wall for f in figures[name]) for name in names}
        for name in names:
            cpu = statistics.median(f.cpu for f in figures[name]) / amount * 1e6
            ratio = walls[name] / walls[names[0]]
            rate = amount / walls[name]
            yield f"| {title} | {name} | {rate:.0f} {unit} | {cpu:.0f} us/{unit[:-2]} | {ratio:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="MiB of the large file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=WAYS, help="measure this one alone, for a profiler")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(WAYS)
    with nginx(arguments.size * MIB) as origin:
        for line in compare(origin, names, size=arguments.size * MIB, rounds=arguments.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
