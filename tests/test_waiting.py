"""Waiting for a server that is away, or that asks for it: how long, and what is said about it."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._hosts import MAX_HOSTS, Hosts

from .clock import SkippingLoop
from .conftest import RunFetchq, running
from .origin import Origin, generated, status

FILE = generated(300_000)
NETWORK, STATUS = 4, 8


def test_a_host_is_announced_once_in_an_outage() -> None:
    hosts, gone = Hosts(), fetchq.NetworkError("gone")
    hosts.failed("a", gone, began=99.0, now=100.0, held=1)
    assert (hosts.away("a", 130.0), hosts.away("b", 130.0)) == (30, 0)
    assert hosts.announce("a", 160.0, asked=False)
    assert not hosts.announce("a", 190.0, asked=False)
    assert hosts.announce("b", 190.0, asked=False)
    # The server names a later time than was announced.
    assert hosts.announce("a", 300.0, asked=True)
    assert not hosts.announce("a", 301.0, asked=True)
    hosts.answered("a", 400.0, 400.0)
    assert hosts.away("a", 500.0) == 0
    assert hosts.announce("a", 560.0, asked=False)


def test_no_more_hosts_are_remembered_than_a_bound() -> None:
    hosts = Hosts()
    for number in range(2 * MAX_HOSTS):
        hosts.failed(str(number), fetchq.NetworkError("gone"), began=0.0, now=0.0, held=1)
    assert len(hosts._hosts) <= MAX_HOSTS


# --- an outage, with the default settings and a clock that does not wait


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    await writer.drain()
    writer.close()


def away(seconds: float | None, jobs: int, folder: Path) -> tuple[list[fetchq.Result], list[fetchq.Event]]:
    """Run *jobs* jobs at a server that can be reached after so many seconds; None for never."""
    events: list[fetchq.Event] = []
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]

    settings = fetchq.Settings(queue=fetchq.Queue(waiting=8))

    async def work() -> list[fetchq.Result]:
        servers: list[Any] = []

        async def start() -> None:
            await asyncio.sleep(seconds or 0.0)
            servers.append(await asyncio.start_server(answer, "127.0.0.1", port))

        starting = None if seconds is None else asyncio.create_task(start())
        urls = [f"http://127.0.0.1:{port}/{number}" for number in range(jobs)]
        async with fetchq.Downloader(settings, dir=folder, observers=[events.append]) as downloader:
            results = [result async for result in downloader.run(urls)]
        if starting is not None:
            await starting
        for server in servers:
            server.close()
        return results

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(work()), events


def test_a_queue_outlives_a_minute_without_its_server(tmp_path: Path) -> None:
    results, events = away(59.0, 7, tmp_path)
    assert [result.status for result in results] == ["done"] * 7
    waits = [event for event in events if isinstance(event, fetchq.Waiting)]
    assert [type(event.error) for event in waits] == [fetchq.NetworkError]
    assert f"Cannot connect to {waits[0].host}: it refuses connections" in str(waits[0].error)


def test_a_server_that_stays_away_costs_its_queue_one_minute(tmp_path: Path) -> None:
    results, events = away(None, 40, tmp_path)
    assert {type(result.error) for result in results} == {fetchq.NetworkError}
    # A few of them have asked whether it is back; the others stood in line.
    assert sum(result.attempts for result in results) < 20
    assert results[-1].attempts == 0
    assert len([event for event in events if isinstance(event, fetchq.Waiting)]) == 1


# --- what a person and a program are told


@pytest.mark.parametrize("progress", ["plain", "bar"])
def test_a_long_wait_is_told_to_people(progress: str, origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{name}", FILE, status(503, retry_after=500), repeat=True) for name in "abc"]
    with running("--progress", progress, *urls, cwd=tmp_path) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "waiting" in line)
        assert f"127.0.0.1:{origin.port} answered 503 (service unavailable)." in line
        process.terminate()
        assert "waiting" not in process.stderr.read()


def test_a_long_wait_is_told_to_programs(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE, status(503, retry_after=500), repeat=True)
    with running("--progress", "json", url, cwd=tmp_path) as process:
        assert process.stdout is not None
        event = next(event for event in map(json.loads, process.stdout) if event["event"] == "waiting")
    assert (event["host"], event["error"]["kind"], event["wait"]) == (
        f"127.0.0.1:{origin.port}",
        "status",
        pytest.approx(500, abs=1),
    )
    assert event["until"] == pytest.approx(event["time"] + 500, abs=20)


def test_a_wait_beyond_the_bound_is_not_begun(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    url = origin.serve("/a", FILE, status(503, retry_after=86_400), repeat=True)
    done = run_fetchq(url)
    assert done.returncode == STATUS
    assert "asks to wait 24:00:00, longer than --max-wait allows." in done.stderr
    assert len(origin.requests) == 1
    origin.serve("/a", FILE, status(503, retry_after=2))
    assert run_fetchq("--max-wait", "1", url).returncode == STATUS
    origin.serve("/a", FILE, status(503, retry_after=1))
    assert run_fetchq("--max-wait", "none", url).returncode == 0
