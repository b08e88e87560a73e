"""Bars on a terminal, drawn by tqdm."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from .._events import Event
from .._naming import guess, printable
from .._units import size
from .rows import Row, fit, lay_out, name_width
from .totals import JobProgress, Meter, RunProgress, left

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["MOST_SLOTS", "Bars"]

# More lines than this push what was printed before off a small screen.
MOST_SLOTS = 8
# Rows left free, so that at least the last finished files stay in sight.
FREE_ROWS = 3


class Screen(Protocol):
    """Where text for people goes."""

    def write(self, text: str) -> object:
        """Put *text* there at once."""


class Bars:
    """One overall bar and a fixed set of slot bars, with finished files as lines above them.

    :param screen: a terminal.
    :param slots: jobs that run at once.
    :param shape: columns and rows of the terminal now; asked at each tick, so that a resize is followed.
    :param unicode: whether the terminal shows block characters.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        slots: int = MOST_SLOTS,
        shape: Callable[[], os.terminal_size] | None = None,
        unicode: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._screen = screen
        self._most = slots
        self._shape = shape or (lambda: os.terminal_size((80, 24)))
        self._unicode = unicode
        self._clock = clock
        self._tally = RunProgress()
        self._meter = Meter()
        self._frame = io.StringIO()  # a whole picture reaches the terminal in one write: no flicker
        self._lines: list[str] = []
        self._bars: list[tqdm[Any]] = []
        self._slots: list[int | None] = []
        self._seen: os.terminal_size | None = None
        self._closed = False

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""
        self._tally(event)

    def say(self, line: str) -> None:
        """Put *line* above the bars at the next tick."""
        if self._closed:
            self._screen.write(f"{line}\n")
        else:
            self._lines.append(line)

    def tick(self) -> None:
        """Draw the picture as things are now."""
        shape = self._shape()
        if not self._bars:
            self._make(shape)
        if shape != self._seen:
            self._clear(shape)
        now = self._clock()
        rows = self._rows(now, shape.columns - 1)  # a full last column makes some terminals wrap
        for bar, row in zip(self._bars, rows, strict=True):
            _show(bar, row)
        if self._lines:
            # tqdm clears with spaces, which would wrap when the terminal shrinks: erase them behind each line.
            bar.write("\x1b[K\n".join(self._lines), end="\x1b[K\n", file=self._frame)
            self._lines.clear()
        else:
            for bar in self._bars:
                bar.refresh()
        self._send()

    def close(self) -> None:
        """Take the bars off the screen and print the lines that wait; lines said later go straight out."""
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
        """Make the bars once: they are reused, since bars that come and go leave traces on the screen."""
        bar = _quiet_tqdm()
        jobs = self._tally.jobs
        slots = max(min(self._most, MOST_SLOTS, shape.lines - FREE_ROWS, jobs or MOST_SLOTS), 1)
        self._slots = [None] * slots
        self._seen = shape
        for place in range(slots + (jobs != 1)):
            made = bar(
                file=self._frame,
                position=place,
                leave=False,
                ncols=shape.columns - 1,
                nrows=shape.lines,
                bar_format="{desc}",
                ascii=not self._unicode,
            )
            self._bars.append(made)

    def _clear(self, shape: os.terminal_size) -> None:
        """Start the picture anew: the terminal has wrapped or cut the old one.

        Every frame leaves the cursor at the first column of the first bar, and a wrapped line keeps it there.
        """
        self._seen = shape
        self._frame.write("\r\x1b[J")
        for bar in self._bars:
            bar.ncols, bar.nrows = shape.columns - 1, shape.lines
            bar.sp = bar.status_printer(self._frame)  # forgets the old width, which it would pad to

    def _send(self) -> None:
        text = self._frame.getvalue()
        self._frame.seek(0)
        self._frame.truncate()
        self._screen.write(f"{text}\r")

    def _rows(self, now: float, columns: int) -> Iterable[Row]:
        speed = self._meter.sample(now, self._tally.received)
        if len(self._bars) > len(self._slots):
            tally = self._tally
            files = tally.files()
            if len(files) > name_width(columns):
                files = files.replace(" files", "")
            yield lay_out(files, tally.fraction(), tally.amount(), speed, tally.eta(speed), columns)
        self._assign()
        for number in self._slots:
            yield Row() if number is None else self._slot(self._tally.running[number], now, columns)

    def _assign(self) -> None:
        """Give each slot a running job; one that waits for its next attempt yields to one that moves."""
        running = self._tally.running
        first = sorted(running.values(), key=lambda job: (bool(job.trouble), job.number))
        wanted = {job.number for job in first[: len(self._slots)]}
        self._slots = [number if number in wanted else None for number in self._slots]
        fresh = iter(sorted(wanted.difference(self._slots)))
        self._slots = [next(fresh, None) if number is None else number for number in self._slots]
        # Towards the end slots stay empty: they go below the others, and no gap is left between these.
        self._slots.sort(key=lambda number: number is None)

    def _slot(self, job: JobProgress, now: float, columns: int) -> Row:
        name = printable(job.name or guess(job.url))
        speed = job.meter.sample(now, job.received)
        if job.trouble:
            return Row(fit(f"{fit(name, name_width(columns))} {printable(job.trouble)}", columns))
        amount = size(job.have) if job.size is None else f"{size(job.have)} of {size(job.size)}"
        eta = "" if job.size is None else left(job.size - job.have, speed)
        return lay_out(name, job.fraction, amount, speed, eta, columns)


def _quiet_tqdm() -> type[tqdm[Any]]:
    """Give tqdm without what it shares over a process: its monitor thread, its lock, its list of bars.

    Imported here, so that a run without bars, or too short for one, does not pay for it.
    """
    import threading
    import weakref

    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg] # not subscriptable at run time
        monitor_interval = 0
        _instances: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

        def __del__(self) -> None:
            """Draw nothing: the frame may be gone before the bars."""

    Bar.set_lock(threading.RLock())
    return Bar


def _show(bar: tqdm[Any], row: Row) -> None:
    bar.desc = row.left
    if row.fraction is None:
        bar.n, bar.total, bar.bar_format = 0, None, "{desc}" + row.right
    else:
        bar.n, bar.total, bar.bar_format = row.fraction, 1, "{desc}|{bar}|" + row.right
