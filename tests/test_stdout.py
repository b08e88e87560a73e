"""``-o -``: the bytes go to a pipe once, in order and of one version, or the exit code says otherwise."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import BinaryIO

import pytest

import fetchq
from fetchq._scheduler import run as scheduled_run
from fetchq._scheduler import scheduler

from . import fork_server
from .conftest import RunFetchq, clean_env, run, until
from .origin import (
    Behaviour,
    Origin,
    Resource,
    change,
    chunked,
    drop,
    early_start,
    error_page,
    etag_per_request,
    generated,
    gzip_anyway,
    ignore_range,
    no_content,
    reset,
    shifted,
    stall,
    status,
    status_416,
    throttle,
    wrong_start,
    wrong_total,
)

MIB = 1 << 20
SIZE, CUT = 3 * MIB, 2 * MIB
FILE = generated(SIZE)
NEWER = replace(generated(SIZE, seed=2), etag='"newer"', last_modified="Tue, 02 Jan 2024 00:00:00 GMT")
BARE = replace(FILE, etag=None, last_modified=None)
WEAK = replace(FILE, etag='W/"weak"', last_modified=None)
DATED = replace(FILE, etag=None)
# What SIGPIPE would have ended the process with.
READER_LEFT = 141

Script = Sequence[Behaviour | tuple[Behaviour, ...]]


def environment(home: Path) -> dict[str, str]:
    return clean_env({"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")})


def piped(*words: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """``fetchq -o -`` with its output in a pipe."""
    done = subprocess.run(
        [*fork_server.command(), "-o", "-", "--backoff", "0", "--read-timeout", "0.5", *words],
        cwd=cwd,
        env=environment(cwd),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    assert list(cwd.iterdir()) == [], "nothing is written but to the pipe"
    return done


def shell(line: str, cwd: Path) -> tuple[list[int], bytes, bytes]:
    """Run *line* in a shell: exit code of each of its processes, stdout, stderr."""
    script = f'fetchq() {{ "{sys.executable}" -m fetchq "$@"; }}; {line}; echo "${{PIPESTATUS[@]}}" >&3'
    with (cwd / "codes").open("w+") as codes:
        done = subprocess.run(
            ["bash", "-c", f"exec 3>&{codes.fileno()}; {script}"],
            cwd=cwd,
            env=environment(cwd),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=[codes.fileno()],
            timeout=30,
            check=False,
        )
        return [int(code) for code in Path(codes.name).read_text().split()], done.stdout, done.stderr


SETTINGS = fetchq.Settings(
    network=fetchq.Network(env=False, read_timeout=0.5), retry=fetchq.Retry(retries=3, backoff=0)
)


def through_a_pipe(url: str, folder: Path) -> tuple[fetchq.Result, bytes]:
    """The same in this process: the result, and what came out of the pipe."""
    reading, writing = os.pipe()

    async def main(stdout: BinaryIO) -> fetchq.Result:
        async with fetchq.Downloader(SETTINGS, dir=folder, stdout=stdout) as downloader:
            (result,) = [result async for result in downloader.run([fetchq.Job(url, "-")])]
            return result

    with ThreadPoolExecutor(1) as reader, open(reading, "rb") as out:
        read = reader.submit(out.read)
        with open(writing, "wb") as stdout:
            result = run(main(stdout))
        assert list(folder.iterdir()) == [], "nothing is written but to the pipe"
        return result, read.result(30)


GOES_ON: dict[str, tuple[Resource, Script]] = {
    "dropped": (FILE, [drop(after=CUT)]),
    "dropped, reset and stalled": (FILE, [drop(after=MIB), reset(after=MIB // 2), stall(after=MIB // 2)]),
    "dropped before the first byte": (FILE, [drop(after=0)]),
    "date only": (DATED, [drop(after=CUT)]),
    "unavailable meanwhile": (FILE, [drop(after=CUT), status(503, retry_after=0)]),
    "nothing meanwhile": (FILE, [drop(after=CUT), no_content]),
    "a page for people meanwhile": (FILE, [drop(after=CUT), error_page]),
    "206 begins at an earlier block": (FILE, [drop(after=CUT + 1), early_start(65_536)]),
    "in chunks, cut off": (FILE, [(chunked(), drop(after=CUT))]),
}


@pytest.mark.parametrize("case", GOES_ON)
def test_what_is_out_is_never_written_twice(origin: Origin, tmp_path: Path, case: str) -> None:
    resource, script = GOES_ON[case]
    url = origin.serve("/f.bin", resource, *script)
    result, out = through_a_pipe(url, tmp_path)
    assert result.error is None
    assert result.sha256 == FILE.sha256 == hashlib.sha256(out).hexdigest()
    first, *later = origin.asked("/f.bin")
    assert first.range is None
    assert len(later) == len(script) - (case == "206 begins at an earlier block")
    for request in later:
        if case == "dropped before the first byte":
            assert request.range is None
        else:
            assert request.range is not None
            assert int(request.range[6:-1]) > 0
            assert request.if_range == (resource.etag or resource.last_modified)


STOPS: dict[str, tuple[Resource, Script]] = {
    "another version": (FILE, [drop(after=CUT), change(NEWER)]),
    "another version under the same tag": (FILE, [drop(after=CUT), change(generated(SIZE + 5, seed=3))]),
    "another version of a dated file": (DATED, [drop(after=CUT), change(replace(NEWER, etag=None))]),
    "no validator": (BARE, [drop(after=CUT)]),
    "weak tag only": (WEAK, [drop(after=CUT)]),
    "tag differs per request": (FILE, [drop(after=CUT), etag_per_request, etag_per_request]),
    "ranges ignored": (FILE, [drop(after=CUT), ignore_range, ignore_range]),
    "no ranges at all": (replace(FILE, ranges=False), [drop(after=CUT)]),
    "another range": (FILE, [drop(after=CUT), wrong_start(+1000)]),
    "another total": (FILE, [drop(after=CUT), wrong_total()]),
    "early, and other bytes": (FILE, [drop(after=CUT + 1), (early_start(65_536), shifted(-500))]),
    "416": (FILE, [drop(after=CUT), status_416()]),
    "encoded, and cut off": (FILE, [gzip_anyway(broken=True)]),
}


@pytest.mark.parametrize("case", STOPS)
def test_what_cannot_be_continued_ends_with_an_error(origin: Origin, tmp_path: Path, case: str) -> None:
    """Two versions are never spliced: what went out is the beginning of the first one."""
    resource, script = STOPS[case]
    result, out = through_a_pipe(origin.serve("/f.bin", resource, *script), tmp_path)
    assert isinstance(result.error, fetchq.ChangedError)
    assert len(out) >= CUT // 2
    assert FILE.data.startswith(out)
    assert f"Standard output got {len(out)} bytes, and cannot get the rest: " in str(result.error)


def test_the_command_goes_on_or_exits_with_an_error(origin: Origin, tmp_path: Path) -> None:
    done = piped(origin.serve("/f.bin", FILE, drop(after=CUT)), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, FILE.data)
    assert origin.ranges("/f.bin") == [None, f"bytes={CUT - 16 * 1024}-"]
    assert origin.asked("/f.bin")[1].if_range == FILE.etag
    for resource, script in (STOPS["another version"], STOPS["no validator"]):
        done = piped(origin.serve("/g.bin", resource, *script), cwd=tmp_path)
        assert (done.returncode, done.stdout) == (7, FILE.data[:CUT])
        assert len(done.stderr.splitlines()) == 1
        assert b"cannot get the rest" in done.stderr


@pytest.mark.parametrize("code", [404, 401, 503])
def test_an_error_page_is_not_data(origin: Origin, tmp_path: Path, code: int) -> None:
    result, out = through_a_pipe(origin.serve("/f.bin", FILE, status(code), repeat=True), tmp_path)
    assert isinstance(result.error, fetchq.StatusError | fetchq.AuthenticationError)
    assert result.error.status == code
    assert out == b""


def test_a_wrong_checksum_is_told_by_the_exit_code_and_nothing_is_sent_again(
    origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/f.bin", FILE)
    done = piped("--checksum", f"sha256:{'0' * 64}", url, cwd=tmp_path)
    assert done.returncode == 9
    assert done.stdout == FILE.data, "bytes that are out cannot be taken back"
    assert len(origin.requests) == 1
    assert b"standard output: the sha256 should be 000" in done.stderr
    broken = origin.serve("/g.bin", FILE, drop(after=CUT), reset(after=MIB // 2))
    right = piped("--checksum", f"sha256:{FILE.sha256}", broken, cwd=tmp_path)
    assert (right.returncode, right.stdout) == (0, FILE.data), "a digest is of all pieces together"


@pytest.mark.parametrize("words", [["-v", "--progress", "bar"], ["-v", "--progress", "plain"], ["-q"]])
def test_stdout_holds_the_data_alone(origin: Origin, tmp_path: Path, words: list[str]) -> None:
    url = origin.serve("/f.bin", FILE, drop(after=CUT))
    done = piped(*words, url, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, FILE.data)
    assert (b"done" in done.stderr) is ("-q" not in words)
    assert (b"retry" in done.stderr) is ("-v" in words)


def test_events_and_data_cannot_share_stdout(origin: Origin, tmp_path: Path) -> None:
    done = piped("--progress", "json", origin.serve("/f.bin", FILE), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"both want stdout" in done.stderr
    assert origin.requests == []


def test_a_body_without_a_length_is_bounded(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, chunked(), repeat=True)
    done = piped("--max-size", "1M", url, cwd=tmp_path)
    assert done.returncode == 7
    assert len(done.stdout) <= MIB
    assert FILE.data.startswith(done.stdout)
    assert b"--max-size" in done.stderr


# --- readers


@pytest.mark.parametrize("size", [5, 300_000, 20 * MIB])
def test_a_reader_that_has_enough_ends_the_run_without_a_word(
    origin: Origin, tmp_path: Path, size: int
) -> None:
    """A file smaller than the pipe's buffer is written before the reader has left, and that is no failure."""
    resource = generated(size)
    url = origin.serve("/f.bin", resource, throttle(40 * MIB), repeat=True)
    codes, out, err = shell(f"fetchq -o - -q {url} | head -c 3", tmp_path)
    assert codes[0] in ({0, READER_LEFT} if size < 65_536 else {READER_LEFT})
    assert codes[1:] == [0]
    assert out == resource.data[:3]
    assert err == b""


