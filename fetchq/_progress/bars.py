"""Progress bars on a terminal, drawn by tqdm."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from .._events import Event, SkippedJobs, SkippingObserver
from .._naming import guess, printable
from .._units import size
from .rows import Row, bar_width, fit, lay_out, name_width
from .totals import JobProgress, RunProgress, SpeedMeter, time_left

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["MAX_SLOTS", "Bars"]

# Bars of jobs; more would scroll the lines above them off a small screen.
MAX_SLOTS = 8
# Rows of the terminal that stay free for the lines of finished files.
FREE_ROWS = 3


class Screen(Protocol):
    """A stream of text to a terminal."""

    def write(self, text: str) -> object:
        """Write and flush *text*."""


class Bars(SkippingObserver):
    """An observer that draws one bar for the run and one for each of a fixed number of jobs, the slots.

    :param slots: jobs that run at once.
    :param shape: returns the terminal's size; called at each tick, so that a resize is followed.
    :param unicode: whether the terminal's encoding has block characters.
    :param clock: returns seconds of a monotonic clock.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        slots: int = MAX_SLOTS,
        shape: Callable[[], os.terminal_size] | None = None,
        unicode: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._screen = screen
        self._max_slots = slots
        self._shape = shape or (lambda: os.terminal_size((80, 24)))
        self._unicode = unicode
        self._clock = clock
        self._progress = RunProgress()
        self._speed = SpeedMeter()
        self._frame = io.StringIO()  # a frame is written to the terminal in one call, against flicker
        self._lines: list[str] = []
        self._bars: list[tqdm[Any]] = []
        self._slots: list[int | None] = []
        self._last_shape: os.terminal_size | None = None
        self._closed = False

    def __call__(self, event: Event) -> None:
        self._progress(event)

    def skipped(self, jobs: SkippedJobs) -> None:
        """Count without drawing."""
        self._progress.skipped(jobs)

    def write_line(self, line: str) -> None:
        """Write *line*, or several, above the bars at the next tick; at once after :meth:`close`."""
        if self._closed:
            self._screen.write(f"{line}\n")
        else:
            self._lines += line.split("\n")  # what is left of each row is cleared

    def tick(self) -> None:
        """Draw a frame."""
        shape = self._shape()
        if not self._bars:
            self._make(shape)
        if shape != self._last_shape:
            self._resize(shape)
        now = self._clock()
        rows = self._rows(now, shape.columns - 1)  # some terminals wrap after a character in the last column
        for bar, row in zip(self._bars, rows, strict=True):
            _show(bar, row, shape.columns - 1)
        if self._lines:
            bar.write("\x1b[K\n".join(self._lines), end="\x1b[K\n", file=self._frame)
            self._lines.clear()
        else:
            for bar in self._bars:
                bar.refresh()
        self._send()

    def close(self) -> None:
        """Remove the bars from the screen and write the lines that wait."""
        if self._closed:
            return
        self._closed = True
        if self._bars:
            for bar in reversed(self._bars):
                bar.close()
            self._send()
        for line in self._lines:
            self._screen.write(f"{line}\n")
        self._lines.clear()

    def _make(self, shape: os.terminal_size) -> None:
        """Create the bars, once: tqdm leaves traces on the screen when bars are closed and created."""
        bar_class = _isolated_tqdm()
        jobs = self._progress.jobs
        slots = max(min(self._max_slots, MAX_SLOTS, shape.lines - FREE_ROWS, jobs or MAX_SLOTS), 1)
        self._slots = [None] * slots
        self._last_shape = shape
        for position in range(slots + (jobs != 1)):
            bar = bar_class(
                file=self._frame,
                position=position,
                leave=False,
                ncols=shape.columns - 1,
                nrows=shape.lines,
                bar_format="{desc}",
                ascii=not self._unicode,
            )
            self._bars.append(bar)

    def _resize(self, shape: os.terminal_size) -> None:
        """Erase the last frame, which the terminal has wrapped or cut, and set the new width.

        Every frame leaves the cursor at the first column of the first bar, also when a line was wrapped.
        """
        self._last_shape = shape
        self._frame.write("\r\x1b[J")
        for bar in self._bars:
            bar.ncols, bar.nrows = shape.columns - 1, shape.lines

    def _send(self) -> None:
        text = self._frame.getvalue()
        self._frame.seek(0)
        self._frame.truncate()
        self._screen.write(f"{text}\r")

    def _rows(self, now: float, columns: int) -> Iterable[Row]:
        progress = self._progress
        speed = self._speed.sample(now, progress.received)
        if len(self._bars) > len(self._slots):
            files = progress.files()
            if len(files) > name_width(columns):
                files = files.replace(" files", "")
            yield lay_out(files, progress.fraction(), progress.amount(), speed, progress.eta(speed), columns)
        self._assign_slots()
        for number in self._slots:
            yield Row() if number is None else self._slot(progress.running[number], now, columns)

    def _assign_slots(self) -> None:
        """Assign running jobs to free slots; those that wait for their next attempt come last."""
        running = self._progress.running
        first = sorted(running.values(), key=lambda job: (bool(job.trouble), job.number))
        shown = {job.number for job in first[: len(self._slots)]}
        self._slots = [number if number in shown else None for number in self._slots]
        new = iter(sorted(shown.difference(self._slots)))
        self._slots = [next(new, None) if number is None else number for number in self._slots]
        self._slots.sort(key=lambda number: number is None)  # empty slots to the bottom

    def _slot(self, job: JobProgress, now: float, columns: int) -> Row:
        name = printable(job.name or guess(job.url))
        speed = job.speed.sample(now, job.received)
        if job.trouble:
            return Row(fit(f"{fit(name, name_width(columns))} {printable(job.trouble)}", columns))
        amount = size(job.have) if job.size is None else f"{size(job.have)} of {size(job.size)}"
        eta = "" if job.size is None else time_left(job.size - job.have, speed)
        return lay_out(name, job.fraction, amount, speed, eta, columns)


def _isolated_tqdm() -> type[tqdm[Any]]:
    """Return a tqdm class with its own lock and list of bars, and without the process-wide monitor thread.

    tqdm is imported here, so that a run that ends before its first frame does not pay for it.
    """
    import threading
    import weakref

    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg] # not subscriptable at run time
        monitor_interval = 0
        _instances: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

        @property
        def format_dict(self) -> dict[str, Any]:
            """Without a width: tqdm would cut by its own count, which takes every mark for a column."""
            return {**super().format_dict, "ncols": None}

        @staticmethod
        def status_printer(file: Any) -> Callable[[str], None]:
            """Return what draws a row: tqdm's own pads with spaces by that same count, which would wrap."""
            return lambda row: file.write(f"\r{row}\x1b[K")

        def __del__(self) -> None:
            """Do nothing: tqdm's own draws, and the frame may be deleted before the bars."""

    Bar.set_lock(threading.RLock())
    return Bar


def _show(bar: tqdm[Any], row: Row, columns: int) -> None:
    bar.desc = row.left
    if row.fraction is None:
        bar.n, bar.total, bar.bar_format = 0, None, "{desc}" + row.right
    else:
        bar.n, bar.total, bar.bar_format = (
            row.fraction,
            1,
            f"{{desc}}|{{bar:{bar_width(row, columns)}}}|{row.right}",
        )
