"""The picture that a terminal shows, read back from a small terminal of our own."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from fetchq._errors import NetworkError
from fetchq._events import (
    AttemptFailed,
    Event,
    JobFinished,
    JobStarted,
    Planned,
    Progressed,
    RunStarted,
)
from fetchq._models import Job, PlanKind, Result
from fetchq._progress import Bars, StatusLine
from fetchq._progress.rows import fit
from fetchq._progress.totals import RunProgress, SpeedMeter

MIB = 1 << 20
# Without a glyph of their own, and needed within Persian and joined emoji.
JOINERS = "\u200c\u200d"


class Terminal:
    """What is written, as a screen that scrolls would show it; ``columns`` only says what is too wide."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.raw = ""
        self.size = os.terminal_size((columns, lines))
        self._cells: list[list[str]] = [[]]
        self._row = self._column = 0

    def write(self, text: str) -> None:
        self.raw += text
        for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.", text, re.DOTALL):
            self._take(token)

    def _take(self, token: str) -> None:
        line = self._cells[self._row]
        if token == "\r":
            self._column = 0
        elif token == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self._cells):
                self._cells.append([])
        elif token == "\x1b[A":
            self._row -= 1
            assert self._row >= 0, "the cursor left the picture"
        elif token == "\x1b[K":
            del line[self._column :]
        elif token == "\x1b[J":
            del line[self._column :]
            del self._cells[self._row + 1 :]
        else:
            assert token.isprintable() or token in JOINERS, f"{token!r} reached the terminal"
            line.extend(" " * (self._column + 1 - len(line)))
            line[self._column] = token
            self._column += 1

    @property
    def rows(self) -> list[str]:
        rows = ["".join(line).rstrip() for line in self._cells]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def widest(self) -> int:
        return max(map(width, self.rows), default=0)


