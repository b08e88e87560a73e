"""What a Downloader leaves behind: no connection, task, thread of its own or open file, however a job ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
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


async def whole(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    async with contextlib.aclosing(downloader.run(jobs)) as results:
        async for _ in results:
            pass


async def broken_off(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    async for _ in downloader.run(jobs):
        break


async def one_by_one(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    await asyncio.gather(*map(downloader.fetch, jobs), return_exceptions=True)


async def in_memory(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    await asyncio.gather(*map(downloader.fetch_bytes, jobs), return_exceptions=True)


async def streamed(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    async def read(job: fetchq.Job) -> None:
        async with downloader.stream(job) as chunks:
            async for _ in chunks:
                pass

    await asyncio.gather(*map(read, jobs), return_exceptions=True)


async def left(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    """Leave each stream after its first bytes, and one without having closed it."""
    for job in jobs:
        async with downloader.stream(job) as chunks:
            await anext(chunks)
    await downloader.stream(jobs[0]).__aenter__()


async def in_threads(downloader: fetchq.Downloader, jobs: list[fetchq.Job]) -> None:
    def work(job: fetchq.Job) -> None:
        list(downloader.run_sync([job]))
        with contextlib.suppress(fetchq.FetchError):
            downloader.fetch_sync(job, f"again{job.out}")

    await asyncio.gather(*(asyncio.to_thread(work, job) for job in jobs))


Door = Callable[[fetchq.Downloader, list[fetchq.Job]], Awaitable[None]]
ENDINGS = {
    "file": (well, "end"),
    "404": (status(404), "end"),
    "dropped": (drop(after=0), "end"),
    "hang": (hang, "timeout"),
    "stall": (stall(after=100_000), "timeout"),
    "late head": (hang, "deadline"),
    "late body": (stall(after=100_000), "deadline"),
    "cancel": (hang, "cancel"),
    "cancel body": (stall(after=100_000), "cancel"),
    "closed meanwhile": (stall(after=100_000), "close"),
}
BROKEN_OFF = [(broken_off, "break"), (left, "break")]


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize(
    ("door", "name"),
    [
        *((door, name) for door in (whole, one_by_one, in_memory, streamed) for name in ENDINGS),
        *((in_threads, name) for name in ("file", "404", "stall", "late body")),
        *BROKEN_OFF,
    ],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_nothing_is_left_open(origin: Origin, tmp_path: Path, door: Door, name: str, connections: int) -> None:
    behaviour, ending = ENDINGS.get(name, (stall(after=100_000), "break"))
    urls = [origin.serve(f"/{number}", FILE, behaviour, repeat=True) for number in range(6)]
    if door is broken_off:
        urls.insert(0, origin.serve("/first", b"x"))
    jobs = [fetchq.Job(url, str(number)) for number, url in enumerate(urls)]
    settings = Settings(
        network=Network(env=False, read_timeout=0.3 if ending == "timeout" else 20),
        retry=Retry(retries=0, patience=0, deadline=0.3 if ending == "deadline" else None),
        queue=Queue(jobs=4, connections=connections),
    )

    async def by_hand() -> None:
        downloader = fetchq.Downloader(settings, dir=tmp_path)
        work = asyncio.ensure_future(door(downloader, jobs))
        await asyncio.to_thread(until, lambda: len(origin.requests) >= 4)
        await asyncio.gather(downloader.aclose(), downloader.aclose())
        await downloader.aclose()
        await asyncio.wait([work])
        with contextlib.suppress(fetchq.FetchError):
            work.result()

    async def work() -> None:
        async with fetchq.Downloader(settings, dir=tmp_path) as downloader:
            await door(downloader, jobs)

    async def cancelled() -> None:
        task = asyncio.create_task(work())
        await asyncio.to_thread(until, lambda: len(origin.requests) >= 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        # The loop's default executor is no Downloader's: it resolves names and the like.
        await asyncio.gather(*(asyncio.to_thread(int) for _ in range(64)))
        before = held()
        await {"close": by_hand, "cancel": cancelled}.get(ending, work)()
        # Sockets are closed by callbacks of the loop, and the executor's threads end by themselves.
        for _ in range(200):
            more = [now - then for now, then in zip(held(), before, strict=True)]
            if max(more) <= 0:
                break
            await asyncio.sleep(0.01)
        assert max(more) <= 0, more

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
    assert run_fetchq(*words, "-j", "1", "--wait", "0.2", *urls).returncode == 0
    assert origin.connections == connections
