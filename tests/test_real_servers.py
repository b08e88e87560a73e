"""One matrix over real servers, and over real proxies in front of one: whatever happens, the file is right."""

from __future__ import annotations

import gzip
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchq import Downloader, Network, Result, Settings

from . import servers
from .conftest import Command, fetching, run
from .servers import Server

CUT = 1 << 20
LARGE = 6 << 20
# Over loopback the buffers of a connection hold up to 4 MiB, and those of a proxy as much again: what is to be
# cut off by the other side must be longer, and slower than it could be.
HUGE = 40 << 20
SLOW = ("--limit-rate", "24M")
# What is to be stopped takes most of a second: on a busy machine a signal is late.
SLOWER = ("--limit-rate", "8M")
# Days apart, and long ago: a date of this minute is no strong validator (RFC 9110 8.8.2.2).
OLD, NEW = 1735689600, 1735776000


def http11(root: Path, *, compress: bool) -> AbstractContextManager[Server]:
    return servers.http_server(root, protocol="HTTP/1.1", compress=compress)


SERVERS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "nginx": servers.nginx,
    "apache": servers.apache,
    "lighttpd": servers.lighttpd,
    "caddy": servers.caddy,
    "hypercorn": servers.hypercorn,
    "uvicorn": servers.uvicorn,
    "tornado": servers.tornado,
    "twisted": servers.twisted,
    "http.server 1.0": servers.http_server,
    "http.server 1.1": http11,
}
PROXIES: dict[str, Callable[[Server], AbstractContextManager[Server]]] = {
    "squid": lambda _: servers.squid(),
    "tinyproxy": lambda _: servers.tinyproxy(),
    "haproxy": lambda server: servers.haproxy(server.port),
}
# They do not compress either.
NO_RANGES = ("http.server 1.0", "http.server 1.1")
GZIP = ("Accept-Encoding", "gzip")


@dataclass
class Site:
    """A server, and the proxy in front of it if there is one."""

    name: str
    server: Server
    proxy: str | None = None

    def publish(self, name: str, data: bytes, date: int = OLD) -> str:
        """Put a file there, in one step as careful publishers do; return its URL."""
        path = self.server.root / name
        new = path.with_name(f"{name}.new")
        new.write_bytes(data)
        os.utime(new, (date, date))
        new.replace(path)
        return self.server.url(name)

    def fetch(self, folder: Path, *urls: str, **network: Any) -> list[Result]:
        """Fetch *urls* in this process, as a queue that is remembered; all come to a good end."""
        settings = Settings(network=Network(env=False, **{"proxy": self.proxy, **network}))

        async def main() -> list[Result]:
            async with Downloader(settings, dir=folder, store=folder / ".fetchq.db", jobs=12) as downloader:
                return [result async for result in downloader.run(urls)]

        return [result.unwrap() for result in run(main())]

    @contextmanager
    def fetching(self, folder: Path, *words: str) -> Iterator[Command]:
        """Start the command."""
        proxy = ["--proxy", self.proxy] if self.proxy else []
        with fetching(*proxy, "-d", str(folder), *words) as command:
            yield command


@lru_cache(maxsize=4)
def content(seed: object, size: int) -> bytes:
    return random.Random(str(seed)).randbytes(size)


@contextmanager
def site_of(name: str) -> Iterator[Site]:
    with ExitStack() as stack:
        # Not below pytest's folder, which others may not read: Apache gives up root's rights.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="www-")))
        root.chmod(0o755)
        if name in SERVERS:
            yield Site(name, stack.enter_context(SERVERS[name](root, compress=True)))
        else:
            server = stack.enter_context(servers.nginx(root, compress=True))
            proxy = stack.enter_context(PROXIES[name](server))
            yield Site(name, server, proxy.url(""))


@pytest.fixture(scope="module", params=[*SERVERS, *PROXIES])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with site_of(request.param) as started:
        yield started


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".fetchq.db"))


def test_one_file_and_again(site: Site, out: Path) -> None:
    data = content("one", 100_000)
    url = site.publish("one.bin", data)
    with site.fetching(out, url) as command:
        command.ended(0)
    assert (out / "one.bin").read_bytes() == data
    assert (out / "one.bin").stat().st_mtime == OLD
    [again] = site.fetch(out, url)
    assert (again.status, again.received) == ("skipped", 0)
    assert names(out) == ["one.bin"]


def test_a_queue_and_again(site: Site, out: Path) -> None:
    files = {f"q{number}.bin": content(number, 20_000 * number) for number in range(12)}
    urls = [site.publish(name, data) for name, data in files.items()]
    assert [result.status for result in site.fetch(out, *urls)] == ["done"] * 12
    assert {path.name: path.read_bytes() for path in out.glob("*.bin")} == files
    # The server is away, and nobody notices.
    site.server.kill()
    try:
        assert [result.status for result in site.fetch(out, *urls)] == ["skipped"] * 12
    finally:
        site.server.back()


