"""Folders that cannot be used and names that cannot be written: a sentence says what is so, no traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from . import fork_server
from .conftest import RunFetchq, clean_env
from .origin import Origin, generated

MIB = 1 << 20
USAGE, DISK, PIPE = 2, 3, 141
QUICK = ["--backoff", "0", "--no-env", "--retries", "1"]
# Root may enter every folder; without these two capabilities it may not enter another user's.
AS_A_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def fetchq(
    *words: str | Path, cwd: Path, before: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Ended:
    """Run the command, by way of the one in *before*; it must not show a traceback."""
    home = {"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / "config")}
    # Users and the locale are those of a process that has just been started.
    command = fork_server.PYTHON_M if before or env else fork_server.command()
    done = subprocess.run(
        [*before, *command, *map(str, words)],
        cwd=cwd,
        env=clean_env({**home, **(env or {})}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=30,
    )
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    assert "Traceback" not in err, err
    return Ended(done.returncode, out, err)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[tuple[Path, Sequence[str]]]:
    """A folder that may not be entered, and how a command is run as one who may not."""
    folder = tmp_path / "closed"
    (folder / "below").mkdir(parents=True)
    before: Sequence[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed, and root may enter every folder")
        before = AS_A_USER
        os.chown(folder, 12345, 12345)
    folder.chmod(0o700 if before else 0)
    yield folder, before
    if folder.exists():
        folder.chmod(0o700)


@pytest.mark.parametrize("below", ["", "below", "below/new", "new"])
@pytest.mark.parametrize("option", ["-d", "-o"])
def test_a_folder_that_may_not_be_entered(
    origin: Origin, tmp_path: Path, closed: tuple[Path, Sequence[str]], option: str, below: str
) -> None:
    folder, before = closed
    url = origin.serve("/f.bin", b"small")
    target = folder / below / ("f.bin" if option == "-o" else "")
    done = fetchq(*QUICK, option, target, url, cwd=tmp_path, before=before)
    assert done.code == USAGE
    owner = "" if below or not before else ", it belongs to another user"
    assert done.err == f"fetchq: {folder / below} cannot be used as the folder: permission denied{owner}.\n"
    assert origin.requests == []


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_folder_that_may_not_be_entered_is_one_sentence_of_other_commands(
    tmp_path: Path, closed: tuple[Path, Sequence[str]], command: str
) -> None:
    folder, before = closed
    done = fetchq(command, folder / "below", cwd=tmp_path, before=before)
    assert done.code == USAGE
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("kind", ["closed", "deleted"])
@pytest.mark.parametrize("target", [None, "-", "elsewhere"])
def test_a_current_folder_that_cannot_be_used_is_needed_by_files_in_it_only(
    origin: Origin, tmp_path: Path, closed: tuple[Path, Sequence[str]], kind: str, target: str | None
) -> None:
    url = origin.serve("/f.bin", b"small")
    folder, before = closed
    # The shell goes there before the folder is closed or deleted.
    folder.chmod(0o700)
    leave = f"rm -r {folder}" if kind == "deleted" else f"chmod 0 {folder}"
    shell = ["bash", "-c", f'cd {folder}; {leave}; exec "$@"', "bash", *(before if kind == "closed" else [])]
    words = [] if target is None else ["-o", "-" if target == "-" else str(tmp_path / "out.bin")]
    done = fetchq(*QUICK, *words, url, cwd=tmp_path, before=shell)
    if target is None:
        assert (done.code, origin.requests) == (USAGE, [])
        said = "permission denied" if kind == "closed" else "does not exist any more"
        assert said in done.err
        assert len(done.err.splitlines()) == 1
    else:
        assert done.code == 0, done.err
        assert (done.out if target == "-" else (tmp_path / "out.bin").read_text()) == "small"


LONG = "n" * 300


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-d", LONG], USAGE),
        (["-d", f"new/{LONG}/below"], DISK),
        (["--log", LONG], USAGE),
        (["--checksums", LONG], USAGE),
        (["-i", LONG], USAGE),
    ],
)
def test_a_path_that_is_too_long(origin: Origin, tmp_path: Path, words: list[str], code: int) -> None:
    done = fetchq(*QUICK, *words, origin.serve("/f.bin", b"small"), cwd=tmp_path)
    assert done.code == code
    assert LONG in done.err
    assert "too long" in done.err.lower()
    assert "Run the same command again" not in done.err


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_path_that_is_too_long_for_other_commands(tmp_path: Path, command: str) -> None:
    done = fetchq(command, LONG, cwd=tmp_path)
    assert done.code == USAGE
    assert done.err == f"fetchq: {LONG} cannot be used: the name is too long for the file system.\n"


# --- names that the locale cannot write

# Python's own UTF-8 modes are off, as where a service manager sets LC_ALL=C and another one PYTHONUTF8=0.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UMLAUT = "/%C3%BCber.bin"


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize("store", [True, False])
def test_a_name_that_the_locale_cannot_write_fails_its_job_only(
    origin: Origin, tmp_path: Path, size: int, store: bool
) -> None:
    urls = [origin.serve(UMLAUT, generated(size)), origin.serve("/plain.bin", generated(size))]
    (tmp_path / "q.txt").write_text("\n".join(urls) + "\n")
    words = [*QUICK, "-j", "1", "-d", "out", "-i", "q.txt", *([] if store else ["--no-store"])]
    done = fetchq(*words, cwd=tmp_path, env=ASCII)
    assert done.code == DISK
    assert "2 files: 1 done, 1 failed" in done.err
    assert "its name has letters that ascii, the locale's encoding, lacks; set LC_ALL=C.UTF-8." in done.err
    assert "Run the same command again" not in done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} - {".fetchq.db"} == {"plain.bin"}
    preview = fetchq(*words, "--dry-run", cwd=tmp_path, env=ASCII)
    assert preview.code == DISK
    assert "the locale's encoding, lacks" in preview.out
    assert fetchq(*words, cwd=tmp_path, env={"LC_ALL": "C.UTF-8"}).code == 0
    assert (tmp_path / "out" / "über.bin").stat().st_size == size


@pytest.mark.parametrize("progress", ["plain", "json", "bar", "none"])
def test_output_that_cannot_write_a_name(origin: Origin, tmp_path: Path, progress: str) -> None:
    url = origin.serve(UMLAUT, b"small", repeat=True)
    for words in ([], ["--dry-run"], ["-v", "--log", "log"]):
        done = fetchq(
            *QUICK, "--progress", progress, *words, url, cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"}
        )
        assert done.code == 0, done.err
    assert (tmp_path / "über.bin").read_bytes() == b"small"


# --- no thread

NO_THREADS = """
import sys, threading, fetchq._cli
def refuse(self):
    raise RuntimeError("can't start new thread")
