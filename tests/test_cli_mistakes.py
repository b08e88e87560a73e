"""Every mistake on the command line: one sentence, exit 2, nothing written, no secret repeated."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fetchq._cli import main

from .conftest import RunFetchq
from .origin import Origin, generated

URL = "https://host.example/a.iso"

MISTAKES = [
    ("", "Nothing to download"),
    ("verfy x", "did you mean fetchq verify?"),
    ("demoo", "did you mean fetchq demo?"),
    ("stauts .", "did you mean fetchq status?"),
    ("hlep", "did you mean fetchq help?"),
    ("help evnts", "did you mean fetchq help events?"),
    ("help EXIT_CODES", "did you mean fetchq help exit-codes?"),
    ("help verfy", "did you mean fetchq help verify?"),
    ("help nonsense", "fetchq help lists all topics"),
    ("help events files", "only coming-from has a second: curl, wget, aria2c"),
    ("help coming-from pip", "curl, wget and aria2c only"),
    (f"-t 3 {URL}", "wget's -t, --tries N is --retries N (one less"),
    (f"-nc {URL}", "-nc, --no-clobber is --if-exists skip"),
    (f"--check-certificate=false {URL}", "is -k."),
    (f"-r {URL}", "fetchq follows no links"),
    (f"--tires 3 {URL}", "did you mean --tries? wget's -t, --tries N is --retries N"),
    (f"--retires 3 {URL}", "did you mean --retries?"),
    (f"--qwertz {URL}", "fetchq help options lists them all."),
    (f"-O name {URL}", "wget's -O FILE is -o FILE here"),
    (f"-C 100 {URL}", "leave it out"),
    ("missing.txt", "missing.txt is not a URL: did you mean https://missing.txt?"),
    ("server.lan/file", "did you mean https://server.lan/file?"),
    ("queue.txt", "did you mean -i queue.txt?"),
    ("nonsense", "neither a URL nor a command"),
    ("-q retry .", "'retry' is a command, which comes first: fetchq retry and then the rest."),
    (f"{URL} demo", "'demo' is a command, which comes first"),
    ("https:/host.example/a.iso", f"did you mean {URL}?"),
    ("https:host.example/a.iso", f"did you mean {URL}?"),
    ("http//host.example/a.iso", "did you mean http://host.example/a.iso?"),
    (f"--jbos 3 {URL}", "--jobs"),
    (f"-j 0 {URL}", "--jobs"),
    (f"-j x {URL}", "'x' is not a count"),
    (f"-x 0 {URL}", "--connections"),
    (f"-o x {URL} {URL}", "-o names one file"),
    ("-o x -i queue.txt", "-o names one file"),
    (f"-o {'x' * 241} {URL}", "longer than 238 bytes"),
    (f"-o - --progress json {URL}", "both want stdout"),
    (f"-d queue.txt {URL}", "queue.txt is a file"),
    (f"--checksum sha256:abc {URL}", "64 hex digits"),
    (f"--checksum crc99:abc {URL}", "crc99"),
    (f"--checksum md5:{'0' * 32} {URL} {URL}", "--checksums FILE"),
    (f"--checksum keccak:{'0' * 64} {URL}", "'keccak' is not one of"),
    (f"--checksums queue.txt {URL}", "queue.txt holds no digest"),
    (f"--checksums missing.txt {URL}", "missing.txt cannot be read: No such file"),
    (f"--checksums . {URL}", ". cannot be read: Is a directory"),
    (f"--checksums ftp://h/f {URL}", "ftp://h/f cannot be read"),
    (f"--require-checksum --allow-unlisted {URL}", "contradict each other"),
    ("verify --checksums queue.txt", "queue.txt holds no digest"),
    ("-i missing.txt", "missing.txt cannot be read"),
    ("-i binary", "binary"),
    ("-i - -i -", "stdin can be read once"),
    (f"-H nocolon {URL}", "'Name: value'"),
    (f"-u bob {URL}", "NAME:PASSWORD"),
    (f"-u h.example=bob {URL}", "NAME:PASSWORD"),
    (f"-u bob:a -u bob:b {URL}", "HOST=NAME:PASSWORD"),
    (
        f"-u bob --bearer t {URL}",
        "same servers: give one of them, or the user as HOST=NAME:PASSWORD.",
    ),
    (f"--form a {URL}", "NAME=VALUE"),
    (f"--data a --json 1 {URL}", "one body"),
    (f"--json {{ {URL}", "not JSON"),
    (f"--data @missing {URL}", "@missing"),
    (f"--timeout 0 {URL}", "none for no bound"),
    (f"--timeout soon {URL}", "not a number of seconds"),
    (f"--retries -1 {URL}", "inf"),
    (f"--retry-on 429,700 {URL}", "'700' is not a status"),
    (f"--limit-rate fast {URL}", "500k, 2M or 1.5GiB"),
    (f"--limit-rate 0 {URL}", "no limit"),
    (f"--if-exists maybe {URL}", "'skip'"),
    (f"--progress loud {URL}", "'plain'"),
    (f"-q -v {URL}", "contradict"),
    (f"--store x --no-store {URL}", "--store names a file and --no-store has none: give one of them."),
    (f"--tree --name-template x {URL}", "--tree is a name template of its own: give it or --name-template."),
    (f"--keep-alive -1 {URL}", "'-1' is not a count: write a whole number from 0 on"),
    (f"--keep-alive-expiry 0 {URL}", "a wait takes more than 0 seconds: write none for no bound"),
    (f"--key-password x {URL}", "A client key needs its certificate: give --cert FILE too."),
    (f"--log missing/log {URL}", "missing/log"),
    ("status missing", "missing/.fetchq.db"),
    ("verify queue.txt", "--checksums FILE"),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES, ids=[words or "nothing" for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_exit_2_and_nothing_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    (tmp_path / "queue.txt").write_text("no checksum\n")
    (tmp_path / "binary").write_bytes(b"\x00\x01\x02" * 100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("fetchq: ")
    assert said.err.count("\n") == 1
    assert told in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary", "queue.txt"]


@pytest.mark.parametrize(
    "words",
    [
        ["-H", "Authorization Bearer hunter2", URL],
        ["-H", "X: hunter2\r\nY: z", URL],
        ["-b", "hunter2", URL],
        ["--form", "hunter2", URL],
        ["hunter2:hunter2@example.com/x?token=hunter2"],
        ["--baerer=hunter2", URL],
        ["-u", "bob:hunter2", "-j", "0", URL],
        ["--json", "{hunter2", URL],
        ["--data", "@/hunter2", "-q", "-v", URL],
    ],
)
def test_a_mistake_does_not_repeat_a_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(words) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_what_no_env_leaves_out_is_told_once(run_fetchq: RunFetchq, origin: Origin) -> None:
    url = origin.serve("/a", generated(1000), repeat=True)
    env = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "a"}
    told = "Not used because of --no-env: HTTPS_PROXY of the environment."
    assert run_fetchq("--no-env", url, env=env).stderr.count(told) == 1
    assert told not in run_fetchq("--no-env", url).stderr + run_fetchq(url, env=env).stderr
