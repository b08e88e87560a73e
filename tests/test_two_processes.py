"""Two of everything at once: processes at one target, jobs of one name, runs with a store in one folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

import fetchq

from . import fork_server
from .conftest import RunFetchq, clean_env, run, running, until
from .origin import Answer, Origin, Pace, Resource, generated, throttle

MIB = 1 << 20
FILE = generated(4 * MIB)
OTHER = replace(generated(4 * MIB, seed=2), etag='"other"', last_modified="Thu, 02 Jan 2025 00:00:00 GMT")
ONE_CONNECTION = ["-x", "1", "--backoff", "0.01", "--no-env"]


class Valve:
    """Lets a body through slowly, and at full speed once it is opened: its owner ends when told to."""

    size = 16 * 1024

    def __init__(self) -> None:
        self.opened = False

    @property
    def every(self) -> float:
        return 0.0 if self.opened else 0.05

    def __call__(self, answer: Answer) -> None:
        answer.body_pace = cast("Pace", self)


def started(*words: str | Path, cwd: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """``fetchq`` with one connection, still running."""
    return running(*ONE_CONNECTION, *words, cwd=cwd)


def has_journal(part: Path) -> bool:
    """True when bytes are in the part, and its journal vouches for some."""
    journal = part.with_name(f"{part.name}.json")
    return part.exists() and journal.exists() and bool(json.loads(journal.read_text())["part"]["spans"])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def facts(part: Path) -> tuple[int, int]:
    """The part's number and its journal's process: they change when somebody else begins it."""
    journal = json.loads(part.with_name(f"{part.name}.json").read_text())
    return part.stat().st_ino, journal["part"]["pid"]


# --- two processes, one target


def test_the_second_says_who_has_it_and_touches_nothing(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    """Be the owner asleep or not; only that one job fails, and so does one with that target."""
    valve = Valve()
    url, good = origin.serve("/f.bin", FILE, valve), origin.serve("/g.bin", b"good")
    other = origin.serve("/other/f.bin", OTHER)
    part = tmp_path / "f.bin.part"
    with started(url, cwd=tmp_path) as owner:
        until(lambda: has_journal(part))
        before = facts(part)
        for words in ([url, good], [url], ["-o", "f.bin", other]):
            owner.send_signal(signal.SIGSTOP if words == [url] else signal.SIGCONT)
            done = run_fetchq(*ONE_CONNECTION, *words)
            assert done.returncode == 3
            assert f"f.bin is being downloaded by process {owner.pid}; wait for it to end" in done.stderr
            assert facts(part) == before == (before[0], owner.pid)
        valve.opened = True
        _, err = owner.communicate(timeout=20)
    assert owner.returncode == 0, err
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert names(tmp_path) == {"f.bin", "g.bin"}
    assert origin.ranges("/f.bin") == [None]
    again = run_fetchq(*ONE_CONNECTION, url)
    assert (again.returncode, again.stderr.split()[0]) == (0, "skipped")


@pytest.mark.parametrize("options", [[], ["--if-exists", "skip"], ["--if-exists", "overwrite"]], ids=str)
def test_another_file_of_a_name_that_is_in_use_gets_the_next_one(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, options: list[str]
) -> None:
    valve = Valve()
    url = origin.serve("/f.bin", FILE, valve)
    small, large = origin.serve("/small/f.bin", b"small"), origin.serve("/large/f.bin", OTHER)
    with started(url, cwd=tmp_path) as owner:
        until(lambda: has_journal(tmp_path / "f.bin.part"))
        for words in ([small], [large]):
            done = run_fetchq(*ONE_CONNECTION, *options, *words)
            assert done.returncode == 0, done.stderr
        valve.opened = True
        _, err = owner.communicate(timeout=20)
    assert owner.returncode == 0, err
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert contents == {"f.bin": FILE.data, "f.1.bin": b"small", "f.2.bin": OTHER.data}


@pytest.mark.parametrize("size", [500, 300_000])
def test_six_processes_of_one_name_make_six_files(origin: Origin, tmp_path: Path, size: int) -> None:
    """As ``xargs -P 6 fetchq`` starts them."""
    files = [generated(size, seed=number) for number in range(6)]
    urls = [origin.serve(f"/{number}/x.bin", file) for number, file in enumerate(files)]
    words = [*fork_server.command(), *ONE_CONNECTION]
    processes = [subprocess.Popen([*words, url], cwd=tmp_path, env=clean_env()) for url in urls]
    assert [process.wait(30) for process in processes] == [0] * 6
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == sorted(file.data for file in files)


def test_a_killed_owners_part_is_taken_over(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, Valve())
    part = tmp_path / "f.bin.part"
    with started(url, cwd=tmp_path) as owner:
        until(lambda: has_journal(part))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert names(tmp_path) == {"f.bin.part", "f.bin.part.json"}
    done = run_fetchq(*ONE_CONNECTION, url)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("resumed  f.bin")
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert names(tmp_path) == {"f.bin"}
    first, second = origin.asked("/f.bin")
    assert first.range is None
    assert second.range is not None
    assert second.if_range == FILE.etag


def test_a_library_in_the_same_process_is_another_owner_too(origin: Origin, tmp_path: Path) -> None:
    """Two Downloaders share nothing, and so neither writes into the other's part."""
    valve = Valve()
    url = origin.serve("/f.bin", FILE, valve)
    settings = fetchq.Settings(network=fetchq.Network(env=False), queue=fetchq.Queue(connections=1))

    async def main() -> tuple[fetchq.Result, fetchq.Result]:
        async with (
            fetchq.Downloader(settings, dir=tmp_path) as one,
            fetchq.Downloader(settings, dir=tmp_path) as two,
        ):
            first = one.run([url])
            owner = asyncio.ensure_future(anext(first))
            await asyncio.to_thread(until, lambda: has_journal(tmp_path / "f.bin.part"))
            (refused,) = [result async for result in two.run([url])]
            valve.opened = True
            return await owner, refused

    owner, refused = run(main())
    assert isinstance(refused.error, fetchq.LockedError)
    assert refused.error.pid == os.getpid()
    assert owner.ok
    assert (tmp_path / "f.bin").read_bytes() == FILE.data


