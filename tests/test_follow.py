"""``--follow``: a list that others append to, replace and truncate, until a signal ends the run."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._queue_files import follow

from .conftest import RunFetchq, clean_env, fetching, run
from .origin import Origin, generated, status, throttle

Item = fetchq.Job | fetchq.QueueFileError
WORDS = ("--no-env", "--retries", "0", "--patience", "0")


class Hand:
    """Changes the file when the reader has nothing more to read: its sleep."""

    def __init__(self, *changes: Callable[[], object]) -> None:
        self._changes = iter(changes)

    def __call__(self, _: float) -> None:
        change = next(self._changes, None)
        if change is None:
            raise AllMadeError
        change()


class AllMadeError(Exception):
    """The test has no further change."""


def followed(path: Path, *changes: Callable[[], object]) -> list[str]:
    """Return what is read of *path* while each of *changes* is made at one of the reader's pauses."""
    found: list[str] = []
    reader: Iterator[Item] = follow(str(path), warn=found.append, sleep=Hand(*changes))
    with suppress(AllMadeError):
        found.extend(_told(item, path) for item in reader)
    return found


def _told(item: Item, path: Path) -> str:
    if isinstance(item, fetchq.QueueFileError):
        return str(item).replace(str(path), "q")
    return f"{item.url} {item.source.rpartition(':')[2]}{f' {item.out}' if item.out else ''}"


def append(path: Path, text: str) -> Callable[[], object]:
    def change() -> None:
        with path.open("a") as file:
            file.write(text)

    return change


def replace(path: Path, text: str) -> Callable[[], object]:
    def change() -> None:
        path.rename(path.with_suffix(".1"))
        path.write_text(text)

    return change


def nothing() -> None:
    """Let the reader find nothing new."""


def test_lines_are_read_as_they_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_text("# list\nhttp://h/1\n")
    assert followed(
        path,
        nothing,
        append(path, "http://h/2\n\nhttp://h/3\n"),
        append(path, "http://h/4"),
        nothing,
        append(path, "5\nhttp"),
        append(path, "://h/6\n"),
        nothing,
    ) == ["http://h/1 2", "http://h/2 3", "http://h/3 5", "http://h/45 6", "http://h/6 7"]


