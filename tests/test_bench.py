"""The benchmarks and the faults table run, check what was downloaded, and never judge by the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench import http2 as bench_http2
from tests.bench import latency as bench_latency
from tests.bench import rerun as bench_rerun
from tests.bench.measure import Run, run
from tests.bench.peers import Errand, Peer
from tests.bench.rounds import Bench, Score, Scores, installed
from tests.bench.tables import own, ratio, wrong
from tests.bench.web import Web
from tests.bench.works import MIB, File, Pace, Work, log_normal, many, works
from tests.faults_table import __main__ as faults_table
from tests.faults_table.faults import FAULTS, Fault, outage
from tests.faults_table.tools import NAME, Tool
from tests.faults_table.trial import Verdict, trial
from tests.origin import Answer, Request

ENV = {"PATH": "/usr/bin:/bin"}


def spent(seconds: float, *, wrong: str = "") -> Score:
    return Score([Run(seconds, 0.1, 10 * MIB, 0, "")], wrong)


@pytest.mark.server("nginx")
def test_smoke_run_prints_every_work_and_finds_no_wrong_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.md"
    only = "http,many,mixed,version,fetchq,curl"
    assert bench.main(["--smoke", "--only", only, "--out", str(report), "--dir", str(tmp_path)]) == 0
    text = report.read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "one 2 MiB file, http" in text
    assert "`python -m fetchq -q -d DIR -j 16 -i URLS`" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


@pytest.mark.server("nginx")
def test_a_program_that_leaves_wrong_bytes_is_named(tmp_path: Path) -> None:
    work = Work("one", "one file", many("small", 1, 1000), ("liar", "idle"))

    def lie(errand: Errand) -> list[str]:
        return [sys.executable, "-c", f"open({errand.file!r}, 'wb').write(bytes(1000))"]

    peers = [Peer("liar", "", lie), Peer("idle", "", lambda errand: [sys.executable, "-c", ""])]
    told: list[str] = []
    with Bench(tmp_path, told.append) as ours:
        scores = ours.run(work, peers, rounds=2)
    assert scores["liar"].wrong == "small-00000.bin is wrong"
    assert scores["idle"].wrong == "small-00000.bin is missing"
    assert len(told) == 4
    assert len(wrong([(work, scores)])) == 3  # and fetchq did not run


def test_a_run_tells_code_memory_and_last_words(tmp_path: Path) -> None:
    script = "import sys; held = bytearray(60 << 20); sys.exit('no such luck')"
    done = run([sys.executable, "-c", script], cwd=tmp_path, env=ENV, bound=30)
    assert (done.code, done.said) == (1, "no such luck")
    assert 60 * MIB < done.peak < 120 * MIB


def test_a_run_that_does_not_end_is_killed(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", "import time; time.sleep(600)"], cwd=tmp_path, env=ENV, bound=0.2)
    assert done.code == -9


@pytest.mark.server("nginx")
def test_paced_origin_answers_ranges(tmp_path: Path) -> None:
    served, scratch = tmp_path / "served", tmp_path / "scratch"
    served.mkdir()
    scratch.mkdir()
    file = File("a.bin", 200_000)
    file.write(served)
    work = Work("one", "", (file,), pace=Pace(latency=0.01, rate=5e6))
    with Web(served, scratch) as web:
        url = f"{web.base(work)}a.bin"
        got = subprocess.run(
            ["curl", "-sS", "-D", "-", "-r", "1000-150999", url], capture_output=True, check=True
        ).stdout
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"206 Partial Content" in head
    assert b"Content-Range: bytes 1000-150999/200000" in head
    assert body == (served / "a.bin").read_bytes()[1000:151000]


def test_bound_counts_the_longer_of_waiting_and_sending() -> None:
    waiting = Work("w", "", many("small", 600, 10), jobs=16, pace=Pace(latency=0.1))
    assert waiting.bound() == pytest.approx(3.9)  # 38 answers on one connection, and its handshake
    sending = Work("s", "", (File("a", 32_000_000),), splits=8, pace=Pace(rate=2e6))
    assert sending.bound() == pytest.approx(2.0)


def test_log_normal_sizes_end_at_the_largest() -> None:
    sizes = [file.size for file in log_normal(150, 24 * MIB)]
    assert max(sizes) == 24 * MIB
    assert sum(size > 2 * MIB for size in sizes) < 50


def test_every_work_names_peers_that_exist() -> None:
    here, absent = installed()
    known = {*absent, *(peer.name for peer in here)}
    assert {name for work in works() for name in (*work.peers, *work.goals)} <= known


def test_ratio_tells_goal_met_missed_and_failed() -> None:
    work = Work("w", "", (), goals={"curl": 1.0, "wget": 1.5})
    scores: Scores = {"fetchq": spent(2.0), "curl": spent(2.5), "wget": spent(2.0), "axel": spent(1, wrong="x")}
    assert [ratio(work, scores, name) for name in ("curl", "wget", "axel", "pypdl")] == [
        "**1.25** (1 ✓)",
        "**1.00** (1.5 ✗)",
        "failed",
        "",
    ]
    assert own(Work("w", "", (), wall=1.5), spent(2.0)) == ["10 MiB (80 ✓)", "2.000 s (1.5 ✗)"]


def script(tmp_path: Path, body: str, **more: str) -> Tool:
    """A stand-in for a program: *body* sees ``url`` and ``target``."""
    path = tmp_path / "program"
    path.write_text(f"#!{sys.executable}\nimport sys\ntarget, url = sys.argv[1:]\n{body}\n")
    path.chmod(0o755)
    return Tool(str(path), (), lambda directory: (str(directory / NAME),), **more)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("from urllib.request import urlopen; open(target, 'wb').write(urlopen(url).read())", Verdict.RIGHT),
        ("open(target, 'wb').write(b'wrong')", Verdict.WRONG),
        ("pass", Verdict.WRONG),
        ("sys.exit(4)", Verdict.CLEAN),
        ("open(target, 'wb').write(b'half'); sys.exit(4)", Verdict.PARTIAL),
        ("import time; time.sleep(600)", Verdict.HANGS),
    ],
)
def test_verdict_follows_exit_code_and_final_name(tmp_path: Path, body: str, verdict: Verdict) -> None:
    assert (
        trial(script(tmp_path, body), Fault("well", bound=1.0 if verdict is Verdict.HANGS else 20.0)).verdict
        is verdict
    )


def test_an_outage_breaks_every_program_off_once(tmp_path: Path) -> None:
    body = (
        "from urllib.request import urlopen, Request\nfrom http.client import IncompleteRead\n"
        "try: urlopen(url).read(); sys.exit(9)\n"
        "except IncompleteRead as error: data = error.partial\n"
        "data += urlopen(Request(url, headers={'Range': f'bytes={len(data)}-'})).read()\n"
        "open(target, 'wb').write(data)"
    )
    assert trial(script(tmp_path, body), Fault("breaks off", outage)).verdict is Verdict.RIGHT


def test_a_delay_is_met_by_each_program_anew() -> None:
    delayed = next(fault for fault in FAULTS if "503 for a second" in fault.title)
    # Each program's origin has a clock of its own; the second one here is slower to come back.
    for moments in ((0.0, 0.1), (0.0, 5.0)):
        behave = delayed.behave()
        statuses = []
        for at, headers in zip(moments, ({}, {"range": "bytes=300007-"}), strict=True):
            answer = Answer(Request(1, 1, at, 1, "GET", "/a.bin", headers), delayed.resource, 1)
            answer.well()
            behave(answer)
            statuses.append(answer.status)
        assert statuses == [200, 503]


def test_faults_have_titles_of_their_own() -> None:
    titles = [fault.title for fault in FAULTS]
    assert len(set(titles)) == len(titles)


def test_faults_table_shows_fetchq(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults_table.main(["--tools", "fetchq", "--only", "answered with 200"]) == 0
    assert "| breaks off; the resume is answered with 200 and the whole file | ✅ |" in capsys.readouterr().out


def test_every_way_to_make_ten_requests_gets_all_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_latency.main(["--rounds", "1"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + len(bench_latency.WAYS)
    # Ten waits of 100 ms, where they are one after another: that no machine can shorten.
    in_turn = [float(row.split("|")[2]) for row in rows if "in turn" in row]
    assert min(in_turn) >= 1.0


@pytest.mark.server("nginx")
def test_many_small_files_come_over_either_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_http2.main(["--rounds", "1", "--files", "20"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| 20 |")


@pytest.mark.parametrize(("words", "runs"), [([], 2), (["--first"], 1)])
def test_a_queue_is_measured_by_its_length(
    words: list[str], runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_rerun.main([*words, "40", "50"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[2].strip() for row in rows] == [count for count in ("40", "50") for _ in range(runs)]
    # The peak of memory is the length's business from some ten thousand lines on only.
    assert all(0 < int(row[6].split()[0]) < 150 for row in rows)
    assert not words or all("first request after" in row[7] for row in rows)
