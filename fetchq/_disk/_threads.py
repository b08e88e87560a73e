"""A thread pool of our own behind aiofiles: the loop's default one is shared with DNS look-ups."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple, cast

import aiofiles.os

__all__ = ["Threads"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A healthy disk ends its last writes long before; a hung network file system may never.
SHUTDOWN_SECONDS = 10.0


def _call(function: Callable[[*Ts], T], *args: *Ts) -> T:
    return function(*args)


# One wrapper for every call: wrapping each function anew costs more than the hop's own bookkeeping.
_hop = aiofiles.os.wrap(_call)


class Threads:
    """Runs blocking file work beside the event loop.

    :param count: most calls at once.
    """

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="fetchq-disk")

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* in a thread; when cancelled, a call under way goes on to its end."""
        return cast("T", await _hop(function, *args, executor=self._executor))

    async def aclose(self) -> None:
        """Let running calls end, for a bounded time, and drop those that have not begun."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        ended: Future[None] = Future()
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()
        await asyncio.wait([asyncio.wrap_future(ended)], timeout=SHUTDOWN_SECONDS)

    def _wait(self, ended: Future[None]) -> None:
        self._executor.shutdown(wait=True)
        if ended.set_running_or_notify_cancel():
            ended.set_result(None)
