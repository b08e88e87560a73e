"""Stores on file systems, and in hands, that they were not made for: no file is lost because of one."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import fetchq
from fetchq._errors import StoreError
from fetchq._models import Job, Result
from fetchq._store import Store
from fetchq._store.database import Database

from .conftest import RunFetchq, run
from .conftest import until as wait_until
from .origin import Answer, Origin, latency

SETTINGS = fetchq.Settings(network=fetchq.Network(env=False), retry=fetchq.Retry(retries=0))
JOB = Job("https://host/1.bin")


def remember(path: Path, job: Job = JOB) -> None:
    async def work() -> None:
        store = Store(path)
        store.record(job.key, Result(job, "done", None, 5))
        await store.aclose()

    asyncio.run(work())


def urls_on_record(path: Path) -> list[str]:
    with closing(Store(path, read_only=True)) as store:
        return [record.url for record in store.rows()]


def header(path: Path) -> bytes:
    """Return b"22" for a file in WAL mode, b"11" for one in DELETE mode (sqlite.org/fileformat.html)."""
    return path.read_bytes()[18:20].translate(
        bytes(48 + number for number in range(10)) + bytes(range(10, 256))
    )


def fetch(
    folder: Path, *items: str, store: Path, required: bool = False, jobs: int | None = None
) -> tuple[list[fetchq.Result], list[str]]:
    """Run *items*; return results and warnings."""
    told: list[str] = []

    def note(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.Warned) and "store" in event.message:
            told.append(event.message)

    async def main() -> list[fetchq.Result]:
        async with fetchq.Downloader(
            SETTINGS, dir=folder, store=store, store_required=required, observers=[note], jobs=jobs
        ) as downloader:
            return [result async for result in downloader.run(items)]

    return run(main()), told


# --- no store can be used


def text(path: Path) -> None:
    path.write_text("mine, and no database\n" * 100)


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name)")


def other_tables(path: Path) -> None:
    remember(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE jobs RENAME COLUMN size TO length")


def newer(path: Path) -> None:
    remember(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(path: Path) -> None:
    remember(path)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def linked(path: Path) -> None:
    remember(path.parent.parent / "precious.db")
    path.symlink_to("../precious.db")


def dangling(path: Path) -> None:
    path.symlink_to("../precious.db")


UNUSABLE: list[tuple[Callable[[Path], None], str]] = [
    (text, "is not a database"),
    (foreign, "is another program's database"),
    (other_tables, "has other tables than this fetchq makes"),
    (newer, "was written by a newer fetchq"),
    (damaged, "is damaged"),
    (linked, "is a link out of its folder"),
    (dangling, "is a link out of its folder"),
    (os.mkfifo, "is no regular file"),
]


@pytest.mark.parametrize(("make", "reason"), UNUSABLE, ids=lambda each: getattr(each, "__name__", ""))
def test_a_store_that_cannot_be_used_costs_no_file(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    folder, store = tmp_path / "out", tmp_path / "out" / ".fetchq.db"
    folder.mkdir()
    make(store)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", b"bytes"))
    named = run_fetchq("-i", "q.txt", "-d", "out", "--store", "out/.fetchq.db")
    assert named.returncode == 3
    assert f"out/.fetchq.db {reason}: " in named.stderr
    assert named.stderr.rstrip().endswith(", or use --no-store.")
    assert origin.requests == []
    done = run_fetchq("-i", "q.txt", "-d", "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"out/.fetchq.db {reason}: this run goes on without a store.") == 1
    assert (folder / "f.bin").read_bytes() == b"bytes"
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.rglob("*") if path not in before} <= {
        "out", "q.txt", "f.bin", ".fetchq.db"
    }  # fmt: skip


def test_a_link_within_its_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "db").symlink_to("real.db")
    remember(tmp_path / "db")
    assert urls_on_record(tmp_path / "real.db") == [JOB.url]


def test_a_folder_that_cannot_be_made_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, reason in (
        (tmp_path / "file" / "sub" / "db", "file exists"),
        (tmp_path / ("n" * 300) / "db", "file name too long"),
        (tmp_path / "a\0b" / "db", "embedded null byte"),
        (Path("/proc/fetchq/sub/db"), "no such file or directory"),
    ):
        with pytest.raises(StoreError, match=rf"has no folder, and none can be made \({reason}"):
            Store(path)


def test_a_folder_may_lie_deeper_than_python_calls(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (sys.getrecursionlimit() + 100))
    # SQLite takes 512 bytes of a path.
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(deep / "db")
    assert deep.is_dir()
    # rmtree of Python 3.11 calls itself for each folder.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


# --- no shared memory


@pytest.fixture
def without_mmap(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", refuse)


def test_without_shared_memory_the_store_is_in_delete_mode(tmp_path: Path, without_mmap: None) -> None:
    path = tmp_path / "db"
    remember(path)
    with closing(Store(path)) as one, closing(Store(path)) as other:
        assert header(path) == b"11"
        assert one.done(JOB.key, JOB) is not None
        assert other.done(JOB.key, JOB) is not None


def test_a_store_at_rest_is_in_delete_mode_and_one_in_use_is_not(tmp_path: Path) -> None:
    path = tmp_path / "db"
    remember(path)
    assert header(path) == b"11"
    with closing(Store(path)):
        assert header(path) == b"22"
        Store(path).close()
        assert header(path) == b"22"
    assert header(path) == b"11"
    assert os.listdir(tmp_path) == ["db"]


@pytest.fixture
def direct_io(tmp_path: Path) -> Iterator[Path]:
    """A folder whose files cannot be mapped; ``tmp_path/below`` is the same one where they can."""
    if shutil.which("bindfs") is None:
        pytest.skip("bindfs is not installed")
    below, mount = tmp_path / "below", tmp_path / "mount"
    below.mkdir()
    mount.mkdir()
    done = subprocess.run(
        ["bindfs", "-o", "direct_io", below, mount], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"bindfs cannot mount here: {done.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["fusermount", "-u", "-z", mount], check=False)


def test_a_queue_on_a_mount_without_shared_memory_is_remembered(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, direct_io: Path
) -> None:
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", b"bytes"))
    for _ in range(2):
        done = run_fetchq("-i", "q.txt", "-d", direct_io)
        assert (done.returncode, "store" in done.stderr) == (0, False), done.stderr
    assert origin.ranges("/f.bin") == [None]
    assert run_fetchq("status", direct_io).stdout.count("1 jobs") == 1


def test_a_store_that_was_in_wal_mode_moves_to_such_a_mount(tmp_path: Path, direct_io: Path) -> None:
    killed_store(tmp_path / "below" / "db")
    with closing(Store(direct_io / "db")) as store:
        assert store.done("key", JOB) is not None
    assert header(direct_io / "db") == b"11"


# --- locked by another program


@contextmanager
def lock(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchq._store.store.OPEN_TIMEOUT", 0.05)
    monkeypatch.setattr("fetchq._store.store.OPEN_POLL", 0.05)
    monkeypatch.setattr("fetchq._store.store.LOCKED_WAIT", 0.1)
    monkeypatch.setattr("fetchq._store.database.READ_TIMEOUT", 0.05)
    monkeypatch.setattr(Database.writer, "__defaults__", (0.05,))


def test_a_locked_store_is_written_once_it_is_free(
    origin: Origin, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, url = tmp_path / "db", origin.serve("/f.bin", b"bytes")
    remember(store)
    with lock(store) as other:
        writing = Store._write

        def release(self: Store, rows: list[tuple[object, ...]]) -> None:
            try:
                writing(self, rows)
            finally:
                if other.in_transaction:
                    other.execute("ROLLBACK")

        monkeypatch.setattr(Store, "_write", release)
        monkeypatch.setattr("fetchq._store.store.DELAY", 0.01)
        monkeypatch.setattr(Store, "flush", patient(Store.flush, lambda: not other.in_transaction))
        (result,), told = fetch(tmp_path, url, store=store)
    assert result.status == "done"
    locked = f"The store {store} is locked by another program: "
    assert told == [
        f"{locked}it is waited for, 0 seconds at most.",
        f"{locked}this run goes on, and records its results when that lets it go.",
    ]
    assert set(urls_on_record(store)) == {url, JOB.url}


def patient(flush: Callable[[Store], object], until: Callable[[], bool]) -> Callable[[Store], object]:
    """A flush that begins when the lock is gone, as at the end of a longer run."""

    async def waiting(self: Store) -> None:
        await asyncio.to_thread(wait_until, until)
        await flush(self)  # type: ignore[misc] # an async method

    return waiting


def test_a_store_that_stays_locked_is_told_and_costs_nothing_else(
    origin: Origin, tmp_path: Path, impatient: None
) -> None:
    store, url = tmp_path / "db", origin.serve("/f.bin", b"bytes")
    remember(store)
    with lock(store):
        began = time.monotonic()
        (result,), told = fetch(tmp_path, url, store=store, required=True)
        assert time.monotonic() - began < 5
    assert (result.status, (tmp_path / "f.bin").read_bytes()) == ("done", b"bytes")
    assert len(told) == 3
    assert told[2] == f"The store {store} is locked by another program: 1 result is not recorded."
    assert urls_on_record(store) == [JOB.url]


def test_a_lock_that_outlasts_the_wait_costs_what_is_done_no_request(
    origin: Origin, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run reads on in its queue meanwhile, and each job is looked up again before it begins."""
    store, good = tmp_path / "db", origin.serve("/good", b"x")
    fetch(tmp_path, good, store=store)
    monkeypatch.setattr("fetchq._store.leases.TICK", 0.01)
    with lock(store) as other:

        def free(answer: Answer) -> None:
            other.execute("ROLLBACK")
            latency(0.3)(answer)

        first = origin.serve("/first", b"y", free)
        results, _ = fetch(tmp_path, first, good, store=store, jobs=1)
    assert {result.job.url: result.status for result in results} == {first: "done", good: "skipped"}
    assert len(origin.asked("/good")) == 1


