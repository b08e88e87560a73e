"""The demo ends well, says what it did, and its origin is as bad as it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from fetchq import AttemptFailed, Job, JobFinished, JobStarted, NetworkError, Planned, Progressed, Result, _demo
from fetchq._demo.recorder import Recorder, table
from fetchq._demo.server import DemoFile, DemoServer, Fault

from .conftest import clean_env, until

# The whole run, in a process of its own; the command line has its own tests.
DEMO = "import sys; from pathlib import Path; from fetchq._demo import demo; sys.exit(demo(Path(sys.argv[1])))"


def get(origin: DemoServer, name: str, asked: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", origin.port, timeout=10)
    try:
        connection.request("GET", f"/{name}", headers={"Range": asked} if asked else {})
        answer = connection.getresponse()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_every_file_comes_right_and_the_table_says_what_it_took(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEMO, str(tmp_path / "kept")],
        env=clean_env({"PYTHONUNBUFFERED": "1"}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "12 of 12 files are what the origin meant" in done.stderr
    rows = {line.split()[0]: line for line in done.stderr.splitlines() if re.search(r" (OK|WRONG|-)$", line)}
    assert len(rows) == 12
    assert all(line.endswith("OK") for line in rows.values())
    assert re.search(r" resumed\b.* 2 ", rows["dropped.bin"])
    for name in ("changed.bin", "ranges.bin", "garbled.bin"):
        assert "restarted" in rows[name]
    kept = {path.name for path in (tmp_path / "kept").iterdir() if path.suffix == ".bin"}
    assert kept == {file.name for file in _demo.demo_files()}
    for file in _demo.demo_files():
        assert (tmp_path / "kept" / file.name).stat().st_size == file.size


def test_the_table_fits_into_a_terminal() -> None:
    files = _demo.demo_files()
    recorder = Recorder()
    for number, file in enumerate(files):
        recorder(JobStarted(number, file.name, "", ""))
        recorder(Planned(number, file.name, "fresh", "", 0, file.size, True))
        recorder(Planned(number, file.name, "resume", "", 0, file.size, True))
        if number % 2:
            recorder(Planned(number, file.name, "restart", "", 0, file.size, True))
        recorder(Progressed(number, 0, 0, 4))
        job = Job("http://h/", id=file.name)
        # 1023.9 KiB is the longest size.
        result = Result(job, "done", Path(os.devnull), file.size, received=file.size + 1_048_473)
        recorder(JobFinished(number, "", result))
    lines = [*table(files, recorder)]
    assert lines[2].endswith("1023.9 KiB  WRONG")
    assert max(map(len, lines)) <= 80
    assert [("resumed, 4 connections" in line, "resumed, restarted" in line) for line in lines[1:3]] == [
        (True, False),
        (False, True),
    ]


def test_ctrl_c_ends_it_quietly_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from fetchq._demo import demo; sys.exit(demo())"],
        env=clean_env({"TMPDIR": str(tmp_path)}),
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: any(tmp_path.glob("fetchq-demo-*/*.part")) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "The demo was stopped." in said
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == []


def test_the_origin_does_what_the_table_says_of_it() -> None:
    cut = Fault(after=1000)
    files = [
        DemoFile("cut", 5000, "", [cut, Fault(after=1000, reset=True)]),
        DemoFile("busy", 5000, "", [Fault(status=503, retry_after=1)]),
        DemoFile("whole", 5000, "", [Fault(whole=True)]),
        DemoFile("early", 5000, "", [Fault(align=1024)]),
        DemoFile("garbled", 5000, "", [Fault(garbled=True)]),
        DemoFile("moved", 5000, "", [Fault(status=302, location="/busy")]),
        DemoFile("chunked", 5000, "", chunked=True),
    ]
    data = {file.name: file.data for file in files}
    with DemoServer(files) as origin:
        with pytest.raises(IncompleteRead):
            get(origin, "cut")
        with pytest.raises((ConnectionResetError, IncompleteRead)):
            get(origin, "cut")
        assert get(origin, "cut")[2] == data["cut"]
        status, headers, _ = get(origin, "busy")
        assert (status, headers["retry-after"]) == (503, "1")
        assert get(origin, "whole", "bytes=10-")[::2] == (200, data["whole"])
        status, headers, body = get(origin, "early", "bytes=2000-")
        assert (status, headers["content-range"], body) == (206, "bytes 1024-4999/5000", data["early"][1024:])
        assert get(origin, "garbled")[2] == bytes(5000)
        assert get(origin, "garbled", "bytes=1-2")[::2] == (206, data["garbled"][1:3])
        assert get(origin, "moved")[1]["location"] == "/busy"
        assert get(origin, "chunked")[2] == data["chunked"]
        assert get(origin, "nothing")[0] == 404


def test_a_new_version_has_other_bytes_and_another_tag() -> None:
    file = DemoFile("changed", 5000, "", [Fault(), Fault(changed=True)])
    before = file.data
    with DemoServer([file]) as origin:
        first, second = get(origin, "changed"), get(origin, "changed")
    assert first[2] == before
    assert second[2] == file.data != before
    assert first[1]["etag"] != second[1]["etag"]


def test_a_wrong_file_is_called_wrong(tmp_path: Path) -> None:
    file, recorder = DemoFile("a", 100, "behaves"), Recorder()

    def said() -> list[str]:
        return re.split(r" {2,}", list(table([file], recorder))[1])

    assert said() == ["a", "behaves", "was stopped", "0", "-"]
    path = tmp_path / "a"
    path.write_bytes(file.data)
    job = Job("http://host/a", id="a")
    recorder(JobStarted(7, "a", "http://host/a", ""))
    recorder(AttemptFailed(7, "a", NetworkError("broke off", retry_after=2.0), 1, 2.0))
    recorder(JobFinished(7, "a", Result(job, "done", path, 100, received=130)))
    assert said() == ["a", "behaves", "waited as asked", "1", "30 B", "OK"]
    path.write_bytes(file.data[::-1])
    assert said()[-1] == "WRONG"
    recorder(JobFinished(7, "a", Result(job, "failed", error=NetworkError("no answer"))))
    assert said() == ["a", "behaves", "gave up: no answer", "1", "FAILED"]
