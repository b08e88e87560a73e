"""``--temp-dir`` with two real disks: parts on one, files on the other."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import fetchq

from . import fork_server
from .conftest import RunFetchq, clean_env, running, until
from .mounts import tmpfs
from .origin import Origin, close_delimited, drop, generated, throttle

MIB = 1 << 20
FILE = generated(12 * MIB)
QUICK = ["--backoff", "0", "--no-env", "-x", "1", "--retries", "0"]
DISK = 3


@pytest.fixture
def temp(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than *tmp_path*."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir()) if folder.exists() else []


def test_the_same_command_resumes_from_there(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, temp: Path
) -> None:
    url = origin.serve("/f.bin", FILE, drop(after=5 * MIB))
    words = [*QUICK, "--temp-dir", str(temp), "-d", "files", url]
    assert run_fetchq(*words).returncode == 4
    assert names(tmp_path / "files") == []
    assert [name.partition(".bin.")[0] for name in names(temp)] == ["f", "f"]
    done = run_fetchq(*words)
    assert done.stderr.startswith("resumed "), done.stderr
    assert (tmp_path / "files" / "f.bin").read_bytes() == FILE.data
    assert names(tmp_path / "files") == ["f.bin"]
    assert names(temp) == []
    assert origin.sent < 1.1 * FILE.size


def test_jobs_of_one_name_do_not_meet_there(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, temp: Path
) -> None:
    files = {name: generated(3 * MIB, seed=seed) for seed, name in enumerate("abc")}
    jobs = [
        {"url": origin.serve(f"/{name}", file, throttle(8e6)), "out": "x.bin", "dir": name}
        for name, file in files.items()
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    assert run_fetchq(*QUICK, "--temp-dir", temp, "-d", "files", "-i", "q.jsonl").returncode == 0
    for name, file in files.items():
        assert (tmp_path / "files" / name / "x.bin").read_bytes() == file.data
    assert names(temp) == []


def test_a_small_file_needs_no_part_anywhere(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, temp: Path
) -> None:
    url = origin.serve("/s.bin", b"small")
    assert run_fetchq(*QUICK, "--temp-dir", temp / "new", "-d", "files", url).returncode == 0
    assert names(tmp_path) == ["s.bin"]
    assert names(temp) == []


@pytest.mark.timeout(120)
def test_killed_at_random_moments_it_ends_right(origin: Origin, tmp_path: Path, temp: Path) -> None:
    """What the copy takes is a few milliseconds: most kills fall before it, and each call within it is in
    ``tests/test_disk/test_temp_dir.py``."""
    chance = random.Random("temp")
    file = generated(60 * MIB)
    for number in range(8):
        folder = tmp_path / str(number)
        url = origin.serve(f"/{number}/f.bin", file, repeat=True)
        command = [
            *fork_server.command(),
            "-q",
            "--no-env",
            "--temp-dir",
            str(temp),
            "-d",
            str(folder),
            url,
        ]
        process = subprocess.Popen(command, env=clean_env({"HOME": str(tmp_path)}))
        try:
            process.wait(chance.uniform(0.02, 0.4))
        except subprocess.TimeoutExpired:
            fork_server.kill(process)
        final = folder / "f.bin"
        assert not final.exists() or final.read_bytes() == file.data
        assert subprocess.run(command, env=clean_env({"HOME": str(tmp_path)}), check=False).returncode == 0
        assert final.read_bytes() == file.data
        assert names(folder) == ["f.bin"]
        assert names(temp) == []


def test_two_processes_do_not_write_one_part(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, temp: Path
) -> None:
    url = origin.serve("/f.bin", FILE, throttle(4e6), repeat=True)
    words = [*QUICK, "--temp-dir", str(temp), "-d", str(tmp_path / "files"), url]
    with running(*words, cwd=tmp_path) as process:
        until(lambda: len(names(temp)) == 2)
        second = run_fetchq(*words)
        assert second.returncode == DISK
        assert f"is being downloaded by process {process.pid}" in second.stderr
        assert process.wait(20) == 0
    assert (tmp_path / "files" / "f.bin").read_bytes() == FILE.data


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB."""
    (tmp_path / "mounts").mkdir()
    with tmpfs(tmp_path / "mounts") as folder:
        yield folder


def test_the_targets_disk_is_looked_at_before_anything_is_fetched(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    url = origin.serve("/f.bin", generated(60 * MIB))
    done = run_fetchq(*QUICK, "--temp-dir", tmp_path / "temp", "-d", small_disk, url)
    assert done.returncode == DISK
    assert f"the disk of {small_disk} has" in done.stderr
    assert origin.sent < 10 * MIB


def test_so_is_the_disk_of_the_parts(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    url = origin.serve("/f.bin", generated(60 * MIB))
    done = run_fetchq(*QUICK, "--temp-dir", small_disk, "-d", tmp_path / "files", url)
    assert done.returncode == DISK
    assert f"the disk of {small_disk} has" in done.stderr


@pytest.mark.parametrize("known", [True, False])
def test_a_disk_that_filled_up_meanwhile_keeps_the_part(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path, known: bool
) -> None:
    behaviour = throttle(8e6) if known else close_delimited
    url = origin.serve("/f.bin", FILE, behaviour, repeat=True)
    temp, filler = tmp_path / "temp", small_disk / "filler"
    words = [*QUICK, "--min-free", "0", "--temp-dir", str(temp), "-d", str(small_disk), url]
    if not known:
        filler.write_bytes(bytes(40 * MIB))
    with running(*words, cwd=tmp_path) as process:
        if known:
            until(lambda: any(path.stat().st_size > MIB for path in temp.glob("*.part")))
            filler.write_bytes(bytes(40 * MIB))
        assert process.wait(20) == DISK
        assert process.stderr is not None
        told = process.stderr.read()
    assert f"All bytes are kept in {temp}" in told, told
    assert names(small_disk) == ["filler"]
    filler.unlink()
    done = run_fetchq(*words)
    assert done.returncode == 0, done.stderr
    assert (small_disk / "f.bin").read_bytes() == FILE.data
    assert names(temp) == []
    if known:
        assert origin.sent < 1.1 * FILE.size


def test_from_python(origin: Origin, tmp_path: Path, temp: Path) -> None:
    url = origin.serve("/f.bin", FILE)
    seen: list[str] = []

    def look(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.JobFinished):
            return
        seen.extend(names(temp))

    settings = fetchq.Settings(
        network=fetchq.Network(env=False), disk=fetchq.Disk(dir=tmp_path / "files", temp_dir=str(temp))
    )
    result = fetchq.download(url, settings=settings, observers=[look])
    assert result.path == tmp_path / "files" / "f.bin"
    assert result.path.read_bytes() == FILE.data
    assert any(name.endswith(".part") for name in seen)
    assert names(temp) == []


def test_a_file_in_its_place_is_refused_at_once(run_fetchq: RunFetchq, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    done = run_fetchq("--temp-dir", "f", "http://127.0.0.1:1/x")
    assert done.returncode == 2
    assert done.stderr == "fetchq: f is a file: give a directory.\n"
