"""The commands of ``--on-complete`` and ``--on-error``: what they are told, and what they cannot do."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from pathlib import Path

import pytest

import fetchq
from fetchq._cli import programs

from .conftest import RunFetchq, run, running, until
from .origin import Origin, generated, literal, status, throttle

FILE = literal(b"some bytes")
SHA256 = hashlib.sha256(FILE.data).hexdigest()
# One line for each variable, so that nothing hides behind a space.
VARIABLES = ("URL", "PATH", "SIZE", "SHA256", "STATUS", "ID", "ERROR")
TELL = 'printf "%s\\n" "$#" "$1" ' + " ".join(f'"$JOB_{name}"' for name in VARIABLES)


def test_a_command_is_told_of_each_file(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    url = origin.serve("/a.bin", FILE, repeat=True)
    (tmp_path / "q.jsonl").write_text(f'{{"url": "{url}?token=hunter2", "out": "-n a b.bin", "id": "7"}}\n')
    done = run_fetchq(
        "-i", "q.jsonl", "--no-store", "--on-complete", f"({TELL}) > told", "--on-error", "touch no"
    )
    assert done.returncode == 0, done.stderr
    path = str(tmp_path / "-n a b.bin")
    assert (tmp_path / "told").read_text().splitlines() == [
        *("1", path, f"{url}?***", path, str(FILE.size), SHA256, "done", "7", "")
    ]
    assert not (tmp_path / "no").exists()


def test_a_file_that_was_there_already_is_not_completed_again(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq
) -> None:
    url = origin.serve("/a.bin", FILE, repeat=True)
    for _ in range(2):
        assert run_fetchq("--on-complete", "echo x >> told", url).returncode == 0
    assert (tmp_path / "told").read_text() == "x\n"


def test_a_command_is_told_of_each_error(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    url = origin.serve("/a.bin", FILE, status(404), repeat=True)
    done = run_fetchq("--on-error", f"({TELL}) > told", "--on-complete", "touch no", f"{url}?token=hunter2")
    assert done.returncode == 8
    told = (tmp_path / "told").read_text()
    assert told.splitlines()[:8] == ["1", "", f"{url}?***", "", "0", "", "failed", ""]
    assert "answered 404" in told
    assert "hunter2" not in told + done.stderr
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "it ended with exit code 3."),
        ("no-such-program", "it ended with exit code 127."),
        ("kill -TERM $$", "signal 15 ended it."),
    ],
)
def test_a_failure_is_a_warning(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq, command: str, told: str
) -> None:
    done = run_fetchq("--on-complete", command, origin.serve("/a.bin", FILE))
    assert done.returncode == 0
    assert f"--on-complete for a.bin: {told}" in done.stderr
    assert (tmp_path / "a.bin").read_bytes() == FILE.data


def test_what_it_prints_stays_out_of_the_data(origin: Origin, run_fetchq: RunFetchq) -> None:
    done = run_fetchq("-q", "-o", "-", "--on-complete", "cat; echo printed", origin.serve("/a.bin", FILE))
    assert (done.stdout, done.stderr) == (FILE.data.decode(), "printed\n")


def ended(process: Path) -> bool:
    """Wait until a process has ended; one that nobody has waited for yet is a zombie."""
    until(lambda: not process.exists() or (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z")
    return True


def result(number: int, folder: Path) -> fetchq.Result:
    return fetchq.Result(fetchq.Job(f"http://host.example/{number}"), "done", folder / str(number))


def test_it_is_bounded_in_number(tmp_path: Path) -> None:
    """Each notes how many there are while it runs."""
    command = f'touch "$1"; ls {tmp_path} | wc -l >> {tmp_path}.counts; sleep 0.1; rm "$1"'

    async def main() -> None:
        hooks = programs.Hooks(command, None, pytest.fail)
        for number in range(12):
            await hooks.call(result(number, tmp_path))
        await hooks.wait()

    run(main())
    counts = [int(line) for line in Path(f"{tmp_path}.counts").read_text().split()]
    assert len(counts) == 12
    assert 1 < max(counts) <= programs.AT_ONCE


def test_too_many_that_wait_hold_up_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MOST_WAITING", 2)

    async def main() -> bool:
        hooks = programs.Hooks("sleep 20", None, lambda _: None)
        for number in range(2):
            await hooks.call(result(number, tmp_path))
        waiting = asyncio.create_task(hooks.call(result(2, tmp_path)))
        await asyncio.to_thread(until, lambda: len(hooks._running) == 2)
        held_up = not waiting.done()
        hooks.kill()
        await waiting
        await asyncio.to_thread(until, lambda: len(hooks._running) == 1)
        hooks.kill()
        await hooks.wait()
        return held_up

    assert run(main())


def test_it_is_bounded_in_time_and_takes_its_children_along(tmp_path: Path) -> None:
    """Also one that ignores the polite signal."""
    told: list[str] = []
    command = f'trap "" TERM; (sleep 30; touch {tmp_path}/late) & echo $! > {tmp_path}/pid; wait; sleep 30'

    async def main() -> None:
        hooks = programs.Hooks(command, None, told.append, longest=0.5)
        await hooks.call(result(1, tmp_path))
        await hooks.wait()

    run(main())
    assert told == ["--on-complete for 1: it did not end within 0.5 s, and was ended."]
    child = Path("/proc", (tmp_path / "pid").read_text().strip())
    assert ended(child)


def test_a_shell_that_is_missing_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setenv("PATH", str(tmp_path))

    async def main() -> None:
        hooks = programs.Hooks(None, "true", told.append)
        await hooks.call(
            fetchq.Result(fetchq.Job("http://h/?x=hunter2"), "failed", error=fetchq.NetworkError("\0no"))
        )
        await hooks.wait()

    run(main())
    assert told == ["--on-error for http://h/?***: it cannot be run: No such file or directory."]


def test_ctrl_c_reaches_fetchq_and_not_the_command(origin: Origin, tmp_path: Path) -> None:
    small = origin.serve("/a.bin", FILE)
    large = origin.serve("/b.bin", generated(1 << 22), throttle(50_000), repeat=True)
    command = f"touch {tmp_path}/began; sleep 1; touch {tmp_path}/ended"
    with running("--on-complete", command, small, large, cwd=tmp_path) as process:
        until((tmp_path / "began").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert (tmp_path / "ended").exists()


def test_a_second_ctrl_c_ends_the_command(origin: Origin, tmp_path: Path) -> None:
    small = origin.serve("/a.bin", FILE)
    command = f"echo $$ > {tmp_path}/began.tmp; mv {tmp_path}/began.tmp {tmp_path}/began; sleep 30"
    with running("--on-complete", command, small, cwd=tmp_path) as process:
        until((tmp_path / "began").exists)
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        next(line for line in process.stderr if "Stopping" in line)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert ended(Path("/proc", (tmp_path / "began").read_text().strip()))


@pytest.mark.parametrize("name", ["on-complete", "on-error", "refresh"])
def test_a_file_of_the_folder_runs_nothing(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq, name: str
) -> None:
    (tmp_path / "fetchq.toml").write_text(f'{name} = "touch run"\n')
    urls = [origin.serve("/a.bin", FILE), origin.serve("/b.bin", FILE, status(404), repeat=True)]
    done = run_fetchq(*urls)
    assert f"./fetchq.toml may not set {name}: ignored" in done.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "a.bin").unlink()
    (tmp_path / "fetchq.toml").rename(tmp_path / "mine.toml")
    run_fetchq("--config", "mine.toml", *urls)
    assert (tmp_path / "run").exists()
