"""Observers: what one of them raises, and which are refused."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fetchq

from .conftest import run
from .origin import Origin, generated, status, throttle

SMALL, LARGE = generated(1_000), generated(3_000_000)


class HookError(Exception):
    """Raised by an observer."""


def raising(kind: type, error: Exception, seen: list[type]) -> Callable[[fetchq.Event], None]:
    def observer(event: fetchq.Event) -> None:
        seen.append(type(event))
        if type(event) is kind:
            raise error

    return observer


EVENTS = (
    fetchq.RunStarted,
    fetchq.JobStarted,
    fetchq.AttemptFailed,
    fetchq.Planned,
    fetchq.Progressed,
    fetchq.JobFinished,
    fetchq.RunFinished,
)


@pytest.mark.parametrize("error", [HookError("no"), fetchq.NetworkError("no")])
@pytest.mark.parametrize("resource", [SMALL, LARGE])
@pytest.mark.parametrize("kind", EVENTS)
def test_what_an_observer_raises_comes_out(
    kind: type, resource: Any, error: Exception, origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/a.bin", resource, status(503, retry_after=0))
    seen: list[type] = []
    others: list[type] = []
    observers = [raising(kind, error, seen), lambda event: others.append(type(event))]
    with pytest.raises(type(error)) as raised:
        fetchq.download(url, dir=tmp_path, observers=observers)
    assert raised.value is error
    # It is not called again, and the others see the run end.
    assert seen[-1] is kind
    assert others[-1] is fetchq.RunFinished


def test_an_observer_that_raises_ends_its_run_and_parts_are_kept(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{name}", LARGE, throttle(2e6)) for name in "abc"]

    armed, parts = [True], list[str]()

    def observer(event: fetchq.Event) -> None:
        if armed and isinstance(event, fetchq.Progressed) and event.have >= 500_000:
            armed.clear()
            raise HookError

    async def work() -> list[fetchq.Result]:
        async with fetchq.Downloader(dir=tmp_path, connections=1, observers=[observer]) as downloader:
            with pytest.raises(HookError):
                assert [result async for result in downloader.run(urls)] == []
            parts.extend(name for name in os.listdir(tmp_path) if name.endswith(".part"))
            return [result async for result in downloader.run(urls)]

    results = run(work())
    assert len(parts) == 3
    assert [result.status for result in results] == ["resumed"] * 3
    for result in results:
        assert result.path is not None
        assert result.path.read_bytes() == LARGE.content.read(0, LARGE.size)


async def waits(event: fetchq.Event) -> None:
    await asyncio.sleep(0)


class Waiting:
    async def __call__(self, event: fetchq.Event) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("observer", "words"),
    [
        (waits, "observer waits must be a plain function"),
        (functools.partial(waits), "must be a plain function"),
        (Waiting(), "observer Waiting must be a plain function"),
        (Waiting().__call__, "must be a plain function"),
        (7, "observer int cannot be called"),
    ],
)
def test_an_observer_that_would_never_run_is_refused(observer: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(fetchq.UsageError, match=words):
        fetchq.Downloader(dir=tmp_path, observers=[observer])
    with pytest.raises(fetchq.UsageError, match=words):
        fetchq.download("http://127.0.0.1:9/a", dir=tmp_path, observers=[observer])
