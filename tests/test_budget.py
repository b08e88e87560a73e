"""Who may open a connection."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._budget import Budget

from .conftest import run


def test_both_bounds_hold() -> None:
    budget = Budget(3, 2)
    assert [budget.take(host) for host in "aaabbb"] == [True, True, False, True, False, False]
    budget.give("a")
    assert budget.take("b")


def test_jobs_come_before_borrowers() -> None:
    budget = Budget(2, 2)
    budget.wanted = True
    assert not budget.borrow("a")
    assert budget.take("a")
    budget.wanted = False
    assert budget.borrow("a")


def test_a_host_that_minds_is_left_whole() -> None:
    budget = Budget(4, 4)
    budget.leave_whole("a")
    assert not budget.borrow("a")
    assert budget.borrow("b")
    assert budget.take("a")


def test_whoever_waits_is_told() -> None:
    budget, told = Budget(1, 1), []
    budget.freed = lambda: told.append("freed")
    budget.take("a")
    budget.give("a")
    assert told == ["freed"]


@pytest.mark.parametrize(("queue", "keywords"), [({}, {"jobs": 12}), ({"jobs": 12}, {})])
def test_one_host_may_have_all_connections_unless_it_is_said(
    tmp_path: Path, queue: dict[str, Any], keywords: dict[str, Any]
) -> None:
    """Nobody is answered before twelve have asked."""
    settings = fetchq.Settings(
        network=fetchq.Network(read_timeout=5, env=False),
        retry=fetchq.Retry(retries=0),
        queue=fetchq.Queue(**queue),
    )

    async def main() -> list[str]:
        everybody = asyncio.Barrier(12)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await everybody.wait()
                writer.write(b"HTTP/1.1 204 X\r\nConnection: close\r\n\r\n")
                await writer.drain()
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with fetchq.Downloader(settings, dir=tmp_path, **keywords) as downloader:
                urls = [f"{url}/{number}" for number in range(12)]
                return [result.status async for result in downloader.run(urls)]
        finally:
            server.close()
            await everybody.abort()

    assert run(main()) == ["done"] * 12


def test_no_connection_to_a_host_is_refused() -> None:
    with pytest.raises(fetchq.UsageError, match="per_host must be at least 1, not 0"):
        fetchq.Downloader(fetchq.Settings(queue=fetchq.Queue(per_host=0)))
