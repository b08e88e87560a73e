"""Several connections for one file: who fetches what, and what becomes of those that fail."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import fetchq
from fetchq._transfer import segmented, segments

from ..conftest import run
from ..origin import (
    Behaviour,
    Origin,
    Resource,
    change,
    close_at_once,
    crowded,
    drop,
    etag_per_request,
    generated,
    header,
    ignore_range,
    reset,
    stall,
    status,
    throttle,
    well,
    wrong_start,
)

MIB = 1 << 20
FILE = generated(4 * MIB)
RATE = 1_000_000.0

SPLITTING = fetchq.Settings(
    network=fetchq.Network(read_timeout=8, env=False),
    retry=fetchq.Retry(retries=3, backoff=0.0),
    queue=fetchq.Queue(jobs=4, connections=4),
)


def fetch(url: str, folder: Path, settings: fetchq.Settings = SPLITTING) -> tuple[fetchq.Result, int]:
    """Fetch *url*; give the result and the most connections that were at work at once."""
    most = [0]

    def watch(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.Progressed):
            most[0] = max(most[0], event.connections)

    async def main() -> fetchq.Result:
        async with fetchq.Downloader(settings, dir=folder, observers=[watch]) as downloader:
            results = [result async for result in downloader.run([url])]
        return results[0]

    return run(main()), most[0]


def test_connections_that_were_named_are_all_opened_at_once(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, throttle(RATE), repeat=True)
    result, most = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert most == 4
    asked = {request.headers.get("range", "") for request in origin.requests[:4]}
    assert asked == {"", "bytes=1048576-2097151", "bytes=2097152-3145727", "bytes=3145728-"}
    assert result.received == len(FILE.data)


def test_a_slow_file_is_fetched_by_several(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, throttle(RATE), repeat=True)
    result, most = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert most == 4
    assert origin.peak <= 4
    assert result.attempts == len(origin.requests)


def test_one_connection_never_splits(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", generated(1 * MIB), throttle(RATE), repeat=True)
    settings = replace(SPLITTING, queue=fetchq.Queue(jobs=4, connections=1))
    result, most = fetch(url, tmp_path, settings)
    assert result.ok
    assert (most, len(origin.requests)) == (1, 1)


@pytest.mark.parametrize(
    "resource",
    [replace(FILE, etag='W/"weak"'), replace(FILE, etag=None)],
    ids=["weak tag", "date only"],
)
def test_without_a_strong_validator_nothing_is_split(resource: object, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", resource, throttle(3 * RATE), repeat=True)  # type: ignore[arg-type] # a table of resources
    result, most = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert most == 1


@pytest.mark.parametrize(
    ("says", "connections", "most"), [(None, 4, 4), (None, None, 1), ("none", 4, 2)], ids=str
)
def test_a_server_that_does_not_say_that_it_has_ranges_is_tried_where_connections_were_named(
    says: str | None, connections: int | None, most: int, origin: Origin, tmp_path: Path
) -> None:
    resource = FILE if says is None else replace(FILE, ranges=False)
    url = origin.serve("/f.bin", resource, (throttle(RATE), header("Accept-Ranges", says)), repeat=True)
    settings = replace(SPLITTING, queue=fetchq.Queue(jobs=4, connections=connections))
    result, _ = fetch(url, tmp_path, settings)
    assert result.unwrap().sha256 == FILE.sha256
    assert min(len(origin.requests), 4) == most, "the end is divided once more"
    assert result.received == len(FILE.data)


def test_a_server_that_answers_one_request_at_a_time_is_left_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that gets no head while another moves is given up, long before the read timeout."""
    monkeypatch.setattr(segments, "ANSWER_SECONDS", 0.3)
    with one_at_a_time(FILE, RATE) as url:
        result, most = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert most == 4
    assert result.received == len(FILE.data)
    # The server's own count would be of requests too whose connections had been given up.
    assert result.attempts == 4, "what the first connection can bring is not asked for again"


