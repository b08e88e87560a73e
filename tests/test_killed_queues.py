"""A long queue over a flaky origin, killed at any moment: it ends as one that nobody disturbed.

``KILLS=50 pytest -n 0 tests/test_killed_queues.py`` is 5,000 jobs and 50 kills: the suite has no time for it.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from . import fork_server
from .conftest import clean_env
from .origin import Behaviour, Origin, drop, generated, header, reset, status, throttle, well

KILLS = int(os.environ.get("KILLS", "6"))
JOBS = 100 * KILLS
CONNECTIONS = 8
# A slow file takes a tenth of a second, so that some are always under way.
SLOW = 1e6

WORDS = ("-i", "q.txt", "-d", "out", "-q", "--no-env", "--progress", "none")
PATIENT = ("-j", str(CONNECTIONS), "-x", "1", "--backoff", "0.01", "--retries", "20", "--read-timeout", "5")

Served = tuple[str, int, list[Behaviour | tuple[Behaviour, ...]]]


def site(jobs: int) -> Iterator[Served]:
    """Yield path, size and behaviours of the files of a site: of any size, and many break once or twice."""
    chance = random.Random("site")
    for number in range(jobs):
        size = chance.choice([0, 30, 2_000, 2_000, 60_000, 150_000])
        name = f"{chance.randrange(40)}.bin" if chance.random() < 0.05 else f"f{number}.bin"
        script: list[Behaviour | tuple[Behaviour, ...]] = []
        kind = chance.random()
        if size >= 60_000:
            script = [(throttle(SLOW), drop(chance.randrange(size)))] if kind < 0.3 else []
            script += [(throttle(SLOW), reset(chance.randrange(size)))] if kind < 0.15 else []
            script += [throttle(SLOW)]
        elif kind < 0.02:
            script = [status(503), well]
        elif kind < 0.04:
            script = [header("Content-Disposition", f'attachment; filename="named{number}.bin"')]
        yield f"/{number}/{name}", size, script


def publish(origin: Origin, folder: Path, prefix: str) -> dict[str, int]:
    """Serve the site below *prefix*, and write its queue; return the sizes of the files by their paths."""
    sizes, lines = {}, []
    for number, (path, size, script) in enumerate(site(JOBS)):
        gone = number % 50 == 49
        file = generated(size, seed=number, etag=f'"{number}"')
        lines.append(origin.serve(prefix + path, file, *([status(404)] if gone else script), repeat=True))
        sizes[prefix + path] = 0 if gone else size
    folder.mkdir()
    (folder / "q.txt").write_text("\n".join(lines) + "\n")
    return sizes


def started(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*fork_server.command(), *WORDS, *PATIENT],
        cwd=folder,
        env=clean_env({"HOME": str(folder)}),
        stderr=subprocess.DEVNULL,
    )


def wait_for(origin: Origin, jobs: int) -> None:
    """Wait until so many jobs of the site have been asked for; a busy machine takes long, but does not stop."""
    deadline = time.monotonic() + 60
    paths: set[str] = set()
    at = 0
    while len(paths) < jobs:
        assert time.monotonic() < deadline, f"no request for 60 s: {len(paths)} of {jobs} jobs in {at} of them"
        time.sleep(0.005)
        new = origin.requests[at:]
        if new:
            deadline = time.monotonic() + 60
        at += len(new)
        paths.update(request.path for request in new)


def files(folder: Path) -> dict[str, str]:
    """Return the digests of the files, by name."""
    found = (path for path in (folder / "out").iterdir() if not path.name.startswith(".fetchq.db"))
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in found}


def recorded(folder: Path) -> set[tuple[str, str, int, bool]]:
    """Return what the store says of each job: path of its URL, its file, size, and whether it failed."""
    with contextlib.closing(sqlite3.connect(folder / "out/.fetchq.db")) as store:
        rows = store.execute("SELECT url, path, size, status = 'failed' FROM jobs").fetchall()
        assert store.execute(
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM leases)"
        ).fetchone() == (0, 0)
    return {
        (url.partition("//")[2].split("/", 2)[2], path, size, bool(failed)) for url, path, size, failed in rows
    }


def sent_again(origin: Origin, sizes: dict[str, int]) -> tuple[int, int]:
    """Return how many bodies were sent whole more than once, and the bytes that were sent twice."""
    whole = dict.fromkeys(sizes, 0)
    sent = dict.fromkeys(sizes, 0)
    for request in origin.requests:
        if request.path in sizes and request.status in {200, 206}:
            sent[request.path] += request.sent
            whole[request.path] += request.status == 200 and request.sent == sizes[request.path] > 0
    twice = sum(max(0, count - 1) for count in whole.values())
    return twice, sum(max(0, sent[path] - size) for path, size in sizes.items())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was let alone."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with Origin() as origin:
        publish(origin, folder, "/u")
        assert started(folder).wait(60 + JOBS / 10) == 8
    assert sum(failed for *_, failed in recorded(folder)) == JOBS // 50, "these are gone"
    return folder


@pytest.mark.timeout(120 + 10 * KILLS)
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random_moments_a_queue_ends_as_if_undisturbed(
    undisturbed: Path, origin: Origin, tmp_path: Path, processes: int
) -> None:
    chance = random.Random(f"kills/{processes}")
    folder = tmp_path / "run"
    sizes = publish(origin, folder, "/u")
    running = [started(folder) for _ in range(processes)]
    try:
        for kill, begun in enumerate(sorted(chance.sample(range(JOBS), KILLS))):
            wait_for(origin, begun)
            time.sleep(chance.random() * 0.3)
            victim = kill % processes
            fork_server.kill(running[victim])
            running[victim] = started(folder)
        assert [process.wait(60 + JOBS / 10) for process in running] == [8] * processes
    finally:
        for process in running:
            fork_server.kill(process)
    twice, more = sent_again(origin, sizes)
    print(
        f"{processes} processes, {KILLS} kills, {JOBS} jobs: {len(origin.requests)} requests,"
        f" {twice} bodies twice, {more} bytes again"
    )
    assert recorded(folder) == recorded(undisturbed)
    assert files(folder) == files(undisturbed)
    assert twice <= KILLS * CONNECTIONS
