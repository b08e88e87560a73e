"""``--report``: a row for each job, as JSON lines or CSV, without secrets."""

from __future__ import annotations

import csv
import io
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from fetchq._events import JobFinished
from fetchq._models import Job, Result
from fetchq._report.records import CSV_COLUMNS, Report

from .conftest import RunFetchq
from .origin import Origin, header, literal, redirect, status

BODY = b"the bytes"


def queue(origin: Origin) -> str:
    origin.serve("/moved/a.bin", BODY, header("ETag", '"v1"'), repeat=True)
    lines = [
        {
            "url": origin.serve("/a.bin", b"", redirect("/moved/a.bin"), repeat=True) + "?sig=SECRET",
            "id": "one",
        },
        {"url": origin.serve("/gone", b"", status(404), repeat=True).replace("//", "//me:SECRET@")},
        {"url": "nonsense"},
    ]
    return "\n".join(map(json.dumps, lines))


def test_a_row_for_each_job_as_csv(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    done = run_fetchq("-i", "-", "-j1", "--no-store", "--report", "r.csv", input=queue(origin))
    # The code of the first that failed: the line that cannot be used, unless the server was quicker.
    assert done.returncode in {2, 8}, done.stderr
    text = (tmp_path / "r.csv").read_bytes().decode()
    assert "SECRET" not in text
    assert text.count("\r\n") == 4
    assert text.startswith(",".join(CSV_COLUMNS))
    good, gone, bad = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: row["source"])
    seconds = float(good.pop("elapsed"))
    assert 0 <= seconds < 30
    assert good.pop("last_modified")
    assert good == {
        "url": origin.url("/a.bin?***"),
        "final_url": origin.url("/moved/a.bin"),
        "status": "done",
        "path": "a.bin",
        "size": str(len(BODY)),
        "etag": '"v1"',
        "sha256": sha256(BODY).hexdigest(),
        "attempts": "1",
        "error": "",
        "id": "one",
        "source": "stdin:1",
    }
    assert (gone["status"], gone["size"], gone["path"], gone["final_url"]) == (
        "failed",
        "0",
        "",
        origin.url("/gone"),
    )
    assert "404" in gone["error"]
    assert (bad["source"], bad["attempts"]) == ("stdin:3", "0")


def test_rows_as_json_lines_are_the_events(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    done = run_fetchq("-i", "-", "--no-store", "--report", "r.jsonl", "--progress", "json", input=queue(origin))
    events = [line for line in done.stdout.splitlines() if '"job_finished"' in line]
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    told = [json.loads(line) for line in events]
    for each in [*rows, *told]:
        del each["time"]
    assert rows == told
    assert len(rows) == 3
    assert {row["final_url"] for row in rows} == {origin.url("/moved/a.bin"), origin.url("/gone"), None}


def test_a_file_that_is_not_modified_has_its_validators_in_the_report(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/a.bin", BODY, header("ETag", '"v1"'), repeat=True)
    for expected in ("done", "skipped"):
        run_fetchq("--report", "r.jsonl", url)
        row = json.loads((tmp_path / "r.jsonl").read_text())
        assert (row["status"], row["etag"], row["final_url"]) == (expected, '"v1"', url)


@pytest.mark.parametrize("more", [[], ["--update"]])
def test_a_row_of_a_file_that_was_there_has_what_the_store_knows_of_it(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, more: list[str]
) -> None:
    url = origin.serve("/a.bin", BODY, header("ETag", '"v1"'), repeat=True)
    queue = f"{url}\n{url}\n"
    for statuses in (["done", "skipped"], ["skipped", "skipped"]):
        done = run_fetchq("-i", "-", "-j1", "--report", "r.csv", *more, input=queue)
        assert done.returncode == 0, done.stderr
        rows = [*csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))]
        assert [row["status"] for row in rows] == statuses
        for row in rows:
            assert (row["etag"], row["sha256"]) == ('"v1"', sha256(BODY).hexdigest())
            assert row["last_modified"].endswith("GMT")


def test_a_line_that_is_no_job_has_its_place(run_fetchq: RunFetchq, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("nonsense\n")
    for name in ("r.csv", "r.jsonl"):
        assert run_fetchq("-i", "q.jsonl", "--no-store", "--report", name).returncode == 2
    [row] = csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))
    assert row["source"] == json.loads((tmp_path / "r.jsonl").read_text())["source"] == "q.jsonl:1"


