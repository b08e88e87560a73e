"""A thread pool of our own behind aiofiles: the loop's default one is shared with DNS look-ups."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias, TypeVar, TypeVarTuple, cast

import aiofiles.os

__all__ = ["Threads"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Outcome: TypeAlias = tuple[Any, BaseException | None]

# A healthy disk ends its last writes long before; a hung network file system may never.
SHUTDOWN_SECONDS = 10.0
# Small files that share a hop: enough to make it cheap, few enough that none waits long for the others.
MOST_SHORT = 8


def _call(function: Callable[[*Ts], T], *args: *Ts) -> T:
    return function(*args)


def _outcomes(calls: list[Callable[[], Any]]) -> list[Outcome]:
    """Make *calls* one after the other; give each one's value or its error."""
    outcomes: list[Outcome] = []
    for call in calls:
        try:
            outcomes.append((call(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the call was asked for
            outcomes.append((None, error))
    return outcomes


# One wrapper for every call: wrapping each function anew costs more than the hop's own bookkeeping.
_hop = aiofiles.os.wrap(_call)


class Threads:
    """Runs blocking file work beside the event loop.

    :param count: most calls at once.
    """

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="fetchq-disk")
        self._short: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._hops: set[asyncio.Task[list[Outcome]]] = set()

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* in a thread; when cancelled, a call under way goes on to its end."""
        return cast("T", await _hop(function, *args, executor=self._executor))

    async def run_short(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a short *function* in a thread, in one hop with others that are wanted at the same moment.

        A hop costs as much as a small file's whole way to the disk, so those that arrive together share it.
        """
        loop = asyncio.get_running_loop()
        wanted: asyncio.Future[Any] = loop.create_future()
        self._short.append((partial(function, *args), wanted))
        if len(self._short) == 1:
            loop.call_soon(self._send, loop)
        return cast("T", await wanted)

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, self._short = self._short, []
        for at in range(0, len(batch), MOST_SHORT):
            some = batch[at : at + MOST_SHORT]
            hop = loop.create_task(self.run(_outcomes, [call for call, _ in some]))
            self._hops.add(hop)
            hop.add_done_callback(partial(self._arrived, [wanted for _, wanted in some]))

    def _arrived(self, wanted: list[asyncio.Future[Any]], hop: asyncio.Task[list[Outcome]]) -> None:
        self._hops.discard(hop)
        error = asyncio.CancelledError() if hop.cancelled() else hop.exception()
        outcomes = hop.result() if error is None else [(None, error)] * len(wanted)
        for future, (value, failure) in zip(wanted, outcomes, strict=True):
            if future.done():
                continue
            if failure is None:
                future.set_result(value)
            elif isinstance(failure, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(failure)

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
