"""Ten requests one after another beside ten at once: ``python -m tests.bench.latency``.

The server answers after 100 ms. httpx's clients are beside fetchq's functions; fetchq writes a file each, and
httpx keeps the bytes in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx

import fetchq
from tests.origin import Origin, generated, latency

REQUESTS = 10
SECONDS = 0.1
FILE = generated(10_240)


class Way(NamedTuple):
    """One way to make the requests; *work* gets URLs and a folder, and returns the bytes that it got."""

    name: str
    work: Callable[[list[str], Path], int]


def httpx_in_turn(urls: list[str], folder: Path) -> int:
    with httpx.Client() as client:
        return sum(len(client.get(url).content) for url in urls)


def httpx_at_once(urls: list[str], folder: Path) -> int:
    async def work() -> int:
        async with httpx.AsyncClient() as client:
            return sum(len(answer.content) for answer in await asyncio.gather(*map(client.get, urls)))

    return asyncio.run(work())


def fetchq_in_turn(urls: list[str], folder: Path) -> int:
    with fetchq.Downloader(dir=folder) as downloader:
        return sum(downloader.fetch_sync(url).size for url in urls)


def fetchq_at_once(urls: list[str], folder: Path) -> int:
    async def work() -> int:
        async with fetchq.Downloader(dir=folder, jobs=REQUESTS) as downloader:
            return sum(result.size for result in await asyncio.gather(*map(downloader.fetch, urls)))

    return asyncio.run(work())


def fetchq_queue(urls: list[str], folder: Path) -> int:
    with fetchq.Downloader(dir=folder, jobs=REQUESTS) as downloader:
        return sum(result.size for result in downloader.run_sync(urls))


WAYS = (
    Way("`httpx.Client`, in turn", httpx_in_turn),
    Way("`httpx.AsyncClient`, at once", httpx_at_once),
    Way("`fetchq`, in turn: `fetch_sync()`", fetchq_in_turn),
    Way("`fetchq`, at once: `gather()` of `fetch()`", fetchq_at_once),
    Way("`fetchq`, at once: `run_sync()`", fetchq_queue),
)


def measured(rounds: int, requests: int = REQUESTS, seconds: float = SECONDS) -> dict[str, float]:
    """Return the median seconds of each way, measured in interleaved rounds."""
    spent: dict[str, list[float]] = {way.name: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
            with Origin() as origin, tempfile.TemporaryDirectory() as folder:
                urls = [
                    origin.serve(f"/{each}.bin", FILE, latency(seconds), repeat=True)
                    for each in range(requests)
                ]
                began = time.perf_counter()
                got = way.work(urls, Path(folder))
                spent[way.name].append(time.perf_counter() - began)
                if got != requests * FILE.size:
                    raise SystemExit(f"{way.name} got {got} bytes")
    return {name: statistics.median(each) for name, each in spent.items()}


def table(seconds: dict[str, float]) -> str:
    """Write the medians as Markdown."""
    lines = [f"| {REQUESTS} requests, {SECONDS * 1000:.0f} ms latency | seconds |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {median:.2f} |" for name, median in seconds.items())])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of which the medians are shown")
    print(table(measured(parser.parse_args(argv).rounds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
