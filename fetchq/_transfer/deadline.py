"""How long a job may take in all, its waits included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from .._errors import FetchError, TimedOutError

__all__ = ["Deadline"]

_BOUNDLESS = nullcontext()


class Deadline:
    """The time by which a job must have ended.

    It bounds the network's work and the waits. What is complete by then is still verified and given its name:
    that takes the disk's time, and the result is as good as here.

    :param seconds: that the job may take; None: any time.
    :param clock: steady seconds.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self._timeout: asyncio.Timeout | None = None

    def bound(self) -> AbstractAsyncContextManager[None]:
        """Return a context that bounds what is done inside by the time that is left.

        It raises TimedOutError when that has passed.
        """
        return _BOUNDLESS if self._end is None else self._bounded(max(0.0, self._end - self._clock()))

    @asynccontextmanager
    async def _bounded(self, left: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(left) as self._timeout:
                yield
        except TimeoutError as error:
            if self._timeout is None or not self._timeout.expired():
                raise
            raise self._passed("") from error

    def lift(self) -> None:
        """Let what is done inside take its time from now on."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(None)

    def check(self, wait: float, error: FetchError) -> None:
        """Refuse to *wait* for another attempt that could only begin too late.

        :raises TimedOutError: it could not begin in time; says what *error* said.
        """
        if self._end is not None and self._clock() + wait >= self._end:
            raise self._passed(f" The last attempt: {error}") from error

    def _passed(self, more: str) -> TimedOutError:
        told = f"It was not done within {self._seconds or 0.0:g} s (--deadline); what arrived is kept.{more}"
        return TimedOutError(told, transient=False)
