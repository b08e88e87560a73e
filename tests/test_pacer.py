"""How the rate of requests follows a server's limit: decided without a clock, tried against leaky buckets."""

from __future__ import annotations

import math

import pytest

from fetchq._pacer import Pacer, Tally, depends_on_rate

# Seconds in which a server answers.
TOOK = 0.005


class Bucket:
    """nginx's ``limit_req``: *burst* requests beyond the first at once, and *rate* a second."""

    def __init__(self, rate: float, burst: int = 0) -> None:
        self.rate = rate
        self.burst = burst
        self.refused = 0
        self._excess = 0.0
        self._last = 0.0

    def takes(self, now: float) -> bool:
        excess = max(0.0, self._excess - (now - self._last) * self.rate)
        if excess > self.burst + 1e-9:
            self.refused += 1
            return False
        self._excess, self._last = excess + 1, now
        return True


def asked(bucket: Bucket, requests: int, pause: float, pacer: Pacer | None = None, now: float = 0.0) -> float:
    """Ask until so many were answered; the time then."""
    pacer = pacer or Pacer()
    done = 0
    while done < requests:
        pacer.asked(now)
        if bucket.takes(now):
            pacer.accepted(now, now + TOOK)
            done += 1
            now = max(now + TOOK, pacer.next)
        else:
            pacer.refused(now)
            now += pause
    return now


@pytest.mark.parametrize(
    ("bucket", "requests", "pause", "seconds", "refused"),
    [
        # Who knows the limit needs 20 s for 400 requests.
        (Bucket(20), 400, 5, 35, 2),
        (Bucket(20, 5), 400, 5, 36, 3),
        (Bucket(20, 50), 400, 5, 28, 3),
        (Bucket(20), 400, 1, 28, 2),
        (Bucket(20), 4000, 5, 240, 6),
        (Bucket(1), 60, 5, 95, 6),
        (Bucket(1 / 3), 20, 5, 100, 7),
        (Bucket(100, 10), 2000, 1, 28, 3),
    ],
)
def test_a_limit_is_found_with_few_refusals(
    bucket: Bucket, requests: int, pause: float, seconds: float, refused: int
) -> None:
    assert asked(bucket, requests, pause) <= seconds
    assert bucket.refused <= refused


def test_a_limit_that_changes_is_followed() -> None:
    bucket, pacer = Bucket(20), Pacer()
    now = asked(bucket, 400, 5, pacer)
    bucket.rate, bucket.refused = 2.0, 0
    later = asked(bucket, 100, 5, pacer, now)
    assert bucket.refused <= 6
    assert later - now < 100
    bucket.rate = 1e9
    assert asked(bucket, 2000, 5, pacer, later) - later < 200


def refused_once() -> Pacer:
    pacer = Pacer()
    pacer.asked(0.0)
    pacer.refused(0.0)
    return pacer


def test_a_host_that_takes_more_than_is_ever_asked_is_no_longer_paced() -> None:
    pacer = refused_once()
    for n in range(2000):
        pacer.asked(n)
        pacer.accepted(n, n + TOOK)
    assert pacer.rate is None


def test_the_answer_to_an_earlier_request_says_nothing_of_the_last() -> None:
    pacer = refused_once()
    pacer.asked(9.0)
    pacer.accepted(9.0, 9.0 + TOOK)
    pacer.asked(10.0)
    pacer.asked(11.0)
    pacer.accepted(10.0, 12.0)
    assert pacer.next == 11.0 + 2 * pacer.gap


def test_nothing_is_paced_before_a_refusal() -> None:
    pacer = Pacer()
    for n in range(1000):
        pacer.accepted(n / 1000, n / 1000)
    assert (pacer.rate, pacer.gap, pacer.next) == (None, 0.0, -math.inf)


