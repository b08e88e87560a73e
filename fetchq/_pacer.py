"""How many requests a second a host takes, learnt from those that it answers and those that it refuses.

Servers count requests with a leaky bucket (nginx's ``limit_req``, token buckets alike): so many at once, the
burst, and then so many a second. Nothing is paced until a host refuses. From then on the rate is halved at each
refusal, comes back quickly to what the answers prove that the host takes, and creeps from there. A host that
says nothing of a limit may fail at random as well: there a rate is of no use, and it has none.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import islice

__all__ = ["Pacer", "Tally", "depends_on_rate"]

# Requests a second beyond which no rate is kept: nothing waits for it any more.
_FAST = 1000.0
# Requests a second at which a host is asked that has refused at no known rate, and the least that it comes to.
_SLOW, _LEAST = 2.0, 0.05
# Seconds over which the first answers say what a host takes all the time, and not at once; and how many do.
_MEASURED, _ENOUGH = 1.0, 10
# Seconds from the rate that is proven to the one that was refused: a refusal costs the host's pause, often 5 s.
# The second where so few answers prove it that the refusal may have had another cause.
_CREEP, _DOUBT = 120.0, 20.0
# Shares of a refused rate: less than the first may do, more than the second shows that it is gone.
_BELOW, _ABOVE = 0.95, 1.02
# Answers to remember, and the shortest time in seconds that is looked at: what came at once was not paced.
_REMEMBERED, _SHORTEST = 256, 0.3
# Requests that say whether refusals depend on the rate, at least, and the most that are remembered.
_JUDGED, _TALLIED = 16, 100
# Times that the odds of an answer rise, at least, where a limit is asked half as often.
_RISE = 2.0


@dataclass(slots=True)
class Tally:
    """How many requests were answered, and how many refused; old ones count less and less."""

    answered: float = 0.0
    refused: float = 0.0

    def add(self, *, refused: bool) -> None:
        """Note how one more ended."""
        self.refused += refused
        self.answered += not refused
        if self.answered + self.refused > _TALLIED:
            self.answered /= 2
            self.refused /= 2

    @property
    def odds(self) -> float:
        """Answers for each refusal; as if there had been half of one more of both."""
        return (self.answered + 0.5) / (self.refused + 0.5)


def depends_on_rate(free: Tally, paced: Tally) -> bool:
    """Whether a host refuses because it is asked often; what fails at random does at any rate.

    Of *r* requests a second a limit answers *l* and refuses the rest: at half of the rate the odds of an answer
    are 2 (r - l) / (r - 2 l) times as good, twice or more. While too few were made it is taken for a limit.

    :param free: requests of a time without a rate.
    :param paced: those of a time with one.
    """
    known = min(tally.answered + tally.refused for tally in (free, paced)) >= _JUDGED
    return not known or paced.odds >= _RISE * free.odds


class Pacer:
    """The rate of one host.

    :ivar rate: requests a second; None for any.
    :ivar burst: how many at once it has answered, but for one, before it first refused.
    :ivar limit: the rate at which it has refused last; None if that is not known.
    :ivar proven: the rate that it takes for certain.
    """

    __slots__ = (
        "_answered",
        "_asked",
        "_count",
        "_creep",
        "_first",
        "_quickest",
        "_times",
        "burst",
        "limit",
        "proven",
        "rate",
    )

    def __init__(self) -> None:
        self.rate: float | None = None
        self.burst = 0
        self.limit: float | None = None
        self.proven = 0.0
        self._asked = self._answered = -math.inf
        self._creep = _CREEP
        # Seconds in which a request was answered, at least.
        self._quickest = math.inf
        # When the first was made of those that were answered before it first refused, and their number.
        self._first, self._count = 0.0, 0
        # When those were made that were answered since the last refusal; None before the first.
        self._times: deque[float] | None = None

    @property
    def gap(self) -> float:
        """Seconds between two requests."""
        return 0.0 if self.rate is None else 1 / self.rate

    @property
    def next(self) -> float:
        """When the next request may be made; minus infinity for any time.

        The last may have been late on its way, so that the next one would reach the server too soon after it.
        Where answers are quick they tell: they are waited for as long again.
        """
        if self.rate is None:
            return -math.inf
        gap = self.gap
        if self._answered >= self._asked:
            return max(self._asked, self._answered - self._quickest) + gap
        return self._asked + (2 * gap if 2 * self._quickest < gap else gap)

    def asked(self, now: float) -> None:
        """Note that a request is made now."""
        self._asked = now

    def accepted(self, asked: float, now: float) -> None:
        """Note that a request which was made then is answered now."""
        if self._times is not None:
            self._times.append(asked)
        else:
            self._first = self._first if self._count else asked
            self._count += 1
        self._quickest = min(self._quickest, now - asked)
        if asked >= self._asked:
            self._answered = now
        if self.rate is not None:
            rate = self._grown(self.rate)
            self.rate = rate if rate < _FAST else None

    def _grown(self, rate: float) -> float:
        """Return the rate after one more answer."""
        quick = rate + min(1.0, rate / 2)
        if self.limit is None or rate > _ABOVE * self.limit:
            return quick
        if rate < self.proven:
            return min(quick, self.proven)
        return rate + (self.limit - self.proven) / self._creep / rate

    def refused(self, now: float) -> None:
        """Note that a request is refused."""
        if self._times is None:
            self._times = deque(maxlen=_REMEMBERED)
            span = now - self._first if self._count else 0.0
            if span < _MEASURED:
                self.burst = max(0, self._count - 1)
            self.rate = self._count / span / 2 if span >= _MEASURED and self._count >= _ENOUGH else _SLOW
            return
        rate = self.rate
        if rate is None:
            self.rate, self.limit = _SLOW, None
        else:
            self.proven = min(_BELOW * rate, self._taken() or rate / 2)
            self._creep = _CREEP if len(self._times) >= _ENOUGH else _DOUBT
            self.limit, self.rate = rate, max(_LEAST, rate / 2)
        self._times.clear()

    def _taken(self) -> float:
        """Return the rate that the answers since the last refusal prove; 0 if they prove none.

        A leaky bucket lets no more requests through in any time than its burst and that time's share.
        """
        if not self._times:
            return 0.0
        last = self._times[-1]
        earlier = islice(reversed(self._times), 1, None)
        return max(
            ((n - self.burst) / (last - when) for n, when in enumerate(earlier, 1) if last - when >= _SHORTEST),
            default=0.0,
        )
