"""Short work on a quick disk stays in the loop's own thread; a slow disk is left to the others."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from fetchq._disk import Files
from fetchq._disk._parts import SHORT
from fetchq._disk._threads import REST_SECONDS, SLOW_SECONDS, SMOOTH, Threads
from fetchq._settings import Disk

from .rig import Clock, disk, names, opened, put, run


def quick(threads: Threads) -> bool:
    return threads.needless


def test_a_disk_counts_as_slow_once_it_usually_is_and_is_tried_again_later() -> None:
    clock = Clock()
    threads = Threads(1, clock)

    def call(seconds: float) -> None:
        clock.now += seconds

    for _ in range(10 * SMOOTH):
        threads.run_here(call, SLOW_SECONDS / 2)
    assert quick(threads)
    threads.run_here(call, SLOW_SECONDS * SMOOTH / 3)  # interrupted once
    assert quick(threads)
    for _ in range(SMOOTH):
        threads.run_here(call, SLOW_SECONDS * 2)
    assert not quick(threads)
    clock.now += REST_SECONDS
    assert quick(threads)
    threads.run_here(call, SLOW_SECONDS / 2)
    assert quick(threads)


def test_one_call_that_hangs_is_enough() -> None:
    clock = Clock()
    threads = Threads(1, clock)

    def hang() -> None:
        clock.now += 0.2
        raise OSError("and fails")

    with pytest.raises(OSError, match="fails"):
        threads.run_here(hang)
    assert not quick(threads)


class Slow(Files):
    """A file system whose every write takes a while by the test's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def pwritev(self, *words: object) -> int:
        self._clock.now += 0.1
        return super().pwritev(*words)  # type: ignore[arg-type]  # handed on as they come


@pytest.mark.parametrize(
    ("size", "settings", "slow", "here"),
    [
        (SHORT, disk(), False, [True, True]),
        (SHORT + 1, disk(), False, [False, False]),
        (10, disk(fsync=True), False, [False, False]),
        (10, disk(), True, [True, False]),
    ],
)
def test_where_a_whole_body_is_brought_to_disk(
    tmp_path: Path, size: int, settings: Disk, slow: bool, here: list[bool]
) -> None:
    clock = Clock()
    seen: list[bool] = []

    def note(digests: Mapping[str, str]) -> None:
        seen.append(threading.current_thread() is threading.main_thread())

    async def work() -> None:
        async with opened(settings, clock=clock, files=Slow(clock) if slow else None) as parts:
            for name in "ab":
                await put(parts, tmp_path, b"x" * size, name, check=note)

    run(work())
    assert seen == here
    assert names(tmp_path) == {"a", "b"}