# --- two jobs of one name


def served_twice(origin: Origin, second: Resource, *, slow: bool) -> list[str]:
    behaviour = [throttle(4e6)] if slow else []
    return [origin.serve("/x/f.bin", FILE, *behaviour), origin.serve("/y/f.bin", second, *behaviour)]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_two_jobs_of_one_name_get_two_names(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, jobs: str
) -> None:
    urls = served_twice(origin, OTHER, slow=False)
    done = run_fetchq(*ONE_CONNECTION, "-j", jobs, *urls)
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == {"f.bin", "f.1.bin"}
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {FILE.data, OTHER.data}
    asked = len(origin.requests)
    again = run_fetchq(*ONE_CONNECTION, "-j", jobs, *urls)
    assert again.returncode == 0
    assert "2 files: 2 skipped" in again.stderr
    assert names(tmp_path) == {"f.bin", "f.1.bin"}
    assert len(origin.requests) == asked + 2


@pytest.mark.parametrize("order", ["as before", "turned round"])
def test_after_a_kill_each_of_two_jobs_of_one_name_finds_its_own_part(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, order: str
) -> None:
    urls = served_twice(origin, OTHER, slow=True)
    parts = [tmp_path / "f.bin.part", tmp_path / "f.1.bin.part"]
    with started(*urls, cwd=tmp_path) as first:
        until(lambda: all(has_journal(part) for part in parts))
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert names(tmp_path) == {name for part in parts for name in (part.name, f"{part.name}.json")}
    kept = {json.loads(Path(f"{part}.json").read_text())["part"]["url"]: part.name for part in parts}
    done = run_fetchq(*ONE_CONNECTION, *(urls if order == "as before" else reversed(urls)))
    assert done.returncode == 0, done.stderr
    assert "2 files: 2 resumed" in done.stderr
    assert names(tmp_path) == {"f.bin", "f.1.bin"}
    for url, resource in zip(urls, (FILE, OTHER), strict=True):
        assert (tmp_path / kept[url].removesuffix(".part")).read_bytes() == resource.data
    assert all(origin.asked(path)[1].range is not None for path in ("/x/f.bin", "/y/f.bin"))


# --- two runs, one store


def queue(origin: Origin, folder: Path, name: str, count: int) -> dict[str, bytes]:
    """Write a queue file of *count* small jobs; give what is to come of them."""
    files = {f"{name}-{number}.bin": generated(50_000, seed=number).data for number in range(count)}
    urls = [origin.serve(f"/{file}", data) for file, data in files.items()]
    (folder / f"{name}.txt").write_text("\n".join(urls) + "\n")
    return files


def test_two_runs_share_a_folder_and_its_store(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    files = queue(origin, tmp_path, "a", 150) | queue(origin, tmp_path, "b", 150)
    with (
        started("-i", "a.txt", "-d", "out", cwd=tmp_path) as a,
        started("-i", "b.txt", "-d", "out", cwd=tmp_path) as b,
    ):
        for process in (a, b):
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.bin")} == files
    assert "300 jobs" in run_fetchq("status", "out").stdout
    asked = len(origin.requests)
    for name in ("a", "b"):
        assert "150 files: 150 skipped" in run_fetchq("-i", f"{name}.txt", "-d", "out").stderr
    assert len(origin.requests) == asked


def test_one_queue_run_twice_at_once_gives_every_file(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    """A job that the other run has in hand just then is waited for, and found done."""
    files = queue(origin, tmp_path, "a", 150)
    words = ("-i", "a.txt", "-d", "out")
    with started(*words, cwd=tmp_path) as one, started(*words, cwd=tmp_path) as two:
        for process in (one, two):
            _, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
    last = run_fetchq(*words)
    assert last.returncode == 0, last.stderr
    there = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.bin*")}
    assert there == files
    assert [len(origin.asked(f"/{name}")) for name in files] == [1] * len(files)
    assert "150 jobs" in run_fetchq("status", "out").stdout


TWIN = replace(generated(4 * MIB, seed=3), etag='"twin"')


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_size_and_date_do_not_make_one_file_of_two_jobs(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, jobs: str
) -> None:
    done = run_fetchq(*ONE_CONNECTION, "-j", jobs, *served_twice(origin, TWIN, slow=False))
    assert done.returncode == 0, done.stderr
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {FILE.data, TWIN.data}
