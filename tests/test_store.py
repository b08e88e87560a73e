"""The store: what it remembers, what it never holds, and that no kill or neighbour or foreign file harms it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fetchq._errors import DiskError, NetworkError
from fetchq._models import Job, Result
from fetchq._store import Record, Store
from fetchq._store.store import BATCH, MAX_PENDING

from .conftest import look_ups, until

SECRETS = ("PASSWORD", "SIGNATURE", "HEADER", "BODY", "FORM", "PARAM", "IDENTITY")


# A job without an id, whose key alone says which it is.
ANY = Job("https://host/any")


def job_of(number: int) -> Job:
    return Job(f"https://host/{number}.bin")


def result_of(job: Job, path: Path | None = None) -> Result:
    return Result(job, "done", path, 5, digests={"sha256": "ab" * 32})


def in_store(path: Path, work: Callable[[Store], Awaitable[None]]) -> None:
    """Do *work* with the store *path* in a loop of its own, and close it."""

    async def run() -> None:
        store = Store(path, clock=lambda: 1000.5)
        try:
            await work(store)
        finally:
            await store.aclose()

    asyncio.run(run())


def remember(path: Path, *results: Result) -> None:
    async def work(store: Store) -> None:
        for result in results:
            store.record(result.job.key, result)

    in_store(path, work)


def recalled(path: Path, job: Job) -> Record | None:
    store = Store(path)
    try:
        return store.done(job.key, job)
    finally:
        store.close()


def intact(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")
    finally:
        connection.close()


def test_a_second_run_knows_what_the_first_one_finished(tmp_path: Path) -> None:
    store, file, job = tmp_path / "new" / ".fetchq.db", tmp_path / "new" / "sub" / "a.bin", job_of(1)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12345")
    remember(store, result_of(job, file))
    assert recalled(store, job) == Record(
        job.key,
        "https://host/1.bin",
        "sub/a.bin",
        5,
        file.stat().st_mtime_ns,
        {"sha256": "ab" * 32},
        "done",
        finished_at=1000.5,
    )
    assert recalled(store, job_of(2)) is None
    assert set(os.listdir(store.parent)) == {"sub", ".fetchq.db"}


def test_a_record_is_known_at_once_and_on_disk_after_a_flush(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        store.record("key", result_of(job_of(1)))
        assert store.done("key", ANY) is not None
        store._start_writing()
        assert store._writing
        assert store.done("key", ANY) is not None
        await store.flush()
        assert not store._writing
        assert store.done("key", ANY) is not None
        other = Store(tmp_path / "db")
        assert other.done("key", ANY) == store.done("key", ANY)
        other.close()

    in_store(tmp_path / "db", work)


def others(key: str, path: Path) -> bool:
    """Whether another run that begins now would know the job."""
    other = Store(path)
    try:
        return other.done(key, ANY) is not None
    finally:
        other.close()


def test_a_run_that_began_a_store_reads_only_what_it_has_put_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = look_ups(monkeypatch)
    monkeypatch.setattr("fetchq._store.store.MAX_KEYS", 2)

    async def work(store: Store) -> None:
        for number in range(3):
            assert store.done(f"new {number}", ANY) is None
            store.record(str(number), result_of(job_of(number)))
            await store.flush()
            assert store.done(str(number), ANY) is not None
        assert store.done("new 3", ANY) is None

    in_store(tmp_path / "db", work)
    assert read == [["0"], ["1"], ["2"], ["new 3"]]
    assert others("0", tmp_path / "db")


def test_a_record_that_waits_is_found_as_it_is_once_it_is_written(tmp_path: Path) -> None:
    jobs = [
        job_of(1),
        Job("https://host/2", id="two"),
        Job("https://host/2 now", id="two"),
        job_of(4),
        job_of(5),
    ]
    file = tmp_path / "ä.bin"
    file.write_bytes(b"five!")
    ends = {
        jobs[0].key: Result(jobs[0], "done", file, 5, digests={"sha256": "ab" * 32, "md5": "cd" * 16}),
        jobs[1].key: Result(jobs[1], "resumed", Path("/elsewhere/x"), 5),
        jobs[3].key: Result(jobs[3], "failed", error=NetworkError("no")),
    }

    async def work(store: Store) -> None:
        for key, result in ends.items():
            store.record(key, result)
        sought = [(job.key, job) for job in jobs]
        waiting = store.all_done(sought)
        await store.flush()
        assert waiting == store.all_done(sought)
        first, second, *others = waiting
        assert first is not None
        assert second is not None
        # The other URL of that id is another job, and one that failed is not done.
        assert others == [None, None, None]
        assert first.decoded() == {"sha256": "ab" * 32, "md5": "cd" * 16}
        assert [store.files.path_of(each) for each in (first, second)] == [file, Path("/elsewhere/x")]
        assert (first.size, store.files.still_there(first), store.files.still_there(second)) == (5, True, False)

    in_store(tmp_path / "db", work)


def test_a_record_reaches_the_disk_without_being_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchq._store.store.DELAY", 0.001)

    async def work(store: Store) -> None:
        store.record("key", result_of(job_of(1)))
        await asyncio.to_thread(until, lambda: others("key", tmp_path / "db"))

    in_store(tmp_path / "db", work)


def test_a_full_batch_does_not_wait_for_the_clock(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        for number in range(BATCH - 1):
            store.record(str(number), result_of(job_of(number)))
        assert len(store._pending) == BATCH - 1
        store.record("last", result_of(job_of(BATCH)))
        assert not store._pending
        assert len(store._writing) == BATCH

    in_store(tmp_path / "db", work)
    store = Store(tmp_path / "db")
    assert sum(1 for _ in store.rows()) == BATCH
    store.close()


def test_a_failure_is_remembered_as_one_and_is_not_done(tmp_path: Path) -> None:
    job = job_of(1)
    failed = Result(job, "failed", error=NetworkError("host: the connection broke off."))
    remember(tmp_path / "db", result_of(job), failed)
    assert recalled(tmp_path / "db", job) is None
    store = Store(tmp_path / "db")
    (record,) = store.rows("failed")
    assert (record.status, record.kind, record.error) == (
        "failed",
        "network",
        "host: the connection broke off.",
    )
    assert list(store.rows("done")) == []
    store.close()
    remember(tmp_path / "db", result_of(job))
    assert recalled(tmp_path / "db", job) is not None


def test_a_skip_keeps_what_is_known_of_the_same_file_only(tmp_path: Path) -> None:
    file, other, job = tmp_path / "a.bin", tmp_path / "b.bin", job_of(1)
    for path in (file, other):
        path.write_bytes(b"12345")

    def after(path: Path) -> dict[str, str] | None:
        remember(tmp_path / "db", result_of(job, file), Result(job, "skipped", path, 5))
        record = recalled(tmp_path / "db", job)
        return None if record is None else dict(record.digests)

    assert after(file) == {"sha256": "ab" * 32}
    assert after(other) == {}
    remember(tmp_path / "db", result_of(job, file))
    file.write_bytes(b"another")
    remember(tmp_path / "db", Result(job, "skipped", file, 7))
    assert recalled(tmp_path / "db", job) == Record(
        job.key, job.url, "a.bin", 7, file.stat().st_mtime_ns, {}, "skipped", finished_at=1000.5
    )


def test_still_there_means_the_same_size_and_time(tmp_path: Path) -> None:
    file, job = tmp_path / "a.bin", job_of(1)
    file.write_bytes(b"12345")
    remember(tmp_path / "db", result_of(job, file))
    record = recalled(tmp_path / "db", job)
    assert record is not None
    store = Store(tmp_path / "db")
    assert store.files.path_of(record) == file
    assert store.files.still_there(record)
    os.utime(file, ns=(1, record.mtime_ns or 0))
    assert store.files.still_there(record)
    os.utime(file, ns=(1, 1))
    assert not store.files.still_there(record)
    file.write_bytes(b"123456")
    os.utime(file, ns=(1, record.mtime_ns or 0))
    assert not store.files.still_there(record)
    file.unlink()
    assert not store.files.still_there(record)
    file.mkdir()
    assert not store.files.still_there(record)
    store.close()


def test_a_file_that_is_gone_when_it_is_recorded_is_never_there(tmp_path: Path) -> None:
    remember(tmp_path / "db", result_of(job_of(1), tmp_path / "gone"), result_of(job_of(2)))
    store = Store(tmp_path / "db")
    for number in (1, 2):
        record = store.done(job_of(number).key, job_of(number))
        assert record is not None
        assert not store.files.still_there(record)
    store.close()


def test_a_folder_that_was_moved_keeps_its_records(tmp_path: Path) -> None:
    old, outside, job = tmp_path / "old", tmp_path / "old-outside.bin", job_of(1)
    old.mkdir()
    (old / "a.bin").write_bytes(b"12345")
    outside.write_bytes(b"12345")
    remember(old / "db", result_of(job, old / "a.bin"), result_of(job_of(2), outside))
    shutil.move(old, tmp_path / "new")
    store = Store(tmp_path / "new" / "db")
    inner, outer = store.done(job.key, job), store.done(job_of(2).key, job_of(2))
    assert inner is not None
    assert outer is not None
    assert store.files.path_of(inner) == tmp_path / "new" / "a.bin"
    assert store.files.path_of(outer) == outside
    assert store.files.still_there(inner)
    assert store.files.still_there(outer)
    store.close()


def test_a_name_that_is_not_utf8_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.bin")
    file.write_bytes(b"12345")
    remember(tmp_path / "db", result_of(Job("https://host/\ud800"), file))
    store = Store(tmp_path / "db")
    (record,) = store.rows()
    assert store.files.path_of(record) == file
    assert store.files.still_there(record)
    store.close()


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    job = Job(
        "https://user:PASSWORD@host/a?sig=SIGNATURE#SIGNATURE",
        mirrors=("https://user:PASSWORD@host/b",),
        headers=(("X-Key", "HEADER"),),
        params=(("key", "PARAM"),),
        content=b"BODY",
        form=(("a", "FORM"),),
        id="IDENTITY",
    )
    held = b""

    def look() -> None:
        nonlocal held
        held += b"".join(file.read_bytes() for file in tmp_path.iterdir())

    async def work(store: Store) -> None:
        store.record(job.key, result_of(job))
        await store.flush()
        look()

    in_store(tmp_path / "db", work)
    look()
    assert b"https://host/a" in held
    assert not [secret for secret in SECRETS if secret.encode() in held]


def test_rows_come_oldest_first(tmp_path: Path) -> None:
    times = iter([3.0, 1.0, 2.0])

    async def run() -> None:
        store = Store(tmp_path / "db", clock=lambda: next(times))
        for key in "abc":
            store.record(key, result_of(job_of(1)))
        await store.flush()
        assert [record.key for record in store.rows()] == ["b", "c", "a"]
        await store.aclose()

    asyncio.run(run())


def sqlite_of_others(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE holiday (photo)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    Store(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda path: path.write_bytes(b"This is a text file." * 100),
            "is not a database: name another file with --store, or use --no-store",
        ),
        (sqlite_of_others, "another program's database: name another file with --store"),
        (newer, "newer fetchq"),
        (lambda path: path.mkdir(), "is no regular file"),
        (os.mkfifo, "is no regular file"),
    ],
)
def test_a_file_that_is_not_ours_is_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    path = tmp_path / "db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(DiskError, match=says) as caught:
        Store(path)
    assert caught.value.exit_code == 3
    assert (path.read_bytes() if path.is_file() else None) == before
    assert os.listdir(tmp_path) == ["db"]


def test_a_store_that_is_only_looked_at_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="There is no store"):
        Store(tmp_path / "sub" / "db", read_only=True)
    assert os.listdir(tmp_path) == []
    with pytest.raises(DiskError, match=r"has no folder, and none can be made \(file exists"):
        Store(Path(__file__) / "sub" / "db")


def test_a_damaged_database_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "db"
    remember(path, *(result_of(job_of(number)) for number in range(2000)))
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(DiskError, match="is damaged: move it away, or use --no-store"):
        recalled(path, job_of(1))


def test_a_full_disk_ends_remembering_and_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []

    async def run() -> None:
        store = Store(tmp_path / "db", warn=told.append)
        assert store._writer is not None
        pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
        store._writer.execute(f"PRAGMA max_page_count = {pages}")
        for number in range(1000):
            store.record(str(number), result_of(job_of(number)))
        await store.flush()
        store.record("late", result_of(job_of(1)))
        assert store.done("late", ANY) is None
        await store.flush()
        await store.aclose()

    asyncio.run(run())
    assert told == [f"The store {tmp_path / 'db'} has no space left on its disk: this run goes on without it."]
    assert intact(tmp_path / "db")


def test_records_that_no_disk_takes_do_not_fill_the_memory(tmp_path: Path) -> None:
    told: list[str] = []

    async def run() -> None:
        store = Store(tmp_path / "db", warn=told.append)
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        for number in range(BATCH + MAX_PENDING):
            store.record(str(number), result_of(job_of(1)))
        assert not store._pending
        other.execute("ROLLBACK")
        other.close()
        await store.aclose()

    asyncio.run(run())
    (warning,) = told
    assert "does not take records any more: this run goes on without it." in warning


def test_another_run_that_is_writing_is_read_beside_and_waited_for(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        other = sqlite3.connect(tmp_path / "db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM jobs")
        assert store.done(job_of(1).key, job_of(1)) is not None
        store.record("key", result_of(job_of(2)))
        flushing = asyncio.ensure_future(store.flush())
        await asyncio.sleep(0)
        assert not flushing.done()
        other.execute("COMMIT")
        other.close()
        await flushing
        assert store.done(job_of(1).key, job_of(1)) is None
        assert store.done("key", ANY) is not None

    remember(tmp_path / "db", result_of(job_of(1)))
    in_store(tmp_path / "db", work)


# Records results for ever; prints each SQL statement as it begins, and how many results are safe on disk.
WRITER = """
import asyncio, sys
from fetchq._models import Job, Result
from fetchq._store import Store