def test_over_eight_connections(site: Site, out: Path) -> None:
    data = content("eight", LARGE)
    with site.fetching(out, "-x", "8", "--retries", "0", site.publish("eight.bin", data)) as command:
        command.ended(0)
    assert (out / "eight.bin").read_bytes() == data


def cut(command: Command) -> None:
    """Read on until enough of the file is there, and not all of it."""
    command.until("progressed", lambda event: bool(event["have"] >= CUT))


def stop(site: Site, out: Path, url: str) -> None:
    with site.fetching(out, *SLOWER, url) as command:
        cut(command)
        command.process.send_signal(signal.SIGINT)
        command.ended(130)
    name = url.rsplit("/", 1)[1]
    assert names(out) == [f"{name}.part", f"{name}.part.json"]


def test_stopped_and_again(site: Site, out: Path) -> None:
    data = content("stopped", LARGE)
    url = site.publish("stopped.bin", data)
    stop(site, out, url)
    [again] = site.fetch(out, url)
    assert (out / "stopped.bin").read_bytes() == data
    if site.name not in NO_RANGES:
        assert again.status == "resumed"
        assert again.received < LARGE - CUT // 2


@pytest.mark.parametrize("other", [False, True], ids=["same file", "other file of one size and date"])
def test_the_server_is_killed_and_comes_back(site: Site, out: Path, other: bool) -> None:
    data = content("killed", HUGE)
    url = site.publish("killed.bin", content("earlier", HUGE) if other else data)
    # The buffers of a proxy and of four connections would hold all of it.
    connections = "1" if site.proxy else "4"
    with site.fetching(out, *SLOW, "-x", connections, url) as command:
        cut(command)
        site.server.kill()
        try:
            cut_off = command.until("attempt_failed")
            site.publish("killed.bin", data)
        finally:
            site.server.back()
        finished = command.until("job_finished")
        command.ended(0)
    assert (out / "killed.bin").read_bytes() == data
    # Half of the read timeout: no connection waits for bytes that cannot come.
    assert finished["time"] - cut_off["time"] < 15
    if site.name not in NO_RANGES and not other:
        assert finished["received"] < HUGE + CUT


@pytest.mark.parametrize(
    ("size", "date"),
    [
        pytest.param(LARGE, NEW, id="same size"),
        pytest.param(LARGE, OLD, id="same size and date"),
        pytest.param(LARGE + CUT, NEW, id="longer"),
        pytest.param(CUT // 4, NEW, id="shorter"),
    ],
)
def test_replaced_between_two_runs(site: Site, out: Path, size: int, date: int) -> None:
    url = site.publish("replaced.bin", content("first", LARGE))
    stop(site, out, url)
    data = content("second", size)
    site.publish("replaced.bin", data, date)
    site.fetch(out, url)
    assert (out / "replaced.bin").read_bytes() == data
    assert names(out) == ["replaced.bin"]


def test_a_server_that_compresses(site: Site, out: Path) -> None:
    text = "".join(f"{number} lines of text\n" for number in range(20_000)).encode()
    url = site.publish("text.txt", text)
    site.fetch(out / "plain", url)
    assert (out / "plain/text.txt").read_bytes() == text
    coding = httpx.get(url, headers=dict([GZIP]), trust_env=False).headers.get("Content-Encoding")
    assert (coding == "gzip") is (site.name not in NO_RANGES)
    site.fetch(out / "coded", url, headers=(GZIP,))
    assert (out / "coded/text.txt").read_bytes() == text


def test_a_compressed_file_stays_compressed(site: Site, out: Path) -> None:
    data = gzip.compress(content("inner", 50_000), mtime=0)
    url = site.publish("inner.tar.gz", data)
    site.fetch(out / "plain", url)
    site.fetch(out / "coded", url, headers=(GZIP,))
    assert (out / "plain/inner.tar.gz").read_bytes() == data
    assert (out / "coded/inner.tar.gz").read_bytes() == data


@pytest.mark.parametrize("site", SERVERS, indirect=True)
@pytest.mark.parametrize("proxy", PROXIES)
def test_through_each_proxy(site: Site, out: Path, proxy: str) -> None:
    data = content("through", 100_000)
    url = site.publish("through.bin", data)
    with PROXIES[proxy](site.server) as started:
        site.fetch(out, url, proxy=started.url(""))
    assert (out / "through.bin").read_bytes() == data
