"""A thread pool of our own behind aiofiles: the loop's default one is shared with DNS look-ups.

Short calls on a quick disk stay out of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple, cast

import aiofiles.os

__all__ = ["Threads"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A healthy disk ends its last writes long before; a hung network file system may never.
SHUTDOWN_SECONDS = 10.0
# A hop costs as much, with what two threads that both want the interpreter take from each other.
SLOW_SECONDS = 0.001
# An average over so many calls, so that one that was merely interrupted does not count for much.
SMOOTH = 16
# So long a slow disk is left to the threads before it is tried again: a call or two in the loop's way.
REST_SECONDS = 1.0
# So many short calls are made between two looks at the network: a millisecond or two.
MOST_SHORT = 16


def _call(function: Callable[[*Ts], T], *args: *Ts) -> T:
    return function(*args)


# One wrapper for every call: to wrap each function anew costs more than the hop itself.
_in_thread: Callable[..., Awaitable[Any]] = aiofiles.os.wrap(_call)


class Threads:
    """Runs blocking file work beside the event loop.

    :param count: most calls at once.
    :param clock: steady seconds.
    """

    def __init__(self, count: int, clock: Callable[[], float]) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="fetchq-disk")
        self._clock = clock
        self._usual = 0.0  # seconds that a call in the loop's own thread has taken of late
        self._slow_until = 0.0
        self._short: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._hops: set[asyncio.Task[None]] = set()

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* in a thread; when cancelled, a call under way goes on to its end."""
        return cast("T", await _in_thread(function, *args, executor=self._executor))

    @property
    def needless(self) -> bool:
        """Tell whether the disk is quick: then a short call is over before a thread would have begun it."""
        return self._clock() >= self._slow_until

    async def run_short(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a short *function* in the loop's own thread, after those who feed the network.

        A server that is asked now and then, between our writes, falls asleep each time, and to wake it costs as
        much as a write. On a slow disk a thread makes the call.
        """
        if not self.needless:
            return await self.run(function, *args)
        loop = asyncio.get_running_loop()
        wanted: asyncio.Future[T] = loop.create_future()
        self._short.append((partial(function, *args), wanted))
        if len(self._short) == 1:
            # In the next turn begin those who were given a connection in this one, so the turn after that.
            loop.call_soon(loop.call_soon, self._run_some, loop)
        return await wanted

    def _run_some(self, loop: asyncio.AbstractEventLoop) -> None:
        some, self._short = self._short[:MOST_SHORT], self._short[MOST_SHORT:]
        for call, wanted in some:
            if not self.needless:
                # One of those before has found the disk slow: the loop must not wait for each of the others.
                hop = loop.create_task(self._move(call, wanted))
                self._hops.add(hop)
                hop.add_done_callback(self._hops.discard)
            elif not wanted.done():
                try:
                    wanted.set_result(self._timed(call))
                except Exception as error:  # noqa: BLE001 - it is raised where the call was asked for
                    wanted.set_exception(error)
        if self._short:
            loop.call_soon(self._run_some, loop)

    async def _move(self, call: Callable[[], T], wanted: asyncio.Future[T]) -> None:
        """Make in a thread what was to be made here."""
        try:
            value = await self.run(call)
        except Exception as error:  # noqa: BLE001 - as above
            if not wanted.done():
                wanted.set_exception(error)
        else:
            if not wanted.done():
                wanted.set_result(value)

    def _timed(self, call: Callable[[], T]) -> T:
        """Make a *call*, and note how long it held the loop up."""
        began = self._clock()
        try:
            return call()
        finally:
            ended = self._clock()
            self._usual += (ended - began - self._usual) / SMOOTH
            if self._usual >= SLOW_SECONDS:
                self._usual, self._slow_until = 0.0, ended + REST_SECONDS

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