@contextmanager
def one_at_a_time(resource: Resource, rate: float) -> Iterator[str]:
    """A server without threads: the next request is read when the one before has been answered."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers["Range"]
            first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "bytes=0-").groups()  # type: ignore[union-attr] # no other is asked for
            start, stop = int(first), int(last or resource.size - 1) + 1
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{resource.size}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"a"')
            self.end_headers()
            for at in range(start, stop, 50_000):
                self.wfile.write(resource.data[at : min(stop, at + 50_000)])
                time.sleep(50_000 / rate)

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *args: None  # type: ignore[method-assign] # a client that leaves is no error
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/f.bin"
        server.shutdown()
        thread.join(5)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("refused with 503", status(503)),
        ("refused with 429", status(429)),
        ("forbidden", status(403)),
        ("answered with everything", ignore_range),
        ("closed", close_at_once),
        ("another place", wrong_start(+100)),
        ("an earlier place", wrong_start(-100)),
        ("another entity tag", etag_per_request),
    ],
)
def test_a_server_that_minds_is_left_with_one_connection(
    name: str, instead: Behaviour, origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/f.bin", FILE, (throttle(2 * RATE), crowded(1, instead)), repeat=True)
    result, _ = fetch(url, tmp_path)
    assert result.error is None, name
    assert result.sha256 == FILE.sha256
    assert 2 <= result.attempts <= 4
    assert result.received == len(FILE.data)


def test_a_limit_of_two_connections_is_lived_with(origin: Origin, tmp_path: Path) -> None:
    """And used to the end: what two were refused is divided among the two that were not."""
    limited = (throttle(RATE), crowded(2, status(503)))
    url = origin.serve("/f.bin", FILE, limited, repeat=True)
    result, _ = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert result.received == len(FILE.data)
    bodies = [request for request in origin.requests if request.sent > segments.LEAST_SPAN // 2]
    assert len(bodies) > 2
    assert len(origin.requests) - len(bodies) == 2


def test_a_span_that_breaks_off_is_finished_by_another(origin: Origin, tmp_path: Path) -> None:
    cut = (throttle(RATE), reset(after=200_000))
    url = origin.serve("/f.bin", FILE, throttle(RATE), cut, cut, throttle(RATE), repeat=True)
    result, _ = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert result.received == len(FILE.data)


def test_a_span_that_stalls_is_taken_over(origin: Origin, tmp_path: Path) -> None:
    large = generated(16 * MIB)
    url = origin.serve(
        "/f.bin", large, throttle(RATE), (throttle(RATE), stall(after=100_000)), throttle(RATE), repeat=True
    )
    result, _ = fetch(url, tmp_path)
    assert result.unwrap().sha256 == large.sha256


def test_another_version_behind_one_span_restarts_the_whole(origin: Origin, tmp_path: Path) -> None:
    newer = replace(generated(4 * MIB, seed=9), etag='"newer"', last_modified="Tue, 02 Jan 2024 00:00:00 GMT")
    url = origin.serve("/f.bin", FILE, throttle(RATE), change(newer), well)
    result, _ = fetch(url, tmp_path)
    assert result.unwrap().sha256 == newer.sha256


def test_a_segment_goes_on_only_where_the_bytes_before_it_are_the_servers(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags and dates that stay the same while the file is replaced, between two connections for one segment."""
    monkeypatch.setattr(segmented, "QUIET_SECONDS", 0.05)
    newer = replace(generated(4 * MIB, seed=9), etag=FILE.etag, last_modified=FILE.last_modified)
    broken = (throttle(RATE), drop(after=300_000))
    url = origin.serve("/f.bin", FILE, throttle(RATE), broken, *[change(newer)] * 8)
    settings = replace(SPLITTING, queue=fetchq.Queue(jobs=2, connections=2))
    result, _ = fetch(url, tmp_path, settings)
    assert result.unwrap().sha256 == newer.sha256


def test_a_split_download_that_was_broken_off_resumes_as_one(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, throttle(RATE), repeat=True)

    async def broken_off() -> None:
        def watch(event: fetchq.Event) -> None:
            if isinstance(event, fetchq.Progressed) and event.connections > 2 and event.have > MIB:
                downloader.stop()

        async with fetchq.Downloader(SPLITTING, dir=tmp_path, observers=[watch]) as downloader:
            assert [result async for result in downloader.run([url])] == []

    run(broken_off())
    had = len(origin.requests)
    origin.settle()
    before = origin.sent
    origin.serve("/f.bin", FILE)
    result, _ = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert result.status == "resumed"
    assert had > 1
    assert result.received < len(FILE.data) - MIB // 2
    assert before > 0
