"""``--report``: a row for each job, as JSON lines or CSV, without secrets."""

from __future__ import annotations

import csv
import io
import json
from hashlib import sha256
from pathlib import Path

import pytest

from fetchq._report.records import CSV_COLUMNS

from .conftest import RunFetchq
from .origin import Origin, header, redirect, status

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
        "",
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
