"""One Downloader for many: coroutines, runs beside each other, loops that are left, and its own life."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import psutil
import pytest

import fetchq

from .conftest import run, until
from .origin import Origin, generated, hang, latency, stall, status, throttle

SMALL, LARGE = generated(10_000), generated(3_000_000)


def test_many_coroutines_share_one_budget(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", SMALL, latency(0.02)) for number in range(60)]

    async def work() -> list[fetchq.Result]:
        async with fetchq.Downloader(dir=tmp_path, jobs=3) as downloader:
            queue = [result async for result in downloader.run(urls[:5])]

            async def drain(part: list[str]) -> list[fetchq.Result]:
                return [result async for result in downloader.run(part)]

            singles = asyncio.gather(*map(downloader.fetch, urls[5:30]))
            first, second = await asyncio.gather(drain(urls[30:45]), drain(urls[45:]))
            return [*queue, *first, *second, *await singles]

    results = run(work())
    assert sorted(result.job.url for result in results) == sorted(urls)
    assert all(result.ok for result in results)
    assert origin.peak == 3
    assert len(list(tmp_path.iterdir())) == 60


def test_a_single_download_does_not_wait_for_a_whole_queue(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", SMALL, latency(0.02)) for number in range(50)]
    wanted = origin.serve("/wanted", SMALL)

    async def work() -> int:
        async with fetchq.Downloader(dir=tmp_path, jobs=2) as downloader:
            results = downloader.run(urls)
            await anext(results)
            await downloader.fetch(wanted)
            done = len(os.listdir(tmp_path)) - 1
            await results.aclose()
            return done

    assert run(work()) < 10


def test_numbers_of_jobs_differ_among_all_that_runs(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", SMALL) for number in range(6)]
    events: list[fetchq.Event] = []

    async def work() -> None:
        async with fetchq.Downloader(dir=tmp_path, observers=[events.append]) as downloader:
            await asyncio.gather(*map(downloader.fetch, urls[:3]))
            async for _ in downloader.run(urls[3:]):
                pass

    run(work())
    assert sorted(event.number for event in events if isinstance(event, fetchq.JobFinished)) == list(
        range(1, 7)
    )
    assert [type(event) for event in events if isinstance(event, fetchq.RunFinished)] == [fetchq.RunFinished]


def test_what_fails_is_raised_and_the_others_go_on(origin: Origin, tmp_path: Path) -> None:
    gone, good = origin.serve("/gone", SMALL, status(404)), origin.serve("/good", SMALL)

    async def work() -> list[fetchq.Result | BaseException]:
        async with fetchq.Downloader(dir=tmp_path) as downloader:
            return await asyncio.gather(*map(downloader.fetch, [gone, good]), return_exceptions=True)

    refused, done = run(work())
    assert isinstance(refused, fetchq.StatusError)
    assert isinstance(done, fetchq.Result)
    assert done.size == SMALL.size


def test_retries_of_a_single_download_hold_no_connection(origin: Origin, tmp_path: Path) -> None:
    busy = origin.serve("/busy", SMALL, status(503, retry_after=1))

    async def work(other: str) -> tuple[bool, fetchq.Result]:
        async with fetchq.Downloader(dir=tmp_path, jobs=1) as downloader:
            waiting = asyncio.create_task(downloader.fetch(busy))
            await asyncio.to_thread(until, lambda: bool(origin.asked("/busy")))
            await downloader.fetch(other)
            early = not waiting.done()
            return early, await waiting

    with Origin() as elsewhere:
        early, result = run(work(elsewhere.serve("/other", SMALL)))
    assert early
    assert result.attempts == 2


def test_a_loop_that_is_left_can_be_begun_again(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve("/fast", SMALL), *(origin.serve(f"/{name}", LARGE, throttle(1e6)) for name in "ab")]

    async def work() -> tuple[list[fetchq.Result], set[str]]:
        async with fetchq.Downloader(dir=tmp_path, connections=1) as downloader:
            async for result in downloader.run(urls):
                assert result.job.url == urls[0]
                break
            left = set(os.listdir(tmp_path))
            return [result async for result in downloader.run(urls)], left

    results, left = run(work())
    assert "a" not in left
    assert all(result.ok for result in results)
    assert (tmp_path / "a").read_bytes() == LARGE.content.read(0, LARGE.size)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "fast"]


def test_a_run_that_is_left_is_announced_as_ended(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve("/fast", SMALL), origin.serve("/slow", LARGE, throttle(1e5))]
    ended: list[fetchq.RunFinished] = []

    def observer(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.RunFinished):
            ended.append(event)

    async def work() -> None:
        async with fetchq.Downloader(dir=tmp_path, observers=[observer]) as downloader:
            async for _ in downloader.run(urls):
                break

    run(work())
    assert [(event.done, event.left, event.stopped) for event in ended] == [(1, 1, True)]


def test_a_cancelled_download_is_saved_and_goes_on(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", LARGE, stall(after=2_000_000))

    async def work() -> fetchq.Result:
        async with fetchq.Downloader(dir=tmp_path, connections=1) as downloader:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await downloader.fetch(url)
            return await downloader.fetch(url)

    result = run(work())
    assert result.status == "resumed"
    assert result.received < 1_100_000


@pytest.mark.parametrize("waits", ["for the server", "for its turn", "for the next attempt"])
def test_stop_ends_single_downloads(waits: str, origin: Origin, tmp_path: Path) -> None:
    behaviour = status(503, retry_after=2) if waits == "for the next attempt" else hang
    url, other = origin.serve("/a", SMALL, behaviour), origin.serve("/b", SMALL, hang)

    async def work() -> tuple[object, fetchq.Result]:
        async with fetchq.Downloader(dir=tmp_path, jobs=1) as downloader:
            tasks = [asyncio.create_task(downloader.fetch(each)) for each in (url, other)]
            await asyncio.to_thread(until, lambda: bool(origin.asked("/a")))
            await asyncio.sleep(0.05)
            downloader.stop()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            origin.serve("/a", SMALL)
            return ended[waits == "for its turn"], await downloader.fetch(url)

    ended, result = run(work())
    assert isinstance(ended, fetchq.StoppedError)
    assert result.ok


def test_an_observer_that_raises_ends_only_what_it_saw(origin: Origin, tmp_path: Path) -> None:
    bad, good = origin.serve("/bad", SMALL), origin.serve("/good", LARGE, throttle(3e6))

    def observer(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.JobStarted) and event.url == bad:
            raise ZeroDivisionError

    async def work() -> Sequence[fetchq.Result | BaseException]:
        async with fetchq.Downloader(dir=tmp_path, observers=[observer]) as downloader:
            return await asyncio.gather(downloader.fetch(good), downloader.fetch(bad), return_exceptions=True)

    done, failed = run(work())
    assert isinstance(done, fetchq.Result)
    assert isinstance(failed, ZeroDivisionError)


def test_an_open_downloader_belongs_to_its_loop(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", SMALL)
    downloader = fetchq.Downloader(dir=tmp_path)

    async def elsewhere() -> None:
        with pytest.raises(fetchq.UsageError, match="another event loop"):
            await downloader.fetch(url)

    async def work() -> None:
        async with downloader:
            await downloader.fetch(url)
            await asyncio.to_thread(asyncio.run, elsewhere())
        # Closed, it can be opened in any loop.

    run(work())
    run(work())


# What ends a download: the caller's timeout, a failure, a stop, an exception, a result.


async def finishes(downloader: fetchq.Downloader, origin: Origin) -> None:
    await downloader.fetch(origin.serve("/a", LARGE))


async def fails(downloader: fetchq.Downloader, origin: Origin) -> None:
    with pytest.raises(fetchq.NetworkError):
        await downloader.fetch(origin.serve("/a", LARGE, hang, repeat=True))


async def is_cancelled(downloader: fetchq.Downloader, origin: Origin) -> None:
    url = origin.serve("/a", LARGE, throttle(1e6), repeat=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await downloader.fetch(url)


async def is_stopped(downloader: fetchq.Downloader, origin: Origin) -> None:
    url = origin.serve("/a", LARGE, throttle(1e6), repeat=True)
    asyncio.get_running_loop().call_later(0.3, downloader.stop)
    assert [result async for result in downloader.run([url])] == []


async def is_left(downloader: fetchq.Downloader, origin: Origin) -> None:
    slow = origin.serve("/a", LARGE, throttle(1e6), repeat=True)
    async for _ in downloader.run([origin.serve("/b", SMALL), slow]):
        break


async def is_closed_early(downloader: fetchq.Downloader, origin: Origin) -> None:
    slow = origin.serve("/a", LARGE, throttle(1e6), repeat=True)
    results = downloader.run([origin.serve("/b", SMALL), slow])
    single = asyncio.create_task(downloader.fetch(origin.serve("/c", SMALL, hang)))
    await anext(results)
    await asyncio.gather(downloader.aclose(), downloader.aclose())
    with pytest.raises(fetchq.StoppedError):
        await single
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def has_a_bug(downloader: fetchq.Downloader, origin: Origin) -> None:
    def jobs() -> list[str]:
        return [origin.serve("/a", LARGE, throttle(1e6)), 7]  # type: ignore[list-item] # the bug

    with pytest.raises(fetchq.UsageError, match="not int"):
        assert [result async for result in downloader.run(iter(jobs()))] == []


async def leaves_a_stream(downloader: fetchq.Downloader, origin: Origin) -> None:
    async with downloader.stream(origin.serve("/a", LARGE, throttle(1e6), repeat=True)) as chunks:
        async for _ in chunks:
            break


async def forgets_a_stream(downloader: fetchq.Downloader, origin: Origin) -> None:
    stream = downloader.stream(origin.serve("/a", LARGE, throttle(1e6), repeat=True))
    await stream.__aenter__()
    await anext(stream)
    await downloader.aclose()


ENDS = [
    leaves_a_stream,
    forgets_a_stream,
    finishes,
    fails,
    is_cancelled,
    is_stopped,
    is_left,
    is_closed_early,
    has_a_bug,
]


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left(
    end: Callable[[fetchq.Downloader, Origin], Awaitable[None]], by_hand: bool, origin: Origin, tmp_path: Path
) -> None:
    settings = fetchq.Settings(
        network=fetchq.Network(read_timeout=0.2), retry=fetchq.Retry(retries=2, backoff=0.01)
    )
    process = psutil.Process()
    # Some of these may be leaving: they are of the tests before.
    others = set(threading.enumerate())

    def held() -> list[str]:
        names = [file.path for file in process.open_files() if file.path.startswith(str(tmp_path))]
        sockets = [str(c) for c in process.net_connections("inet") if c.raddr[1:] == (origin.port,)]
        # Those named after asyncio are the loop's own, and end with it.
        threads = [each.name for each in set(threading.enumerate()) - others if each.name[:8] != "asyncio_"]
        return names + sockets + threads

    async def work() -> None:
        downloader = fetchq.Downloader(settings, dir=tmp_path, store=tmp_path / "store.db", connections=1)
        if by_hand:
            await end(downloader, origin)
            await downloader.aclose()
            await downloader.aclose()
        else:
            async with downloader, downloader:
                await end(downloader, origin)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert not tasks
        for _ in range(1000):
            # A thread has no more to do, and may not have left yet; httpx's sockets close in the next turns.
            if not held():
                break
            await asyncio.sleep(0.01)
        assert held() == []

    run(work())
    gc.collect()