def test_stopping_does_not_wait_for_the_lock(origin: Origin, tmp_path: Path) -> None:
    store = tmp_path / "db"
    remember(store)

    async def main() -> None:
        told = asyncio.Event()

        def note(event: fetchq.Event) -> None:
            if isinstance(event, fetchq.Warned) and "is waited for" in event.message:
                told.set()

        async with (
            fetchq.Downloader(SETTINGS, dir=tmp_path, store=store, observers=[note]) as downloader,
            downloader.run([origin.serve("/f.bin", b"bytes")]) as results,
        ):
            waiting = asyncio.ensure_future(anext(results))
            await told.wait()
            downloader.stop()
            with pytest.raises(StopAsyncIteration):
                await waiting

    with lock(store):
        began = time.monotonic()
        run(main())
        assert time.monotonic() - began < 8
    assert origin.requests == []


def test_a_lock_that_comes_during_a_run_does_not_stop_the_loop_at_each_look_up(
    tmp_path: Path, impatient: None, without_mmap: None
) -> None:
    path, told = tmp_path / "db", list[str]()
    remember(path)
    with closing(Store(path, warn=told.append)) as store, lock(path):
        began = time.monotonic()
        assert [store.done(JOB.key, JOB) for _ in range(50)] == [None] * 50
        assert time.monotonic() - began < 1
    assert len(told) == 1


