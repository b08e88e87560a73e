"""Short work on a quick disk stays in the loop's own thread; a slow disk is left to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from fetchq._disk import Files
from fetchq._disk.parts import SHORT
from fetchq._disk.threads import MOST_SHORT, REST_SECONDS, SLOW_SECONDS, SMOOTH, Threads
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
        threads._timed(partial(call, SLOW_SECONDS / 2))
    assert quick(threads)
    threads._timed(partial(call, SLOW_SECONDS * SMOOTH / 3))  # interrupted once
    assert quick(threads)
    for _ in range(SMOOTH):
        threads._timed(partial(call, SLOW_SECONDS * 2))
    assert not quick(threads)
    clock.now += REST_SECONDS
    assert quick(threads)
    threads._timed(partial(call, SLOW_SECONDS / 2))
    assert quick(threads)


def test_one_call_that_hangs_is_enough() -> None:
    clock = Clock()
    threads = Threads(1, clock)

    def hang() -> None:
        clock.now += 0.2
        raise OSError("and fails")

    with pytest.raises(OSError, match="fails"):
        threads._timed(hang)
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


def test_short_calls_wait_until_the_network_has_been_fed() -> None:
    order: list[str] = []

    async def work() -> None:
        threads = Threads(1, Clock())

        async def feed(name: str) -> None:
            order.append(f"sent {name}")

        async def fetch(name: str) -> None:
            feeding.append(asyncio.create_task(feed(name)))
            await threads.run_short(order.append, f"wrote {name}")

        feeding: list[asyncio.Task[None]] = []
        await asyncio.gather(fetch("a"), fetch("b"), fetch("c"))
        await threads.aclose()

    run(work())
    assert order == ["sent a", "sent b", "sent c", "wrote a", "wrote b", "wrote c"]


def test_many_short_calls_leave_the_loop_its_turns() -> None:
    made: list[int] = []
    seen: list[int] = []

    async def work() -> None:
        threads = Threads(1, Clock())
        calls = [asyncio.create_task(threads.run_short(made.append, n)) for n in range(3 * MOST_SHORT)]
        while len(made) < len(calls):
            await asyncio.sleep(0)
            seen.append(len(made))
        await asyncio.gather(*calls)
        await threads.aclose()

    run(work())
    assert made == list(range(3 * MOST_SHORT))
    assert {MOST_SHORT, 2 * MOST_SHORT} <= set(seen)


def test_a_short_call_that_nobody_waits_for_any_more_is_not_made() -> None:
    made: list[str] = []

    async def work() -> None:
        threads = Threads(1, Clock())
        call = asyncio.create_task(threads.run_short(made.append, "given up"))
        await asyncio.sleep(0)
        call.cancel()
        await threads.run_short(made.append, "wanted")
        await threads.aclose()

    run(work())
    assert made == ["wanted"]


def test_the_first_slow_call_sends_those_behind_it_to_threads() -> None:
    clock = Clock()
    here: list[bool] = []

    def hang() -> None:
        here.append(threading.current_thread() is threading.main_thread())
        clock.now += 0.2

    async def work() -> None:
        threads = Threads(1, clock)
        await asyncio.gather(*(threads.run_short(hang) for _ in range(4)))
        await threads.aclose()

    run(work())
    assert here == [True, False, False, False]
