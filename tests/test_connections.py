"""Who may open a connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._connections import Budget

from .conftest import run


def test_both_bounds_hold() -> None:
    budget = Budget(3, 2)
    assert [budget.take(host) for host in "aaabbb"] == [True, True, False, True, False, False]
    budget.give("a")
    assert budget.take("b")


def test_one_connection_is_given_back_at_a_time_and_no_idle_host_is_remembered() -> None:
    budget = Budget(4, 2)
    assert all(budget.take(host) for host in "aab")
    budget.give("a")
    assert [budget.take(host) for host in "aabc"] == [True, False, True, False]
    for host in "aabb":
        budget.give(host)
    assert (budget.used, budget._hosts) == (0, {})


@pytest.mark.parametrize(
    ("taken", "wanted", "spare"),
    [("", False, "ab"), ("a", False, "b"), ("ab", False, ""), ("", True, ""), ("a", True, "")],
)
def test_what_is_to_spare(taken: str, wanted: bool, spare: str) -> None:
    budget = Budget(2, 1)
    budget.wanted = wanted
    assert all(budget.take(host) for host in taken)
    assert [host for host in "ab" if budget.spare(host)] == [*spare]


def test_a_connection_that_a_job_waits_for_is_not_spare() -> None:
    budget = Budget(2, 2)
    budget.wanted = True
    assert not budget.spare("a")
    assert budget.take("a")
    budget.wanted = False
    assert budget.spare("a")


def test_a_host_that_minds_is_left_whole() -> None:
    budget = Budget(4, 4)
    budget.leave_whole("a")
    assert not budget.splits("a")
    assert budget.splits("b")
    assert budget.take("a")


def test_a_connection_that_is_given_back_is_announced() -> None:
    budget = Budget(1, 1)
    told: list[str] = []
    budget.freed = told.append
    budget.take("a")
    budget.give("a")
    assert told == ["a"]


@dataclass
class File:
    """A file of *work* seconds, on *connections* of at most *most*."""

    work: float
    budget: Budget
    host: str = "a"
    most: int = 4
    connections: int = 1
    asked: int = 0

    def __post_init__(self) -> None:
        self.budget.take(self.host)
        self.budget.splittable.append(self)

    @property
    def may_grow(self) -> bool:
        return self.connections < self.most

    @property
    def longest(self) -> float:
        return self.work / self.connections

    def grow(self, share: float) -> bool:
        self.asked += 1
        taken = self.longest > share and self.budget.take(self.host)
        self.connections += taken
        return taken


def test_spare_connections_go_to_the_file_that_would_end_last() -> None:
    budget = Budget(8, 8)
    files = [File(work, budget, most=8) for work in (10.0, 60.0, 10.0)]
    budget.distribute()
    assert [file.connections for file in files] == [1, 6, 1]


def test_nothing_is_distributed_while_a_job_waits() -> None:
    budget = Budget(8, 8)
    file = File(60.0, budget)
    budget.wanted = True
    budget.distribute()
    assert (file.connections, file.asked) == (1, 0)


@pytest.mark.parametrize(
    ("bounds", "files", "seconds"),
    [
        pytest.param((8, 4), [(40.0, "a", 4, 1)], 10.0, id="one file has its host"),
        pytest.param((8, 8), [(40.0, "a", 4, 1), (8.0, "b", 4, 1)], 6.0, id="all share what there is in all"),
        pytest.param((8, 4), [(40.0, "a", 4, 1), (8.0, "b", 4, 1)], 10.0, id="a host's files share its own"),
        pytest.param((8, 6), [(40.0, "a", 4, 1), (9.0, "a", 2, 2)], 10.0, id="less what others keep"),
        pytest.param((3, 3), [(10.0, "a", 4, 1), (9.0, "a", 2, 2)], 10.0, id="one connection is left"),
        pytest.param((1, 1), [(10.0, "a", 4, 1)], 0.0, id="none is left"),
    ],
)
def test_when_files_with_equal_shares_would_end(
    bounds: tuple[int, int], files: list[tuple[float, str, int, int]], seconds: float
) -> None:
    budget = Budget(*bounds)
    for work, host, most, connections in files:
        File(work, budget, host, most, connections)
    assert budget._share("a") == seconds


def test_a_file_that_may_have_no_more_leaves_the_rest_to_the_others() -> None:
    budget = Budget(8, 8)
    files = [File(100.0, budget, most=2), File(10.0, budget, most=8)]
    budget.distribute()
    assert [file.connections for file in files] == [2, 6]


def test_a_full_host_does_not_keep_connections_from_another() -> None:
    budget = Budget(8, 2)
    files = [File(100.0, budget), File(10.0, budget, host="b")]
    budget.distribute()
    assert [file.connections for file in files] == [2, 2]


@pytest.mark.parametrize(
    ("jobs", "connections", "most"),
    [(8, None, 4), (1, None, 1), (6, None, 4), (12, None, 8), (16, None, 12), (16, 3, 3), (8, 16, 8)],
)
def test_connections_for_one_file(jobs: int, connections: int | None, most: int) -> None:
    assert fetchq.Queue(jobs=jobs, connections=connections).per_file == most


@pytest.mark.parametrize(("queue", "keywords"), [({}, {"jobs": 12}), ({"jobs": 12}, {})])
def test_one_host_may_have_all_connections_unless_it_is_said(
    tmp_path: Path, queue: dict[str, Any], keywords: dict[str, Any]
) -> None:
    """Behind the host's first answer, none comes before twelve have asked."""
    settings = fetchq.Settings(
        network=fetchq.Network(read_timeout=5, env=False),
        retry=fetchq.Retry(retries=0),
        queue=fetchq.Queue(**queue),
    )

    async def main() -> list[str]:
        everybody = asyncio.Barrier(12)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                if b" /first " not in await reader.readuntil(b"\r\n\r\n"):
                    await everybody.wait()
                writer.write(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
                await writer.drain()
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with fetchq.Downloader(settings, dir=tmp_path, **keywords) as downloader:
                urls = [f"{url}/first", *(f"{url}/{number}" for number in range(12))]
                return [result.status async for result in downloader.run(urls)]
        finally:
            server.close()
            await everybody.abort()

    assert run(main()) == ["done"] * 13


def test_no_connection_to_a_host_is_refused() -> None:
    with pytest.raises(fetchq.UsageError, match="per_host must be at least 1, not 0"):
        fetchq.Downloader(fetchq.Settings(queue=fetchq.Queue(per_host=0)))


def test_a_file_that_our_own_limit_slows_down_is_not_split_unasked() -> None:
    assert fetchq.Queue(jobs=16, limit_rate=1e5).per_file == 1
    assert fetchq.Queue(jobs=16, limit_rate=1e5, connections=3).per_file == 3