left = int(sys.argv.pop(1))
start = threading.Thread.start
def some(self):
    global left
    left -= 1
    return start(self) if left >= 0 else refuse(self)
threading.Thread.start = some
sys.exit(fetchq._cli.main())
"""


@pytest.mark.parametrize(("threads", "code"), [(0, DISK), (1, 0)])
def test_no_thread_can_be_started(origin: Origin, tmp_path: Path, threads: int, code: int) -> None:
    """``ulimit -u``: one thread is enough for all files, and without any a sentence says so."""
    urls = [origin.serve(f"/{number}.bin", generated(3 * MIB)) for number in range(4)]
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS, str(threads), *QUICK, "-d", "out", *urls],
        cwd=tmp_path,
        env=clean_env({"HOME": str(tmp_path)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    if code:
        assert "No thread can be started: " in done.stderr
        assert "ulimit -u" in done.stderr
    else:
        assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_queue_that_no_thread_can_read(origin: Origin, tmp_path: Path) -> None:
    """A pipe is read in a thread: without one nothing of the whole run can begin."""
    done = subprocess.run(
        [sys.executable, "-c", NO_THREADS, "0", *QUICK, "-i", "-"],
        cwd=tmp_path,
        env=clean_env({"HOME": str(tmp_path)}),
        input=origin.serve("/f.bin", b"small"),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (USAGE, 1), done.stderr
    assert done.stderr.startswith("fetchq: No thread can be started: ")


# --- sentences that say what is so


def test_a_link_that_leads_nowhere(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    url = origin.serve("/f.bin", b"small")
    done = run_fetchq(*QUICK, "-d", "link", url)
    assert (done.returncode, origin.requests) == (USAGE, [])
    assert done.stderr == "fetchq: link is a symbolic link to a folder that does not exist.\n"
    done = run_fetchq(*QUICK, "-d", "link/below", url)
    assert done.returncode == DISK
    assert "link is a symbolic link to a folder that does not exist." in done.stderr


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here")
@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("/proc", "/proc/f.bin cannot be written: its folder takes no new files."),
        ("/proc/new", "/proc/new cannot be used: its folder takes no new files."),
    ],
)
def test_a_folder_that_takes_no_files(
    run_fetchq: RunFetchq, origin: Origin, folder: str, said: str, size: int
) -> None:
    done = run_fetchq(*QUICK, "-d", folder, origin.serve("/f.bin", generated(size)))
    assert done.returncode == DISK
    if os.geteuid() == 0:
        assert said in done.stderr
    assert "vanished" not in done.stderr


def test_a_part_that_belongs_to_another_user(
    origin: Origin, tmp_path: Path, closed: tuple[Path, Sequence[str]]
) -> None:
    _, before = closed
    if not before:
        pytest.skip("only root can give files away")
    url = origin.serve("/f.bin", generated(3 * MIB), repeat=True)
    fetchq(*QUICK, "--max-size", "1M", url, cwd=tmp_path)
    (tmp_path / "f.bin").unlink(missing_ok=True)
    journal = tmp_path / "f.bin.part.json"
    part = tmp_path / "f.bin.part"
    limited = ["bash", "-c", 'ulimit -f 1024; exec "$@"', "bash"]
    assert fetchq(*QUICK, "-x", "1", url, cwd=tmp_path, before=limited).code == DISK
    assert part.exists()
    assert journal.exists()
    os.chown(part, 12345, 12345)
    part.chmod(0o600)
    done = fetchq(*QUICK, url, cwd=tmp_path, before=before)
    assert done.code == DISK
    assert "f.bin.part cannot be written: permission denied, it belongs to another user." in done.err


@pytest.mark.parametrize(
    "words", [["--dry-run"], ["--dry-run", "-v"], ["-o", "-"], ["--progress", "json"]], ids=" ".join
)
def test_a_reader_that_leaves_ends_the_command_as_a_signal_would(
    origin: Origin, tmp_path: Path, words: list[str]
) -> None:
    urls = [origin.serve(f"/{n}.bin", generated(3 * MIB), repeat=True) for n in range(1 + ("-o" not in words))]
    shell = 'set -o pipefail; "$@" | head -c 5'
    done = fetchq(*QUICK, *words, *urls, cwd=tmp_path, before=["bash", "-c", shell, "bash"])
    assert done.code == PIPE, done.err


@pytest.mark.parametrize("words", [["-h"], ["help", "options"], ["help", "queue-files"]], ids=" ".join)
def test_a_reader_of_help_that_leaves(tmp_path: Path, words: list[str]) -> None:
    """The output fits into a pipe, so the reader leaves before it begins."""
    shell = 'set -o pipefail; "$@" | true'
    wait = ["bash", "-c", 'sleep 0.5; exec "$@"', "bash"]
    done = fetchq(*words, cwd=tmp_path, before=["bash", "-c", shell, "bash", *wait])
    assert done.code == PIPE, done.err
    assert done.err == ""


def test_what_a_rerun_cannot_cure_is_not_to_be_run_again(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", b"small") + "\n")
    done = run_fetchq(*QUICK, "-i", "q.txt", "--store", LONG)
    assert done.returncode == DISK
    assert f"The store {LONG} cannot be" in done.stderr
    assert "Run the same command again" not in done.stderr
