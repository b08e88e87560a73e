"""The command as a process of its own: real servers, real files, real signals, a real terminal."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fetchq._cli import topics

from .conftest import RunFetchq, clean_env, running, until
from .origin import Origin, drop, generated, header, stall, status, throttle

MIB = 1 << 20
HUNG_UP = pytest.mark.skipif(
    signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="the tests run under nohup"
)


@contextmanager
def started(*words: str, cwd: Path, stderr: int | None = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """``fetchq``, still running; ended if it does not end by itself."""
    env = clean_env({"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / "config"), "TERM": "xterm"})
    process = subprocess.Popen(
        [sys.executable, "-m", "fetchq", *words],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_files_arrive_and_each_is_told(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    whole, flaky = generated(300_000, 1), generated(3 * MIB, 2)
    urls = [origin.serve("/a.bin", whole), origin.serve("/b.bin", flaky, drop(after=MIB))]
    done = run_fetchq("-d", "out", *urls)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert (tmp_path / "out/a.bin").read_bytes() == whole.data
    assert (tmp_path / "out/b.bin").read_bytes() == flaky.data
    assert sorted(re.findall(r"^done +(\S+),", done.stderr, re.MULTILINE)) == ["a.bin", "b.bin"]
    assert "2 files: 2 done; 3.3 MiB in 0:0" in done.stderr
    again = run_fetchq("-d", "out", *urls)
    assert again.returncode == 0
    assert again.stderr.count("skipped") == 3


def test_the_exit_code_is_the_first_failures(run_fetchq: RunFetchq, origin: Origin) -> None:
    # Hosts take turns, so the second job is the refused one's.
    urls = [origin.serve("/gone", b"", status(404), repeat=True), origin.serve("/a.bin", b"a")]
    done = run_fetchq("-j", "1", *urls, "http://127.0.0.1:1/refused", "--retries", "0")
    assert done.returncode == 8
    assert re.search(r"^3 files: 1 done, 2 failed", done.stderr, re.MULTILINE)
    server = origin.url("").removeprefix("http://")
    assert done.stderr.count(f"{origin.url('/gone')}: {server} answered 404") == 2


def test_a_queue_that_is_repeated_asks_for_nothing(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    lines = [origin.serve(f"/{number}.bin", generated(1000, number)) for number in range(5)]
    (tmp_path / "q.txt").write_text("\n".join(["# five", *lines[:2], "not a url", *lines[2:]]))
    first = run_fetchq("-i", "q.txt", "-d", "out")
    assert first.returncode == 2, "a bad line fails alone, and the run says so"
    assert "q.txt:4" in first.stderr
    assert len(list((tmp_path / "out").glob("*.bin"))) == 5
    asked = len(origin.requests)
    assert "5 skipped, 1 failed" in run_fetchq("-i", "q.txt", "-d", "out").stderr
    assert len(origin.requests) == asked


def test_a_queue_on_stdin_begins_before_it_ends(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", b"first")
    env = clean_env({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    process = subprocess.Popen(
        [sys.executable, "-m", "fetchq", "-i", "-"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    # A list's URL is read when the next line says that it has no options.
    process.stdin.write(f"{url}\n{url}?2\n".encode())
    process.stdin.flush()
    until((tmp_path / "a.bin").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 143, "a reader that waits does not hold up the end"
    process.stdin.close()
    assert process.stderr is not None
    assert b"Fatal" not in process.stderr.read()
    process.stderr.close()


def test_stdout_carries_the_data_alone(run_fetchq: RunFetchq, origin: Origin) -> None:
    done = run_fetchq("-o", "-", origin.serve("/a.txt", b"only this\n"))
    assert (done.returncode, done.stdout) == (0, "only this\n")
    assert done.stderr.startswith("done ")


def test_json_events_are_objects_on_stdout(run_fetchq: RunFetchq, origin: Origin) -> None:
    resource = generated(300_000)
    done = run_fetchq("--progress", "json", origin.serve("/a.bin", resource))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    words = [event["event"] for event in events]
    assert words[:3] == ["run_started", "job_started", "planned"]
    assert words[-2:] == ["job_finished", "run_finished"]
    assert events[-2]["digests"] == {"sha256": resource.sha256}
    assert done.stderr == ""


def test_a_dry_run_lists_on_stdout_and_writes_nothing(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    plain = origin.serve("/plain.bin", generated(2 * MIB))
    fixed = origin.serve("/fixed.bin", generated(MIB, ranges=False))
    gone = origin.serve("/gone", b"", status(404), repeat=True)
    done = run_fetchq("--dry-run", "--no-store", plain, fixed, gone)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["SIZE", "STATE", "NAME"]
    assert rows[1] == ["2.0", "MiB", "fresh,", "resumable", "plain.bin"]
    assert rows[2] == ["1.0", "MiB", "fresh,", "not", "resumable", "fixed.bin"]
    assert rows[3][:2] == ["-", "failed"]
    assert done.stdout.splitlines()[-1] == "3 files, 3.0 MiB; 1 failed"
    assert done.returncode == 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PURGE"])
def test_a_dry_run_changes_nothing_on_the_server(run_fetchq: RunFetchq, origin: Origin, method: str) -> None:
    url = origin.serve("/a.bin", generated(MIB))
    done = run_fetchq("--dry-run", "-X", method, "--data", "x", url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["unknown", f"{method},", "not", "asked", "a.bin"]
    assert origin.requests == []


def test_a_dry_run_to_stdout_looks_for_no_file(run_fetchq: RunFetchq, origin: Origin) -> None:
    url = origin.serve("/a.bin", generated(2 * MIB))
    assert run_fetchq(url).returncode == 0
    assert run_fetchq("--dry-run", url).stdout.splitlines()[1].split()[2:] == ["done", "a.bin"]
    done = run_fetchq("--dry-run", "-o", "-", url)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["   2.0 MiB  fresh, resumable          -", "1 file, 2.0 MiB"]


def test_verbose_says_how_each_attempt_goes_on_and_the_log_keeps_it(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/a.bin", generated(3 * MIB), drop(after=2 * MIB))
    done = run_fetchq("-v", "-x", "1", "--backoff", "0", "--log", "log", url)
    words = [line.split()[0] for line in done.stderr.splitlines()]
    assert words[:4] == ["fresh", "retry", "resume", "done"]
    logged = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[1] for line in logged] == ["begins", *words[:4]]
    assert logged[0].endswith(f"begins   {url}")
    assert logged[-1].endswith(f"; {url} is {tmp_path / 'a.bin'}")
    run_fetchq("-q", "--log", "log", url)
    assert (tmp_path / "log").read_text().splitlines()[:5] == logged, "a log is appended to"


def test_a_log_that_was_moved_away_is_begun_anew(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", generated(3 * MIB), throttle(500_000))
    log, moved = tmp_path / "log", tmp_path / "log.1"
    with running("--log", "log", url, cwd=tmp_path) as process:
        until(lambda: log.exists() and "fresh" in log.read_text())
        log.rename(moved)
        process.send_signal(signal.SIGHUP)
        until(log.exists)
        assert process.wait(30) == 0
    assert "fresh" in moved.read_text()
    assert "done" in log.read_text()
    assert "done" not in moved.read_text()


def test_a_fifo_as_log_is_not_waited_for(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    url = origin.serve("/a.bin", generated(100), repeat=True)
    done = run_fetchq("--log", "fifo", url, timeout=20)
    assert (done.returncode, done.stderr) == (2, "fetchq: fifo cannot be written: nothing reads it yet.\n")
    # A reader that never reads, and a pipe that is full.
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        writer = os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        done = run_fetchq("--log", "fifo", "-q", url, timeout=20)
        os.close(writer)
    finally:
        os.close(reader)
    assert done.returncode == 0, done.stderr


def test_a_log_is_reopened_under_nohup_too(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", generated(3 * MIB), throttle(1_000_000))
    log = tmp_path / "log"
    with running("--log", "log", url, cwd=tmp_path, before=["nohup"]) as process:
        until(lambda: log.exists() and "fresh" in log.read_text())
        log.unlink()
        process.send_signal(signal.SIGHUP)
        until(log.exists)
        assert process.wait(30) == 0
    assert (tmp_path / "a.bin").exists()


def test_nohup_keeps_a_run_without_a_log(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", generated(3 * MIB), throttle(1_000_000))
    with running(url, cwd=tmp_path, before=["nohup"]) as process:
        until((tmp_path / "a.bin.part").exists)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0


@pytest.mark.parametrize("words", [[], ["--log", "log"]], ids=["no log", "log"])
def test_a_terminal_that_is_gone_ends_the_run_with_what_is_there(
    origin: Origin, tmp_path: Path, words: list[str]
) -> None:
    url = origin.serve("/a.bin", generated(8 * MIB), stall(after=5 * MIB))
    part = tmp_path / "a.bin.part"
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        command = [sys.executable, "-m", "fetchq", "--no-env", "-x", "1", *words, url]
        os.execve(sys.executable, command, clean_env({"HOME": str(tmp_path)}))
    try:
        until(lambda: part.exists() and part.stat().st_size >= 5 * MIB)
    finally:
        os.close(terminal)
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    journal = json.loads((tmp_path / "a.bin.part.json").read_text())
    assert journal["part"]["spans"] == [[0, 5 * MIB]]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=HUNG_UP)],
)
def test_a_signal_saves_what_is_there_and_the_same_command_goes_on(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    resource = generated(8 * MIB)
    url = origin.serve("/a.bin", resource, stall(after=5 * MIB))
    with started("-x", "1", url, cwd=tmp_path) as process:
        part = tmp_path / "a.bin.part"
        until(lambda: part.exists() and part.stat().st_size >= 5 * MIB)
        process.send_signal(number)
        _, err = process.communicate(timeout=5)
    assert process.returncode == code
    assert b"Stopping" in err
    assert b"Run the same command again to resume" in err
    assert b"Traceback" not in err
    assert (tmp_path / "a.bin.part.json").exists()
    again = run_fetchq("-x", "1", url)
    assert again.returncode == 0
    assert "resumed  a.bin, 8.0 MiB, 3.0 MiB of them fetched now" in again.stderr
    assert hashlib.sha256((tmp_path / "a.bin").read_bytes()).hexdigest() == resource.sha256


def test_a_second_signal_ends_at_once(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", generated(8 * MIB), stall(after=5 * MIB))
    with started(url, cwd=tmp_path) as process:
        part = tmp_path / "a.bin.part"
        until(lambda: part.exists() and part.stat().st_size >= 4 * MIB)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) in (130, 143)


@pytest.mark.parametrize("words", [["--progress", "json"], ["-o", "-"]], ids=["events", "data"])
def test_a_reader_that_leaves_ends_the_run_without_a_word(
    origin: Origin, tmp_path: Path, words: list[str]
) -> None:
    url = origin.serve("/a.bin", generated(40 * MIB), throttle(20 * MIB), repeat=True)
    with started(*words, url, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(10) == 141
    assert b"Traceback" not in err
    assert b"rror" not in err
    assert b"failed" not in err


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{fetchq} URL >&-", 0),
        ("{fetchq} URL 2>&-", 0),
        ("{fetchq} URL <&- >&- 2>&-", 0),
        ("{fetchq} -o - URL >&-", 3),
        ("{fetchq} -o - URL >/dev/full", 3),
        ("{fetchq} --progress json URL >/dev/full", 3),
        ("{fetchq} --dry-run URL >/dev/full", 3),
        ("{fetchq} --version >/dev/full", 3),
        ("{fetchq} -i - <&-", 2),
        ("{fetchq} -u bob URL <&-", 2),
    ],
)
def test_streams_that_are_closed_or_full_are_one_sentence(
    origin: Origin, tmp_path: Path, command: str, code: int
) -> None:
    line = command.format(fetchq=f"exec {sys.executable} -m fetchq").replace(
        "URL", origin.serve("/a.bin", b"a" * 100_000)
    )
    env = clean_env({"HOME": str(tmp_path)})
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 or "2>&-" in command or "json" in command
    assert (tmp_path / "a.bin").exists() is (code == 0)


def test_secrets_of_the_command_line_are_told_nowhere(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    secret = "hunter2"
    url = origin.serve("/a.bin", generated(MIB), status(503), status(401)) + f"?sig={secret}"
    url = url.replace("//", f"//bob:{secret}@")
    words = ["-H", f"X-Key: {secret}", "-b", f"k={secret}", "-v", "--log", "log", "--backoff", "0"]
    told = ""
    for more in (["--progress", "json"], ["--bearer", secret], ["-u", f"bob:{secret}"], ["--dry-run"]):
        done = run_fetchq(*words, *more, url)
        told += done.stdout + done.stderr
    assert "a.bin" in told
    assert secret not in told + (tmp_path / "log").read_text()


def test_names_of_a_server_cannot_command_the_terminal(run_fetchq: RunFetchq, origin: Origin) -> None:
    hostile = header("Content-Disposition", "attachment; filename*=UTF-8''%1b%5b2J%e2%80%aeevil.bin")
    url = origin.serve("/a.bin", generated(1000), hostile, hostile, repeat=True)
    for words in (["-v"], ["--dry-run"], ["--progress", "json"]):
        done = run_fetchq(*words, "--if-exists", "overwrite", url)
        told = done.stdout + done.stderr
        assert "evil.bin" in told
        assert all(text.isprintable() for text in told.splitlines())


# --- a terminal


def on_a_terminal(
    words: list[str], cwd: Path, columns: int, extra: dict[str, str] | None = None, *, all_streams: bool = False
) -> tuple[str, int]:
    """Return what ``fetchq`` writes to a pseudo-terminal, and its exit code.

    :param all_streams: stdin and stdout are the terminal too, not only stderr.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    told = b""
    try:
        env = clean_env({"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd), "TERM": "xterm", **(extra or {})})
        process = subprocess.Popen(
            [sys.executable, "-m", "fetchq", *words],
            cwd=cwd,
            env=env,
            stdin=theirs if all_streams else subprocess.DEVNULL,
            stdout=theirs if all_streams else None,
            stderr=theirs,
        )
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            if select.select([ours], [], [], 0.05)[0]:
                told += os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    return told.decode(), process.returncode


@pytest.mark.parametrize("columns", [20, 80])
def test_a_terminal_shows_bars_of_its_width_and_keeps_only_the_lines(
    origin: Origin, tmp_path: Path, columns: int
) -> None:
    urls = [
        origin.serve(f"/{number}.bin", generated(MIB, number), throttle(2 * MIB), repeat=True)
        for number in (1, 2)
    ]
    told, code = on_a_terminal([*urls, "-x", "1"], tmp_path, columns)
    assert code == 0
    # What moves the cursor or erases a line takes no column.
    frames = re.split(r"[\r\n]+|\x1b\[A", told.replace("\x1b[K", ""))
    bars = [text for text in frames if re.match(r"1\.bin +\d+%", text)]
    assert bars
    assert max(map(len, bars)) < columns
    assert ("|" in bars[0]) is (columns == 80)
    assert re.search(r"\x1b\[32mdone\x1b\[0m     1\.bin, 1\.0 MiB", told)
    assert "2 files: 2 done" in frames[-2]


def test_no_color_is_obeyed_on_a_terminal(origin: Origin, tmp_path: Path) -> None:
    told, code = on_a_terminal([origin.serve("/a.bin", b"a")], tmp_path, 80, {"NO_COLOR": "1"})
    assert code == 0
    assert not re.search(r"\x1b\[[0-9;]*m", told)


@pytest.mark.parametrize(("pager", "mark"), [("sed s/^/paged:/", "paged:"), ("no-such-pager", "")])
def test_a_topic_goes_through_the_pager_on_a_terminal(tmp_path: Path, pager: str, mark: str) -> None:
    told, code = on_a_terminal(["help", "events"], tmp_path, 80, {"PAGER": pager}, all_streams=True)
    assert code == 0
    assert told.splitlines() == [f"{mark}{line}" for line in topics.page("events").splitlines()]


def test_a_second_signal_leaves_a_clean_screen(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", generated(8 * MIB), stall(after=5 * MIB))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        with started(url, cwd=tmp_path, stderr=theirs) as process:
            part = tmp_path / "a.bin.part"
            until(lambda: part.exists() and part.stat().st_size >= 4 * MIB)
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) in (130, 143)
        screen = b""
        while not screen.endswith(b"\r\x1b[J"):  # a terminal hands over what it has; the test's time is bounded
            screen += os.read(ours, 1 << 20)
    finally:
        os.close(ours)
        os.close(theirs)


# --- verify and status


@pytest.fixture
def downloaded(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> Path:
    """A folder with three files and the store of the run that fetched them."""
    urls = [origin.serve(f"/{name}.bin", generated(3 * MIB, seed)) for seed, name in enumerate("abc")]
    gone = origin.serve("/gone", b"", status(404), repeat=True)
    (tmp_path / "q.txt").write_text("\n".join([*urls, gone]))
    assert run_fetchq("-i", "q.txt", "-d", "out").returncode == 8
    return tmp_path / "out"


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(b"spoiled")


def test_verify_compares_with_what_the_store_remembers(run_fetchq: RunFetchq, downloaded: Path) -> None:
    right = run_fetchq("verify", "out")
    assert right.returncode == 0, right.stderr
    assert "3 files: 3 done" in right.stderr
    spoil(downloaded / "b.bin")
    wrong = run_fetchq("verify", "out")
    assert wrong.returncode == 9
    assert re.search(
        r"^failed +out/b\.bin: the sha256 should be \w{64}, and it is \w{64}\.$", wrong.stderr, re.MULTILINE
    )
    assert run_fetchq("verify", "out/a.bin", "out/c.bin").returncode == 0
    assert run_fetchq("verify", "out/b.bin").returncode == 9


def test_verify_compares_with_a_manifest(run_fetchq: RunFetchq, downloaded: Path, tmp_path: Path) -> None:
    names = ["a.bin", "b.bin"]
    sums = [f"{hashlib.md5((downloaded / name).read_bytes()).hexdigest()}  {name}" for name in names]
    (tmp_path / "SUMS").write_text("\n".join(sums))
    assert run_fetchq("verify", "--checksums", "../SUMS", cwd=downloaded).returncode == 0
    assert run_fetchq("verify", "out", "--checksums", "SUMS").returncode == 0
    spoil(downloaded / "a.bin")
    assert run_fetchq("verify", "out/a.bin", "--checksums", "SUMS").returncode == 9
    (downloaded / "a.bin").unlink()
    missing = run_fetchq("verify", "out", "--checksums", "SUMS")
    assert missing.returncode == 3
    assert "out/a.bin cannot be read: No such file" in missing.stderr


def test_verify_does_not_pass_what_it_knows_nothing_of(run_fetchq: RunFetchq, downloaded: Path) -> None:
    (downloaded / "new.bin").write_bytes(b"new")
    done = run_fetchq("verify", "out/new.bin")
    assert done.returncode == 2
    assert "no digest of it is known" in done.stderr


def test_verify_counts_the_files_that_nobody_has_hashed(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    old, new = (origin.serve(f"/{name}.bin", generated(MIB, seed)) for seed, name in enumerate(["old", "new"]))
    assert run_fetchq("-d", "out", old).returncode == 0
    (tmp_path / "q.txt").write_text(f"{old}\n")
    assert "not modified on the server" in run_fetchq("-i", "q.txt", "-d", "out").stderr
    nothing = run_fetchq("verify", "out")
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("fetchq: No digest is on record of any file here")
    (tmp_path / "q.txt").write_text(f"{old}\n{new}\n")
    assert run_fetchq("-i", "q.txt", "-d", "out").returncode == 0
    some = run_fetchq("verify", "out")
    assert some.returncode == 0, some.stderr
    assert "warning  1 file has no digest on record and cannot be verified.\n" in some.stderr
    assert run_fetchq("verify", "out/old.bin", "out/new.bin").returncode == 2, "asked for by its name"
    (tmp_path / "out/new.bin").write_bytes(b"spoiled")
    assert run_fetchq("verify", "out").returncode == 9


def test_verify_of_nothing_is_no_success(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("# nothing yet\n")
    assert run_fetchq("-i", "q.txt").stderr == "Nothing to do: no job was given.\n"
    without = run_fetchq("verify")
    assert without.returncode == 2
    assert without.stderr.startswith("fetchq: There is no .fetchq.db")
    (tmp_path / "q.txt").write_text(origin.serve("/gone", b"", status(404), repeat=True))
    assert run_fetchq("-i", "q.txt").returncode == 8
    empty = run_fetchq("verify")
    assert empty.returncode == 2
    assert empty.stderr.startswith("fetchq: Nothing is known of any file here")


def test_verify_stops_at_a_signal_in_the_middle_of_a_file(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)  # a sparse file that takes nearly an hour to hash
    (tmp_path / "SUMS").write_text(f"{'0' * 64}  huge\n")
    with started("verify", "--progress", "json", "--checksums", "SUMS", "huge", cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b"Stopped before all files were compared.\n"


def test_status_counts_and_gives_the_reasons(run_fetchq: RunFetchq, downloaded: Path) -> None:
    done = run_fetchq("status", "out")
    assert done.returncode == 0
    first, *rest = done.stdout.splitlines()
    assert first.startswith("out/.fetchq.db: 4 jobs, 9.0 MiB: 3 done, 1 failed; ")
    assert rest[0] == "failed, 404 not found: 1 job"
    assert re.fullmatch(r".*: 127\.0\.0\.1:[0-9]+ answered 404 \(not found\)\.", "\n".join(rest[1:]))
    assert run_fetchq("status", cwd=downloaded).stdout.startswith(".fetchq.db: 4 jobs")