def test_a_reader_that_never_reads(origin: Origin, tmp_path: Path) -> None:
    codes, _, err = shell(f"fetchq -o - {origin.serve('/f.bin', FILE)} | true", tmp_path)
    assert codes == [READER_LEFT, 0]
    assert err == b""


def test_stopping_does_not_wait_for_a_reader(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "CANCEL_TIMEOUT", 60.0)
    monkeypatch.setattr(scheduled_run, "CANCEL_TIMEOUT", 60.0)
    url = origin.serve("/f.bin", generated(5_000_000))
    reading, writing = os.pipe()

    async def main(out: BinaryIO) -> list[fetchq.Result]:
        async with fetchq.Downloader(SETTINGS, stdout=out) as downloader:
            stopping = asyncio.ensure_future(asyncio.to_thread(until, lambda: fills(reading)))
            stopping.add_done_callback(lambda _: downloader.stop())
            async with asyncio.timeout(20):
                return [result async for result in downloader.run([fetchq.Job(url, "-")])]

    try:
        with open(writing, "wb") as out:
            assert run(main(out)) == []
    finally:
        os.close(reading)


def fills(pipe: int) -> bool:
    """Whether so much is in a pipe that nothing more can be written."""
    held = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]
    return bool(held >= 60_000)


def test_a_slow_reader_gets_everything(origin: Origin, tmp_path: Path) -> None:
    """A pause of the reader's, longer than the read timeout, is no fault of the server's."""
    url = origin.serve("/f.bin", FILE)
    codes, out, _ = shell(f"fetchq -o - -q --read-timeout 0.5 {url} | (sleep 1; sha256sum)", tmp_path)
    assert codes == [0, 0]
    assert out.decode().split()[0] == FILE.sha256
    assert len(origin.requests) == 1


