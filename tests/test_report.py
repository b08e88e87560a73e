"""Events as lines for people and as JSON for programs; the report; what becomes of a reader that leaves."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path
from typing import get_args

import pytest

from fetchq._errors import (
    DiskError,
    DiskFullError,
    FetchError,
    NetworkError,
    QueueFileError,
    StatusError,
)
from fetchq._events import (
    AttemptFailed,
    Event,
    JobFinished,
    JobStarted,
    Planned,
    Progressed,
    QueueWaiting,
    RunFinished,
    RunStarted,
    Waiting,
    Warned,
)
from fetchq._models import Job, Result
from fetchq._report import (
    RESUME_HINT,
    LineWriter,
    LogFile,
    Reporter,
    ReportOptions,
    ReportStreams,
    Summary,
    TextLines,
    format_event,
)
from fetchq._report.json_lines import JsonLines, event_to_dict
from fetchq._settings import ProgressKind

MIB = 1 << 20
URL = "https://bob:hunter2@host/a.iso?sig=hunter2"
QUIET, NORMAL, VERBOSE = -1, 0, 1
NOON = 1_704_110_400.0
LOCAL_NOON = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOON))
BROKE = NetworkError("host closed the connection after 3 bytes.")
GONE = StatusError("host answered 404 (not found).", status=404)


def finished(number: int = 1, **facts: object) -> JobFinished:
    settled: dict[str, object] = {"status": "done", "size": 10 * MIB, "received": 10 * MIB, "elapsed": 2.0}
    settled |= {"verified": "length", **facts}
    return JobFinished(number, "a.iso", Result(Job(URL), **settled))  # type: ignore[arg-type] # as written


def failed(error: FetchError, number: int = 1, job: Job | None = None) -> JobFinished:
    return JobFinished(number, "", Result(job or Job(URL), "failed", error=error))


def ran(done: int = 0, failed: int = 0, left: int = 0, *, stopped: bool = False) -> RunFinished:
    return RunFinished(done, 0, 0, failed, left, 90 * MIB, 90 * MIB, 45.0, stopped)


EVENTS: list[Event] = [
    RunStarted(3, "."),
    JobStarted(1, "x", "https://host/a.iso", "q.txt:1"),
    Planned(1, "a.iso", "resume", "same ETag", 5 * MIB, 10 * MIB, resumable=True),
    Progressed(1, 6 * MIB, MIB, 2),
    AttemptFailed(1, "a.iso", BROKE, 2, 1.25),
    Warned(0, "q.txt: option 'split-size' is unknown."),
    finished(digests={"sha256": "ab"}, path=Path("d/a.iso")),
    failed(GONE),
    Waiting(1, "host", BROKE, 30.0, NOON),
    QueueWaiting(3),
    ran(3),
]


@pytest.mark.parametrize(
    ("event", "least", "text"),
    [
        (finished(), NORMAL, "done     a.iso, 10.0 MiB, 5.0 MiB/s"),
        (
            finished(status="resumed", received=4 * MIB),
            NORMAL,
            "resumed  a.iso, 10.0 MiB, 4.0 MiB of them fetched now, 2.0 MiB/s",
        ),
        (finished(status="skipped", reason="already complete"), NORMAL, "skipped  a.iso (already complete)"),
        (
            finished(verified="nothing"),
            NORMAL,
            "done     a.iso, 10.0 MiB, 5.0 MiB/s, length unknown: not verified",
        ),
        (failed(GONE), QUIET, "failed   https://host/a.iso?***: host answered 404 (not found)."),
        (
            failed(BROKE, job=Job(URL, source="q.txt:7")),
            QUIET,
            "failed   https://host/a.iso?***, q.txt:7: host closed the connection after 3 bytes.",
        ),
        (
            failed(QueueFileError("q.txt:7: no URL."), job=Job("", source="q.txt:7")),
            QUIET,
            "failed   q.txt:7: no URL.",
        ),
        (
            AttemptFailed(1, "a.iso", BROKE, 1, 0.02),
            VERBOSE,
            "retry    a.iso at once, failure 1: host closed the connection after 3 bytes.",
        ),
        (QueueWaiting(3), NORMAL, "waiting  for more lines of the queue; Ctrl-C ends the run"),
        (Waiting(1, "host", BROKE, 30.0, NOON), NORMAL, f"waiting  until {LOCAL_NOON}: {BROKE}"),
        (Waiting(1, "host", BROKE, 30.0, None), NORMAL, f"waiting  as long as it takes: {BROKE}"),
        (
            JobFinished(1, "-", Result(Job(URL, "-"), "done", size=3, verified="length")),
            NORMAL,
            "done     stdout, 3 B",
        ),
        (EVENTS[5], NORMAL, "warning  q.txt: option 'split-size' is unknown."),
        (EVENTS[2], VERBOSE, "resume   a.iso from 5.0 MiB of 10.0 MiB (same ETag)"),
        (
            Planned(1, "a", "fresh", "", 0, None, resumable=False),
            VERBOSE,
            "fresh    a of unknown size",
        ),
        (
            EVENTS[4],
            VERBOSE,
            "retry    a.iso in 1.2 s, failure 2: host closed the connection after 3 bytes.",
        ),
    ],
)
def test_what_is_said_and_from_which_verbosity_on(event: Event, least: int, text: str) -> None:
    said = {verbosity: format_event(event, verbosity) for verbosity in (QUIET, NORMAL, VERBOSE)}
    assert said == {verbosity: text if verbosity >= least else None for verbosity in said}


@pytest.mark.parametrize("event", [EVENTS[0], EVENTS[1], EVENTS[3], EVENTS[-1]])
def test_what_is_never_a_line(event: Event) -> None:
    assert format_event(event) is None


def test_control_characters_of_a_server_never_reach_a_line() -> None:
    hostile = "x\x1b[2J\r\n\x07\u202e"
    events: list[Event] = [
        failed(NetworkError(hostile)),
        Warned(0, hostile),
        Planned(1, hostile, "fresh", hostile, 0, 1, resumable=True),
        AttemptFailed(1, hostile, NetworkError(hostile), 1, 1.0),
        Waiting(1, hostile, NetworkError(hostile), 9.0, None),
    ]
    for event in events:
        assert (format_event(event) or "\n").isprintable()


def test_no_secret_of_a_url_is_told() -> None:
    for event in EVENTS:
        assert "hunter2" not in f"{format_event(event)}{json.dumps(event_to_dict(event))}"


# --- JSON


def test_every_event_is_one_object_a_line_with_its_word_and_time() -> None:
    said: list[str] = []
    observer = JsonLines(said.append, now=lambda: 1700000000.12345)
    for event in EVENTS:
        observer(event)
    told = [json.loads(text) for text in said]
    assert [list(item)[:2] for item in told] == [["event", "time"]] * len(EVENTS)
    assert {item["time"] for item in told} == {1700000000.123}
    assert [item["event"] for item in told] == [
        "run_started",
        "job_started",
        "planned",
        "progressed",
        "attempt_failed",
        "warned",
        "job_finished",
        "job_finished",
        "waiting",
        "queue_waiting",
        "run_finished",
    ]


def test_every_kind_of_event_has_its_word() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize("event", [event for event in EVENTS if not isinstance(event, JobFinished)])
def test_a_record_has_the_events_fields(event: Event) -> None:
    assert list(event_to_dict(event)) == ["event", *event._fields]


def test_a_finished_job_is_flat() -> None:
    assert event_to_dict(EVENTS[6]) == {
        "event": "job_finished",
        "number": 1,
        "name": "a.iso",
        "id": None,
        "url": "https://host/a.iso?***",
        "source": "",
        "status": "done",
        "path": "d/a.iso",
        "size": 10 * MIB,
        "received": 10 * MIB,
        "digests": {"sha256": "ab"},
        "verified": "length",
        "elapsed": 2.0,
        "attempts": 0,
        "reason": "",
        "final_url": None,
        "etag": None,
        "last_modified": None,
        "error": None,
    }


def test_an_error_is_an_object_of_its_own() -> None:
    expected = {
        "kind": "network",
        "message": str(BROKE),
        "exit_code": 4,
        "transient": True,
        "url": "",
        "status": None,
        "said": "",
    }
    assert event_to_dict(EVENTS[4])["error"] == expected
    assert event_to_dict(failed(BROKE))["error"] == expected


def test_a_name_that_is_no_utf8_still_makes_ascii_json() -> None:
    said: list[str] = []
    JsonLines(said.append)(finished(path=Path(os.fsdecode(b"\xff\xe4"))))
    assert said[0].isascii()
    assert json.loads(said[0])["path"] == "\udcff\udce4"


# --- the report


def report(*events: Event, resumable: bool = True) -> list[str]:
    said: list[str] = []
    summary = Summary(said.append, resumable=resumable)
    for event in events:
        summary(event)
    return said


def test_the_report_counts_and_names_each_failure() -> None:
    assert report(failed(GONE), ran(done=3, failed=1)) == [
        "4 files: 3 done, 1 failed; 90.0 MiB in 0:45, 2.0 MiB/s",
        "  https://host/a.iso?***: host answered 404 (not found).",
    ]


def test_the_list_of_failures_is_bounded() -> None:
    said = report(*(failed(GONE, number) for number in range(500)), ran(failed=500))
    assert len(said) == 1 + 20 + 1
    assert said[-1] == "  ... and 480 more"


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([failed(BROKE), ran(1, 1)], True),
        ([failed(DiskFullError("No space is left.")), ran(1, 1)], True),
        ([failed(DiskError("a.iso is a folder.")), ran(1, 1)], False),
        ([ran(1, left=3, stopped=True)], True),
        ([failed(GONE), ran(1, 1)], False),
        ([ran(2)], False),
    ],
)
def test_how_to_go_on_is_said_where_it_helps(events: list[Event], told: bool) -> None:
    assert (RESUME_HINT in report(*events)) is told


def test_a_single_job_needs_no_report() -> None:
    assert report(finished(), ran(1)) == []
    assert report(failed(BROKE), ran(failed=1)) == [RESUME_HINT]


def test_what_went_to_stdout_is_not_resumed() -> None:
    assert report(failed(BROKE), ran(failed=1), resumable=False) == []


def test_an_empty_run_says_so() -> None:
    assert report(RunFinished(0, 0, 0, 0, 0, 0, 0, 0.0, stopped=False)) == ["Nothing to do: no job was given."]


# --- streams


class Pipe(io.StringIO):
    """A pipe whose reader may leave, or a disk that may be full."""

    failure: OSError | None = None

    def flush(self) -> None:
        if self.failure:
            raise self.failure


def test_a_reader_that_leaves_is_noticed_once_and_quietly() -> None:
    pipe, calls = Pipe(), list[int]()
    lines = LineWriter(pipe, on_closed=lambda: calls.append(1))
    lines.write_line("one")
    pipe.failure = BrokenPipeError()
    lines.write_line("two")
    lines.write_line("three")
    assert calls == [1]
    assert pipe.getvalue() == "one\ntwo\n"


def test_a_log_on_a_full_disk_does_not_end_the_run() -> None:
    pipe, calls = Pipe(), list[int]()
    pipe.failure = OSError(28, "No space left on device")
    LineWriter(pipe, on_closed=lambda: calls.append(1)).write_line("one")
    assert calls == []


def test_events_that_cannot_be_written_are_told_once() -> None:
    pipe, lost = Pipe(), list[OSError]()
    pipe.failure = OSError(28, "No space left on device")
    lines = LineWriter(pipe, on_error=lost.append)
    lines.write_line("one")
    lines.write_line("two")
    assert lost == [pipe.failure]


def test_what_a_stream_cannot_show_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    LineWriter(stream).write_line("naïve \udcff")
    assert raw.getvalue() == b"na\\xefve \\udcff\n"


def test_a_pipe_that_closed_is_no_failure_worth_a_word() -> None:
    error = DiskError("The program that reads standard output has ended.")
    error.__cause__ = BrokenPipeError()
    assert format_event(failed(error), QUIET) is None
    assert report(failed(error), ran(1, 1)) == []


# --- who listens


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def heard(stderr: io.StringIO, progress: ProgressKind, verbosity: int = NORMAL) -> tuple[str, str]:
    stdout = io.StringIO()
    options = ReportOptions(progress=progress, verbosity=verbosity, slots=2)
    reporter = Reporter(options, ReportStreams(stderr=stderr, stdout=stdout))
    for event in (*EVENTS[:-1], ran(3, 1)):
        reporter(event)
        reporter.tick()
    reporter.close()
    return stderr.getvalue(), stdout.getvalue()


def test_auto_draws_on_a_terminal_and_writes_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[A" in heard(Terminal(), "auto")[0]
    assert "\x1b" not in heard(io.StringIO(), "auto")[0]
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in heard(Terminal(), "auto")[0]


def test_no_color_takes_the_colours_and_leaves_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mfailed\x1b[0m   https" in heard(Terminal(), "none")[0]
    monkeypatch.setenv("NO_COLOR", "1")
    text = heard(Terminal(), "none")[0]
    assert "\x1b" not in text
    assert "failed   https" in text


def test_json_leaves_to_people_what_failed_and_the_report() -> None:
    stderr, stdout = heard(io.StringIO(), "json")
    assert len(stdout.splitlines()) == len(EVENTS)
    assert [text.split()[0] for text in stderr.splitlines()] == ["failed", "4", "https://host/a.iso?***:"]


def test_quiet_says_errors_only() -> None:
    stderr, stdout = heard(io.StringIO(), "auto", QUIET)
    assert stderr == "failed   https://host/a.iso?***: host answered 404 (not found).\n"
    assert stdout == ""


def test_a_log_gets_the_verbose_lines_with_their_time(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log")
    streams = ReportStreams(stderr=io.StringIO(), stdout=io.StringIO(), log=log)
    reporter = Reporter(ReportOptions(progress="none", verbosity=QUIET, slots=1), streams)
    for event in EVENTS:
        reporter(event)
    log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    times, words = zip(*(text.split()[:2] for text in lines), strict=True)
    assert words == ("begins", "resume", "retry", "warning", "done", "failed", "waiting", "waiting")
    assert all(len(time) == len("2025-01-01T00:00:00+0000") for time in times)


def test_colour_paints_the_first_word_only() -> None:
    said: list[str] = []
    TextLines(said.append, NORMAL, colour=True)(finished())
    assert said == ["\x1b[32mdone\x1b[0m     a.iso, 10.0 MiB, 5.0 MiB/s"]