@pytest.mark.parametrize(
    ("answered", "after", "rate"),
    [
        # What came at once says how many may, and nothing about the rate.
        (0, 0.0, 2.0),
        (5, 0.25, 2.0),
        # A second and more of answers do: half of that many; not where they are few.
        (100, 5.0, 10.0),
        (1, 1.5, 2.0),
    ],
)
def test_the_rate_after_the_first_refusal(answered: int, after: float, rate: float) -> None:
    pacer = Pacer()
    for n in range(answered):
        pacer.accepted(n / 20, n / 20)
    pacer.refused(after)
    assert (pacer.rate, pacer.limit) == (rate, None)


def test_a_refusal_for_another_reason_is_soon_forgotten() -> None:
    bucket, pacer = Bucket(20), Pacer()
    pacer.refused(0.0)
    pacer.refused(0.5)
    assert pacer.rate == 1.0
    assert asked(bucket, 400, 5, pacer, 5.0) < 70


def test_however_often_a_host_refuses_it_is_asked_every_twenty_seconds() -> None:
    pacer = Pacer()
    for n in range(50):
        pacer.refused(n)
    assert pacer.gap == 20.0


def test_the_rate_is_halved_comes_back_and_creeps() -> None:
    pacer = Pacer()
    pacer.refused(0.0)
    pacer.rate, now = 20.0, 5.0
    for n in range(40):
        pacer.rate = 20.0
        pacer.accepted(now + n / 20, now + n / 20)
    pacer.rate = 20.0
    pacer.refused(7.0)
    assert (pacer.limit, pacer.rate) == (20.0, 10.0)
    assert pacer.proven == 19.0, "as many as it is certain of, but less than was refused"
    for _ in range(9):
        pacer.accepted(12.0, 12.0)
    assert pacer.rate == 19.0
    for _ in range(19):  # those of a second
        pacer.accepted(13.0, 13.0)
    assert pacer.rate == pytest.approx(19 + 1 / 120, abs=1e-4)


@pytest.mark.parametrize(
    ("quickest", "answered", "following"),
    [
        # Where answers are quick, the next request waits for the last one's, up to another 50 ms.
        (0.002, None, 0.1),
        # Answered as quickly as ever: it was not late.
        (0.002, 10.002, 0.05),
        # Thirty milliseconds later than ever: so was the request, it may be.
        (0.002, 10.032, 0.08),
        # A slow server's answers say nothing of that.
        (0.5, None, 0.05),
        (0.04, None, 0.05),
    ],
)
def test_a_request_that_was_late_on_its_way_delays_the_next(
    quickest: float, answered: float | None, following: float
) -> None:
    pacer = Pacer()
    pacer.refused(0.0)
    pacer.accepted(5.0, 5.0 + quickest)
    pacer.rate = 20.0
    pacer.asked(10.0)
    if answered is not None:
        pacer.accepted(10.0, answered)
        pacer.rate = 20.0
    assert pacer.next == pytest.approx(10.0 + following)


# --- whether a rate is of use


@pytest.mark.parametrize(
    ("free", "paced", "depends"),
    [
        # A limit of 20 a second: hardly any is answered at once, and most are at a rate near it.
        ((2, 14), (40, 8), True),
        # One that is met by a few requests more than it takes, and by none any more.
        ((90, 10), (30, 0), True),
        # A much lower one: also at half of the rate most are refused, but twice as many are answered.
        ((10, 90), (20, 80), True),
        # Every second, or every fifth one, at any rate.
        ((50, 50), (8, 8), False),
        ((80, 20), (13, 3), False),
        ((10, 90), (11, 89), False),
        # It is worse now.
        ((80, 20), (10, 10), False),
        # Too few to say.
        ((50, 50), (8, 7), True),
        ((8, 7), (50, 50), True),
        ((0, 0), (0, 0), True),
    ],
)
def test_whether_refusals_depend_on_the_rate(
    free: tuple[int, int], paced: tuple[int, int], *, depends: bool
) -> None:
    assert depends_on_rate(Tally(*free), Tally(*paced)) is depends


def test_old_requests_count_less_and_less() -> None:
    tally = Tally()
    for _ in range(1000):
        tally.add(refused=True)
    assert tally.answered + tally.refused <= 100
    for _ in range(1000):
        tally.add(refused=False)
    assert tally.answered + tally.refused <= 100
    assert tally.odds > 100
