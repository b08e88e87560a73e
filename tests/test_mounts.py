"""The core jobs on real file systems, each of which lacks something of what ext4 has."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import RunFetchq, running, until
from .mounts import MOUNTS
from .origin import Origin, generated, throttle

MIB = 1 << 20
QUICK = ["--backoff", "0", "--no-env", "-x", "1", "--retries", "2"]
LARGE = generated(4 * MIB)


@pytest.fixture(scope="module", params=MOUNTS)
def mounted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system, which the tests of this module share."""
    with MOUNTS[request.param](tmp_path_factory.mktemp(request.param)) as folder:
        yield folder


@pytest.fixture
def folder(mounted: Path) -> Path:
    """A new folder on it."""
    return Path(tempfile.mkdtemp(dir=mounted))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_file(run_fetchq: RunFetchq, origin: Origin, folder: Path) -> None:
    """Small and large, whole and in parts, the same command twice, with and without --fsync."""
    files = {"small.bin": generated(1000, seed=1), "large.bin": LARGE}
    urls = [origin.serve(f"/{name}", file, repeat=True) for name, file in files.items()]
    for word in ("--no-fsync", "--fsync", "--no-xattr"):
        done = run_fetchq(*QUICK, word, "-d", folder, *urls)
        assert done.returncode == 0, done.stderr
        assert contents(folder) == {name: file.data for name, file in files.items()}, done.stderr


def test_the_same_list_of_jobs_again(run_fetchq: RunFetchq, origin: Origin, folder: Path) -> None:
    """The store, in a file system whose memory cannot be shared as well."""
    url = origin.serve("/f.bin", LARGE, repeat=True)
    (folder / "q.txt").write_text(url + "\n")
    words = [*QUICK, "-d", str(folder), "-i", str(folder / "q.txt")]
    assert run_fetchq(*words).returncode == 0
    origin.settle()
    asked = len(origin.requests)
    done = run_fetchq(*words)
    assert done.returncode == 0
    assert len(origin.requests) == asked, done.stderr
    assert (folder / "f.bin").read_bytes() == LARGE.data


def test_killed_and_resumed(run_fetchq: RunFetchq, origin: Origin, folder: Path, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", LARGE, throttle(4e6), repeat=True)
    part = folder / "f.bin.part"
    with running(*QUICK, "-d", folder, url, cwd=tmp_path) as process:
        # The second journal says that there are bytes.
        until(lambda: part.exists() and part.stat().st_size > 5 * MIB // 2)
        process.kill()
        process.wait()
    done = run_fetchq(*QUICK, "-d", folder, url)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("resumed "), done.stderr
    assert contents(folder) == {"f.bin": LARGE.data}


@pytest.mark.parametrize("size", [1000, 4 * MIB])
def test_a_file_of_the_users_is_replaced_when_the_new_one_is_right(
    run_fetchq: RunFetchq, origin: Origin, folder: Path, size: int
) -> None:
    file = generated(size, seed=2)
    url = origin.serve("/f.bin", file, repeat=True)
    target = folder / "mine.bin"
    target.write_bytes(b"old")
    wrong = run_fetchq(*QUICK, "--checksum", f"sha256:{'0' * 64}", "-o", target, url)
    assert wrong.returncode == 9, wrong.stderr
    assert target.read_bytes() == b"old"
    done = run_fetchq(*QUICK, "-o", target, url)
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == file.data
    assert {path.name for path in folder.iterdir()} == {"mine.bin", "mine.bin.part.bad"}


def test_names_that_differ_in_case_only(run_fetchq: RunFetchq, origin: Origin, folder: Path) -> None:
    names = ("Data.bin", "data.bin", "DATA.bin")
    files = [generated(size, seed=seed) for seed, size in enumerate((1000, 1000, 3 * MIB))]
    urls = [origin.serve(f"/{name}", file, repeat=True) for name, file in zip(names, files, strict=True)]
    for _ in range(2):
        done = run_fetchq(*QUICK, "-d", folder, *urls)
        assert done.returncode == 0, done.stderr
        assert sorted(contents(folder).values()) == sorted(file.data for file in files), done.stderr


def test_a_file_without_a_record_is_compared(run_fetchq: RunFetchq, origin: Origin, folder: Path) -> None:
    """Where the file system keeps no attributes, or another program has written the file."""
    url = origin.serve("/f.bin", LARGE, repeat=True)
    assert run_fetchq(*QUICK, "--no-xattr", "-d", folder, url).returncode == 0
    done = run_fetchq(*QUICK, "--no-xattr", "-d", folder, url)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == {"f.bin": LARGE.data}, done.stderr
    other = generated(4 * MIB, seed=7)
    found = (folder / "f.bin").stat()
    (folder / "f.bin").write_bytes(other.data)
    os.utime(folder / "f.bin", ns=(found.st_mtime_ns, found.st_mtime_ns))
    done = run_fetchq(*QUICK, "--no-xattr", "-d", folder, url)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == {"f.bin": other.data, "f.1.bin": LARGE.data}, done.stderr


def test_a_mount_whose_program_is_gone(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    """ENOTCONN of every call."""
    with MOUNTS["bindfs"](tmp_path) as folder:
        url = origin.serve("/f.bin", b"small")
        found = subprocess.run(
            ["pgrep", "-f", f"bindfs.* {folder}$"], capture_output=True, text=True, check=True
        )
        (pid,) = map(int, found.stdout.split())
        os.kill(pid, 9)
        until(lambda: not os.access(folder, os.F_OK))
        for option, target in (("-d", folder), ("-d", folder / "new"), ("-o", folder / "f.bin")):
            done = run_fetchq(*QUICK, option, target, url)
            assert (done.returncode, origin.requests) == (2, [])
            assert "the program that serves its file system has ended; unmount it" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        for command in ("status", "verify"):
            done = run_fetchq(command, folder)
            assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
