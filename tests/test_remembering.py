"""What a run leaves in its store, and what the next one rests on it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import fetchq
from fetchq._store import Store

from .conftest import RunFetchq, look_ups, run, until
from .origin import Origin, generated, status

FILE = generated(300_000, 7)
MD5 = hashlib.md5(FILE.data).hexdigest()
SETTINGS = fetchq.Settings(network=fetchq.Network(env=False), retry=fetchq.Retry(retries=0))


def fetch(folder: Path, *jobs: fetchq.Job | fetchq.FetchError) -> list[fetchq.Result]:
    """Run *jobs* into *folder* with its store."""

    async def main() -> list[fetchq.Result]:
        async with fetchq.Downloader(SETTINGS, dir=folder, store=folder / ".fetchq.db") as downloader:
            return [result async for result in downloader.run(jobs)]

    return run(main())


def records(folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Status and digests of every record, oldest first."""
    connection = sqlite3.connect(folder / ".fetchq.db")
    try:
        rows = connection.execute("SELECT status, digests FROM jobs ORDER BY finished_at").fetchall()
    finally:
        connection.close()
    return [(word, json.loads(digests)) for word, digests in rows]


def test_the_first_files_are_on_record_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed in its first half second has recorded what it had finished."""
    monkeypatch.setattr("fetchq._store.store.DELAY", 60)

    async def main() -> None:
        store = Store(tmp_path / ".fetchq.db")
        store.record("key", fetchq.Result(fetchq.Job("https://host/1"), "done", None, 5))
        await asyncio.to_thread(until, lambda: len(records(tmp_path)) == 1)
        await store.aclose()

    run(main())


@pytest.mark.parametrize("entry", ["run", "fetch"])
def test_another_base_makes_another_job(origin: Origin, tmp_path: Path, entry: str) -> None:
    for folder in "ab":
        origin.serve(f"/{folder}/f.bin", folder.encode())

    async def main() -> None:
        for folder in "ab":
            async with fetchq.Downloader(
                SETTINGS, dir=tmp_path, store=tmp_path / "db", base_url=origin.url(f"/{folder}")
            ) as downloader:
                if entry == "fetch":
                    result = await downloader.fetch("f.bin")
                else:
                    [result] = [each async for each in downloader.run(["f.bin"])]
            assert (result.status, result.job.url) == ("done", origin.url(f"/{folder}/f.bin"))

    run(main())
    assert {path.read_bytes() for path in tmp_path.glob("*.bin")} == {b"a", b"b"}


# --- when the store is made


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["# nothing yet"],
        ["not a url", "ftp://host/f", "http://[::1/f"],
        ["http://127.0.0.1:1/f", "  out=../f"],
        ['{"url": 1}'],
        ['{"url": "http://127.0.0.1:1/f", "out": "/etc/f"}'],
    ],
    ids=["empty", "comment", "URLs", "target", "JSON", "JSON target"],
)
def test_a_queue_without_a_job_leaves_nothing(run_fetchq: RunFetchq, tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "q.txt").write_text("\n".join(lines))
    done = run_fetchq("-i", "q.txt", "-d", "out")
    assert done.returncode == (2 if "{" in "".join(lines) or len(lines) > 1 else 0), done.stderr
    assert os.listdir(tmp_path) == ["q.txt"]


def test_only_mistakes_are_forgotten(origin: Origin, tmp_path: Path) -> None:
    gone = fetchq.Job(origin.serve("/gone", b"", status(404), repeat=True))
    mistakes = fetchq.UsageError("a bad line."), fetchq.Job("ftp://host/f"), fetchq.Job("http://h/", "a\0b")
    assert [result.status for result in fetch(tmp_path, *mistakes, gone)] == ["failed"] * 4
    assert records(tmp_path) == [("failed", {})]


def test_a_store_that_cannot_be_used_is_told_before_anything_is_asked(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", FILE))
    (tmp_path / "notes").write_text("mine, and no database" * 100)
    done = run_fetchq("-i", "q.txt", "--store", "notes")
    assert done.returncode == 3
    assert "is not a database" in done.stderr
    assert origin.requests == []


# --- what it is good for


@pytest.mark.parametrize("checksum", [None, f"sha256:{FILE.sha256}", f"SHA-256={FILE.sha256.upper()}"])
def test_a_job_that_is_done_asks_for_nothing(origin: Origin, tmp_path: Path, checksum: str | None) -> None:
    job = fetchq.Job(origin.serve("/f.bin", FILE))
    fetch(tmp_path, job)
    (again,) = fetch(tmp_path, replace(job, checksum=checksum))
    assert (again.status, again.reason, len(origin.requests)) == ("skipped", "done in an earlier run", 1)


def test_many_jobs_are_looked_up_together_and_only_what_changed_by_hand_is_fetched_again(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [fetchq.Job(origin.serve(f"/{n}.bin", generated(1000, n))) for n in range(60)]
    fetch(tmp_path, *jobs)
    (tmp_path / "3.bin").unlink()
    (tmp_path / "20.bin").write_bytes(b"by hand")
    (tmp_path / "59.bin").unlink()
    (tmp_path / "59.bin").mkdir()
    read = look_ups(monkeypatch)
    asked = len(origin.requests)
    results = fetch(tmp_path, *jobs)
    assert sum(result.reason == "done in an earlier run" for result in results) == 57
    assert {request.path for request in origin.requests[asked:]} == {"/3.bin", "/20.bin", "/59.bin"}
    assert (tmp_path / "3.bin").read_bytes() == generated(1000, 3).data
    assert max(map(len, read)) > 20, "several at once"


def test_a_line_that_was_done_in_this_run_is_not_said_to_be_from_an_earlier_one(
    origin: Origin, tmp_path: Path
) -> None:
    url, first, results = origin.serve("/f.bin", FILE), asyncio.Event(), []

    async def jobs() -> AsyncIterator[fetchq.Job]:
        yield fetchq.Job(url, source="q:1")
        await first.wait()
        yield fetchq.Job(url, source="q:2")

    async def main() -> None:
        async with fetchq.Downloader(SETTINGS, dir=tmp_path, store=tmp_path / ".fetchq.db") as downloader:
            async for result in downloader.run(jobs()):
                results.append((result.status, result.reason))
                first.set()

    run(main())
    assert results == [("done", ""), ("skipped", "the same as q:1")]


@pytest.mark.parametrize(
    ("checksum", "ends", "reason"),
    [
        (f"md5:{MD5}", "skipped", "has the checksum"),
        (f"md5:{'0' * 32}", "failed", ""),
        (f"sha256:{'0' * 64}", "failed", ""),
    ],
    ids=["another algorithm", "another algorithm, wrong", "wrong"],
)
def test_a_checksum_that_is_not_on_record_is_looked_after(
    origin: Origin, tmp_path: Path, checksum: str, ends: str, reason: str
) -> None:
    job = fetchq.Job(origin.serve("/f.bin", FILE))
    fetch(tmp_path, job)
    (again,) = fetch(tmp_path, replace(job, checksum=checksum))
    assert (again.status, again.reason) == (ends, reason), again
    assert (len(origin.requests) > 1) is (ends == "failed"), "the file has it, or is asked for"
    assert (tmp_path / "f.bin").read_bytes() == FILE.data


def test_a_checksum_that_is_none_fails_its_job_alone(origin: Origin, tmp_path: Path) -> None:
    bad = fetchq.Job(origin.serve("/f.bin", FILE), checksum="sha256:abc")
    good = fetchq.Job(origin.serve("/g.bin", FILE))
    assert sorted(result.status for result in fetch(tmp_path, bad, good)) == ["done", "failed"]


def test_a_skip_does_not_forget_the_digests_of_the_file(origin: Origin, tmp_path: Path) -> None:
    job = fetchq.Job(origin.serve("/f.bin", FILE))
    fetch(tmp_path, job)
    fetch(tmp_path, replace(job, checksum=f"md5:{MD5}"))
    assert records(tmp_path) == [("done", {"sha256": FILE.sha256})]


def test_a_job_that_has_no_key_is_a_mistake_and_no_bug(tmp_path: Path) -> None:
    (result,) = fetch(tmp_path, fetchq.Job("http://127.0.0.1:1/", method="POST", json={(1, 2): 3}))
    assert isinstance(result.error, fetchq.UsageError)
    assert not (tmp_path / ".fetchq.db").exists()


def test_an_id_names_the_row_and_not_the_job(origin: Origin, tmp_path: Path) -> None:
    """The same id with another URL, method, body or target is fetched; its row is replaced."""
    job = fetchq.Job(origin.serve("/f.bin", FILE), id="1")
    other = replace(job, url=origin.serve("/v2/f.bin", generated(300_000, 8)))
    assert [result.status for result in fetch(tmp_path, job)] == ["done"]
    for changed in (
        other,
        replace(other, out="named.bin"),
        replace(other, out="named.bin", params=(("a", "b"),)),
    ):
        asked = len(origin.requests)
        (result,) = fetch(tmp_path, changed)
        assert result.ok
        assert len(origin.requests) > asked
        (again,) = fetch(tmp_path, changed)
        assert again.reason == "done in an earlier run"
    assert len(records(tmp_path)) == 1
    assert (tmp_path / "f.bin").read_bytes() == FILE.data


def test_a_store_of_the_first_version_is_brought_to_this_one(origin: Origin, tmp_path: Path) -> None:
    plain, named = fetchq.Job(origin.serve("/f.bin", FILE)), fetchq.Job(origin.serve("/g.bin", FILE), id="1")
    fetch(tmp_path, plain, named)
    connection = sqlite3.connect(tmp_path / ".fetchq.db")
    for statement in (
        *(
            f"ALTER TABLE jobs DROP COLUMN {name}"
            for name in ("fingerprint", "etag", "last_modified", "source", "job")
        ),
        "DROP TABLE runs",
        "DROP TABLE leases",
        "PRAGMA user_version = 1",
    ):
        connection.execute(statement)
    connection.commit()
    connection.close()
    asked = len(origin.requests)
    results = {result.job.url: result.reason for result in fetch(tmp_path, plain, named)}
    assert results[plain.url] == "done in an earlier run"
    assert results[named.url] != "done in an earlier run", "which job the row is of is not known"
    assert len(origin.requests) > asked
    assert {result.reason for result in fetch(tmp_path, plain, named)} == {"done in an earlier run"}


# --- which digests are computed


@pytest.mark.parametrize(
    ("checksum", "sha256", "computed"),
    [
        (None, True, {"sha256"}),
        (None, False, set()),
        (f"md5:{MD5}", True, {"md5"}),
        (f"md5:{MD5}", False, {"md5"}),
    ],
)
def test_what_was_asked_for_is_computed(
    origin: Origin, tmp_path: Path, checksum: str | None, sha256: bool, computed: set[str]
) -> None:
    for size in (1000, 3_000_000):
        data = generated(size, 7).data
        known = checksum and f"md5:{hashlib.md5(data).hexdigest()}"
        url = origin.serve(f"/{size}", generated(size, 7))
        disk = fetchq.Disk(dir=tmp_path, sha256=sha256)
        result = fetchq.download(url, str(size), checksum=known, settings=replace(SETTINGS, disk=disk))
        assert set(result.digests) == computed
        assert (tmp_path / str(size)).read_bytes() == data


# --- dates


@pytest.mark.parametrize("size", [100, 3_000_000])
@pytest.mark.parametrize("more", [[], ["--no-xattr"], ["--store", "jobs.db"]])
def test_a_file_has_the_servers_date_or_that_of_its_download(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, size: int, more: list[str]
) -> None:
    """Without it, attributes and store still say which file is there, and else its bytes."""
    url = origin.serve("/f.bin", generated(size), repeat=True)
    began = time.time() - 60
    for word, is_old in (("--remote-time", True), ("--no-remote-time", False)):
        folder = tmp_path / word
        folder.mkdir()
        for _ in range(2):
            done = run_fetchq("--no-env", "-x", "1", word, *more, url, cwd=folder)
            assert done.returncode == 0, done.stderr
        assert ((folder / "f.bin").stat().st_mtime < began) is is_old
        assert {path.name for path in folder.iterdir()} - {"jobs.db"} == {"f.bin"}, done.stderr
