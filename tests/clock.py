"""Event loops whose time does not wait."""

from __future__ import annotations

import asyncio
import selectors


class SkippingSelector(selectors.DefaultSelector):
    """Waits for sockets and threads only briefly, and then takes the rest of the time for passed.

    *brief* are the seconds; with none, only timers let time pass.
    """

    def __init__(self, brief: float) -> None:
        super().__init__()
        self._brief = brief
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        brief = timeout if timeout is None else min(timeout, self._brief)
        ready = super().select(brief)
        if not ready and timeout is not None and brief is not None:
            self.skipped += timeout - brief
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop for real sockets, in which a wait takes a hundredth of a second."""

    brief = 0.01

    def __init__(self) -> None:
        self._skipping = SkippingSelector(self.brief)
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped


class VirtualLoop(SkippingLoop):
    """A loop without sockets, in which a wait takes no time, and work none either."""

    brief = 0.0

    def time(self) -> float:
        return self._skipping.skipped

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once, as work does that takes so long."""
        self._skipping.skipped += seconds
