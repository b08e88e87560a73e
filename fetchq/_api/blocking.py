"""The Downloader for callers without an event loop: a loop in a thread, and results in the caller's."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sized
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

from .._errors import UsageError
from .._models import Result
from .results import Results

__all__ = ["LoopThread", "call", "iterate", "refuse_in_loop"]

T = TypeVar("T")

# Jobs that the caller's thread reads ahead, and results that wait for it: a turn of two threads for each costs
# up to 5 ms, which is for how long a busy thread keeps the interpreter.
AHEAD = 64
_WANTED, _END = object(), object()


def refuse_in_loop(words: str) -> None:
    """Raise a UsageError of these *words* where an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError(words)


class LoopThread:
    """An event loop that runs in a thread of its own until it is closed."""

    def __init__(self) -> None:
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        # A daemon: a program that forgets to close must still be able to end.
        self._thread = threading.Thread(target=self._work, name="fetchq-loop", daemon=True)
        self._thread.start()
        self.loop = self._started.result()

    def _work(self) -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            loop.call_soon(self._started.set_result, loop)
            loop.run_forever()

    def close(self) -> None:
        """End the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


def call(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """Run *work* in *loop*, another thread's, and return its result; an interrupt of this thread cancels it."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Feed(Generic[T]):
    """Jobs that the caller's thread reads, since a generator of its may belong to it, and the loop takes.

    :param wants: is called in the loop when more are wanted.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wants: Callable[[], None]) -> None:
        self._loop = loop
        self._wants = wants
        self._items: deque[Any] = deque()
        self._filled = asyncio.Event()

    def put(self, item: object) -> None:
        """Add an item; called in the caller's thread."""
        self._items.append(item)
        self._loop.call_soon_threadsafe(self._filled.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._items:
            self._wants()
        while not self._items:
            self._filled.clear()
            await self._filled.wait()
        if self._items[0] is _END:
            raise StopAsyncIteration
        item: T = self._items.popleft()
        return item


class _SizedFeed(_Feed[T]):
    def __init__(self, loop: asyncio.AbstractEventLoop, wants: Callable[[], None], size: int) -> None:
        super().__init__(loop, wants)
        self._size = size

    def __len__(self) -> int:
        return self._size


def iterate(
    run: Callable[[Any], Results], jobs: Iterable[Any], loop: asyncio.AbstractEventLoop
) -> Iterator[Result]:
    """Run *jobs* in *loop*, another thread's, and yield their results in this one, which reads the jobs too.

    :param run: :meth:`Downloader.run`.
    """
    inbox: SimpleQueue[Any] = SimpleQueue()

    def wants() -> None:
        inbox.put(_WANTED)

    feed: _Feed[Any] = _Feed(loop, wants) if not isinstance(jobs, Sized) else _SizedFeed(loop, wants, len(jobs))
    room = asyncio.Semaphore(AHEAD)

    async def drain() -> None:
        async with run(feed) as results:
            async for result in results:
                await room.acquire()
                inbox.put(result)

    future = asyncio.run_coroutine_threadsafe(drain(), loop)
    future.add_done_callback(lambda _: inbox.put(_END))
    items, wanted = iter(jobs), 0
    try:
        while True:
            if wanted and inbox.empty():
                item = next(items, _END)
                wanted = 0 if item is _END else wanted - 1
                feed.put(item)
                continue
            message = inbox.get()
            if message is _END:
                break
            if message is _WANTED:
                wanted = AHEAD
                continue
            loop.call_soon_threadsafe(room.release)
            yield message
        future.result()
    finally:
        if not future.done():
            future.cancel()
            while inbox.get() is not _END:
                pass
