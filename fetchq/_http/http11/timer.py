"""A timer that is cheap to move, since each read moves it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

__all__ = ["Timer"]


class Timer:
    """A timer that is moved by an assignment: only when it fires early does it go back into the loop's heap."""

    __slots__ = ("_handle", "_loop", "_ring", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._when = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def set(self, when: float) -> None:
        """Ring at loop time *when*, and at no time that was set before; infinity for never."""
        self._when = when
        if when != math.inf and (self._handle is None or self._handle.when() > when):
            self._cancel()
            self._handle = self._loop.call_at(when, self._fire)

    def stop(self) -> None:
        """Never ring again."""
        self._when = math.inf
        self._cancel()

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and self._when > handle.when():
            self.set(self._when)
        else:
            self._when = math.inf
            self._ring()