def test_an_empty_list_may_get_any_format(tmp_path: Path) -> None:
    texts = {
        "aria2": "http://h/1\n  out=a\nhttp://h/2\n  out=b\n",
        "csv": "url;out\nhttp://h/1;a\nhttp://h/2;b\n",
        "jsonl": '{"url": "http://h/1", "out": "a"}\n{"url": "http://h/2", "out": "b"}\n',
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.touch()
        head, middle = text[: len(text) // 2], text[len(text) // 2 :]
        read = followed(path, nothing, append(path, head), append(path, middle), nothing)
        assert [line.split()[0::2] for line in read] == [["http://h/1", "a"], ["http://h/2", "b"]], name


def test_the_last_url_of_a_list_does_not_wait_for_another(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_text("http://h/1\n")
    read = followed(path, nothing, append(path, "http://h/2\n"), nothing, append(path, "  out=x\n"))
    assert read == ["http://h/1 1", "http://h/2 2"]
    read = followed(path, nothing, append(path, "  out=y\n"), nothing)
    assert read[-1] == "q:4: an option before any URL."


@pytest.mark.parametrize("rest", ["", "http://h/3,c\n", "http://h/3,c"])
def test_a_list_that_is_replaced_is_read_to_its_end_then_the_new_one(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "q.txt"
    path.write_text("url,out\nhttp://h/1,a\n")

    def rotate() -> None:
        replace(path, '{"url": "http://h/4"}\n')()
        append(path.with_suffix(".1"), rest)()

    read = followed(
        path, append(path, "http://h/2,b\n"), rotate, nothing, nothing, append(path, "5\n"), nothing
    )
    old = ["http://h/1 2 a", "http://h/2 3 b", *(["http://h/3 4 c"] if rest else [])]
    assert read == [*old, "http://h/4 1", "q:2: not a JSON object."]


def test_a_list_that_is_away_for_a_while_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_text("http://h/1\n")
    read = followed(
        path, path.unlink, nothing, nothing, lambda: path.write_text("http://h/2\n"), nothing, nothing
    )
    assert read == ["http://h/1 1", "http://h/2 1"]


def test_a_list_that_is_truncated_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_text("http://h/1\nhttp://h/2 and no e")
    read = followed(
        path, nothing, lambda: path.write_text("http://h/3\n"), append(path, "http://h/4\n"), nothing
    )
    assert read == ["http://h/1 1", "http://h/3 1", "http://h/4 2"]


def test_a_line_that_is_too_long_is_told_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_text("http://h/1\n")
    long = "http://h/" + "x" * (1 << 20)
    read = followed(
        path, append(path, long), nothing, append(path, "xx"), append(path, "\nhttp://h/2\n"), nothing
    )
    assert read == ["http://h/1 1", "q:2: longer than 1 MiB.", "http://h/2 3"]


def test_a_fifo_has_one_writer_after_another(tmp_path: Path) -> None:
    path = tmp_path / "q"
    os.mkfifo(path)
    reader = follow(str(path), warn=print, sleep=lambda _: None)
    for text in ("http://h/1\nhttp://h/2\n", "http://h/3", "http://h/4\n"):
        writer = threading.Thread(target=path.write_text, args=(text,))
        writer.start()
        found = [_told(next(reader), path) for _ in range(text.count("http"))]
        writer.join()
        assert [line.split()[0] for line in found] == text.split()


def test_a_pipe_on_stdin_ends(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as stdin:
        reader = follow("-", warn=print, stdin=stdin, sleep=lambda _: None)
        os.write(write_end, b"http://h/1\n")
        assert _told(next(reader), tmp_path) == "http://h/1 1"
        os.write(write_end, b"http://h/2")
        os.close(write_end)
        assert [_told(item, tmp_path) for item in reader] == ["http://h/2 2"]


def test_what_cannot_be_followed_is_refused(run_fetchq: RunFetchq, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["http://h/1"]\n')
    (tmp_path / "q.gz").write_bytes(gzip.compress(b"http://h/1\n"))
    (tmp_path / "folder").mkdir()
    for words, message in {
        ("-i", "a.json"): "a.json is a JSON array; a queue file has an object a line: jq -c",
        ("-i", "q.gz"): "q.gz is compressed: --follow reads lists as they are written, so unpack it.",
        ("-i", "none"): "The queue file none cannot be read: No such file or directory.",
        ("-i", "folder"): "folder:1: the file cannot be read any further: Is a directory.",
        ("-i", "q", "--dry-run"): "--follow never ends, and --dry-run adds up a whole queue: give one of them.",
        ("http://h/1",): "--follow reads on in a queue file: give it with -i.",
    }.items():
        done = run_fetchq("--follow", *words)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


# --- the command


def test_a_run_goes_on_until_a_signal_and_has_the_exit_code_of_its_results(
    origin: Origin, tmp_path: Path
) -> None:
    path = tmp_path / "q.txt"
    path.write_text(origin.serve("/1", b"1") + "\n")
    for number, (code, served) in enumerate([(0, ()), (8, (status(404),))]):
        url = origin.serve(f"/more{number}", b"more", *served)
        with fetching("--follow", "-i", str(path), "-d", str(tmp_path / "out"), *WORDS) as command:
            assert command.until("queue_waiting")["ended"] == 1 + number
            append(path, f"{url}\n")()
            assert command.until("job_finished")["url"] == url
            command.until("queue_waiting")
            command.process.send_signal([signal.SIGINT, signal.SIGTERM][number])
            assert command.until("run_finished")["left"] == 0
            command.ended(code)


def test_a_line_that_is_appended_again_is_another_attempt_if_it_failed(origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    url, good = origin.serve("/1", b"1", status(404)), origin.serve("/2", b"2")
    path.write_text(f"{url}\n{good}\n")
    with fetching("--follow", "-i", str(path), "-d", str(tmp_path / "out"), *WORDS) as command:
        command.until("queue_waiting")
        append(path, f"{good}\n{url}\n")()
        ended = [command.until("job_finished") for _ in range(2)]
        command.process.send_signal(signal.SIGINT)
        command.ended(8)
    assert {event["url"]: event["status"] for event in ended} == {url: "done", good: "skipped"}
    assert [len(origin.asked(where)) for where in ("/1", "/2")] == [2, 1]


def test_a_signal_that_cuts_a_job_short_is_the_exit_code(origin: Origin, tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_text(origin.serve("/f.bin", generated(1 << 20), throttle(1e5)) + "\n")
    with fetching("--follow", "-i", str(path), "-d", str(tmp_path), *WORDS) as command:
        command.until("progressed")
        command.process.send_signal(signal.SIGINT)
        assert command.until("run_finished")["left"] == 1
        command.ended(130)


def test_several_lists_are_followed_at_once_and_people_are_told(origin: Origin, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(origin.serve(f"/{name}", b"x") + "\n")
    words = ["--follow", "-i", "a", "-i", "b", "-d", "out", *WORDS]
    process = subprocess.Popen(
        [sys.executable, "-m", "fetchq", *words, origin.serve("/c", b"c")],
        cwd=tmp_path,
        env=clean_env(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(4)]
    assert lines[3] == "waiting  for more lines of the queue; Ctrl-C ends the run\n"
    append(tmp_path / "b", origin.serve("/d", b"d") + "\n")()
    lines = [process.stderr.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "4 files: 4 done" in rest
    assert "Run the same command again" not in rest


# --- Python


def test_an_observer_learns_that_the_queue_is_dry(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchq._scheduler.run.DRY", 0.01)
    events: list[Any] = []
    dry = asyncio.Event()

    def observe(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.QueueWaiting):
            dry.set()
        events.append(event)

    async def jobs() -> AsyncIterator[str]:
        for number in range(3):
            yield origin.serve(f"/{number}", b"x")
            await dry.wait()
            dry.clear()

    async def main() -> None:
        async with fetchq.Downloader(dir=tmp_path, observers=[observe]) as downloader:
            assert len([result async for result in downloader.run(jobs())]) == 3

    run(main())
    assert [event.ended for event in events if isinstance(event, fetchq.QueueWaiting)] == [1, 2, 3]
