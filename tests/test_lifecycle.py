"""What a Downloader leaves behind: no connection, task, thread of its own or open file, however a job ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import fetchq
from fetchq._settings import Network, Queue, Retry, Settings

from .conftest import RunFetchq, run, until
from .origin import Answer, Behaviour, Origin, drop, generated, hang, stall, status, together, well

FILE = generated(300_000)
Flow = AsyncGenerator[httpx.Request, httpx.Response]


def held() -> tuple[int, int, int]:
    """Open files and sockets, tasks of the loop, and threads of this process."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), threading.active_count()


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize(
    ("behaviour", "ending"),
    [
        (well, "end"),
        (status(404), "end"),
        (drop(after=0), "end"),
        (hang, "timeout"),
        (stall(after=100_000), "timeout"),
        (hang, "deadline"),
        (stall(after=100_000), "deadline"),
        (hang, "cancel"),
        (stall(after=100_000), "cancel"),
        (stall(after=100_000), "break"),
    ],
    ids=["file", "404", "dropped", "hang", "stall", "late head", "late body", "cancel", "cancel body", "break"],
)
def test_nothing_is_left_open(
    origin: Origin, tmp_path: Path, behaviour: Behaviour, ending: str, connections: int
) -> None:
    jobs = [fetchq.Job(origin.serve(f"/{number}", FILE, behaviour, repeat=True)) for number in range(6)]
    if ending == "break":
        jobs.insert(0, fetchq.Job(origin.serve("/first", b"x")))
    settings = Settings(
        network=Network(env=False, read_timeout=0.3 if ending == "timeout" else 20),
        retry=Retry(retries=0, patience=0, deadline=0.3 if ending == "deadline" else None),
        queue=Queue(jobs=4, connections=connections),
    )

    async def work() -> None:
        async with (
            fetchq.Downloader(settings, dir=tmp_path) as downloader,
            contextlib.aclosing(downloader.run(jobs)) as results,
        ):
            async for _ in results:
                if ending == "break":
                    break

    async def main() -> None:
        # The loop's default executor is no Downloader's: it resolves names and the like.
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(64)))
        before = held()
        await (work_and_cancel() if ending == "cancel" else work())
        # Sockets are closed by callbacks of the loop, and the executor's threads end by themselves.
        for _ in range(200):
            if held() <= before:
                break
            await asyncio.sleep(0.01)
        assert held() <= before

    async def work_and_cancel() -> None:
        task = asyncio.create_task(work())
        await asyncio.to_thread(until, lambda: len(origin.requests) >= 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


class Refreshing(httpx.Auth):
    """A token that is fetched first, and again when the server no longer takes it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._token = ""
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> Flow:
        used = self._token
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code != 401:
            return
        async with self._lock:
            if self._token == used:
                answer = yield httpx.Request("POST", self._url, content=b"grant")
                self._token = (await answer.aread()).decode()
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def expiring(uses: int, issued: Callable[[], int]) -> Behaviour:
    """Answers 401 unless the newest token comes; each token is good for so many answers."""
    used: dict[str, int] = {}

    def apply(answer: Answer) -> None:
        token = answer.request.headers.get("authorization", "")
        used[token] = used.get(token, 0) + 1
        if token != f"Bearer t{issued()}" or used[token] > uses:
            answer.say(401, b"expired")

    return apply


def test_a_token_is_refreshed_in_the_middle_of_a_queue(origin: Origin, tmp_path: Path) -> None:
    def issue(answer: Answer) -> None:
        answer.say(200, f"t{answer.turn}".encode())

    token = origin.serve("/token", b"", issue, repeat=True)
    guard = expiring(10, lambda: len(origin.asked("/token")))
    urls = [origin.serve(f"/{number}.bin", generated(1000), guard, repeat=True) for number in range(40)]

    async def main() -> list[fetchq.Result]:
        settings = Settings(network=Network(env=False))
        async with fetchq.Downloader(settings, dir=tmp_path, jobs=1, auth=Refreshing(token)) as downloader:
            return [result async for result in downloader.run(urls)]

    results = run(main())
    assert [result.error for result in results] == [None] * 40
    assert len(origin.asked("/token")) == 4
    assert all("authorization" not in request.headers for request in origin.asked("/token"))


@pytest.mark.parametrize(("network", "most"), [({}, 2), ({"keepalive_connections": 0}, 12)])
def test_connections_are_kept_for_the_next_job_within_a_bound(
    origin: Origin, tmp_path: Path, network: dict[str, Any], most: int
) -> None:
    urls = [origin.serve(f"/{number}", b"x", together(well), repeat=True) for number in range(12)]

    async def main() -> None:
        settings = Settings(network=Network(env=False, **network))
        async with fetchq.Downloader(settings, dir=tmp_path, jobs=2) as downloader:
            assert all([result.ok async for result in downloader.run(urls)])

    run(main())
    assert origin.connections == most if network else origin.connections <= most


@pytest.mark.parametrize(
    ("words", "connections"), [((), 1), (("--keep-alive", "0"), 3), (("--keep-alive-expiry", "0.001"), 3)]
)
def test_the_command_says_how_many_connections_are_kept_and_how_long(
    origin: Origin, run_fetchq: RunFetchq, words: tuple[str, ...], connections: int
) -> None:
    urls = [origin.serve(f"/{number}", b"x") for number in range(3)]
    assert run_fetchq(*words, "-j", "1", "--wait", "0.02", *urls).returncode == 0
    assert origin.connections == connections
