"""The Downloader without an event loop: in scripts, threads, and beside other programs' loops."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import fetchq

from .conftest import clean_env, run, until
from .origin import Origin, generated, hang, latency, status, throttle

SMALL, LARGE = generated(10_000), generated(3_000_000)


def ours() -> list[str]:
    """The threads of any Downloader; one has no more to do before it leaves."""
    return [each.name for each in threading.enumerate() if each.name.startswith("fetchq")]


def test_a_script_needs_no_loop(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", SMALL) for number in range(200)]
    gone = origin.serve("/gone", SMALL, status(404), repeat=True)
    started: list[fetchq.RunStarted] = []

    def observer(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.RunStarted):
            started.append(event)

    with fetchq.Downloader(dir=tmp_path, jobs=4, observers=[observer]) as downloader:
        results = list(downloader.run_sync([*urls, gone]))
        again = downloader.fetch_sync(urls[0], tmp_path / "again")
        with pytest.raises(fetchq.StatusError):
            downloader.fetch_sync(gone)
    assert sorted(result.job.url for result in results if result.ok) == sorted(urls)
    assert [result.job.url for result in results if not result.ok] == [gone]
    assert again.size == SMALL.size
    assert [event.jobs for event in started] == [201]
    until(lambda: not ours())


def test_jobs_are_read_in_the_callers_thread_and_lazily(origin: Origin, tmp_path: Path) -> None:
    rows = sqlite3.connect(":memory:")
    rows.execute("create table jobs (url text)")
    rows.executemany("insert into jobs values (?)", [(origin.serve(f"/{n}", SMALL),) for n in range(300)])
    read = []

    def jobs() -> Iterator[str]:
        # sqlite3 refuses to be read in another thread.
        for (url,) in rows.execute("select url from jobs"):
            read.append(url)
            yield url

    settings = fetchq.Settings(queue=fetchq.Queue(jobs=2, lookahead=10))
    with fetchq.Downloader(settings, dir=tmp_path) as downloader:
        results = downloader.run_sync(jobs())
        next(results)
        assert len(read) < 200
        assert len(list(results)) == 299
    rows.close()


def test_what_the_callers_iterator_raises_comes_out(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", LARGE, throttle(1e6))

    def jobs() -> Iterator[str]:
        yield url
        raise ZeroDivisionError

    with fetchq.Downloader(dir=tmp_path) as downloader:
        with pytest.raises(ZeroDivisionError):
            list(downloader.run_sync(jobs()))
        assert downloader.fetch_sync(url).ok


def test_a_loop_that_is_left_is_stopped_and_saved(origin: Origin, tmp_path: Path) -> None:
    fast, slow = origin.serve("/fast", SMALL), origin.serve("/slow", LARGE, latency(0.1), throttle(1e6))
    with fetchq.Downloader(dir=tmp_path, connections=1) as downloader:
        for result in downloader.run_sync([fast, slow]):
            assert result.job.url == fast
            break
        assert {result.status for result in downloader.run_sync([fast, slow])} <= {"skipped", "done", "resumed"}
    assert sorted(os.listdir(tmp_path)) == ["fast", "slow"]


def test_several_threads_share_one(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", SMALL, latency(0.02)) for number in range(40)]
    with fetchq.Downloader(dir=tmp_path, jobs=3) as downloader, ThreadPoolExecutor(8) as pool:
        singles = list(pool.map(downloader.fetch_sync, urls[:20]))
        runs = list(pool.map(lambda part: list(downloader.run_sync(part)), [urls[20:30], urls[30:]]))
    assert len(singles) + sum(map(len, runs)) == 40
    assert origin.peak == 3


def test_a_thread_may_use_one_that_a_loop_has_open(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", SMALL) for number in range(4)]

    async def work() -> tuple[list[fetchq.Result], fetchq.Result]:
        async with fetchq.Downloader(dir=tmp_path) as downloader:
            listed = asyncio.to_thread(lambda: list(downloader.run_sync(urls[:3])))
            return await listed, await asyncio.to_thread(downloader.fetch_sync, urls[3])

    results, single = run(work())
    assert all(result.ok for result in [*results, single])


def test_in_a_loop_that_runs_it_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        downloader = fetchq.Downloader(dir=tmp_path)
        with pytest.raises(fetchq.UsageError, match="use `async with"), downloader:
            pass
        async with downloader:
            with pytest.raises(fetchq.UsageError, match="use `async for"):
                downloader.run_sync([])
            with pytest.raises(fetchq.UsageError, match="use `await"):
                downloader.fetch_sync("http://127.0.0.1:9/a")

    run(work())


def test_outside_with_it_is_refused(tmp_path: Path) -> None:
    downloader = fetchq.Downloader(dir=tmp_path)
    with pytest.raises(fetchq.UsageError, match="works inside `with"):
        downloader.run_sync([])
    with pytest.raises(fetchq.UsageError, match="works inside `with"):
        downloader.fetch_sync("http://127.0.0.1:9/a")


@pytest.mark.parametrize("jobs", ["http://127.0.0.1:9/a", 7, [7]])
def test_a_queue_of_something_else_is_refused(jobs: Any, tmp_path: Path) -> None:
    with (
        fetchq.Downloader(dir=tmp_path) as downloader,
        pytest.raises(fetchq.UsageError, match=r"jobs must be|A queue holds"),
    ):
        list(downloader.run_sync(jobs))


def test_stop_may_come_from_another_thread(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", LARGE, hang)
    with fetchq.Downloader(dir=tmp_path) as downloader:
        threading.Timer(0.3, downloader.stop).start()
        assert list(downloader.run_sync([url])) == []
        threading.Timer(0.3, downloader.stop).start()
        origin.serve("/a", LARGE, hang)
        with pytest.raises(fetchq.StoppedError):
            downloader.fetch_sync(url)
        assert downloader.fetch_sync(url).ok


def test_it_may_be_nested_and_opened_again(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", SMALL)
    downloader = fetchq.Downloader(dir=tmp_path)
    for _ in range(2):
        with downloader:
            with downloader:
                pass
            assert downloader.fetch_sync(url).ok
    until(lambda: not ours())


def test_settings_that_cannot_be_applied_leave_no_thread(tmp_path: Path) -> None:
    settings = fetchq.Settings(network=fetchq.Network(cacert=tmp_path / "missing.pem"))
    with pytest.raises(fetchq.UsageError), fetchq.Downloader(settings):
        pass
    until(lambda: not ours())


def test_threads_that_open_one_at_once_share_it(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", SMALL)
    downloader = fetchq.Downloader(dir=tmp_path, jobs=2)
    together = threading.Barrier(8)

    def work(number: int) -> int:
        together.wait()
        with downloader:
            return downloader.fetch_sync(url, tmp_path / str(number)).size

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [SMALL.size] * 8
    until(lambda: not ours())


FORKED = """
import os, sys, fetchq
with fetchq.Downloader(dir=sys.argv[2]) as downloader:
    downloader.fetch_sync(sys.argv[1])
    child = os.fork()
    if not child:
        try:
            downloader.fetch_sync(sys.argv[1])
        except fetchq.UsageError as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_a_forked_process_is_told_and_does_not_hang(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", SMALL)
    words = [sys.executable, "-W", "ignore", "-c", FORKED, url, str(tmp_path)]
    done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=30, check=True)
    assert "opened in another process" in done.stdout


UNCLOSED = """
import asyncio, sys, fetchq
downloader = fetchq.Downloader(dir=sys.argv[2])
for name in "abc":
    print(asyncio.run(downloader.fetch(sys.argv[1], name)).status)
asyncio.run(downloader.aclose())
"""


def test_one_that_was_not_closed_can_be_used_in_the_next_loop(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", SMALL)
    words = [sys.executable, "-W", "ignore", "-c", UNCLOSED, url, str(tmp_path)]
    done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["done"] * 3
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
