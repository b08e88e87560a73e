"""What the failures of one job mean for its host, and for the job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from fetchq._connections import Budget
from fetchq._errors import FetchError, NetworkError, StatusError
from fetchq._hosts import Hosts
from fetchq._transfer.standing import Standing

LIMIT = StatusError("too often", status=429, transient=True)
BUSY = StatusError("busy", status=503, transient=True)
GONE = NetworkError("gone")


@dataclass
class Asked:
    host: str = "a"
    key: str = "a"


@dataclass
class Surroundings:
    """As much of a run's context as counts here; the clock stands still until it is told."""

    hosts: Hosts = field(default_factory=Hosts)
    budget: Budget = field(default_factory=lambda: Budget(8, 8))
    now: float = 0.0

    def clock(self) -> float:
        return self.now


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


def failures_until_alone(around: Surroundings, error: FetchError) -> int:
    """How often a job fails until it is taken for the cause itself, if its host answers another each time."""
    asked = Asked()
    standing = Standing(asked, cast("Any", around))
    failures = 0
    while not standing.alone:
        failures += 1
        around.now += 1.0
        standing.begin()
        standing.asked()
        standing.failed(error, failures)
        if not standing.alone:
            around.now += 100.0
            around.hosts.answered("a", around.now, around.now)
    return failures


@pytest.mark.parametrize(
    ("error", "relents", "failures"),
    [
        # That the host answers another one shows that this is not the host's.
        (BUSY, False, 2),
        (GONE, False, 2),
        # Refusals of a limit pass, and others where one has: not this one's, three times.
        (LIMIT, False, 4),
        (BUSY, True, 4),
    ],
)
def test_after_how_many_failures_a_job_is_the_cause(
    error: FetchError, relents: bool, failures: int, around: Surroundings
) -> None:
    around.hosts.answered("a", 0.0, 0.0, relents=relents)
    assert failures_until_alone(around, error) == failures


@pytest.mark.parametrize(("error", "grows"), [(BUSY, 1), (GONE, 0)])
def test_a_refusal_that_is_the_jobs_own_fault_is_an_answer_of_the_host(
    error: FetchError, grows: int, around: Surroundings
) -> None:
    """So its rate grows with it as with any other; no answer is none."""
    around.hosts.failed("a", LIMIT, began=0.0, now=0.0, held=1)
    around.hosts.answered("a", 0.0, 0.0)
    pacer = around.hosts.get("a").pacer
    rates = [pacer.rate]
    answered = around.hosts.answered

    def noted(*given: Any, **how: Any) -> None:
        answered(*given, **how)
        rates.append(pacer.rate)

    around.hosts.answered = noted  # type: ignore[method-assign]
    failures_until_alone(around, error)
    assert pacer.rate is not None
    assert rates[-1] is not None
    assert pacer.rate - rates[-1] == pytest.approx(grows)
