"""A checksum that was asked for never fails open: runs of the command against a real server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import fetchq
from fetchq._cli import jobs as _jobs
from fetchq._cli import main

from .conftest import run
from .origin import (
    Origin,
    chunked,
    drop,
    gzip_anyway,
    header,
    literal,
    repr_digest,
    status,
)

BODY = b"hello world" * 1000
RIGHT, WRONG = (hashlib.sha256(data).hexdigest() for data in (BODY, b"other"))
RIGHT_MD5 = hashlib.md5(BODY).hexdigest()
FILE = literal(BODY)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to work in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@dataclass(frozen=True)
class Run:
    """One run of the command, and what is to come of it.

    :param manifest: is written to the file *source*, which ``--checksums`` names.
    :param words: besides ``--checksums`` and the URL.
    :param called: the name that the server gives the file, if any.
    :param says: what stands on stderr.
    """

    manifest: str
    code: int
    says: str = ""
    words: str = ""
    source: str = "SUMS"
    path: str = "/f.bin"
    called: str | None = None
    name: str = "f.bin"


RUNS = {
    "right": Run(f"{RIGHT}  f.bin", 0),
    "wrong": Run(f"SHA256 (f.bin) = {WRONG}", 9, f"f.bin: the sha256 should be {WRONG}, and it is {RIGHT}."),
    "wrong, of an unnamed algorithm": Run(f"{WRONG}  f.bin", 9, "blake2b-256 or sha3-256 should be"),
    "in a folder": Run(f"{WRONG}  dist/x/f.bin", 9, "should be"),
    "dots": Run(f"{WRONG}  ././f.bin", 9, "should be"),
    "trailing blank": Run(f"{WRONG}  f.bin ", 9, "should be"),
    "NFD": Run(f"{WRONG}  cafe\u0301.bin", 9, "should be", path="/caf%C3%A9.bin"),
    "folders tell": Run(f"{RIGHT}  x/f.bin\n{WRONG}  y/f.bin", 0, path="/a/x/f.bin"),
    "folders do not tell": Run(f"{RIGHT}  x/f.bin\n{WRONG}  y/f.bin", 2, "several files called f.bin"),
    "the server's name": Run(f"{WRONG}  f.bin", 9, "should be", path="/get", called="f.bin"),
    "the server's name, right": Run(f"{RIGHT}  f.bin", 0, path="/get", called="f.bin"),
    "the URL's name": Run(f"{WRONG}  f.bin", 9, "should be", called="tool-1.2.bin"),
    "both names": Run(f"{RIGHT}  f.bin\n{WRONG}  g.bin", 2, "two sha256 digests", called="g.bin"),
    "another target": Run(f"{WRONG}  f.bin", 9, "should be", words="-o g.bin"),
    "the target": Run(f"{WRONG}  g.bin", 9, "should be", words="-o g.bin"),
    "to stdout": Run(f"{RIGHT}  f.bin", 0, words="-o -", path="/get", called="f.bin", name=""),
    "to stdout, wrong": Run(f"{WRONG}  f.bin", 9, "should be", words="-o -"),
    "to stdout, not listed": Run(f"{RIGHT}  g.bin", 2, "f.bin is not listed", words="-o -"),
    "not listed": Run(f"{RIGHT}  g.bin", 2, "f.bin is not listed in SUMS: give its digest with --checksum"),
    "not listed, quiet": Run(f"{RIGHT}  g.bin", 2, "f.bin is not listed in SUMS", words="-q"),
    "not listed, allowed": Run(
        f"{RIGHT}  g.bin",
        0,
        "warning  f.bin is not listed in SUMS, and is not verified.",
        words="--allow-unlisted",
    ),
    "listed, although not needed": Run(f"{WRONG}  f.bin", 9, "should be", words="--allow-unlisted"),
    "empty": Run("", 2, "SUMS holds no digest"),
    "comments only": Run("# nothing yet\n", 2, "SUMS holds no digest"),
    "stronger wrong": Run(f"SHA256 (f.bin) = {WRONG}\nMD5 (f.bin) = {RIGHT_MD5}", 9, "the sha256 should be"),
    "stronger right": Run(f"SHA256 (f.bin) = {RIGHT}\nMD5 (f.bin) = {'0' * 32}", 0),
    "contradiction": Run(f"{WRONG}  f.bin\n{RIGHT}  f.bin", 2, "two sha256 digests that differ"),
    "b2sum": Run(f"{hashlib.blake2b(BODY).hexdigest()}  f.bin", 0),
    "sha3sum": Run(f"{hashlib.sha3_512(BODY).hexdigest()}  f.bin", 0),
    "a lone digest": Run(RIGHT, 0, source="sum"),
    "a lone digest, wrong": Run(WRONG, 9, "should be", source="sum"),
    "a line that is none": Run(f"SIZE (f.bin) = 1\n{RIGHT}  f.bin", 0, "warning  SUMS: line 1 holds no digest"),
    "its own checksum": Run(f"{WRONG}  f.bin", 0, words=f"--checksum sha256:{RIGHT}"),
}  # fmt: skip # one run a line reads as a table


@pytest.mark.parametrize("case", RUNS.values(), ids=RUNS)
def test_a_run_with_a_manifest(
    origin: Origin, folder: Path, capfdbinary: pytest.CaptureFixture[bytes], case: Run
) -> None:
    Path(case.source).write_text(case.manifest)
    named = [header("Content-Disposition", f'attachment; filename="{case.called}"')] if case.called else []
    url = origin.serve(case.path, FILE, *named, repeat=True)
    assert main(["--checksums", case.source, *case.words.split(), url]) == case.code
    said = capfdbinary.readouterr().err.decode()
    assert case.says in said
    assert bool(case.says) or "warning" not in said
    files = {path.name for path in folder.iterdir()} - {case.source}
    if case.code:
        assert {name for name in files if not name.endswith((".part", ".part.bad", ".part.json"))} == set()
    else:
        assert files == {case.name} - {""}


@pytest.mark.parametrize(
    ("words", "behaviours", "code", "requests"),
    [
        ("", [], 2, 0),
        ("", [repr_digest()], 2, 0),
        (f"--checksum sha256:{RIGHT}", [], 0, 1),
        (f"--checksum {RIGHT_MD5}", [], 0, 1),
        ("--checksums SUMS", [], 0, 1),
        ("--checksums OTHER", [], 2, 1),
        ("-d out", [], 2, 0),
    ],
)
def test_where_a_checksum_is_required_no_file_comes_without(
    origin: Origin, words: str, behaviours: list[Callable[..., None]], code: int, requests: int
) -> None:
    Path("SUMS").write_text(f"{RIGHT}  f.bin")
    Path("OTHER").write_text(f"{RIGHT}  g.bin")
    url = origin.serve("/f.bin", FILE, *behaviours)
    assert main(["--require-checksum", *words.split(), url]) == code
    assert Path("f.bin").exists() is (code == 0)
    assert len(origin.requests) == requests


def test_each_line_of_a_queue_is_looked_up(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong, unlisted = (
        origin.serve(f"/{name}.bin", FILE, repeat=True) for name in ("right", "wrong", "new")
    )
    Path("q.aria2").write_text(
        f"{right}\n{wrong}\n{unlisted}\n{unlisted}\n  out=own.bin\n  checksum=sha-256={RIGHT}\n"
    )
    Path("SUMS").write_text(f"{RIGHT} *right.bin\n{WRONG} *wrong.bin\n")
    assert main(["-i", "q.aria2", "-j", "1", "--checksums", "SUMS"]) in {2, 9}, "whichever failed first"
    said = capsys.readouterr().err
    assert "new.bin is not listed in SUMS" in said
    assert "wrong.bin: the sha256" in said
    assert Path("right.bin").exists()
    assert Path("own.bin").exists()
    assert not Path("wrong.bin").exists()
    assert not Path("new.bin").exists()


def test_what_an_earlier_run_has_done_is_held_against_the_manifest(origin: Origin) -> None:
    Path("q.txt").write_text(origin.serve("/f.bin", FILE, repeat=True))
    assert main(["-i", "q.txt"]) == 0
    Path("SUMS").write_text(f"{RIGHT}  f.bin")
    asked = len(origin.requests)
    assert main(["-i", "q.txt", "--checksums", "SUMS"]) == 0
    assert len(origin.requests) == asked, "the digest is on record"
    Path("SUMS").write_text(f"{WRONG}  f.bin")
    assert main(["-i", "q.txt", "--checksums", "SUMS"]) == 9
    Path("SUMS").write_text(f"{RIGHT}  g.bin")
    assert main(["-i", "q.txt", "--checksums", "SUMS"]) == 2
    assert main(["-i", "q.txt", "--checksums", "SUMS", "--allow-unlisted"]) == 0
    assert main(["-i", "q.txt", "--require-checksum"]) == 2, "though it is on record as done"


@pytest.mark.parametrize(("listed", "code"), [(RIGHT, 0), (WRONG, 9)])
def test_a_streamed_and_resumed_file_is_verified_too(origin: Origin, listed: str, code: int) -> None:
    large = literal(BODY * 200)
    sums = {RIGHT: hashlib.sha256(large.data).hexdigest()}
    Path("SUMS").write_text(f"{sums.get(listed, listed)}  g.bin")
    named = header("Content-Disposition", "attachment; filename=g.bin")
    url = origin.serve("/get", large, (named, drop(after=1_500_000)), repeat=True)
    assert main(["--checksums", "SUMS", "--retries", "0", url]) == 4
    url = origin.serve("/get", large, named, repeat=True)
    assert main(["--checksums", "SUMS", "--retries", "0", url]) == code
    assert Path("g.bin").exists() is (code == 0)


def test_a_part_that_is_resumed_by_its_url_is_looked_up(origin: Origin) -> None:
    large = literal(BODY * 200)
    url = origin.serve("/g.bin", large, drop(after=1_500_000), repeat=True)
    assert main(["--retries", "0", url]) == 4
    Path("SUMS").write_text(f"{WRONG}  g.bin\n")
    url = origin.serve("/g.bin", large, repeat=True)
    assert main(["--checksums", "SUMS", "--retries", "0", url]) == 9
    url = origin.serve("/h.bin", large, drop(after=1_500_000), repeat=True)
    assert main(["--retries", "0", url]) == 4
    assert main(["--checksums", "SUMS", "--retries", "0", url]) == 2


def test_a_dry_run_says_which_files_are_not_listed(origin: Origin, capsys: pytest.CaptureFixture[str]) -> None:
    Path("SUMS").write_text(f"{RIGHT}  f.bin")
    urls = [origin.serve(f"/{name}.bin", FILE, repeat=True) for name in "fg"]
    assert main(["--dry-run", "--checksums", "SUMS", *urls]) == 2
    table = capsys.readouterr().out
    assert "g.bin is not listed in SUMS" in table
    assert "fresh, resumable          f.bin" in table


# --- manifests behind a URL


@pytest.mark.parametrize(
    ("path", "text", "behaviours", "code", "says"),
    [
        ("/SHA256SUMS", f"{RIGHT}  f.bin", [], 0, ""),
        ("/SHA256SUMS?token=hunter2", f"{WRONG}  f.bin", [], 9, "the sha256 should be"),
        ("/f.bin.sha256", RIGHT, [], 0, ""),
        ("/f.bin.sha256", WRONG, [chunked()], 9, "the sha256 should be"),
        ("/SUMS", f"{RIGHT}  f.bin", [gzip_anyway()], 0, ""),
        ("/SUMS", f"{RIGHT}  f.bin", [status(503)], 0, ""),
        ("/SUMS?token=hunter2", "", [status(404)], 8, "/SUMS cannot be fetched: 127.0.0.1:"),
        ("/SUMS?token=hunter2", f"{RIGHT}  g.bin", [], 2, "/SUMS: give its digest with --checksum"),
        ("/SUMS", "<html>", [], 2, "/SUMS holds no digest"),
        ("/SUMS", "x" * 2000, [], 7, "/SUMS is larger than 1000 B: it is no manifest."),
        ("/SUMS", "x" * 2000, [chunked(100)], 7, "/SUMS is larger than 1000 B: it is no manifest."),
    ],
)
def test_a_manifest_is_fetched_like_a_job(
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    text: str,
    behaviours: list[Callable[..., None]],
    code: int,
    says: str,
) -> None:
    monkeypatch.setattr(_jobs, "MAX_MANIFEST", 1000)
    file, sums = (
        origin.serve("/f.bin", FILE, repeat=True),
        origin.serve(path.partition("?")[0], text.encode(), *behaviours),
    )
    sums += path[len(path.partition("?")[0]) :]
    assert main(["--backoff", "0", "--max-size", "20k", "--checksums", sums, file]) == code
    said = capsys.readouterr().err
    assert says in said
    assert "hunter2" not in said
    assert Path("f.bin").exists() is (code == 0)


def test_a_file_that_is_too_large_is_no_manifest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_jobs, "MAX_MANIFEST", 100)
    Path("SUMS").write_text(f"{RIGHT}  f.bin".ljust(100, "\n"))
    assert main(["verify", "--checksums", "SUMS"]) == 3, "f.bin is not there"
    Path("SUMS").write_text(f"{RIGHT}  f.bin".ljust(101, "\n"))
    assert main(["verify", "--checksums", "SUMS"]) == 2
    assert capsys.readouterr().err.endswith("fetchq: SUMS is larger than 100 B: it is no manifest.\n")


# --- a digest is asked of the disk first


@pytest.mark.parametrize(
    "words",
    [f"--checksum sha256:{RIGHT}", f"--checksum {RIGHT_MD5}", "--checksums SUMS", "-o f.bin --checksums SUMS"],
)
def test_a_file_that_has_the_checksum_is_not_asked_for(
    origin: Origin, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    Path("SUMS").write_text(f"{RIGHT}  f.bin")
    Path("f.bin").write_bytes(BODY)
    assert main([*words.split(), origin.serve("/f.bin", FILE)]) == 0
    assert origin.requests == []
    assert capsys.readouterr().err == "skipped  f.bin (has the checksum)\n"
    assert Path("f.bin").read_bytes() == BODY


def test_a_file_that_has_another_checksum_is_fetched(origin: Origin) -> None:
    Path("f.bin").write_bytes(BODY[:-1] + b"x")
    assert main(["--checksum", RIGHT, "--if-exists", "overwrite", origin.serve("/f.bin", FILE)]) == 0
    assert Path("f.bin").read_bytes() == BODY


def test_a_name_that_is_no_file_has_no_checksum(origin: Origin) -> None:
    Path("real").write_bytes(BODY)
    Path("f.bin").symlink_to("real")
    assert main(["--checksum", RIGHT, origin.serve("/f.bin", FILE)]) == 0
    assert len(origin.requests) == 1
    Path("g.bin").mkdir()
    assert main(["--checksum", RIGHT, origin.serve("/g.bin", FILE)]) == 3


def test_a_request_with_a_body_is_made_all_the_same(origin: Origin) -> None:
    Path("f.bin").write_bytes(BODY)
    assert main(["--checksum", RIGHT, "--data", "a=1", origin.serve("/f.bin", FILE)]) == 0
    assert len(origin.requests) == 1


# --- verify


VERIFIED = [
    (f"{RIGHT}  f.bin", "", 0, ""),
    (f"{RIGHT}  dist/x/f.bin", "f.bin", 0, ""),
    (f"{RIGHT}  dist/x/f.bin", "", 0, ""),
    (f"{RIGHT}  dist\\x\\f.bin", ".", 0, ""),
    (f"{WRONG}  dist/x/f.bin", "", 9, "f.bin: the sha256, blake2s, blake2b-256 or sha3-256 should be"),
    (f"{RIGHT}  a/f.bin\n{RIGHT}  f.bin\n{RIGHT}  ./f.bin", "", 0, "2 files: 2 done"),
    (f"{RIGHT}  g.bin", "f.bin", 2, "f.bin is not listed in SUMS"),
    (f"{RIGHT}  g.bin", "", 3, "g.bin cannot be read: No such file"),
    (f"{RIGHT}  g.bin\n{RIGHT}  f.bin", "--allow-unlisted f.bin h.bin", 0, "1 file has no digest on record"),
    (f"{RIGHT}  g.bin", "--allow-unlisted f.bin", 2, "No digest is on record of any file here"),
    (f"{RIGHT}  f.bin\n{WRONG}  f.bin", "", 2, "f.bin has two sha256 digests that differ"),
    (f"SHA256 (f.bin) = {WRONG}\nMD5 (f.bin) = {RIGHT_MD5}", "", 9, "the sha256 should be"),
    (f"{hashlib.blake2b(BODY).hexdigest()}  f.bin", "", 0, ""),
    (RIGHT, "f.bin", 0, ""),
    (WRONG, "f.bin", 9, "should be"),
    (RIGHT, "f.bin f.bin", 2, "f.bin is not listed in SUMS"),
    (RIGHT, "", 2, "Nothing is known of any file here"),
    ("# none", "f.bin", 2, "SUMS holds no digest"),
    (f"x\n{RIGHT}  f.bin", "", 0, "warning  SUMS: line 1 holds no digest that is understood."),
]


@pytest.mark.parametrize(("text", "words", "code", "says"), VERIFIED)
def test_verify_reads_a_manifest_by_the_same_rules(
    capsys: pytest.CaptureFixture[str], text: str, words: str, code: int, says: str
) -> None:
    Path("f.bin").write_bytes(BODY)
    Path("SUMS").write_text(text)
    assert main(["verify", "--checksums", "SUMS", *words.split()]) == code
    assert says in capsys.readouterr().err


def test_verify_fetches_a_manifest(origin: Origin) -> None:
    Path("f.bin").write_bytes(BODY)
    url = origin.serve("/f.bin.sha256", RIGHT.encode(), repeat=True)
    assert main(["verify", "--checksums", url]) == 0
    Path("f.bin").write_bytes(b"other")
    assert main(["verify", "--checksums", url]) == 9


# --- Python


def test_a_downloader_takes_a_manifest(origin: Origin, folder: Path) -> None:
    manifest = fetchq.Manifest(f"{RIGHT}  f.bin\n{WRONG}  g.bin".encode(), "SHA256SUMS")
    settings = fetchq.Settings(network=fetchq.Network(env=False), disk=fetchq.Disk(allow_unlisted=True))
    urls = [origin.serve(f"/{name}.bin", FILE, repeat=True) for name in "fgh"]

    async def statuses(settings: fetchq.Settings) -> list[str]:
        async with fetchq.Downloader(settings, manifest=manifest, dir=folder) as downloader:
            return sorted([f"{result.job.url[-5]} {result.status}" async for result in downloader.run(urls)])

    assert run(statuses(settings)) == ["f done", "g failed", "h done"]
    strict = replace(settings, disk=replace(settings.disk, require_checksum=True))
    assert run(statuses(strict)) == ["f skipped", "g failed", "h failed"]