async def main(path, tag, most):
    store = Store(path)
    store._writer.set_trace_callback(lambda statement: print(statement.split()[0], flush=True))
    number = 0
    while number < most:
        for number in range(number, number + 50):
            job = Job(f"https://host/{tag}/{number}")
            store.record(job.key, Result(job, "done", None, number))
        number += 1
        await store.flush()
        print(number, flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


def writer(path: Path, tag: str, most: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(path), tag, most]
    root = Path(__file__).parent.parent
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)


# Each batch prints BEGIN, INSERT, COMMIT and its count: these are the points of two batches, past the first.
@pytest.mark.parametrize("point", range(5, 13))
def test_killed_at_any_instant_it_is_whole_and_holds_all_that_was_flushed(tmp_path: Path, point: int) -> None:
    path = tmp_path / "db"
    with writer(path, "x", "inf") as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(point)]
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.read().split()
    store = Store(path)
    known = sum(1 for _ in store.rows())
    assert known >= max(int(line) for line in printed if line.isdigit()) >= 50
    assert all(store.done(Job(f"https://host/x/{number}").key, ANY) for number in range(known))
    store.close()
    assert intact(path)


@pytest.mark.parametrize("attempt", range(4))
def test_several_runs_make_and_share_one_store(tmp_path: Path, attempt: int) -> None:
    path = tmp_path / "db"
    processes = [writer(path, str(tag), "500") for tag in range(4)]
    for process in processes:
        with process:
            process.communicate(timeout=50)
        assert process.returncode == 0
    store = Store(path)
    assert sum(1 for _ in store.rows()) == 4 * 500
    store.close()
    assert intact(path)


@pytest.mark.parametrize("attempt", range(25))
def test_runs_that_begin_together_all_get_the_store_that_one_of_them_makes(
    tmp_path: Path, attempt: int
) -> None:
    together = threading.Barrier(4)

    def begin(_: int) -> None:
        together.wait()
        Store(tmp_path / "db").close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(begin, range(4)))


def test_the_package_can_be_imported_without_sqlite() -> None:
    code = "import sys, fetchq; sys.exit('sqlite3' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode
        == 0
    )
