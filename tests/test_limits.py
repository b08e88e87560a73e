"""Whatever a server does without end, we end: each bound is on by default, and each is a clean failure."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import math
import socket
import sys
import weakref
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

import fetchq
from fetchq._http.http11.connection import Connection

from . import raw_server
from .bench.measure import run as measure
from .conftest import RunFetchq, clean_env, run
from .origin import (
    Answer,
    Behaviour,
    Cut,
    Origin,
    Pace,
    Resource,
    black_hole,
    chunked,
    close_at_once,
    close_delimited,
    drip,
    drop,
    endless_headers,
    generated,
    hang,
    header,
    huge_headers,
    informational,
    literal,
    many_headers,
    redirect,
    slow_headers,
    stall,
    status,
    together,
    well,
)

MIB = 1 << 20
FILE = generated(300_000)
NETWORK, PROTOCOL, STATUS = 4, 7, 8
# What a process of ours may take at its peak, whatever a server sends.
MOST_MEMORY = 120 * MIB


@dataclass(frozen=True)
class Zeros:
    """A body of any length that costs its server nothing."""

    size: int

    def read(self, start: int, stop: int) -> bytes:
        return bytes(min(stop, self.size) - start)


ENDLESS = Resource(Zeros(1 << 40))


@dataclass(frozen=True)
class Ended:
    """How the command ended, and what it said on stdout and stderr."""

    code: int
    events: str
    said: str


def ended(*words: str | Path, cwd: Path) -> Ended:
    """Run ``fetchq`` to its end, within the memory that it may take."""
    env = clean_env({"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / "config")})
    told = ["/bin/sh", "-c", 'exec "$@" > events 2> said', "sh"]
    done = measure([*told, sys.executable, "-m", "fetchq", *map(str, words)], cwd=cwd, env=env, bound=40)
    events, said = ((cwd / name).read_text() for name in ("events", "said"))
    for name in ("events", "said"):
        (cwd / name).unlink()
    assert "Traceback" not in said
    assert done.peak < MOST_MEMORY
    return Ended(done.code, events, said)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def flood(head: bytes, piece: bytes) -> Behaviour:
    """Sends *head*, then *piece* again and again."""

    def apply(answer: Answer) -> None:
        answer.raw = cast("tuple[bytes, ...]", itertools.chain([head], itertools.repeat(piece)))

    return apply


def then_nothing(data: bytes) -> Behaviour:
    """Sends *data*, and keeps the connection."""

    def apply(answer: Answer) -> None:
        answer.raw, answer.cut = (data,), Cut(0, "stall")

    return apply


def interim_drip(answer: Answer) -> None:
    """Answers 100 now and then, and never comes to the point."""
    answer.status, answer.headers = 100, []
    answer.reason = "Continue" + "\r\n\r\nHTTP/1.1 100 Continue" * 1000
    answer.head_pace = Pace(25, 0.05)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
KIB = b"x" * 1024
HINTS = b"HTTP/1.1 103 Hints\r\nX: " + KIB + b"\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\nLocation: /gone\r\n\r\n"
CHALLENGE = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n'


def test_each_bound_is_on_by_default() -> None:
    network, retry, queue = fetchq.Network(), fetchq.Retry(), fetchq.Queue()
    waits = [network.connect_timeout, network.read_timeout, network.write_timeout, network.pool_timeout]
    assert all(wait is not None and 0 < wait <= 60 for wait in waits)
    assert network.min_speed > 0
    assert 0 < network.min_speed_window <= 60
    assert 0 < network.max_redirects <= 50
    assert 0 < network.max_head <= MIB
    assert 0 < network.max_headers <= 1000
    assert 0 < network.max_decoded < 1 << 40
    assert 0 < retry.retries < math.inf
    assert 0 < retry.backoff_max <= 3600
    assert 0 < retry.max_wait <= 3600
    assert 0 < retry.longest_outage <= 3600
    assert 0 < queue.lookahead < 1 << 20
    assert 0 < queue.waiting < 1 << 20


WITHOUT_END: dict[str, tuple[Behaviour, str]] = {
    "one huge header": (huge_headers(MIB), "toolarge"),
    "too many headers": (many_headers(1000), "toolarge"),
    "a head": (endless_headers, "toolarge"),
    "a header": (flood(b"HTTP/1.1 200 OK\r\nX: ", KIB), "toolarge"),
    "a status line": (flood(b"HTTP/1.1 200 ", KIB), "toolarge"),
    "something that is no HTTP": (flood(b"SSH-2.0\r\n\r\n", KIB), "protocol"),
    "interim answers": (informational(count=None), "protocol"),
    "interim answers with large heads": (flood(b"", HINTS), "toolarge"),
    "a length beyond every file": (header("Content-Length", "1" + "0" * 30), "protocol"),
    "redirects in a circle": (redirect("f.bin"), "protocol"),
    "a chunk extension": (flood(CHUNKED + b"5;", KIB), "toolarge"),
    "a chunk size": (flood(CHUNKED, b"0" * 1024), "toolarge"),
    "trailers": (flood(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n"), "toolarge"),
    "a trailer": (flood(CHUNKED + b"5\r\nhello\r\n0\r\nX: ", KIB), "toolarge"),
    "an error page": (flood(b"HTTP/1.1 404 No\r\n\r\n", KIB), "status"),
    "a redirect's page": (flood(MOVED, KIB), "status"),
}


def ends(lines: str) -> dict[str, str]:
    """How the jobs ended, by the last folder of their URLs: kind of error, or status."""
    events = [event for event in map(json.loads, lines.splitlines()) if event["event"] == "job_finished"]
    told = [(event["url"].split("/")[-2], event["error"], event["status"]) for event in events]
    return {folder: error["kind"] if error else status for folder, error, status in told}


def test_what_has_no_end_is_ended(origin: Origin, tmp_path: Path) -> None:
    """With nothing but the defaults, in one run, and without asking again for what will not get better."""
    paths = [f"/{number}/f.bin" for number in range(len(WITHOUT_END))]
    for path, (behaviour, _) in zip(paths, WITHOUT_END.values(), strict=True):
        origin.serve(path, FILE, behaviour, repeat=True)
    done = ended("--no-env", "--progress", "json", *map(origin.url, paths), cwd=tmp_path)
    assert ends(done.events) == {str(number): kind for number, (_, kind) in enumerate(WITHOUT_END.values())}
    assert done.code in {PROTOCOL, STATUS}
    asked = [len(origin.asked(path)) for path in paths]
    assert asked == [21 if name == "redirects in a circle" else 1 for name in WITHOUT_END]
    assert not list(tmp_path.glob("f*.bin"))
    origin.settle()


def test_a_page_that_nobody_wants_holds_up_nothing(origin: Origin, tmp_path: Path) -> None:
    unwanted: dict[str, Behaviour] = {
        "dripped": together(redirect("/0.bin"), header("Content-Length", "99"), drip(1, 0.4)),
        "stalled": together(redirect("/1.bin"), stall(after=0)),
        "endless": flood(b"HTTP/1.1 302 Found\r\nLocation: /2.bin\r\n\r\n", KIB),
        "challenge": flood(CHALLENGE, KIB),
    }
    for number in range(3):
        origin.serve(f"/{number}.bin", FILE)
    urls = [origin.serve(f"/{name}/f.bin", FILE, page) for name, page in unwanted.items()]
    done = ended("--no-env", "--progress", "json", "-u", "bob:pw", *urls, cwd=tmp_path)
    assert ends(done.events) == dict.fromkeys(unwanted, "done")
    # The fourth of its name in the list, whatever became of the first three.
    assert names(tmp_path) == {"0.bin", "1.bin", "2.bin", "f.3.bin"}
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {FILE.data}


WAITS: dict[str, Behaviour] = {
    "no answer": hang,
    "a head that drips": slow_headers(1, 0.05),
    "interim answers that drip": interim_drip,
    "nothing behind the head": stall(after=0),
    "nothing behind the first bytes": stall(after=100_000),
    "a chunk size that never ends its line": then_nothing(CHUNKED + b"5"),
}


def test_no_wait_is_without_a_bound(origin: Origin, tmp_path: Path) -> None:
    """Nor is one for a connection that nobody takes, or for a handshake that never comes."""
    urls = [origin.serve(f"/{n}/f.bin", FILE, wait, repeat=True) for n, wait in enumerate(WAITS.values())]
    words = ["--no-env", "--progress", "json", "--retries", "0", "--timeout", "0.5"]
    with black_hole() as port, socket.create_server(("127.0.0.1", 0)) as silent:
        urls += [f"http://127.0.0.1:{port}/dropped/", f"https://127.0.0.1:{silent.getsockname()[1]}/silent/"]
        done = ended(*words, *urls, cwd=tmp_path)
    assert ends(done.events) == dict.fromkeys([*map(str, range(len(WAITS))), "dropped", "silent"], "timedout")
    assert done.code == NETWORK
    assert not list(tmp_path.glob("f*.bin"))


# --- what is slow on purpose


def fetch(url: str, folder: Path, **changes: object) -> tuple[fetchq.Result, list[fetchq.Event]]:
    settings = fetchq.Settings(
        network=fetchq.Network(env=False, read_timeout=2, min_speed=1000, min_speed_window=0.3),
        retry=replace(fetchq.Retry(retries=1, backoff=0), **changes),  # type: ignore[arg-type]  # a Retry's fields
        queue=fetchq.Queue(connections=1),
    )
    events: list[fetchq.Event] = []

    async def main() -> fetchq.Result:
        async with fetchq.Downloader(settings, dir=folder, observers=[events.append]) as downloader:
            (result,) = [result async for result in downloader.run([url])]
            return result

    return run(main()), events


@pytest.mark.parametrize(
    "how", [drip(1, 0.05), together(chunked(1), drip(1, 0.05)), together(close_delimited, drip(1, 0.05))]
)
def test_a_byte_now_and_then_is_too_slow(origin: Origin, tmp_path: Path, how: Behaviour) -> None:
    """Every read succeeds, so that no read timeout ever ends it."""
    result, _ = fetch(origin.serve("/f.bin", generated(5 * MIB), how, repeat=True), tmp_path, retries=0)
    assert isinstance(result.error, fetchq.TooSlowError)
    assert result.error.exit_code == NETWORK
    assert result.error.transient
    assert not (tmp_path / "f.bin").exists()
    assert "less than --min-speed" in str(result.error)


def test_a_server_cannot_ask_for_any_wait_it_likes(origin: Origin, tmp_path: Path) -> None:
    for asked in ("99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"):
        url = origin.serve("/f.bin", FILE, status(503, retry_after=asked))
        result, events = fetch(url, tmp_path)
        assert "longer than --max-wait allows" in str(result.error)
        assert not [event for event in events if isinstance(event, fetchq.AttemptFailed)]


# --- how much


@pytest.mark.parametrize("framing", [chunked(64 * 1024), close_delimited], ids=["chunked", "close-delimited"])
def test_a_body_without_end_is_cut_and_costs_no_memory(
    origin: Origin, tmp_path: Path, framing: Behaviour
) -> None:
    url = origin.serve("/f.bin", ENDLESS, framing, repeat=True)
    done = ended("--no-env", "--max-size", "200M", url, cwd=tmp_path)
    part = tmp_path / "f.bin.part"
    held = part.stat().st_size
    part.unlink()
    assert done.code == PROTOCOL, done.said
    assert "--max-size" in done.said
    assert held <= 200 * MIB
    assert len(origin.requests) == 1
    assert "f.bin" not in names(tmp_path)


def test_a_body_that_decodes_without_end_is_cut_and_costs_no_memory(origin: Origin, tmp_path: Path) -> None:
    """A gibibyte of zeros in a mebibyte: many members of one mebibyte each, as RFC 1952 allows."""
    bomb = literal(gzip.compress(bytes(MIB)) * 1024, headers=(("Content-Encoding", "gzip"),))
    done = ended("--no-env", "--max-size", "100M", origin.serve("/f.bin", bomb, repeat=True), cwd=tmp_path)
    assert done.code == PROTOCOL, done.said
    assert not list(tmp_path.glob("f.bin"))


def test_a_length_that_no_disk_has_is_refused_before_the_body(run_fetchq: RunFetchq, origin: Origin) -> None:
    done = run_fetchq("--no-env", origin.serve("/f.bin", ENDLESS))
    assert done.returncode == 3
    assert "needs 1.0 TiB more" in done.stderr
    origin.settle()
    assert origin.sent < 20 * MIB


def test_chunk_extensions_within_the_bound_are_skipped(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, chunked(100, extension=";" + "x" * 1000))
    done = ended("--no-env", url, cwd=tmp_path)
    assert done.code == 0, done.said
    assert (tmp_path / "f.bin").read_bytes() == FILE.data


def test_many_connections_at_once_cost_no_memory_either(origin: Origin, tmp_path: Path) -> None:
    files = {f"/{number}.bin": generated(20 * MIB, seed=number % 2) for number in range(8)}
    urls = [origin.serve(path, file) for path, file in files.items()]
    done = ended("--no-env", "-j", "16", *urls, cwd=tmp_path)
    assert done.code == 0, done.said


LARGE = generated(3 * MIB)
JOBS: dict[str, list[Behaviour]] = {
    "small": [well],
    "large": [well],
    "cut off": [drop(MIB), well],
    "refused for a while": [status(503), well],
    "gone": [status(404)],
    "broken": [close_at_once],
}


@pytest.mark.parametrize("kind", JOBS)
def test_jobs_that_end_leave_nothing_to_the_garbage_collector(
    kind: str, origin: Origin, tmp_path: Path
) -> None:
    """Each cycle of a million jobs waits for a collection of the oldest objects, which hardly ever comes."""
    file = generated(1_000) if kind == "small" else LARGE
    urls = [origin.serve(f"/{number}.bin", file, *JOBS[kind]) for number in range(12)]
    settings = fetchq.Settings(network=fetchq.Network(env=False), retry=fetchq.Retry(retries=1, backoff=0.001))
    left: Counter[str] = Counter()

    async def main() -> None:
        async with fetchq.Downloader(settings, dir=tmp_path, jobs=1) as downloader:
            ended = 0
            async for _ in downloader.run(urls):
                ended += 1
                if ended == 2:
                    gc.collect()
                    gc.set_debug(gc.DEBUG_SAVEALL)
                elif ended == 10:
                    gc.collect()
                    gc.set_debug(0)
            assert ended == len(urls)
            kinds = [type(thing) for thing in gc.garbage]
            left.update(kind.__name__ for kind in kinds if kind.__module__.startswith("fetchq"))

    gc.disable()
    try:
        run(main())
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


@pytest.mark.parametrize(
    "answer",
    [None, b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\nno more", b"SSH-2.0\r\n\r\n"],
    ids=["nothing", "cut off", "no HTTP"],
)
@pytest.mark.parametrize("single", [False, True])
def test_a_failed_job_that_is_kept_keeps_no_connection(
    answer: bytes | None, single: bool, tmp_path: Path, made: list[weakref.ref[Connection]]
) -> None:
    """The buffer of a connection and what goes into the part are a thousand times what an error needs."""
    settings = fetchq.Settings(network=fetchq.Network(env=False), retry=fetchq.Retry(retries=1, backoff=0.001))
    failed: list[fetchq.FetchError | None] = []

    async def main() -> None:
        async with (
            raw_server.serving(lambda _: answer) as server,
            fetchq.Downloader(settings, dir=tmp_path) as downloader,
        ):
            if single:
                with pytest.raises(fetchq.FetchError) as caught:
                    await downloader.fetch(server.url)
                failed.append(caught.value)
            else:
                failed.extend([result.error async for result in downloader.run([server.url])])
        assert failed[0] is not None

    run(main())
    gc.collect()
    assert made
    assert not [connection for connection in made if connection() is not None]