@pytest.mark.parametrize("more", [[], ["--update"], ["--no-store"]])
def test_a_file_has_one_path_whichever_run_tells_of_it(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, more: list[str]
) -> None:
    url = origin.serve("/a.bin", BODY, header("ETag", '"v1"'), repeat=True)
    for folder in ("out/below", str(tmp_path / "whole"), "."):
        expected = str(Path(folder) / "a.bin")
        for _ in range(2):
            run_fetchq("-i", "-", "-d", folder, "--report", "r.jsonl", *more, input=url)
            row = json.loads((tmp_path / "r.jsonl").read_text())
            assert row["path"] == expected, row


FORMULA = "=1+1"


def test_nothing_in_a_csv_is_a_formula_to_a_spreadsheet(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    """Names, validators and dates come from servers, ids from whoever wrote the list."""
    head = (("Content-Disposition", "attachment; filename=\"+cmd, 'x'.bin\""), ("Last-Modified", "@SUM(A1)"))
    url = origin.serve("/a", literal(BODY, etag="=1+1", headers=head))
    lines = [{"url": url, "id": FORMULA}, {"url": origin.serve("/gone", b"", status(404)), "out": "-x"}]
    queue = "\n".join(map(json.dumps, lines))
    run_fetchq("-i", "-", "--no-store", "--report", "r.csv", input=queue)
    text = (tmp_path / "r.csv").read_bytes().decode()
    rows = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: row["source"])
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert (rows[0]["path"], rows[0]["id"]) == ("./+cmd, 'x'.bin", "'=1+1")
    assert (tmp_path / rows[0]["path"]).read_bytes() == BODY


def test_a_fifo_without_a_reader_is_told_and_one_with_it_gets_each_row(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "r.jsonl")
    url = origin.serve("/a.bin", BODY, repeat=True)
    done = run_fetchq("--report", "r.jsonl", url)
    assert (done.returncode, "r.jsonl cannot be written: nothing reads it yet." in done.stderr) == (2, True)
    with open(os.open(tmp_path / "r.jsonl", os.O_RDONLY | os.O_NONBLOCK)) as reader:
        assert run_fetchq("--report", "r.jsonl", url).returncode == 0
        assert json.loads(reader.read())["status"] == "done"


def test_runs_that_go_on_together_share_a_report_and_a_later_one_begins_it_anew(tmp_path: Path) -> None:
    def row(report: Report, name: str) -> None:
        report(JobFinished(1, name, Result(Job(f"https://h/{name}"), "done")))

    path, failed = tmp_path / "r.csv", list[OSError]()
    path.write_text("what an earlier run wrote\n" * 10)
    first = Report(path, on_error=failed.append)
    row(first, "a")
    second = Report(path, on_error=failed.append)
    for report, name in ((second, "b"), (first, "c")):
        row(report, name)
    first.close()
    row(second, "d")
    assert path.read_text().count("url,final_url") == 1
    rows = [each["url"] for each in csv.DictReader(path.read_text().splitlines())]
    assert rows == [f"https://h/{name}" for name in "abcd"]
    second.close()
    third = Report(path, on_error=failed.append)
    assert path.read_text() == ",".join(CSV_COLUMNS) + "\n"
    third.close()
    assert failed == []


def test_a_mistake_leaves_an_earlier_report(run_fetchq: RunFetchq, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("{}")
    assert run_fetchq("--report", "r.jsonl", "--data", "@missing", "http://127.0.0.1:1/a").returncode == 2
    assert (tmp_path / "r.jsonl").read_text() == "{}"


@pytest.mark.parametrize(
    ("name", "says"),
    [("r.txt", "must end in .jsonl or .csv"), ("no/r.csv", "cannot be written: No such file")],
)
def test_a_report_that_cannot_be_written_is_a_mistake(run_fetchq: RunFetchq, name: str, says: str) -> None:
    done = run_fetchq("--report", name, "http://127.0.0.1:1/a")
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_a_full_disk_fails_the_report_and_not_the_files(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "r.csv").symlink_to("/dev/full")
    done = run_fetchq("--report", "r.csv", origin.serve("/a.bin", BODY))
    assert done.returncode == 3
    assert "The report r.csv cannot be written: No space left" in done.stderr
    assert (tmp_path / "a.bin").read_bytes() == BODY
