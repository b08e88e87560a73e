"""Several runs of one queue at once: each job is done by one of them, and all end with the whole queue done."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._api.session import LOCKED_PATIENCE
from fetchq._models import Job, Result
from fetchq._store import Store
from fetchq._store.database import LOCKED_WAIT
from fetchq._store.leases import VALID

from .conftest import RunFetchq, until
from .origin import Behaviour, Origin, generated, header, latency, status, throttle
from .test_two_processes import FILE, Valve, has_journal, names, started

JOB = Job("https://host/1.bin")


def queue(origin: Origin, folder: Path, count: int, *more: Behaviour) -> dict[str, bytes]:
    """Write a queue of *count* files that take a tenth of a second each; return what is to come of them."""
    files = {f"{number}.bin": generated(50_000, seed=number).data for number in range(count)}
    urls = [origin.serve(f"/{file}", data, (throttle(5e5), *more), repeat=True) for file, data in files.items()]
    (folder / "q.txt").write_text("\n".join(urls) + "\n")
    return files


WORDS = ("-j", "4", "-i", "q.txt", "-d", "out")


def test_two_runs_share_a_queue(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    files = queue(origin, tmp_path, 120)
    done = []
    with started(*WORDS, cwd=tmp_path) as one, started(*WORDS, cwd=tmp_path) as two:
        for process in (one, two):
            _, err = process.communicate(timeout=50)
            assert process.returncode == 0, err
            done.append(int((re.search(r"120 files: (\d+) done", err) or [0, 0])[1]))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.bin*")} == files
    assert [len(origin.asked(f"/{name}")) for name in files] == [1] * len(files)
    assert sum(done) == 120
    assert min(done) > 10, "both had their share"
    assert "120 jobs" in run_fetchq("status", "out").stdout
    assert rows(tmp_path / "out" / ".fetchq.db") == []


def test_runs_that_begin_while_the_store_is_locked_share_once_it_is_free(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    files = queue(origin, tmp_path, 40)
    (tmp_path / "out").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "out/.fetchq.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with started(*WORDS, cwd=tmp_path) as one, started(*WORDS, cwd=tmp_path) as two:
            for process in (one, two):
                assert process.stderr is not None
                assert "is locked by another program: it is waited for, 30 seconds" in process.stderr.readline()
            assert origin.requests == []
            other.execute("ROLLBACK")
            for process in (one, two):
                _, err = process.communicate(timeout=30)
                assert process.returncode == 0, err
    assert [len(origin.asked(f"/{name}")) for name in files] == [1] * len(files)
    assert "40 jobs" in run_fetchq("status", "out").stdout


def test_a_job_that_another_run_has_is_waited_for(origin: Origin, tmp_path: Path) -> None:
    valve = Valve()
    urls = [origin.serve("/f.bin", FILE, valve), origin.serve("/g.bin", b"good")]
    (tmp_path / "q.txt").write_text("\n".join(urls))
    with started(*WORDS, cwd=tmp_path) as one:
        until(lambda: has_journal(tmp_path / "out" / "f.bin.part"))
        with started(*WORDS, cwd=tmp_path) as two:
            assert two.stderr is not None
            line = two.stderr.readline()
            while "warning" not in line:
                line = two.stderr.readline()
            assert f"Process {one.pid} works on this queue too: what it has begun is waited for." in line
            valve.opened = True
            for process in (one, two):
                _, err = process.communicate(timeout=30)
                assert process.returncode == 0, err
    assert names(tmp_path / "out") == {"f.bin", "g.bin", ".fetchq.db"}
    assert origin.ranges("/f.bin") == [None]
    assert origin.ranges("/g.bin") == [None]


async def fetched(folder: Path, urls: list[str], **queue: Any) -> list[Result]:
    settings = fetchq.Settings(queue=fetchq.Queue(jobs=4, **queue), retry=fetchq.Retry(retries=0))
    async with fetchq.Downloader(settings, dir=folder, store=folder / "db") as downloader:
        return [result async for result in downloader.run(urls)]


async def fetched_twice(folder: Path, urls: list[str], **queue: Any) -> list[list[Result]]:
    """Run *urls* twice at the same time."""
    return list(await asyncio.gather(fetched(folder, urls, **queue), fetched(folder, urls, **queue)))


async def once_and_twice(folder: Path, urls: list[str], **queue: Any) -> list[Counter[str]]:
    """Run *urls* once, then twice at the same time; return how the jobs of the last two runs ended."""
    await fetched(folder, urls)
    return [
        Counter(result.status for result in results) for results in await fetched_twice(folder, urls, **queue)
    ]


def test_what_one_run_has_failed_is_the_others_failure_too_and_a_later_run_tries_again(
    origin: Origin, tmp_path: Path
) -> None:
    codes = [404] * 8 + [403] * 4
    urls = [
        origin.serve(f"/{number}", b"here now", (status(code), latency(0.2)))
        for number, code in enumerate(codes)
    ]
    for results in asyncio.run(fetched_twice(tmp_path, urls)):
        errors = [result.error for result in results]
        assert all(isinstance(error, fetchq.StatusError) for error in errors)
        assert Counter(getattr(error, "status", 0) for error in errors) == Counter(codes)
        assert all(f"answered {getattr(error, 'status', 0)} (" in str(error) for error in errors)
    assert len(origin.requests) == len(urls)
    assert [result.status for result in asyncio.run(fetched(tmp_path, urls))] == ["done"] * len(urls)


def test_with_update_each_file_is_asked_for_by_one_of_two_runs(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", b"x", latency(0.2), repeat=True) for number in range(12)]
    assert asyncio.run(once_and_twice(tmp_path, urls, update=True)) == [Counter(skipped=12)] * 2
    asked = [[request.status for request in origin.asked(f"/{number}")] for number in range(len(urls))]
    assert asked == [[200, 304]] * len(urls)


def test_what_had_failed_before_is_tried_again_by_one_of_two_runs(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", b"x", status(404), latency(0.2)) for number in range(12)]
    one, two = asyncio.run(once_and_twice(tmp_path, urls))
    assert one + two == Counter(done=12, skipped=12)
    asked = [[request.status for request in origin.asked(f"/{number}")] for number in range(len(urls))]
    assert asked == [[404, 200]] * len(urls)


def test_what_a_run_has_failed_itself_keeps_it_from_no_other_line(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines of one URL with other header fields are one job in the store, and two in the queue."""
    monkeypatch.setattr("fetchq._store.store.BATCH", 1)
    url = origin.serve("/f", b"x", status(404))
    between = origin.serve("/between", b"y", latency(0.5))
    lines = [Job(url, headers={"X": "1"}), Job(between), Job(url, headers={"X": "2"})]

    async def main() -> list[str]:
        other = Store(tmp_path / "db")
        await other.join()
        settings = fetchq.Settings(queue=fetchq.Queue(jobs=1), retry=fetchq.Retry(retries=0))
        async with fetchq.Downloader(settings, dir=tmp_path, store=tmp_path / "db") as downloader:
            statuses: list[str] = [result.status async for result in downloader.run(lines)]
        await other.aclose()
        return statuses

    assert asyncio.run(main()) == ["failed", "done", "done"]


