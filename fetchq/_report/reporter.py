"""Everyone who watches a run."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TextIO

from .._events import Event, Observer
from .._settings import ProgressKind
from .lines import LineWriter
from .summary import Summary
from .words import NORMAL, QUIET, VERBOSE, Lines, Say

__all__ = ["TICK", "Reporter"]

# Ten pictures a second look alive; a picture of nine bars costs about a millisecond.
TICK = 0.1


class Display(Protocol):
    """What draws a little at a time."""

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""

    def tick(self) -> None:
        """Draw what is new."""

    def close(self) -> None:
        """Take the drawing off the screen."""


class Reporter:
    """Everyone who watches a run: the bars or the status line, the lines, the report, the JSON and the log.

    Each is imported when it is wanted: a quiet run need not wait for bars.

    :param progress: what to show while it runs; ``auto`` is bars on a terminal and plain lines elsewhere.
    :param verbosity: see :func:`line`.
    :param slots: jobs that run at once.
    :param stderr: for people.
    :param stdout: for JSON events.
    :param log: gets the verbose lines, each with its time.
    :param fleeting: see :class:`Summary`.
    :param gone: called when a reader has left, so that the run can end.
    :param lost: called when the JSON events cannot be written.
    """

    def __init__(
        self,
        progress: ProgressKind = "auto",
        verbosity: int = NORMAL,
        *,
        stderr: TextIO,
        stdout: TextIO,
        log: TextIO | None = None,
        slots: int,
        fleeting: bool = False,
        gone: Callable[[], None] = lambda: None,
        lost: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        outlet = LineWriter(stderr, gone=gone)
        terminal = stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._display: Display | None = None
        self._stderr = stderr
        self._drawn = False
        self.say: Say = outlet.say
        if progress == "bar" or (progress == "auto" and terminal and verbosity >= NORMAL):
            from .._progress import Bars

            self._display = bars = Bars(outlet, slots=slots, shape=_shape(stderr), unicode=_unicode(stderr))
            self.say, self._drawn = bars.say, True
        elif progress == "plain" or (progress == "auto" and verbosity >= NORMAL):
            from .._progress import Status

            self._display = Status(self.say)
        # With JSON on stdout the program there has every file; people get what failed, and the report.
        told = min(verbosity, QUIET) if progress == "json" and verbosity < VERBOSE else verbosity
        self.observers: list[Observer] = [] if self._display is None else [self._display]
        self.observers.append(Lines(self.say, told, colour=terminal and not os.environ.get("NO_COLOR")))
        if verbosity >= NORMAL:
            self.observers.append(Summary(self.say, fleeting=fleeting))
        if progress == "json":
            from .record import Json

            self.observers.append(Json(LineWriter(stdout, gone=gone, lost=lost).say))
        if log is not None:
            self.observers.append(Lines(_stamped(LineWriter(log).say), VERBOSE))

    def __call__(self, event: Event) -> None:
        """Tell everyone."""
        for observer in self.observers:
            observer(event)

    def tick(self) -> None:
        """Let the display draw; call it every :data:`TICK` seconds."""
        if self._display is not None:
            self._display.tick()

    def wipe(self) -> None:
        """Take the bars off the screen from within a signal's handler: at once, or not at all."""
        if self._drawn and select.select([], [self._stderr], [], 0)[1]:
            # Between two pictures the cursor stands at the first column of the first bar.
            os.write(self._stderr.fileno(), b"\r\x1b[J")

    def close(self) -> None:
        """Take the display off the screen; later lines still reach it."""
        if self._display is not None:
            self._display.close()


def _stamped(say: Say) -> Say:
    return lambda text: say(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}")


def _shape(stream: TextIO) -> Callable[[], os.terminal_size]:
    def shape() -> os.terminal_size:
        with suppress(OSError, ValueError):
            now = os.get_terminal_size(stream.fileno())
            if now.columns and now.lines:  # a pseudo-terminal that nobody sized says 0 x 0
                return now
        return os.terminal_size((80, 24))

    return shape


def _unicode(stream: TextIO) -> bool:
    try:
        "█▏".encode(stream.encoding or "ascii")
    except UnicodeError:
        return False
    return True
