"""``status``, ``list``, ``retry`` and ``forget``: a store looked at, and used as a queue again."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fetchq._cli.status import status as show_status
from fetchq._store import Record, Store
from fetchq._store.records import insert, sql_values

from .conftest import RunFetchq, running, until
from .origin import Origin, stall, status

WORDS = ("--retries", "0", "--patience", "0", "--backoff", "0")


@pytest.fixture
def run_into(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> str:
    """A queue of which two were done and seven failed: five as 404, one as 503, and one as nobody listens."""
    lines = [origin.serve(f"/{number}.bin", b"x" * 1000) for number in range(2)]
    lines += [origin.serve(f"/gone{number}", b"here now", *[status(404)] * 1) for number in range(5)]
    lines += [origin.serve("/busy", b"free now", status(503)), "http://127.0.0.1:1/refused"]
    (tmp_path / "q.txt").write_text("\n".join(lines))
    # One by one, so that the first examples of a reason are the list's first.
    assert run_fetchq("-j", "1", "-i", "q.txt", "-d", "out", *WORDS).returncode != 0
    return "out"


def host_of(origin: Origin) -> str:
    return f"127.0.0.1:{origin.port}"


def test_status_counts_and_groups(run_fetchq: RunFetchq, origin: Origin, run_into: str) -> None:
    lines = run_fetchq("status", run_into).stdout.splitlines()
    assert lines[0].startswith("out/.fetchq.db: 9 jobs, 2.0 KiB: 2 done, 7 failed; ")
    assert lines[0].endswith("B/s")
    host = f"127.0.0.1:{origin.port}"
    assert [line.split() for line in lines[1:4]] == [
        ["HOST", "DONE", "FAILED", "SIZE"],
        [host, "2", "6", "2.0", "KiB"],
        ["127.0.0.1:1", "0", "1", "0", "B"],
    ]
    text = "\n".join(lines[4:])
    assert "failed, 404 not found: 5 jobs\n" in text
    assert "failed, 503 service unavailable: 1 job\n" in text
    assert "failed, network: 1 job\n" in text
    assert text.count("/gone") == 3
    assert "  and 2 more; --all shows them" in text
    assert "q.txt:4" in text
    everything = run_fetchq("status", "--all", run_into).stdout
    assert everything.count("/gone") == 5
    assert "more" not in everything


def test_status_as_json(run_fetchq: RunFetchq, origin: Origin, run_into: str) -> None:
    told = json.loads(run_fetchq("status", "--json", run_into).stdout)
    assert (told["jobs"], told["done"], told["failed"], told["size"]) == (9, 2, 7, 2000)
    counts = {"done": 2, "resumed": 0, "skipped": 0, "failed": 6}
    assert told["hosts"][f"127.0.0.1:{origin.port}"] == {**counts, "size": 2000}
    assert {each["reason"]: each["count"] for each in told["failures"]} == {
        "404 not found": 5,
        "503 service unavailable": 1,
        "network": 1,
    }
    assert [len(each["examples"]) for each in told["failures"]] == [3, 1, 1]
    # One name, one type: as in the events.
    [busy] = [each for each in told["failures"] if each["count"] == 1 and each["reason"] != "network"]
    assert busy["examples"] == [
        {
            "url": origin.url("/busy"),
            "source": "q.txt:8",
            "error": {
                "kind": "status",
                "message": f"{host_of(origin)} answered 503 (service unavailable).",
            },
        }
    ]


def test_all_failures_are_shown_without_being_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, path = 4000, tmp_path / ".fetchq.db"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        for number in range(failures):
            gone, url = number % 3, f"https://h/{number}"
            said = f"h answered {404 if gone else 500}."
            row = Record(f"{number:06}", url, None, 0, None, {}, "failed", "status", said, float(number))
            db.execute(insert(1), sql_values(row))
        db.commit()
    written: list[str] = []
    monkeypatch.setattr("fetchq._cli.status.IN_MEMORY", 1000)
    for as_json in (False, True):
        written.clear()
        monkeypatch.setattr("click.echo", lambda text, **_: written.append(text))
        show_status(tmp_path, as_json=as_json, everything=True)
        # A line has about 30 characters, or 90.
        assert max(map(len, written)) <= 1000
        shown = re.findall(r"https://h/(\d+)", "".join(written))
        # The reason with the most jobs first, and of each the oldest.
        assert list(map(int, shown)) == sorted(range(failures), key=lambda number: (number % 3 == 0, number))
    assert [each["count"] for each in json.loads("".join(written))["failures"]] == [2666, 1334]


def test_a_list_of_failures_is_a_queue_again(
    run_fetchq: RunFetchq, origin: Origin, run_into: str, tmp_path: Path
) -> None:
    for form in ("text", "jsonl", "aria2"):
        listed = run_fetchq("list", run_into, "--format", form).stdout
        assert len(listed.splitlines()) == 7
        done = run_fetchq("-i", "-", "-d", form, "--no-store", *WORDS, input=listed)
        assert "6 done, 1 failed" in done.stderr
    listed = run_fetchq("list", run_into, "--only", "503").stdout
    assert listed == f"{origin.url('/busy')}\n"
    assert run_fetchq("list", run_into, "--state", "done").stdout.count(".bin\t") == 2
    assert len(run_fetchq("list", run_into, "--state", "all").stdout.splitlines()) == 9


def test_what_failed_is_retried(run_fetchq: RunFetchq, run_into: str, tmp_path: Path) -> None:
    done = run_fetchq("retry", run_into, "--only", "404", *WORDS)
    assert (done.returncode, "5 files: 5 done" in done.stderr) == (0, True), done.stderr
    assert (tmp_path / "out/gone3").read_bytes() == b"here now"
    assert "7 done, 2 failed" in run_fetchq("status", run_into).stdout
    done = run_fetchq("retry", run_into, *WORDS)
    assert "1 done, 1 failed" in done.stderr
    # The original list knows that they are done.
    assert "8 skipped, 1 failed" in run_fetchq("-i", "q.txt", "-d", "out", *WORDS).stderr


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--tree"], ["HOST/x/a.bin", "HOST/y/a.bin", "HOST/y/index.html"]),
        (["--name-template", "{index:3}-{id}{suffix}"], ["001-p.bin", "002-q.bin", "003-r.html"]),
        (["--store", "jobs.db"], ["a.bin", "a.1.bin", "y"]),
        (["--allow-duplicates"], ["a.bin", "a.1.bin", "y"]),
    ],
    ids=lambda each: each[0],
)
def test_a_retry_finds_the_targets_of_the_run(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, options: list[str], names: list[str]
) -> None:
    """Without its options again, and in another order: the first line is done last."""
    lines = [
        {"url": origin.serve(path, path.encode(), *[status(404)] * times), "id": name}
        for path, name, times in [("/x/a.bin", "p", 2), ("/y/a.bin", "q", 1), ("/y/", "r", 1)]
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert run_fetchq("-i", "q.jsonl", "-d", "out", *options, *WORDS).returncode == 8
    store = "jobs.db" if "--store" in options else "out"
    listed = run_fetchq("list", store, "--format", "jsonl").stdout
    for _ in range(2):
        done = run_fetchq("retry", store, *WORDS)
    assert done.returncode == 0, done.stderr
    expected = dict(
        zip((name.replace("HOST", f"127.0.0.1_{origin.port}") for name in names), lines, strict=True)
    )
    assert files(tmp_path / "out") == set(expected)
    for name, line in expected.items():
        assert line["url"].endswith((tmp_path / "out" / name).read_text())
    assert "3 skipped" in run_fetchq("-i", "q.jsonl", "-d", "out", *options, *WORDS).stderr
    if options[0] in {"--tree", "--name-template"}:
        done = run_fetchq("-i", "-", "-d", "listed", "--no-store", *WORDS, input=listed)
        assert files(tmp_path / "listed") == set(expected)


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."
    }


def test_runs_into_several_folders_with_one_store_are_retried_into_theirs(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    for name, times in (("a", 2), ("b", 1)):
        (tmp_path / name).write_text(origin.serve(f"/{name}.bin", b"x", *[status(404)] * times))
        run_fetchq("-i", name, "-d", f"to/{name}", "--store", "jobs.db", *WORDS)
    # What fails in one folder again does not keep the others from theirs.
    assert run_fetchq("retry", "jobs.db", *WORDS).returncode == 8
    assert files(tmp_path) == {"a", "b", "jobs.db", "to/b/b.bin"}
    done = run_fetchq("retry", "jobs.db", *WORDS)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == {"a", "b", "jobs.db", "to/a/a.bin", "to/b/b.bin"}


def test_a_retry_that_is_stopped_goes_to_no_other_folder(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(origin.serve(f"/{name}.bin", b"x", status(404), stall(0)))
        run_fetchq("-i", name, "-d", f"to/{name}", "--store", "jobs.db", *WORDS)
    with running("retry", "jobs.db", "--no-env", *WORDS, cwd=tmp_path) as process:
        until(lambda: len(origin.requests) == 3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert (process.returncode, len(origin.requests)) == (130, 3)


def test_a_retry_that_asks_for_something_else_is_another_job(run_fetchq: RunFetchq, run_into: str) -> None:
    run_fetchq("retry", run_into, "--only", "404", "--param", "v=2", *WORDS)
    told = json.loads(run_fetchq("status", "--json", run_into).stdout)
    assert (told["done"], told["failed"]) == (7, 7)


def test_a_mistyped_reason_is_told_with_those_that_there_are(run_fetchq: RunFetchq, run_into: str) -> None:
    for command in (["retry"], ["list"], ["forget"]):
        done = run_fetchq(*command, run_into, "--only", "403")
        assert done.returncode == 2
        assert "No job failed for 403; there is: 404 not found, 503 service unavailable, network" in done.stderr


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-i", "q.txt"], "-i"),
        (["-o", "x", "--checksum", "md5:" + "0" * 32], "-o and --checksum"),
        (["-d", "out"], "-d"),
        (["--store", "other.db"], "--store"),
        (["--no-store"], "--no-store"),
    ],
)
def test_a_retry_takes_its_jobs_and_their_places_from_the_store(
    run_fetchq: RunFetchq, run_into: str, words: list[str], named: str
) -> None:
    done = run_fetchq("retry", run_into, *words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(f"is on record in DIR or its store: leave out {named}.")


def test_what_says_where_queues_go_does_not_concern_a_retry(
    run_fetchq: RunFetchq, run_into: str, tmp_path: Path
) -> None:
    (tmp_path / "fetchq.toml").write_text(
        'dir = "elsewhere"\nno-store = true\nuser = "me:secret"\nverbose = true'
    )
    done = run_fetchq("retry", run_into, "-q", "--only", "404", *WORDS)
    assert (done.returncode, (tmp_path / "elsewhere").exists()) == (0, False), done.stderr
    # A file of the current folder that is read is told of, as for a queue.
    assert done.stderr.startswith("fetchq: ./fetchq.toml may not set user: ignored.")
    assert (tmp_path / "out/gone3").read_bytes() == b"here now"
    assert "7 done, 2 failed" in run_fetchq("status", run_into).stdout


def test_a_retry_where_nothing_has_failed_says_so(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    run_fetchq("-i", "-", "-d", "out", input=origin.serve("/a", b"a"))
    done = run_fetchq("retry", "out")
    assert (done.returncode, done.stderr) == (0, "Nothing to do: no job has failed.\n")
    assert run_fetchq("retry", "out", "-q").stderr == ""


def secret_queue(origin: Origin) -> str:
    lines = [
        {"url": origin.serve("/a", b"a", status(404)) + "?sig=SECRET"},
        {"url": origin.serve("/b", b"b", status(404)).replace("//", "//me:SECRET@")},
        {
            "url": origin.serve("/c", b"c", status(404)),
            "headers": {"X-Key": "SECRET"},
            "method": "POST",
            "json": {"k": "SECRET"},
            "out": "c.txt",
        },
        {"url": origin.serve("/d", b"d", status(404)), "headers": {"Accept": "text/csv"}, "out": "d.txt"},
    ]
    return "\n".join(map(json.dumps, lines))


def test_secrets_stay_out_of_the_store_and_the_list_says_so(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "q.jsonl").write_text(secret_queue(origin))
    run_fetchq("-i", "q.jsonl", "-d", "out", *WORDS)
    store = tmp_path / "out/.fetchq.db"
    assert store.stat().st_mode & 0o777 == 0o600
    assert b"SECRET" not in store.read_bytes()
    listed = run_fetchq("list", "out", "--format", "jsonl").stdout.splitlines()
    [whole] = [line for line in listed if not line.startswith("#")]
    assert json.loads(whole)["headers"] == {"Accept": "text/csv"}
    lacking = sorted(line.partition(": ")[2] for line in listed if line.startswith("#"))
    assert lacking == [
        "headers, json not stored (--store-secrets)",
        "user or query of the URL not stored (--store-secrets)",
        "user or query of the URL not stored (--store-secrets)",
    ]
    assert all("(q.jsonl:" in line for line in listed if line.startswith("#"))
    done = run_fetchq("retry", "out", *WORDS)
    assert done.returncode == 2
    assert "1 done, 3 failed" in done.stderr
    assert (
        "q.jsonl:3: headers, json not stored (--store-secrets): run its list again to retry it." in done.stderr
    )


def test_secrets_that_were_stored_are_used_again(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(secret_queue(origin))
    run_fetchq("-i", "q.jsonl", "-d", "out", "--store-secrets", *WORDS)
    assert (tmp_path / "out/.fetchq.db").stat().st_mode & 0o777 == 0o600
    done = run_fetchq("retry", "out", *WORDS)
    assert (done.returncode, "4 done" in done.stderr) == (0, True), done.stderr
    [asked] = [request for request in origin.asked("/c") if request.status == 200]
    assert (asked.headers["x-key"], asked.body) == ("SECRET", b'{"k":"SECRET"}')
    # What is done needs no secret any more.
    with closing(sqlite3.connect(tmp_path / "out/.fetchq.db")) as store:
        assert store.execute("SELECT DISTINCT job FROM jobs").fetchall() == [("",)]


def test_what_is_forgotten_is_new_again(
    run_fetchq: RunFetchq, origin: Origin, run_into: str, tmp_path: Path
) -> None:
    done = run_fetchq("forget", run_into, origin.url("/1.bin"))
    assert done.stderr == "1 job forgotten; the files stay.\n"
    assert (tmp_path / "out/1.bin").exists()
    assert run_fetchq("forget", run_into, "--only", "404").stderr.startswith("5 jobs")
    assert "3 jobs" in run_fetchq("status", run_into).stdout
    assert run_fetchq("forget", run_into, "--state", "failed").stderr.startswith("2 jobs")
    assert run_fetchq("forget", "--state", "all", cwd=tmp_path / "out").stderr.startswith("1 job ")
    done = run_fetchq("forget", run_into)
    assert (done.returncode, "Say which jobs to forget" in done.stderr) == (2, True)


def test_what_cannot_be_meant_is_said(run_fetchq: RunFetchq, origin: Origin, run_into: str) -> None:
    for words in (["list", run_into, "--state", "done"], ["forget", run_into, "--state", "all"]):
        done = run_fetchq(*words, "--only", "404")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--only names reasons of failures: leave out --state." in done.stderr
    assert run_fetchq("list", run_into, "--state", "failed", "--only", "404").stdout.count("/gone") == 5
    done = run_fetchq("forget", run_into, origin.url("/1.bin"), origin.url("/2.bin"))
    assert done.returncode == 2
    assert f"1 job forgotten; not on record: {origin.url('/2.bin')}." in done.stderr


def no_database(path: Path) -> None:
    path.write_text("mine" * 1000)


def dangling(path: Path) -> None:
    path.symlink_to("../nowhere")


IN_ITS_PLACE: list[tuple[Callable[[Path], None], str]] = [
    (os.mkfifo, "is no regular file: name another file."),
    (Path.mkdir, "is no regular file: name another file."),
    (Path.touch, "is empty: no queue has been run there."),
    (no_database, "is not a database: name another file."),
    (dangling, "is a link out of its folder: name the file itself."),
]


@pytest.mark.parametrize(("make", "told"), IN_ITS_PLACE)
@pytest.mark.parametrize("command", ["status", "list", "retry", "verify", "forget"])
def test_what_is_in_a_stores_place_is_named(
    run_fetchq: RunFetchq, tmp_path: Path, make: Callable[[Path], None], told: str, command: str
) -> None:
    if (make, command) == (Path.touch, "forget"):
        pytest.skip("a store that is written is made of it")
    make(tmp_path / ".fetchq.db")
    done = run_fetchq(command, *(["--state", "all"] if command == "forget" else []))
    assert done.returncode == 3
    assert done.stderr == f"fetchq: The store .fetchq.db {told}\n"


@pytest.mark.parametrize("command", ["status", "list", "retry", "forget"])
def test_a_directory_without_a_store_is_named(run_fetchq: RunFetchq, tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    done = run_fetchq(command, "empty", *(["--state", "all"] if command == "forget" else []))
    assert done.returncode == 2
    assert "There is no empty/.fetchq.db" in done.stderr
    assert not list((tmp_path / "empty").iterdir())


def test_a_store_of_the_first_version_is_read_and_brought_up(
    run_fetchq: RunFetchq, origin: Origin, run_into: str, tmp_path: Path
) -> None:
    path = tmp_path / "out/.fetchq.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        for column in ("fingerprint", "etag", "last_modified", "source", "job"):
            store.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
        for table in ("runs", "leases"):
            store.execute(f"DROP TABLE {table}")
        store.execute("PRAGMA user_version = 1")
    assert "9 jobs" in run_fetchq("status", run_into).stdout
    listed = run_fetchq("list", run_into).stdout
    assert len(listed.splitlines()) == 7
    assert "an earlier version recorded it" in run_fetchq("retry", run_into, "--only", "503").stderr
    asked = len(origin.asked("/0.bin"))
    done = run_fetchq("-i", "q.txt", "-d", "out", *WORDS)
    assert "6 done, 2 skipped, 1 failed" in done.stderr
    assert len(origin.asked("/0.bin")) == asked


def test_an_update_knows_the_validators_of_files_without_attributes(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/a.bin", b"bytes")
    for _ in range(2):
        done = run_fetchq("-i", "-", "-d", "out", "--no-xattr", "--update", input=url)
        assert done.returncode == 0
    assert [request.status for request in origin.requests] == [200, 304]


def test_a_trusted_store_looks_at_no_file(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text(origin.serve("/a.bin", b"bytes"))
    run_fetchq("-i", "q.txt", "-d", "out")
    (tmp_path / "out/a.bin").unlink()
    assert "skipped" in run_fetchq("-i", "q.txt", "-d", "out", "--trust-store", "-v").stderr
    assert len(origin.requests) == 1
    run_fetchq("-i", "q.txt", "-d", "out")
    assert (tmp_path / "out/a.bin").read_bytes() == b"bytes"
