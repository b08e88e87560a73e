"""The token bucket, on a clock of our own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import fetchq
from fetchq._throttle import Bucket, buffer_for

from .conftest import run
from .origin import Origin, generated


@pytest.mark.parametrize("rate", [100_000.0, 50_000_000.0])
@pytest.mark.parametrize("size", [1_000, 65_536, 1_048_576])
def test_the_rate_holds_within_three_per_cent_over_ten_seconds(rate: float, size: int) -> None:
    bucket, now, moved = Bucket(rate), 0.0, 0
    while now < 10 or moved < 10 * size:
        moved += size
        now += bucket.take(size, now)
    assert moved / now == pytest.approx(rate, rel=0.03)


def test_several_who_share_it_share_the_rate() -> None:
    bucket, moved = Bucket(1_000_000), 0
    ready = [0.0] * 8
    while min(ready) < 10:
        who = ready.index(min(ready))
        moved += 50_000
        ready[who] += bucket.take(50_000, ready[who])
    assert moved / 10 == pytest.approx(1_000_000, rel=0.05)


def test_idleness_is_not_hoarded() -> None:
    bucket = Bucket(1_000)
    assert bucket.take(100, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(0.001)
    assert bucket.take(1_100, 3_600.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rate", "connections", "size"),
    [
        (None, 8, 1 << 20),
        (None, 16, 1 << 19),
        (None, 1000, 16 * 1024),
        (1e9, 1, 1 << 20),
        (100_000, 1, 16 * 1024),
        (10_000_000, 10, 100_000),
    ],
)
def test_a_read_is_a_tenth_of_a_seconds_worth(rate: float | None, connections: int, size: int) -> None:
    assert buffer_for(rate, connections, 1 << 20) == size


def test_many_small_files_and_a_large_one_keep_to_the_same_limit(origin: Origin, tmp_path: Path) -> None:
    """Counted in slept seconds on a clock of our own, so that nobody waits for them."""
    rate, now, slept = 100_000.0, [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds
        await asyncio.sleep(0)

    async def main() -> int:
        settings = fetchq.Settings(queue=fetchq.Queue(jobs=1, limit_rate=rate))
        async with fetchq.Downloader(settings, dir=tmp_path) as downloader:
            assert downloader._session is not None
            downloader._session.context = downloader._session.context._replace(
                sleep=sleep, clock=lambda: now[0]
            )
            urls = [origin.serve(f"/{n}", generated(10_000)) for n in range(50)]
            urls.append(origin.serve("/large", generated(500_000)))
            return sum([result.unwrap().size async for result in downloader.run(urls)])

    assert run(main()) == 1_000_000
    assert sum(slept) == pytest.approx(1_000_000 / rate, rel=0.03)