def test_a_part_that_another_process_has_is_waited_for_without_a_lease(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchq._api.session.LOCKED_WAIT", 0.05)
    valve = Valve()
    url = origin.serve("/f.bin", FILE, valve)

    async def main() -> tuple[Result, Result]:
        other = Store(tmp_path / "db")
        await other.join()
        async with (
            fetchq.Downloader(dir=tmp_path, connections=1) as one,
            fetchq.Downloader(dir=tmp_path, store=tmp_path / "db") as two,
        ):
            first = asyncio.ensure_future(one.fetch(url))
            await asyncio.to_thread(until, lambda: has_journal(tmp_path / "f.bin.part"))
            second = asyncio.ensure_future(anext(two.run([url])))
            await asyncio.sleep(0.3)
            assert not second.done()
            valve.opened = True
            results = await first, await second
        await other.aclose()
        return results

    assert [result.status for result in asyncio.run(main())] == ["done", "skipped"]


def test_a_part_that_a_process_without_a_lease_does_not_let_go_fails_its_job(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchq._api.session.LOCKED_WAIT", 0.01)
    valve = Valve()
    url = origin.serve("/f.bin", FILE, valve)
    now = 0.0

    async def main() -> Result:
        nonlocal now
        other = Store(tmp_path / "db")
        await other.join()
        async with (
            fetchq.Downloader(dir=tmp_path, connections=1) as one,
            fetchq.Downloader(dir=tmp_path, store=tmp_path / "db") as two,
        ):
            first = asyncio.ensure_future(one.fetch(url))
            await asyncio.to_thread(until, lambda: has_journal(tmp_path / "f.bin.part"))
            session = two._opened()
            session.context = session.context._replace(clock=lambda: now)
            second = asyncio.ensure_future(anext(two.run([url])))
            await asyncio.sleep(0.1)
            now += LOCKED_PATIENCE - 1
            await asyncio.sleep(0.1)
            assert not second.done()
            now += 1
            result = await asyncio.wait_for(second, 10)
            valve.opened = True
            await first
        await other.aclose()
        return result

    result = asyncio.run(main())
    assert isinstance(result.error, fetchq.LockedError)


def test_a_killed_runs_jobs_go_to_the_other(origin: Origin, tmp_path: Path) -> None:
    valve = Valve()
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", FILE, valve))
    with started(*WORDS, cwd=tmp_path) as one:
        until(lambda: has_journal(tmp_path / "out" / "f.bin.part"))
        with started(*WORDS, cwd=tmp_path) as two:
            assert two.stderr is not None
            while "works on this queue too" not in two.stderr.readline():
                pass
            one.send_signal(signal.SIGKILL)
            one.wait()
            valve.opened = True
            _, err = two.communicate(timeout=30)
            assert two.returncode == 0, err
    assert (tmp_path / "out" / "f.bin").read_bytes() == FILE.data
    first, second = origin.asked("/f.bin")
    assert first.range is None
    assert second.range is not None


def test_after_a_kill_the_same_command_does_not_wait(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    valve = Valve()
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", FILE, valve))
    with started(*WORDS, cwd=tmp_path) as one:
        until(lambda: has_journal(tmp_path / "out" / "f.bin.part"))
        one.send_signal(signal.SIGKILL)
        one.wait()
    valve.opened = True
    done = run_fetchq(*WORDS)
    assert (done.returncode, "works on this queue" in done.stderr) == (0, False), done.stderr
    assert rows(tmp_path / "out" / ".fetchq.db") == []


NAMED = header("Content-Disposition", 'attachment; filename="report.bin"')


@pytest.mark.parametrize("named", [[], [NAMED]], ids=["by their URLs", "all alike by the server"])
def test_killed_and_restarted_in_turn_two_runs_end_with_every_file(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, named: list[Behaviour]
) -> None:
    files, chance = queue(origin, tmp_path, 100, *named), random.Random(1)
    kills = 4
    with contextlib.ExitStack() as running:
        processes = [running.enter_context(started(*WORDS, cwd=tmp_path)) for _ in range(2)]
        for kill in range(kills):
            begun = len(origin.requests)
            until(lambda begun=begun: len(origin.requests) >= begun + chance.randrange(1, 15))  # type: ignore[misc]
            processes[kill % 2].kill()
            processes[kill % 2].communicate()
            processes[kill % 2] = running.enter_context(started(*WORDS, cwd=tmp_path))
        for process in processes:
            _, err = process.communicate(timeout=50)
            assert process.returncode == 0, err
    got = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.bin*")}
    if named:
        assert set(got) == {f"report.{number}.bin" if number else "report.bin" for number in range(100)}
    else:
        assert got == files
    assert sorted(got.values()) == sorted(files.values())
    # Each process had at most four in hand, and those of the last half second were not on record yet.
    asked = [len(origin.asked(f"/{name}")) for name in files]
    assert "100 skipped" in run_fetchq(*WORDS).stderr
    assert [len(origin.asked(f"/{name}")) for name in files] == asked, "a rerun asks nothing"
    assert sum(asked) - len(files) <= kills * (4 + 4 + 6), asked


def rows(path: Path) -> list[tuple[str, ...]]:
    """Return the runs and leases that the store holds."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT owner FROM runs UNION ALL SELECT key FROM leases"
        return connection.execute(query).fetchall()


# --- the leases alone


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the runs of this process look for each other without delay."""
    monkeypatch.setattr("fetchq._store.leases.TICK", 0.01)
    monkeypatch.setattr("fetchq._store.leases.POLL", 0.001)


def at(seconds: float) -> Callable[[], float]:
    return lambda: seconds


def test_what_a_run_has_in_hand_is_known_to_one_that_comes_later(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = Store(tmp_path / "db", clock=at(0)), Store(tmp_path / "db", clock=at(1))
        await one.join()
        assert await one.claim("a")
        assert rows(tmp_path / "db")[1:] == [], "a run that is alone writes down nothing"
        await two.join()
        assert not await two.claim("a")
        assert await two.claim("b")
        assert not await one.claim("b")
        assert await two.claim("b"), "a run may take its own job again"
        one.record("a", Result(JOB, "done", None, 5))
        await one.flush()
        await one._transact(lambda connection: connection)  # what released it was before this
        assert await two.claim("a")
        assert two.done("a", JOB) is not None, "what was released as done is on record"
        two.leases.release(["b"])
        await two._transact(lambda connection: connection)
        assert await one.claim("b")
        await two.aclose()
        assert await one.claim("a")
        await one.aclose()

    asyncio.run(main())
    assert rows(tmp_path / "db") == []


def test_a_run_that_meets_a_lock_when_it_enters_tries_again(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = Store(tmp_path / "db"), Store(tmp_path / "db")
        await one.join()
        await two._transact(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
        with contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            entering = asyncio.ensure_future(two.join())
            await asyncio.sleep(0.2)
            other.execute("ROLLBACK")
        await entering
        assert two.leases.shared
        for store in (one, two):
            await store.aclose()

    asyncio.run(main())


def test_a_lock_keeps_jobs_from_being_begun_for_a_while_only(tmp_path: Path) -> None:
    now, told = 1e9, list[str]()

    async def main() -> None:
        nonlocal now
        one, two = [Store(tmp_path / "db", clock=lambda: now, warn=told.append) for _ in range(2)]
        for store in (one, two):
            await store._transact(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
            await store.join()
        assert await one.claim("a")
        with contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not await two.claim("b")
            now += LOCKED_WAIT - 1
            assert not await two.claim("b")
            now += 1
            assert await two.claim("b"), "the store keeps no run from its jobs"
            assert not two.leases.shared, "further jobs do not wait for the lock"
            assert await two.claim("c")
            other.execute("ROLLBACK")
        await asyncio.to_thread(until, lambda: two.leases.shared)
        await two._transact(lambda connection: connection)  # what it had begun is written down before this
        assert not await one.claim("b"), "it is written down what was begun meanwhile"
        assert not await two.claim("a")
        for store in (one, two):
            await store.aclose()

    asyncio.run(main())
    [message] = [message for message in told if "is locked" in message]
    assert message.endswith(": no job is begun until that lets it go, for 30 seconds at most.")


@pytest.mark.parametrize(("later", "taken"), [(VALID - 1, False), (VALID + 1, True), (-1e6, True)])
def test_a_run_that_does_not_renew_its_leases_loses_them(tmp_path: Path, later: float, taken: bool) -> None:
    async def main() -> None:
        one, two = Store(tmp_path / "db", clock=at(1e9)), Store(tmp_path / "db", clock=at(1e9 + later))
        await one.join()
        await one.claim("a")
        one.leases.shared = True
        await one._transact(one.leases._publish)
        if taken:
            assert one.leases._ticker is not None
            one.leases._ticker.cancel()
        await two.join()
        assert await two.claim("a") is taken
        await two.aclose()
        await one.aclose()

    asyncio.run(main())


def test_a_dead_runs_jobs_are_told_once_before_the_first_of_them(tmp_path: Path) -> None:
    """Its files may not be on record, and may be anywhere where a server gives the names."""

    async def main() -> list[str]:
        told: list[str] = []
        one, two, three = [Store(tmp_path / "db", clock=at(1e9)) for _ in range(3)]
        for store in (one, two, three):
            await store.join()
        for key in ("a", "b"):
            await one.claim(key)
        await one._transact(
            lambda connection: connection.execute(
                "UPDATE runs SET expires = 0 WHERE owner = ?", (one.leases.owner,)
            )
        )
        two.leases.orphaned = lambda: told.append("two")
        three.leases.orphaned = lambda: told.append("three")
        assert [await two.claim(key) for key in ("c", "a")] == [True, True]
        assert told == ["two"]
        assert await three.claim("b"), "its row has been removed, but not what it had in hand"
        assert [await three.claim(key) for key in ("a", "b")] == [False, True]
        for store in (one, two, three):
            await store.aclose()
        return told

    assert asyncio.run(main()) == ["two", "three"]
    assert rows(tmp_path / "db") == []


# Claims a job as another run, writes it down, and is killed.
DEAD = """
import asyncio, os, sys
from fetchq._store import Store

async def main():
    store = Store(sys.argv[1])
    await store.join()
    await store.claim("a")
    store.leases.shared = True
    await store._transact(store.leases._publish)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def stat_of(pid: int) -> list[str]:
    """The fields of proc(5) from the third on: the state, and at 17 how many threads there are."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def test_a_killed_run_has_its_jobs_until_its_last_thread_has_ended(tmp_path: Path) -> None:
    """Until then it holds its locks, and a call that makes a file may not have returned."""
    dying = DEAD.replace(
        "os.kill(os.getpid(), 9)",
        """
    threading.Thread(target=lambda: (sys.stdin.read(), os.kill(os.getpid(), 9))).start()
    ctypes.CDLL(None).pthread_exit(None)
    """,
    )
    command = [sys.executable, "-c", f"import ctypes, threading{dying}", str(tmp_path / "db")]

    async def main(other: subprocess.Popen[bytes]) -> None:
        assert other.stdin is not None
        until(lambda: stat_of(other.pid)[0] == "Z")
        store = Store(tmp_path / "db")
        await store.join()
        assert not await store.claim("a")
        other.stdin.close()
        until(lambda: stat_of(other.pid)[17] == "1")
        assert await store.claim("a")
        await store.aclose()

    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=root) as other:
        asyncio.run(main(other))


@pytest.mark.parametrize("machine", ["this", "another"])
def test_a_dead_runs_leases_are_void_at_once_where_that_can_be_known(tmp_path: Path, machine: str) -> None:
    path = tmp_path / "db"
    subprocess.run([sys.executable, "-c", DEAD, path], check=False, cwd=Path(__file__).parent.parent)
    assert len(rows(path)) == 2
    if machine == "another":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE runs SET process = 'elsewhere 1 1'")
            connection.commit()

    async def main() -> None:
        store = Store(path)
        await store.join()
        assert await store.claim("a") is (machine == "this")
        await store.aclose()

    asyncio.run(main())