# --- read-only, and other people's


# Leaves what a killed run leaves: records in the write-ahead log.
KILLED = """
import os, sys
from fetchq._store.records import Record, sql_values
from fetchq._store.store import Store
store = Store(sys.argv[1])
store._write([sql_values(Record("key", "https://host/k", None, 5, None))])
os.kill(os.getpid(), 9)
"""


def killed_store(path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, cwd=Path(__file__).parent.parent)
    assert path.with_name(f"{path.name}-wal").stat().st_size


def in_wal_mode(path: Path) -> None:
    remember(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount *folder* read-only, at its own place."""
    mount = shutil.which("mount") or "true"
    done = subprocess.run([mount, "--bind", folder, folder], capture_output=True, check=False)
    if mount == "true" or done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run([mount, "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


@contextmanager
def as_nobody() -> Iterator[Path]:
    """A folder that another user made; root may write in any."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


@pytest.mark.parametrize("make", [remember, in_wal_mode, killed_store])
@pytest.mark.parametrize("where", ["read-only", "foreign"])
def test_a_store_is_read_where_nothing_can_be_written(
    tmp_path: Path, make: Callable[[Path], None], where: str
) -> None:
    if where == "read-only":
        make(tmp_path / "db")
        with read_only(tmp_path):
            assert len(urls_on_record(tmp_path / "db")) == 1
            with closing(Store(tmp_path / "db")) as store:
                assert sum(1 for _ in store.rows()) == 1
        return
    with as_nobody() as folder:
        make(folder / "db")
        for file in folder.glob("db*"):
            file.chmod(0o644)  # they are the owner's alone, who may let others look
        os.seteuid(65534)
        if make is in_wal_mode:
            # Another user may begin to write it at any time, and without files beside it there are no locks.
            with pytest.raises(StoreError, match=r"cannot be written: name another file\.$"):
                urls_on_record(folder / "db")
            return
        assert len(urls_on_record(folder / "db")) == 1
        with closing(Store(folder / "db")) as store:
            assert sum(1 for _ in store.rows()) == 1


def test_a_done_queue_on_a_read_only_disk_is_done(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", b"bytes"))
    assert run_fetchq("-i", "q.txt", "-d", "out").returncode == 0
    with read_only(folder):
        again = run_fetchq("-i", "q.txt", "-d", "out")
        assert (again.returncode, "store" in again.stderr) == (0, False), again.stderr
        assert "1 jobs" in run_fetchq("status", "out").stdout
        assert run_fetchq("verify", "out").returncode == 0
        (tmp_path / "q.txt").write_text(origin.serve("/new.bin", b"new"))
        failed = run_fetchq("-i", "q.txt", "-d", "out")
    assert failed.returncode == 3
    assert "out/.fetchq.db cannot be written: what this run fetches is not recorded." in failed.stderr
    assert origin.ranges("/f.bin") == [None]


def test_looking_at_a_store_changes_nothing(tmp_path: Path) -> None:
    remember(tmp_path / "db")
    before = (tmp_path / "db").stat()
    for _ in urls_on_record(tmp_path / "db"):
        pass
    after = (tmp_path / "db").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    assert os.listdir(tmp_path) == ["db"]


def test_a_store_that_is_begun_by_several_threads_at_once_is_one(tmp_path: Path, without_mmap: None) -> None:
    together = threading.Barrier(4)
    failed: list[BaseException] = []

    def begin() -> None:
        together.wait()
        try:
            Store(tmp_path / "db").close()
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
