"""A timer that is cheap to move, because every read from a socket moves it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["Timer"]


class Timer:
    """Calls *callback* once at a time that can be moved at the cost of an assignment.

    Moving it to a later time leaves the event loop's handle in place; when that fires, the rest of the time is
    scheduled. The time asked of the loop is kept here, since ``TimerHandle.when`` does not exist in every loop
    (uvloop may return a plain Handle).
    """

    __slots__ = ("_callback", "_handle", "_loop", "_scheduled", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = callback
        self._when = self._scheduled = math.inf
        self._handle: asyncio.Handle | None = None

    def set(self, when: float) -> None:
        """Call back at loop time *when* instead of any time set before; infinity for never."""
        self._when = when
        if when < self._scheduled:
            if self._handle is not None:
                self._handle.cancel()
            self._scheduled = when
            self._handle = self._loop.call_at(when, self._fire)

    def close(self) -> None:
        """Never call back again, and drop the callback: a bound method would keep its object alive."""
        self._when, self._scheduled = math.inf, -math.inf
        self._callback = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        # A loop that counts in milliseconds fires up to one early; the time it was asked for counts as reached.
        reached, self._scheduled, self._handle = self._scheduled, math.inf, None
        if self._when > reached:
            self.set(self._when)
        elif self._callback is not None:
            self._when = math.inf
            self._callback()