def test_a_shells_redirection_is_as_good_as_a_pipe(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, drop(after=CUT))
    (tmp_path / "f").write_bytes(b"before ")
    codes, _, _ = shell(f"fetchq -o - {url} >> f", tmp_path)
    assert codes == [0]
    assert (tmp_path / "f").read_bytes() == b"before " + FILE.data


def test_a_full_disk_behind_stdout_is_a_disk_error(origin: Origin, tmp_path: Path) -> None:
    codes, _, err = shell(f"fetchq -o - {origin.serve('/f.bin', FILE)} > /dev/full", tmp_path)
    assert codes == [3]
    assert b"standard output cannot be written: no space is left" in err
    assert b"Traceback" not in err


def test_a_closed_stdout_is_an_error_for_data_only(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE)
    assert shell(f"fetchq -o - {url} >&-", tmp_path)[0] == [3]
    assert shell(f"fetchq {url} >&- 2>&- <&-", tmp_path)[0] == [0]
    assert (tmp_path / "f.bin").read_bytes() == FILE.data


# --- from Python


def test_a_stream_in_memory_will_do(origin: Origin) -> None:
    stream = BytesIO()
    url = origin.serve("/f.bin", FILE, drop(after=CUT))

    async def main() -> None:
        async with fetchq.Downloader(SETTINGS, stdout=stream) as downloader:
            async for result in downloader.run([fetchq.Job(url, "-")]):
                assert result.unwrap().path is None
                assert (result.size, result.sha256) == (SIZE, FILE.sha256)

    run(main())
    assert stream.getvalue() == FILE.data


def test_a_stdout_of_text_alone_hinders_only_who_writes_there(origin: Origin, tmp_path: Path) -> None:
    """As in a notebook, or under ``redirect_stdout``."""
    url = origin.serve("/f.bin", FILE)
    with redirect_stdout(StringIO()) as text:
        assert fetchq.download(url, dir=tmp_path).ok
        with pytest.raises(fetchq.UsageError, match="give the target a name"):
            fetchq.download(url, "-")
    assert text.getvalue() == ""


def test_a_queue_may_send_one_job_to_stdout(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    jobs = [{"url": origin.serve("/f.txt", b"data"), "out": "-"}, {"url": origin.serve("/g.bin", NEWER)}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    for more in ([], ["--trust-store"]):
        done = run_fetchq("-i", "q.jsonl", "-d", "out", *more)
        assert (done.returncode, done.stdout) == (0, "data")
        assert (tmp_path / "out/g.bin").read_bytes() == NEWER.data
