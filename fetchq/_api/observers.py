"""The caller's observers: checked when they are given, and what one of them raises ends the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

from .._errors import UsageError, worded
from .._events import Event, Observer, SkippingObserver, Warned
from .._log import is_debugging
from .debug_lines import log
from .settled import Settled

__all__ = ["Observers", "checked"]


class Observers:
    """Passes every event to all observers of a run.

    An exception of one is kept and not raised into the code that announces the event: in one place that is a
    transfer, in another a callback of the event loop, so what came of it would depend on the file.

    :param stop: called when an observer raises.
    """

    def __init__(self, observers: Sequence[Observer], stop: Callable[[], object]) -> None:
        self._all = observers
        self._stop = stop
        self._failed: tuple[Observer, Exception] | None = None

    def begin(self) -> None:
        """Forget an exception of an earlier run."""
        self._failed = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Warned):
            event = event._replace(message=worded(event.message))
        log(event)
        for observer in self._all:
            self._tell(observer, observer, event)

    def settled(self, results: Settled) -> None:
        """Announce jobs that need no attempt: only their number to observers who want no more."""
        if is_debugging():
            for event in results.events():
                log(event)
        for observer in self._all:
            if isinstance(observer, SkippingObserver):
                self._tell(observer, observer.skipped, results)
            else:
                for event in results.events():
                    self._tell(observer, observer, event)

    def _tell(self, observer: Observer, tell: Callable[..., None], *what: object) -> None:
        if self._failed is not None and observer is self._failed[0]:
            return
        try:
            tell(*what)
        except Exception as error:  # noqa: BLE001 - whatever it is, `end` raises it
            self._failed = self._failed or (observer, error)
            self._stop()

    def end(self) -> None:
        """Raise the first exception of the run."""
        if self._failed is not None:
            raise self._failed[1]


def checked(observers: Sequence[Observer]) -> tuple[Observer, ...]:
    """Return *observers* as they can be called.

    :raises UsageError: one cannot be called, or is an ``async def``, which would only be created.
    """
    for observer in observers:
        _check(observer)
    return tuple(observers)


def _check(observer: object) -> None:
    name = getattr(observer, "__name__", type(observer).__name__)
    if not callable(observer):
        raise UsageError(f"The observer {name} cannot be called: give a function that takes an event.")
    called = getattr(type(observer), "__call__", None)  # noqa: B004 - its kind is asked, not whether it is there
    if inspect.iscoroutinefunction(observer) or inspect.iscoroutinefunction(called):
        raise UsageError(
            f"The observer {name} must be a plain function, not an async def: to wait, put events into an"
            " asyncio.Queue."
        )
