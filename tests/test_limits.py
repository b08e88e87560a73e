"""Whatever a server does without end, we end: each bound is on by default, and each is a clean failure."""

from __future__ import annotations

import gzip
import math
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

import fetchq

from .bench.measure import Run
from .bench.measure import run as measure
from .conftest import RunFetchq, clean_env, run
from .origin import (
    Answer,
    Behaviour,
    Cut,
    Origin,
    Resource,
    black_hole,
    chunked,
    close_delimited,
    drip,
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
)

MIB = 1 << 20
FILE = generated(300_000)
NETWORK, PROTOCOL, STATUS = 4, 7, 8
# What a process of ours may take at its peak, whatever a server sends.
MOST_MEMORY = 120 * MIB
ONCE = ["--retries", "1", "--no-env"]
SHORT = [*ONCE, "--timeout", "0.4"]


@dataclass(frozen=True)
class Zeros:
    """A body of any length that costs its server nothing."""

    size: int

    def read(self, start: int, stop: int) -> bytes:
        return bytes(min(stop, self.size) - start)


ENDLESS = Resource(Zeros(1 << 40))


def ended(*words: str | Path, cwd: Path) -> Run:
    """Run ``fetchq`` to its end; give how it ended, and what it cost."""
    env = clean_env({"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / "config")})
    done = measure([sys.executable, "-m", "fetchq", *map(str, words)], cwd=cwd, env=env, bound=40)
    assert "Traceback" not in done.said
    assert done.peak < MOST_MEMORY
    return done


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def flood(head: bytes, piece: bytes, every: float = 0.0) -> Behaviour:
    """Sends *head*, then *piece* again and again."""

    def pieces() -> Iterator[bytes]:
        yield head
        while True:
            # In the way of this origin's other connections; no test has any.
            time.sleep(every)
            yield piece

    def apply(answer: Answer) -> None:
        answer.raw = cast("tuple[bytes, ...]", pieces())

    return apply


def then_nothing(data: bytes) -> Behaviour:
    """Sends *data*, and keeps the connection."""

    def apply(answer: Answer) -> None:
        answer.raw, answer.cut = (data,), Cut(0, "stall")

    return apply


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
KIB = b"x" * 1024


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
    assert 0 < retry.retry_after_max <= 3600
    assert 0 < queue.lookahead < 1 << 20
    assert 0 < queue.waiting < 1 << 20
    assert fetchq.Disk().min_free > 0


HEADS: dict[str, tuple[Behaviour, int]] = {
    "one huge header": (huge_headers(MIB), PROTOCOL),
    "too many headers": (many_headers(1000), PROTOCOL),
    "a head without end": (endless_headers, PROTOCOL),
    "a header without end": (flood(b"HTTP/1.1 200 OK\r\nX: ", KIB), PROTOCOL),
    "a status line without end": (flood(b"HTTP/1.1 200 ", KIB), PROTOCOL),
    "something without end that is no HTTP": (flood(b"", KIB), PROTOCOL),
    "interim answers without end": (informational(count=None), PROTOCOL),
    "interim answers with large heads": (
        flood(b"", b"HTTP/1.1 103 Hints\r\nX: " + KIB + b"\r\n\r\n"),
        PROTOCOL,
    ),
    "a length beyond every file": (header("Content-Length", "1" + "0" * 30), PROTOCOL),
    "redirects in a circle": (redirect("/f.bin"), PROTOCOL),
}
BODIES: dict[str, tuple[Behaviour, int]] = {
    "a chunk extension without end": (flood(CHUNKED + b"5;", KIB), PROTOCOL),
    "a chunk size without end": (flood(CHUNKED, b"0" * 1024), PROTOCOL),
    "trailers without end": (flood(CHUNKED + b"5\r\nhello\r\n0\r\n", b"X: y\r\n"), PROTOCOL),
    "a trailer without end": (flood(CHUNKED + b"5\r\nhello\r\n0\r\nX: ", KIB), PROTOCOL),
    "an error page without end": (flood(b"HTTP/1.1 404 No\r\n\r\n", KIB), STATUS),
    "a redirect's page without end": (flood(b"HTTP/1.1 302 No\r\nLocation: /gone\r\n\r\n", KIB), STATUS),
}


@pytest.mark.parametrize("case", [*HEADS, *BODIES])
def test_what_has_no_end_is_ended(origin: Origin, tmp_path: Path, case: str) -> None:
    """With nothing but the defaults, and without asking again for what will not get better."""
    behaviour, code = (HEADS | BODIES)[case]
    url = origin.serve("/f.bin", FILE, behaviour, repeat=True)
    done = ended("--no-env", url, cwd=tmp_path)
    assert done.code == code, done.said
    assert len(done.said.splitlines()) == 1, "one sentence"
    assert done.said.startswith("failed   http://127.0.0.1")
    assert len(origin.asked("/f.bin")) == (21 if case == "redirects in a circle" else 1)
    assert not (tmp_path / "f.bin").exists()
    origin.settle()


UNWANTED: dict[str, Behaviour] = {
    "a redirect's page that drips": flood(b"HTTP/1.1 302 No\r\nLocation: /g.bin\r\nContent-Length: 99\r\n\r\n", b"x", 0.05),
    "a redirect's page that never comes": together(redirect("/g.bin"), stall(after=0)),
    "a challenge without end": flood(b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n', KIB),
}  # fmt: skip


@pytest.mark.parametrize("case", UNWANTED)
def test_a_page_that_nobody_wants_holds_up_nothing(origin: Origin, tmp_path: Path, case: str) -> None:
    origin.serve("/g.bin", FILE)
    url = origin.serve("/f.bin", FILE, UNWANTED[case])
    done = ended("--no-env", "-u", "bob:pw", "-o", "f.bin", url, cwd=tmp_path)
    assert done.code == 0, done.said
    assert (tmp_path / "f.bin").read_bytes() == FILE.data


WAITS: dict[str, Behaviour] = {
    "no answer": hang,
    "a head that drips": slow_headers(1, 0.05),
    "interim answers that drip": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "nothing behind the head": stall(after=0),
    "nothing behind the first bytes": stall(after=100_000),
    "a chunk size that never ends its line": then_nothing(CHUNKED + b"5"),
}


@pytest.mark.parametrize("case", WAITS)
def test_no_wait_is_without_a_bound(origin: Origin, tmp_path: Path, case: str) -> None:
    url = origin.serve("/f.bin", FILE, WAITS[case], repeat=True)
    done = ended(*SHORT, url, cwd=tmp_path)
    assert done.code == NETWORK, done.said
    assert done.said.startswith("failed   http://127.0.0.1")
    assert not (tmp_path / "f.bin").exists()


def test_a_connection_that_nobody_takes(tmp_path: Path) -> None:
    with black_hole() as port:
        done = ended(*SHORT, f"http://127.0.0.1:{port}/", cwd=tmp_path)
    assert done.code == NETWORK
    assert "--connect-timeout" in done.said


def test_a_handshake_that_never_comes(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = ended(*SHORT, f"https://127.0.0.1:{silent.getsockname()[1]}/", cwd=tmp_path)
    assert done.code == NETWORK
    assert "--connect-timeout" in done.said


# --- what is slow on purpose


def fetch(url: str, folder: Path, **changes: object) -> tuple[fetchq.Result, list[fetchq.Event]]:
    settings = fetchq.Settings(
        network=fetchq.Network(env=False, read_timeout=2, min_speed=1000, min_speed_window=0.3),
        retry=replace(fetchq.Retry(retries=2, backoff=0), **changes),  # type: ignore[arg-type]  # a Retry's fields
        queue=fetchq.Queue(connections=1),
    )
    events: list[fetchq.Event] = []

    async def main() -> fetchq.Result:
        async with fetchq.Downloader(settings, dir=folder, observers=[events.append]) as downloader:
            return [result async for result in downloader.run([url])][0]

    return run(main()), events


@pytest.mark.parametrize(
    "how", [drip(1, 0.05), together(chunked(1), drip(1, 0.05)), together(close_delimited, drip(1, 0.05))]
)
def test_a_byte_now_and_then_is_too_slow(origin: Origin, tmp_path: Path, how: Behaviour) -> None:
    """Every read succeeds, so that no read timeout ever ends it."""
    result, events = fetch(origin.serve("/f.bin", generated(5 * MIB), how, repeat=True), tmp_path, retries=1)
    assert isinstance(result.error, fetchq.TooSlowError)
    assert result.error.exit_code == NETWORK
    assert result.error.transient
    assert not (tmp_path / "f.bin").exists()
    assert "less than --min-speed" in str(result.error)


def test_a_server_cannot_ask_for_any_wait_it_likes(origin: Origin, tmp_path: Path) -> None:
    for asked in ("99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"):
        url = origin.serve("/f.bin", FILE, status(503, retry_after=asked))
        result, events = fetch(url, tmp_path, retry_after_max=0.01)
        assert result.ok
        waits = [event.wait for event in events if isinstance(event, fetchq.AttemptFailed)]
        assert waits == [0.01]


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
