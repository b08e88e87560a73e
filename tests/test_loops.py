"""fetchq in other programs' event loops: uvloop, and loops that are not asyncio's."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

import fetchq

from .origin import Behaviour, Origin, drop, generated, hang, stall, status, throttle

T = TypeVar("T")
FILE = generated(3_000_000)


def in_uvloop(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def secure(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "behaviours",
    [
        pytest.param((), id="plain"),
        pytest.param((drop(after=1_000_000),), id="broken off"),
        pytest.param((stall(after=1_000_000), stall(after=500_000)), id="stalled"),
        pytest.param((hang,), id="no answer"),
        pytest.param((status(503, retry_after=0),), id="busy"),
        pytest.param((throttle(2e6),), id="split"),
    ],
)
def test_a_file_comes_under_uvloop(
    behaviours: tuple[Behaviour, ...], tls: bool, authority: Path, tmp_path: Path
) -> None:
    settings = fetchq.Settings(
        network=fetchq.Network(read_timeout=0.3, cacert=authority / "ca.pem"),
        retry=fetchq.Retry(backoff=0.01),
    )
    with Origin(secure(authority) if tls else None) as origin:
        url = origin.serve("/a.bin", FILE, *behaviours)
        result = in_uvloop(fetchq.adownload(url, dir=tmp_path, settings=settings))
        asked = origin.ranges("/a.bin")
    assert result.path is not None
    assert result.path.read_bytes() == FILE.content.read(0, FILE.size)
    assert len(asked) > len(behaviours)


def test_a_queue_ends_under_uvloop(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", generated(10_000 + number)) for number in range(100)]

    async def work() -> list[int]:
        async with fetchq.Downloader(dir=tmp_path, store=tmp_path / "store.db") as downloader:
            return [result.size async for result in downloader.run(urls)]

    assert sorted(in_uvloop(work())) == [10_000 + number for number in range(100)]


def test_one_downloader_serves_many_under_uvloop(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", FILE, drop(after=1_000_000)) for number in range(6)]

    async def work() -> list[int]:
        async with fetchq.Downloader(dir=tmp_path, jobs=3) as downloader:
            sizes = [result.size for result in await asyncio.gather(*map(downloader.fetch, urls[:3]))]
            async for result in downloader.run(urls[3:]):
                sizes.append(result.size)
                break
            async with downloader.stream(urls[4]) as chunks:
                sizes.append(sum([len(chunk) async for chunk in chunks]))
            return sizes

    assert in_uvloop(work()) == [FILE.size] * 5


def test_a_run_stopped_under_uvloop_is_resumed(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", FILE, stall(after=2_000_000))

    async def stopped() -> None:
        def stop(event: fetchq.Event) -> None:
            if isinstance(event, fetchq.Progressed) and event.have >= 1_000_000:
                downloader.stop()

        async with fetchq.Downloader(dir=tmp_path, connections=1, observers=[stop]) as downloader:
            assert [result async for result in downloader.run([url])] == []

    in_uvloop(stopped())
    result = in_uvloop(fetchq.adownload(url, dir=tmp_path))
    assert result.status == "resumed"
    assert result.received < FILE.size - 900_000


def test_a_loop_that_is_not_asyncios_is_refused(tmp_path: Path) -> None:
    # What trio does with a coroutine that was written for asyncio: it takes the first step.
    work = fetchq.adownload("http://127.0.0.1:9/a", dir=tmp_path)
    with pytest.raises(fetchq.UsageError, match=r"asyncio.*trio.*thread"):
        work.send(None)
