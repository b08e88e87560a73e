"""Stores with bytes in them that nothing of ours wrote: one sentence, no crash, and no file lost."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from fetchq._cli.lists import forget, print_list
from fetchq._cli.status import status as print_status
from fetchq._cli.verify import verify
from fetchq._errors import StatusError, StoreError, UsageError
from fetchq._models import Job, Result
from fetchq._store import Store

from .conftest import RunFetchq
from .origin import Origin, status

PAGE = 4096
JOBS = [Job(f"https://host{number % 5}/{number}.bin", source=f"q.txt:{number}") for number in range(300)]


def write(path: Path) -> None:
    """Write a store of 300 jobs, of which every tenth failed, and a file of each of the others."""

    async def work() -> None:
        store = Store(path)
        for number, job in enumerate(JOBS):
            if number % 10:
                (path.parent / f"{number}.bin").write_bytes(b"bytes")
                result = Result(job, "done", path.parent / f"{number}.bin", 5, digests={"sha256": "ab" * 32})
            else:
                error = StatusError("host answered 404 (not found).", status=404)
                result = Result(job, "failed", error=error)
            store.record(job.key, result)
        await store.aclose()

    asyncio.run(work())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "db"
    write(path)
    return path.read_bytes()


def overwritten(data: bytes, chance: random.Random) -> bytes:
    """Return *data* with one to five pages overwritten, whole, in part, or here and there."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5])):
        page = PAGE * chance.randrange(len(data) // PAGE)
        at, length = chance.choice(
            [(page, PAGE), (page + chance.randrange(PAGE - 64), chance.randrange(1, 64))]
        )
        changed[at : at + length] = chance.choice([chance.randbytes(length), bytes(length)])
        for _ in range(chance.choice([0, 20])):
            changed[page + chance.randrange(PAGE)] = chance.randrange(256)
    return bytes(changed)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def looked_at(path: Path) -> list[str]:
    """Do what commands do with a store; return what they said, each in one sentence."""
    folder = path.parent
    told = []
    commands: list[Callable[[], object]] = [
        partial(print_status, path, as_json=False, everything=True),
        partial(print_status, path, as_json=True, everything=False),
        *(partial(print_list, path, state="all", form=form, only=()) for form in ("text", "jsonl", "aria2")),
        partial(verify, [folder], checksums=None, allow_unlisted=False, store=path, progress="none"),
        partial(forget, path, [], state="failed", only=()),
    ]
    for command in commands:
        try:
            command()
        except StoreError as error:
            told.append(str(error))
        except UsageError:
            pass  # no file of a record is left to verify
    return told


def begun(path: Path) -> list[str]:
    """Begin a run as on every line of a queue, and record a job; return its warnings."""
    told: list[str] = []

    async def work() -> None:
        store = Store(path, warn=told.append)
        await store.join()
        for record in store.all_done([(job.key, job) for job in JOBS]):
            assert record is None or store.files.still_there(record) in {True, False}
        await store.claim(JOBS[0].key)
        store.record(JOBS[0].key, Result(JOBS[0], "done", None, 5))
        await store.aclose()

    try:
        asyncio.run(work())
    except StoreError as error:
        told.append(str(error))
    return told


@pytest.mark.parametrize("damage", [overwritten, cut])
def test_whatever_the_bytes_are_it_is_told_in_one_sentence(
    tmp_path: Path,
    whole: bytes,
    damage: Callable[[bytes, random.Random], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    chance = random.Random(damage.__name__)
    write(tmp_path / "db")
    sentences = []
    for _ in range(30):
        (tmp_path / "db").write_bytes(damage(whole, chance))
        sentences += looked_at(tmp_path / "db")
        (tmp_path / "db").write_bytes(damage(whole, chance))
        warnings = begun(tmp_path / "db")
        assert len(warnings) <= 1
        sentences += warnings
        capsys.readouterr()
    assert len(sentences) > 30
    assert not any("\n" in sentence for sentence in sentences)
    reasons = {sentence.partition("/db ")[2].partition(":")[0] for sentence in sentences}
    assert {"is damaged"} <= reasons <= {
        "is damaged",
        "is not a database",
        "is another program's database",
        "was written by a newer fetchq",
        "has other tables than this fetchq makes",
        "cannot be used on this file system",
    }  # fmt: skip


NO_TEXT = "CAST(x'ff' AS TEXT)"
NO_RECORD = [
    *(("url", value) for value in (NO_TEXT, "x'00'")),
    ("path", "'a' || char(0) || 'b'"),
    *(("size", value) for value in (NO_TEXT, "'five'", "x'05'")),
    ("mtime_ns", "'five'"),
    *(("digests", value) for value in (NO_TEXT, "'[]'", "'5'", """'{"sqa256": "00"}'""", """'{"md5": 5}'""")),
    ("digests", f"""'{{"md5": "{"g" * 32}"}}'"""),
    *(("status", value) for value in (NO_TEXT, "'dqne'", "x'00'")),
    ("error", "x'00'"),
    ("finished_at", "'noon'"),
    ("etag", "x'00'"),
    ("job", "x'00'"),
    *(("job", value) for value in ("'no JSON'", "'[]'", """'{"uql": "http://h/"}'""", """'{"url": 5}'""")),
]


@pytest.mark.parametrize(("column", "value"), NO_RECORD)
def test_what_is_no_record_is_damage(
    tmp_path: Path, column: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "db"
    write(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE jobs SET {column} = {value}")
        connection.commit()
    for sentence in looked_at(path):
        assert sentence.startswith(f"The store {path} is damaged: ")
    with pytest.raises(StoreError, match="is damaged"):
        print_list(path, state="all", form="text", only=())
    capsys.readouterr()
    # A run reads no more of a record than it needs.
    told = begun(path)
    assert {sentence.partition(" is damaged: ")[0] for sentence in told} <= {f"The store {path}"}
    assert len(told) == 1 or column not in {"path", "size", "mtime_ns", "digests", "status"}


@pytest.mark.parametrize(
    "values", ["'other', 'no process', 9e99, 1", "'other', 'm 1 2', 'soon', 1", "5, x'00', 9e9, 1"]
)
def test_a_run_that_is_none_is_not_waited_for(tmp_path: Path, values: str) -> None:
    path = tmp_path / "db"
    write(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"INSERT INTO runs VALUES ({values})")
        connection.commit()
    assert begun(path) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.parametrize("update", [False, True])
def test_a_run_over_a_damaged_store_ends_right(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, update: bool
) -> None:
    names = [f"{number}.bin" for number in range(20)]
    lines = [origin.serve(f"/{name}", name.encode(), repeat=True) for name in names]
    (tmp_path / "q.txt").write_text("\n".join([*lines, origin.serve("/gone", b"", status(404), repeat=True)]))
    words = ["-i", "q.txt", "-d", "out", "--report", "r.jsonl", *(["--update"] if update else [])]
    assert run_fetchq(*words).returncode == 8
    store = tmp_path / "out/.fetchq.db"
    data = store.read_bytes()
    for seed in range(4):
        store.write_bytes(overwritten(data, random.Random(seed)))
        done = run_fetchq(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (8, False), done.stderr
        assert done.stderr.count("goes on without") <= 1
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.bin")} == {
            name: name.encode() for name in names
        }
        rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
        assert len(rows) == 21


@pytest.mark.parametrize(
    "command", ["rm -f .fetchq.db*", "cp .fetchq.db copy.db; mv copy.db .fetchq.db", "mv .fetchq.db moved.db"]
)
def test_a_store_that_is_taken_away_costs_its_records_and_no_file(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, command: str
) -> None:
    names = [f"{number}.bin" for number in range(5)]
    (tmp_path / "q.txt").write_text(
        "\n".join(origin.serve(f"/{name}", name.encode(), repeat=True) for name in names)
    )
    done = run_fetchq("-i", "q.txt", "--on-complete", command)
    assert done.returncode == 0, done.stderr
    told = "The store .fetchq.db was removed or replaced in the middle of a run: what was recorded is lost."
    assert done.stderr.count(told) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.bin")} == {
        name: name.encode() for name in names
    }
    # No body is moved again: each file has a record of its own.
    assert run_fetchq("-i", "q.txt").returncode == 0
    assert {request.status for request in origin.requests[5:]} <= {304}
    assert sorted(path.name for path in tmp_path.glob("*.bin")) == names
