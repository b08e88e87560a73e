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
from fetchq._models import Span
from fetchq._transfer import segments
from fetchq._transfer.segments import (
    ANSWER_SECONDS,
    BURST,
    LEAST_SPAN,
    STALL_SECONDS,
    UNKNOWN_END,
    WORTH_OPENINGS,
    WORTH_SECONDS,
    Segment,
    SegmentQueue,
)

from ..conftest import run
from ..origin import (
    Behaviour,
    Origin,
    Resource,
    change,
    close_at_once,
    crowded,
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


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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


def one_segment(clock: Clock, have: int, length: int = 100 * MIB) -> tuple[SegmentQueue, Segment]:
    """A file whose first connection has brought *have* bytes in its first second."""
    segments = SegmentQueue(length, lambda: (), clock)
    first = segments.start(0, length)
    clock.now, first.position = clock.now + 1, have
    segments.sample()
    return segments, first


def test_each_connection_takes_an_equal_share_so_that_all_end_together() -> None:
    segments, first = one_segment(Clock(), 20 * MIB)
    taken = [segments.split(share=1.0) for _ in range(4)]
    assert [(segment.position, segment.stop) for segment in taken if segment is not None] == [
        (80 * MIB, 100 * MIB),
        (60 * MIB, 80 * MIB),
        (40 * MIB, 60 * MIB),
    ]
    assert (first.position, first.stop) == (20 * MIB, 40 * MIB)


def test_a_segment_that_is_judged_by_the_others_is_divided_too() -> None:
    segments, _ = one_segment(Clock(), 20 * MIB)
    young = segments.split(share=2.0)
    assert young is not None
    assert young.rate is None
    assert segments.longest == 2.0
    assert segments.work == 4.0
    assert segments.split(share=1.0) is not None


def test_nothing_is_divided_before_a_rate_is_known_or_assumed() -> None:
    segments = SegmentQueue(100 * MIB, lambda: (), Clock())
    segments.start(0, 100 * MIB)
    assert segments.split(share=0.0) is None
    segments.assumed = RATE
    assert segments.split(share=1.0) is not None


@pytest.mark.parametrize(
    ("have", "share", "opening", "worth"),
    [
        (20 * MIB, 1.0, 0.0, True),
        (20 * MIB, 4.0 - 0.9 * WORTH_SECONDS, 0.0, False),
        (20 * MIB, 1.0, 3.5 / WORTH_OPENINGS, False),
        (60 * MIB, 0.1, 0.0, False),
    ],
    ids=["worth it", "an equal share itself", "dear to open", "fast and nearly done"],
)
def test_what_is_not_worth_a_connection_is_left_alone(
    have: int, share: float, opening: float, worth: bool
) -> None:
    segments, _ = one_segment(Clock(), have)
    assert (segments.split(share, opening) is not None) == worth


def test_a_fast_connection_is_divided_once_that_promises_more() -> None:
    clock = Clock()
    segments, first = one_segment(clock, 60 * MIB, 1000 * MIB)
    first.began = clock.now
    assert segments.split(share=1.0) is None, "it has only begun"
    first.began = clock.now - 1
    assert segments.split(share=1.0) is not None


@pytest.mark.parametrize(
    ("have", "share", "piece"),
    [(20 * MIB, 0.0, 4 * MIB), (20 * MIB, 0.5, 10 * MIB), (20 * MIB, 3.0, 20 * MIB)],
    ids=["no less than is worth it", "a share", "what is beyond the share"],
)
def test_how_much_a_new_connection_takes(have: int, share: float, piece: int) -> None:
    segments, first = one_segment(Clock(), have)
    taken = segments.split(share)
    assert taken is not None
    assert (taken.stop - taken.position, first.stop) == (piece, 100 * MIB - piece)


def test_of_a_short_remainder_half_is_taken() -> None:
    segments, first = one_segment(Clock(), 20 * MIB, 26 * MIB)
    taken = segments.split(share=0.0)
    assert taken is not None
    assert first.stop == taken.position == 23 * MIB


def test_the_smallest_file_that_is_split() -> None:
    segments, _ = one_segment(Clock(), 1000, 1000 + 2 * LEAST_SPAN)
    assert segments.split(share=0.0) is not None


@pytest.mark.parametrize(
    ("positions", "rate"),
    [
        ([10], 10.0),
        ([10, 40], 20.0),
        ([0, 30], None),
        ([0, 30, 90, 100], 35.0),
        ([1000] * 6, 1000 / 6 / BURST),
        ([0, 100, *[1100] * 6], 1000 / 6 / BURST),
    ],
    ids=["first", "smoothed", "waited", "after a wait", "a burst", "a burst after a wait"],
)
def test_the_rate_of_a_connection(positions: list[int], rate: float | None) -> None:
    """Measured once a second, and twice at the same moment."""
    clock = Clock()
    segments = SegmentQueue(10_000, lambda: (), clock)
    segment = segments.start(0, 10_000)
    for position in positions:
        clock.now, segment.position = clock.now + 1, position
        segments.sample()
        segments.sample()
    assert segment.rate == (None if rate is None else pytest.approx(rate))


def test_a_young_segment_is_judged_by_the_mean_of_the_others() -> None:
    segments = SegmentQueue(60 * MIB, lambda: (), Clock())
    for start, rate in ((0, 1e6), (20 * MIB, 3e6), (40 * MIB, None)):
        segments.start(start, start + 20 * MIB).rate = rate
    assert segments.longest == pytest.approx(20 * MIB / 1e6)
    assert segments.work == pytest.approx(20 * MIB * (1 / 1e6 + 1 / 3e6 + 1 / 2e6))


def test_a_file_of_unknown_length_is_not_divided() -> None:
    segments = SegmentQueue(UNKNOWN_END, lambda: (), Clock())
    segments.assumed = RATE
    segment = segments.start(0, UNKNOWN_END)
    assert (segment.bounded, segment.left, segments.work) == (False, 0, 0.0)
    assert segments.split(share=0.0) is None


def test_how_long_an_answer_took_says_nothing_of_its_rate() -> None:
    clock = Clock()
    segments = SegmentQueue(100 * MIB, lambda: (), clock)
    segment = segments.start(0, 100 * MIB)
    for have in (0, 1 * MIB, 11 * MIB):
        clock.now, segment.position = clock.now + 1, have
        segments.sample()
    assert segment.rate == 10 * MIB


def test_a_hole_that_a_failed_connection_left_comes_first() -> None:
    clock = Clock()
    written: list[Span] = [Span(0, 10)]
    segments = SegmentQueue(100, lambda: tuple(written), clock)
    first = segments.start(10, 60)
    segments.start(60, 100)
    segments.release(first)
    taken = segments.start_missing()
    assert taken is not None
    assert (taken.position, taken.stop) == (10, 60)


def test_a_connection_that_stands_still_is_noticed_while_another_moves() -> None:
    clock = Clock()
    segments = SegmentQueue(100 * MIB, lambda: (), clock)
    still = segments.start(0, 50 * MIB)
    moving = segments.start(50 * MIB, 100 * MIB)
    clock.now += STALL_SECONDS + 1
    assert segments.stalled() is None, "all stand still: that is the network, not a connection"
    moving.moved = clock.now
    assert segments.stalled() is still


def test_a_connection_that_is_done_does_not_stall() -> None:
    clock = Clock()
    segments = SegmentQueue(100, lambda: (), clock)
    done, moving = segments.start(0, 50), segments.start(50, 100)
    done.position = 50
    clock.now += STALL_SECONDS + 1
    moving.moved = clock.now
    assert segments.stalled() is None


def test_a_pause_as_long_as_a_stall_is_none_yet() -> None:
    clock = Clock()
    segments = SegmentQueue(100, lambda: (), clock)
    segments.start(0, 50)
    moving = segments.start(50, 100)
    clock.now += STALL_SECONDS
    moving.moved = clock.now
    assert segments.stalled() is None


@pytest.mark.parametrize(
    ("stop", "position", "reach", "then"),
    [(40, 10, 100, 70), (40, 10, 60, 60), (40, 40, 100, 40), (30, 10, 100, 30)],
    ids=["to its end", "as far as the answer goes", "not by one that is done", "not by one elsewhere"],
)
def test_what_is_released_goes_to_an_answer_that_extends_into_it(
    stop: int, position: int, reach: int, then: int
) -> None:
    segments = SegmentQueue(100, lambda: (), Clock())
    first, second = segments.start(0, stop), segments.start(40, 70)
    segments.start(30, 40)
    segments.start(70, 100)
    first.position, first.reach = position, reach
    segments.release(second)
    assert first.stop == then


def test_small_pieces_are_not_split() -> None:
    segments, _ = one_segment(Clock(), 1, 2 * LEAST_SPAN)
    assert segments.split(share=0.0) is None
    assert segments.longest == 0.0, "so nobody else waits for it"


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


def test_who_waits_for_a_first_byte_while_another_receives() -> None:
    clock = Clock()
    queue = SegmentQueue(100 * MIB, lambda: (), clock)
    first, waiting = queue.start(0, 50 * MIB), queue.start(50 * MIB, 100 * MIB)
    clock.now += ANSWER_SECONDS + 1
    assert queue.unanswered(0.0) == [], "none receives: that is the network"
    first.position, first.moved = MIB, clock.now
    assert queue.unanswered(0.0) == [waiting]
    assert queue.unanswered(2.0) == [], "the first took as long"
    waiting.position += 1
    assert queue.unanswered(0.0) == []


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("refused with 503", status(503)),
        ("refused with 429", status(429)),
        ("forbidden", status(403)),
        ("answered with everything", ignore_range),
        ("closed", close_at_once),
        ("another place", wrong_start(+100)),
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


@pytest.mark.parametrize("earlier_first", [True, False])
def test_what_refused_connections_were_to_fetch_goes_back_to_their_neighbour(earlier_first: bool) -> None:
    segments, first = one_segment(Clock(), 20 * MIB)
    second, third = segments.split(share=1.0), segments.split(share=1.0)
    assert second is not None
    assert third is not None
    for refused in (second, third) if earlier_first else (third, second):
        segments.release(refused)
    assert first.stop == 100 * MIB
    assert not segments.holes()


def test_a_limit_of_two_connections_is_lived_with(origin: Origin, tmp_path: Path) -> None:
    """And used to the end: what two were refused is divided among the two that were not."""
    limited = (throttle(RATE), crowded(2, status(503)))
    url = origin.serve("/f.bin", FILE, limited, repeat=True)
    result, _ = fetch(url, tmp_path)
    assert result.unwrap().sha256 == FILE.sha256
    assert result.received == len(FILE.data)
    bodies = [request for request in origin.requests if request.sent > LEAST_SPAN // 2]
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
