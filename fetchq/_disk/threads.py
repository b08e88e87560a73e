"""Where file work is done: in threads, through aiofiles, or for short calls on a quick disk in the loop's own.

aiofiles wraps whole functions here, not file objects: one call writes several buffers at an offset, hashes them
and saves the journal. A call into a thread costs 60 us when nothing else runs, and 150 to 180 us while bytes
are being received, since both threads want the interpreter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, ParamSpec, TypeVar, TypeVarTuple, cast

from .._errors import DiskError

__all__ = ["NO_THREAD", "Threads"]

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

NO_THREAD = (
    "No thread can be started: this user runs too many processes; end some, or raise the limit with ulimit -u."
)
# Bound on waiting for calls under way at the end of a run: a disk answers by then, a file server may never.
SHUTDOWN_SECONDS = 10.0
# A call in the event loop's thread may take this long on average before the disk counts as slow: as long as a
# few calls into a thread cost. A small file takes 0.1 ms on a local disk.
SLOW_SECONDS = 0.001
# Calls in that average.
SMOOTH = 16
# What one call counts at most, so that a few which waited for the interpreter do not decide: another thread
# keeps it for 5 ms, and for ten times that where other programs want the processors.
MOST_SECONDS = 4 * SLOW_SECONDS
# One call of this length is enough.
HANG_SECONDS = 0.1
# Seconds for which a slow disk is left to the threads before the loop's own thread is tried again.
REST_SECONDS = 1.0


def _call(function: Callable[[*Ts], T], *args: *Ts) -> T:
    return function(*args)


@cache
def _in_thread() -> Callable[..., Awaitable[Any]]:
    """Return the wrapper for all calls: to wrap each function anew costs more than calling into a thread."""
    import aiofiles.os  # 5 ms, which one small file on a quick disk does without

    return aiofiles.os.wrap(_call)


class _SlowDiskError(Exception):
    """A short call was not made, since the disk is slow."""


class _Pool(ThreadPoolExecutor):
    """Threads of which fewer may start than were asked for.

    :ivar running: calls that have not ended.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count, thread_name_prefix="fetchq-disk")
        self.running: set[Future[Any]] = set()

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = super().submit(call, *args, **kwargs)
        self.running.add(future)
        future.add_done_callback(self.running.discard)
        return future

    def _adjust_thread_count(self) -> None:
        # submit() has queued the call by then. Were it to raise, the call's future would be lost, and a thread
        # that is there would make the call all the same; with none, the call must not stay for a later one.
        # This step has no public name: the alternative is a pool of our own, twice as long.
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads:
                self._work_queue.get_nowait()
                raise DiskError(NO_THREAD) from error


class Threads:
    """Runs blocking file work beside the event loop, in a pool of its own: the default one resolves names.

    :param count: most calls at once.
    :param clock: steady seconds.
    """

    def __init__(self, count: int, clock: Callable[[], float]) -> None:
        self._executor = _Pool(count)
        self._clock = clock
        self._average = 0.0  # seconds, of the latest calls in the loop's own thread
        self._slow_until = 0.0
        self._short: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* in a thread; when cancelled, a call under way goes on to its end."""
        return cast("T", await _in_thread()(function, *args, executor=self._executor))

    async def run_short(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call a short *function* in the loop's own thread, or in another while the disk is slow.

        The calls of two turns of the loop are made together: after the jobs that were given a connection in
        them have sent their requests, and before any caller goes on. With requests between the writes, a server
        on the same idle machine goes to sleep after each, and waking it costs as much as a write (measured).
        """
        if not self.is_quick():
            return await self.run(function, *args)
        loop = asyncio.get_running_loop()
        made: asyncio.Future[T] = loop.create_future()
        self._short.append((partial(function, *args), made))
        if len(self._short) == 1:
            # In the next turn new requests are sent, so in the turn after that.
            loop.call_soon(loop.call_soon, self._make_short_calls)
        try:
            return await made
        except _SlowDiskError:
            return await self.run(function, *args)

    def is_quick(self) -> bool:
        """Whether a short call usually ends before one in a thread would have begun."""
        return self._clock() >= self._slow_until

    def _make_short_calls(self) -> None:
        calls, self._short = self._short, []
        for call, made in calls:
            if made.done():
                continue  # its caller was cancelled
            try:
                if not self.is_quick():
                    raise _SlowDiskError  # found out by one of the calls before
                made.set_result(self._timed(call))
            except Exception as error:  # noqa: BLE001 - raised where the call was asked for
                made.set_exception(error)

    def _timed(self, call: Callable[[], T]) -> T:
        began = self._clock()
        try:
            return call()
        finally:
            ended = self._clock()
            took = ended - began
            self._average += (min(took, MOST_SECONDS) - self._average) / SMOOTH
            if self._average >= SLOW_SECONDS or took >= HANG_SECONDS:
                self._average, self._slow_until = 0.0, ended + REST_SECONDS

    async def aclose(self) -> None:
        """Wait at most :data:`SHUTDOWN_SECONDS` for running calls; those that have not begun are dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        running = [asyncio.wrap_future(future) for future in list(self._executor.running)]
        if running:
            _, stuck = await asyncio.wait(running, timeout=SHUTDOWN_SECONDS)
            if stuck:
                return
        self._executor.shutdown()  # idle threads end at once
