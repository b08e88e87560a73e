"""Which connection fetches which bytes: decided by a hand-set clock, without a connection."""

from __future__ import annotations

import pytest

from fetchq._models import Span
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

MIB = 1 << 20
RATE = 1_000_000.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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
