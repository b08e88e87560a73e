"""The observers of a run, chosen by the options of the command line."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TextIO

from .._events import Event, Observer
from .._settings import ProgressKind
from .lines import LineWriter
from .log import LogFile
from .summary import Summary
from .text import NORMAL, QUIET, VERBOSE, TextLines, WriteLine

__all__ = ["TICK", "ReportOptions", "ReportStreams", "Reporter"]

# Seconds between two frames. Drawing nine bars takes about a millisecond.
TICK = 0.1


class Display(Protocol):
    """An observer that draws: bars, or a status line."""

    def __call__(self, event: Event) -> None:
        """Count *event* without drawing."""

    def tick(self) -> None:
        """Draw if there is something new."""

    def close(self) -> None:
        """Remove the drawing from the screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What to report.

    :param progress: display while the run lasts; ``auto`` is bars on a terminal and a status line elsewhere.
    :param verbosity: see :func:`format_event`.
    :param slots: jobs that run at once, for the number of bars.
    :param resumable: see :class:`Summary`, and
    :param endless: as well.
    """

    progress: ProgressKind = "auto"
    verbosity: int = NORMAL
    slots: int
    resumable: bool = True
    endless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStreams:
    """Where to report.

    :param stderr: text for people.
    :param stdout: JSON events.
    :param log: verbose lines with their time, and the URL and path of each job.
    """

    stderr: TextIO
    stdout: TextIO
    log: LogFile | None = None


class Reporter:
    """Display, lines, summary, JSON events and log of a run; an observer that passes events to all of them.

    :param on_closed: called when the reader of stderr or stdout has closed the pipe.
    :param on_error: called when the JSON events cannot be written.
    """

    def __init__(
        self,
        options: ReportOptions,
        streams: ReportStreams,
        *,
        on_closed: Callable[[], None] = lambda: None,
        on_error: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        progress, verbosity = options.progress, options.verbosity
        lines = LineWriter(streams.stderr, on_closed=on_closed)
        terminal = streams.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._display: Display | None = None
        self._stderr = streams.stderr
        self._has_bars = False
        self.write_line: WriteLine = lines.write_line
        # The display is imported here, so that a quiet run does not pay for it.
        if progress == "bar" or (progress == "auto" and terminal and verbosity >= NORMAL):
            from .._progress import Bars

            shape, unicode = _shape(streams.stderr), _shows_blocks(streams.stderr)
            self._display = bars = Bars(lines, slots=options.slots, shape=shape, unicode=unicode)
            self.write_line, self._has_bars = bars.write_line, True
        elif progress == "plain" or (progress == "auto" and verbosity >= NORMAL):
            from .._progress import StatusLine

            self._display = StatusLine(self.write_line)
        # The JSON events name every finished file, so stderr has failures and the summary only.
        shown = min(verbosity, QUIET) if progress == "json" and verbosity < VERBOSE else verbosity
        self.observers: list[Observer] = [] if self._display is None else [self._display]
        colour = terminal and not os.environ.get("NO_COLOR")  # https://no-color.org
        self.observers.append(TextLines(self.write_line, shown, colour=colour))
        if verbosity >= NORMAL:
            summary = Summary(self.write_line, resumable=options.resumable, endless=options.endless)
            self.observers.append(summary)
        if progress == "json":
            from .json_lines import JsonLines

            events = LineWriter(streams.stdout, on_closed=on_closed, on_error=on_error)
            self.observers.append(JsonLines(events.write_line))
        if streams.log is not None:
            self.observers.append(streams.log)

    def __call__(self, event: Event) -> None:
        for observer in self.observers:
            observer(event)

    def tick(self) -> None:
        """Let the display draw; to be called every :data:`TICK` seconds."""
        if self._display is not None:
            self._display.tick()

    def clear(self) -> None:
        """Clear the bars without blocking; for a signal handler that ends the process."""
        if self._has_bars and select.select([], [self._stderr], [], 0)[1]:
            # Every frame leaves the cursor at the first column of the first bar.
            os.write(self._stderr.fileno(), b"\r\x1b[J")

    def close(self) -> None:
        """Remove the display from the screen; later lines are still written."""
        if self._display is not None:
            self._display.close()


def _shape(stream: TextIO) -> Callable[[], os.terminal_size]:
    def shape() -> os.terminal_size:
        with suppress(OSError, ValueError):
            now = os.get_terminal_size(stream.fileno())
            if now.columns and now.lines:  # a pseudo-terminal whose size was never set reports 0 x 0
                return now
        return os.terminal_size((80, 24))

    return shape


def _shows_blocks(stream: TextIO) -> bool:
    try:
        "█▏".encode(stream.encoding or "ascii")
    except UnicodeError:
        return False
    return True