def width(text: str) -> int:
    return wcswidth(text)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A terminal with bars on it."""

    def __init__(self, columns: int = 80, lines: int = 24, slots: int = 4) -> None:
        self.terminal = Terminal(columns, lines)
        self.clock = Clock()
        self.bars = Bars(self.terminal, slots=slots, shape=lambda: self.terminal.size, clock=self.clock)

    def show(self, *events: Event, seconds: float = 0.1) -> list[str]:
        for event in events:
            self.bars(event)
        self.clock.now += seconds
        self.bars.tick()
        return self.terminal.rows


def begun(
    number: int = 1,
    name: str = "a.iso",
    start: int = 0,
    size: int | None = 100 * MIB,
    kind: PlanKind = "fresh",
) -> list[Event]:
    return [JobStarted(number, None, f"https://host/{number}", ""), planned(number, name, start, size, kind)]


def planned(
    number: int, name: str, start: int = 0, size: int | None = 100 * MIB, kind: PlanKind = "fresh"
) -> Planned:
    return Planned(number, name, kind, "", start, size, resumable=True)


def ended(number: int, size: int = 100 * MIB, received: int | None = None) -> JobFinished:
    result = Result(Job("https://host/x"), "done", size=size, received=size if received is None else received)
    return JobFinished(number, "x", result)


def failed(number: int) -> JobFinished:
    return JobFinished(number, "x", Result(Job("https://host/x"), "failed", error=NetworkError("No answer.")))


def test_one_overall_bar_and_one_for_each_running_job() -> None:
    stage = Stage()
    rows = stage.show(
        RunStarted(12, "."), *begun(1, "a.iso"), *begun(2, "b.iso"), Progressed(2, 50 * MIB, 1, 1)
    )
    assert len(rows) == 3
    assert rows[0].startswith("0/12 files")
    assert re.match(r"a\.iso +0% \|", rows[1])
    assert re.match(r"b\.iso +50% \|█+", rows[2])
    assert "50.0 MiB" in rows[2]


def test_a_single_job_has_one_bar_only() -> None:
    rows = Stage().show(RunStarted(1, "."), *begun(), Progressed(1, 25 * MIB, 25 * MIB, 1))
    assert len(rows) == 1
    assert re.match(r"a\.iso +25% \|█+", rows[0])


def test_speed_and_time_left_follow_the_bytes() -> None:
    stage = Stage(columns=120)
    stage.show(RunStarted(1, "."), *begun())
    rows = stage.show(Progressed(1, 20 * MIB, 20 * MIB, 1), seconds=2.0)
    assert "20.0 MiB of 100.0 MiB   10.0 MiB/s     0:08" in rows[0]


def test_a_resumed_job_begins_where_it_was_and_its_speed_counts_new_bytes_only() -> None:
    stage = Stage(columns=120)
    rows = stage.show(RunStarted(1, "."), *begun(start=60 * MIB, kind="resume"))
    assert re.match(r"a\.iso +60% ", rows[0])
    rows = stage.show(Progressed(1, 70 * MIB, 10 * MIB, 1), seconds=1.0)
    assert re.match(r"a\.iso +70% .* 10\.0 MiB/s +0:03", rows[0])


def test_a_restart_takes_its_bytes_back() -> None:
    stage = Stage()
    stage.show(RunStarted(2, "."), *begun(), Progressed(1, 80 * MIB, 80 * MIB, 1))
    rows = stage.show(planned(1, "a.iso", kind="restart"))
    assert re.match(r"0/2 files +0% ", rows[0])
    assert re.match(r"a\.iso +0% .* 0 B ", rows[1])


def test_an_unknown_length_shows_bytes_and_no_percentage() -> None:
    rows = Stage().show(RunStarted(1, "."), *begun(size=None), Progressed(1, 3 * MIB, 3 * MIB, 1))
    assert "%" not in rows[0]
    assert "|" not in rows[0]
    assert "3.0 MiB" in rows[0]


def test_an_unknown_number_of_jobs_is_counted_up() -> None:
    rows = Stage().show(RunStarted(None, "."), *begun(1), ended(1), *begun(2))
    assert rows[0].startswith("1 files ")
    assert "%" not in rows[0]


def test_lines_stand_above_the_bars_and_stay_when_these_go() -> None:
    stage = Stage()
    stage.show(RunStarted(9, "."), *begun(1), *begun(2))
    stage.show(Progressed(1, 0, 0, 1))
    stage.bars.write_line("done a.iso\ndone b.iso")
    rows = stage.show(Progressed(1, MIB, MIB, 1))
    assert rows[:2] == ["done a.iso", "done b.iso"]
    assert "done a.iso\x1b[K\ndone b.iso\x1b[K\n" in stage.terminal.raw, "each row is cleared to its end"
    assert rows[2].startswith("0/9 files")
    stage.bars.write_line("done c.iso")
    stage.bars.close()
    stage.bars.write_line("the report")
    assert stage.terminal.rows == ["done a.iso", "done b.iso", "done c.iso", "the report"]


def test_a_run_too_short_for_a_picture_draws_none() -> None:
    stage = Stage()
    for event in (RunStarted(1, "."), *begun(), ended(1)):
        stage.bars(event)
    stage.bars.write_line("done a.iso")
    stage.bars.close()
    assert stage.terminal.raw == "done a.iso\n"


def test_slots_are_reused_and_never_more_than_were_made() -> None:
    stage = Stage(slots=2)
    stage.show(RunStarted(5, "."), *begun(1, "a"), *begun(2, "b"), *begun(3, "c"))
    assert [row[0] for row in stage.terminal.rows[1:]] == ["a", "b"]
    rows = stage.show(ended(1))
    assert [row[0] for row in rows[1:]] == ["c", "b"]
    rows = stage.show(ended(2), ended(3))
    assert len(rows) == 1


def test_a_job_that_waits_says_why_and_yields_its_slot_to_one_that_moves() -> None:
    stage = Stage(slots=1)
    rows = stage.show(
        RunStarted(2, "."), *begun(1), AttemptFailed(1, "a.iso", NetworkError("It broke off."), 1, 4.2)
    )
    assert "again in 4 s: It broke off." in rows[1]
    rows = stage.show(*begun(2, "b.iso"))
    assert rows[1].startswith("b.iso")
    rows = stage.show(ended(2), planned(1, "a.iso"))
    assert rows[1].startswith("a.iso")
    assert "again" not in rows[1]


@pytest.mark.parametrize("columns", [10, 20, 35, 36, 59, 60, 80, 99, 100, 101, 200])
@pytest.mark.parametrize("name", ["a.iso", "n" * 300, "日本語のとても長いファイル名です.tar.gz", "{bar}{x}"])
def test_no_row_is_wider_than_the_terminal(columns: int, name: str) -> None:
    stage = Stage(columns=columns)
    waits = AttemptFailed(3, name, NetworkError("A long story. " * 20), 1, 4.2)
    stage.show(RunStarted(12345, "."), *begun(1, name), *begun(2, name, size=None), *begun(3, name), waits)
    stage.show(Progressed(1, MIB, MIB, 1), Progressed(2, MIB, MIB, 1), failed(4))
    assert 0 < stage.terminal.widest() < columns


FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
SCRIPTS = {
    "ASCII": "a.iso",
    "Thai": "ที่นี่มีน้ำผึ้ง.iso",
    "Hindi": "हिन्दी की फ़ाइल.iso",
    "pointed Hebrew": "שָׁלוֹם־עֲלֵיכֶם.iso",
    "joined emoji": f"{FAMILY}{FAMILY}.iso",
    "emoji by selector": "\u2764\ufe0f\u2764\ufe0f.iso",
    "CJK": "日本語のファイル.iso",
    "decomposed": "cafe\u0301 e\u0301te\u0301.iso",
}


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", SCRIPTS.values(), ids=SCRIPTS)
def test_bars_of_every_script_begin_and_end_together(columns: int, name: str) -> None:
    stage = Stage(columns=columns)
    stage.show(RunStarted(3, "."), *begun(1, "n" * 100), *begun(2, name), *begun(3, name * 8))
    rows = stage.show(Progressed(2, MIB, MIB, 1))
    edges = {tuple(width(row[:at]) for at, char in enumerate(row) if char == "|") for row in rows}
    assert len(edges) == 1, rows
    assert stage.terminal.widest() < columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("น้ำน้ำน้ำน้ำ", 5, "น้ำ~น้ำ"),
        (FAMILY * 3, 5, f"{FAMILY}~{FAMILY}"),
        (FAMILY * 3, 4, f"~{FAMILY} "),
        ("e\u0301" * 4, 3, "e\u0301~e\u0301"),
        ("\u2764\ufe0f" * 3, 5, "\u2764\ufe0f~\u2764\ufe0f"),
        ("日本語の", 5, "日~の"),
        ("日本語の", 4, "~の "),
        ("שָׁ" * 4, 3, "שָׁ~שָׁ"),
    ],
)
def test_a_name_is_cut_between_whole_characters(text: str, columns: int, shown: str) -> None:
    assert fit(text, columns) == shown
    assert width(shown) == columns


def test_a_narrow_terminal_still_tells_name_and_percentage() -> None:
    rows = Stage(columns=20).show(
        RunStarted(1, "."), *begun(name="ubuntu-24.04-desktop-amd64.iso", start=50 * MIB)
    )
    assert rows == ["ubuntu~d64.iso  50%"]


@pytest.mark.parametrize("columns", [30, 70, 150])
def test_a_resized_terminal_shows_one_picture_of_the_new_width(columns: int) -> None:
    stage = Stage(columns=100)
    stage.bars.write_line("done z.iso")
    stage.show(RunStarted(3, "."), *begun(1, "a.iso"), *begun(2, "b.iso"))
    stage.terminal.size = os.terminal_size((columns, 24))
    rows = stage.show(Progressed(1, MIB, MIB, 1))
    assert rows[0] == "done z.iso"
    assert [row[:5] for row in rows[1:]] == ["0/3 f", "a.iso", "b.iso"]
    assert max(map(width, rows)) < columns


def test_a_low_terminal_gets_fewer_slots() -> None:
    rows = Stage(lines=6, slots=8).show(RunStarted(9, "."), *(event for n in range(1, 9) for event in begun(n)))
    assert len(rows) == 1 + 3


def test_control_characters_of_a_name_or_an_error_never_reach_the_terminal() -> None:
    stage = Stage()
    hostile = "a\x1b[2J\r\n\u202eb"
    stage.show(RunStarted(2, "."), *begun(1, hostile), *begun(2, "b"))
    rows = stage.show(AttemptFailed(2, "b", NetworkError(hostile), 1, 1.0))  # the terminal asserts
    assert rows[1].startswith("a?[2J???b")


def test_two_pictures_of_one_process_do_not_meet() -> None:
    one, other = Stage(), Stage()
    one.show(RunStarted(2, "."), *begun(1, "one"))
    other.show(RunStarted(2, "."), *begun(1, "other"))
    one.bars.close()
    rows = other.show(Progressed(1, MIB, MIB, 1))
    assert [row.split()[0] for row in rows] == ["0/2", "other"]
    assert one.terminal.rows == []
    assert not [thread for thread in threading.enumerate() if "Monitor" in type(thread).__name__]


def test_an_ascii_terminal_gets_an_ascii_bar() -> None:
    terminal = Terminal()
    bars = Bars(terminal, unicode=False)
    for event in (RunStarted(1, "."), *begun(start=50 * MIB)):
        bars(event)
    bars.tick()
    assert terminal.raw.isascii()
    assert "|####" in terminal.raw


# --- the numbers


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """Histories of a few jobs that are planned, move, go back, fail and end, in any mixture."""
    events: list[Event] = [RunStarted(4, ".")]
    for _ in range(draw(st.integers(0, 40))):
        number = draw(st.integers(1, 4))
        have = draw(st.integers(0, 1000))
        size = draw(st.sampled_from([None, 0, 1000]))
        kinds: list[Event] = [
            JobStarted(number, None, "https://host/x", ""),
            planned(number, "x", min(have, size or 0), size),
            Progressed(number, have, have // 2, 1),
            AttemptFailed(number, "x", NetworkError("No."), 1, 1.0),
            ended(number, 1000),
            failed(number),
        ]
        events.append(draw(st.sampled_from(kinds)))
    return events


@given(runs())
def test_the_sum_is_that_of_its_jobs_and_the_fraction_stays_below_one(events: Iterable[Event]) -> None:
    tally = RunProgress()
    finished = 0
    started: set[int] = set()
    for event in events:
        if isinstance(event, JobStarted):
            if event.number in started:
                continue  # a number belongs to one job
            started.add(event.number)
        elif getattr(event, "number", None) not in {None, *tally.running}:
            continue
        tally(event)
        finished += event.result.size if isinstance(event, JobFinished) else 0
        assert tally.have == finished + sum(job.have for job in tally.running.values())
        assert 0.0 <= (tally.fraction() or 0.0) <= 1.0


def test_bytes_of_jobs_not_yet_seen_are_estimated_and_marked_so() -> None:
    tally = RunProgress()
    for event in (RunStarted(4, "."), *begun(1, size=10 * MIB), *begun(2, size=30 * MIB)):
        tally(event)
    assert tally.amount() == "0 B of ~80.0 MiB"
    for event in (*begun(3, size=1), *begun(4, size=None), failed(4)):
        tally(event)
    assert tally.amount() == "0 B of 40.0 MiB"


def test_the_meter_looks_back_five_seconds_only() -> None:
    meter = SpeedMeter()
    meter.sample(0.0, 0)
    assert meter.sample(1.0, 1000) == 1000
    for second in range(2, 20):
        speed = meter.sample(float(second), 1000)
    assert speed == 0


# --- without a terminal


def test_the_status_line_comes_every_five_seconds_if_there_is_news() -> None:
    clock, said = Clock(), list[str]()
    status = StatusLine(said.append, clock=clock)
    for event in (
        RunStarted(12, "."),
        *begun(1, size=45 * MIB),
        ended(1, 45 * MIB, 0),
        *begun(2, size=55 * MIB),
    ):
        status(event)
    for tenth in range(1, 100):
        clock.now = 100.0 + tenth / 10
        status(Progressed(2, tenth * MIB // 10, MIB // 10, 1))
        status.tick()
    assert said == ["1/12 files, 50.0 MiB of ~600.0 MiB, 1.0 MiB/s, ETA ~9:10"]
    clock.now = 200.0
    status.tick()
    clock.now = 300.0
    status.tick()
    clock.now = 400.0
    status.tick()
    assert [text.partition(", ")[0] for text in said] == ["1/12 files"] * 2
    assert said[-1] == "1/12 files, 54.9 MiB of ~600.0 MiB, 0 B/s"
