"""The token bucket, on a clock of our own."""

from __future__ import annotations

import pytest

from fetchq._throttle import Bucket, buffer_for


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
    bucket = Bucket(1_000, burst=0.1)
    bucket.take(100, 0.0)
    assert bucket.take(1_100, 3_600.0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("rate", "connections", "size"),
    [(None, 8, 1 << 20), (1e9, 1, 1 << 20), (100_000, 1, 16 * 1024), (10_000_000, 10, 100_000)],
)
def test_a_read_is_a_tenth_of_a_seconds_worth(rate: float | None, connections: int, size: int) -> None:
    assert buffer_for(rate, connections, 1 << 20) == size
