"""How each host may be asked: freely, within a window and a rate, later, with one request, or no more.

::

    open      as many requests as the window allows, no closer together than the rate
    closed    none until a time; then one, the probe, whose answer opens the host
    dead      none: its jobs fail together

A host closes when it says that it is asked too often, or when several requests in a row got no answer. What a
closed host leaves waiting is in line and spends no attempt. It opens slowly: the window and the rate are half
of what they were, and grow with each answer, slowly near the rate at which it was refused (additive increase
and multiplicative decrease, as TCP does by RFC 5681; RFC 6585 section 4). Times are seconds of one clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ._errors import FetchError, NetworkError, StatusError
from ._pacer import Pacer, Tally, depends_on_rate
from ._settings import Retry

__all__ = ["LONG_WAIT", "HostState", "Hosts", "Trouble", "trouble"]

# Seconds without news after which a person wonders whether the program still works.
LONG_WAIT = 5.0
# Hosts to remember: a queue may name any number of them.
MAX_HOSTS = 10_000

_ACCEPTED, _TOO_MANY = 202, 429
# Requests in a row without an answer that say something about the host: one or two are a mishap.
_REPEATED = 3
# Share of them that an answer leaves: with half of the requests refused there come to be so many too.
_FORGIVEN = 0.7
# First wait of a closed host in units of the backoff, 1 s; a limit without a time to wait has ten, 5 s, but no
# more than so many requests take at the new rate.
_STEP, _LIMIT_STEP, _LIMIT_GAPS = 2.0, 10.0, 10.0
# Waits within the patience with an outage, at least, so that a host that is back is noticed.
_PROBES_IN_PATIENCE = 6
# Multiples of it, less their whole part, lie far from each other, however many there are.
_GOLDEN = (5**0.5 - 1) / 2
# Seconds beyond which a job takes long, and the weight of the last that has ended in what jobs take.
_LONG_JOB, _WEIGHT = 5.0, 0.3

# Connections to a host that has not answered yet: whether it takes more at once, its first answer shows.
_TRIAL = 4.0

Trouble = Literal["limit", "outage"]


def trouble(error: FetchError) -> Trouble | None:
    """Return whether *error* says that a host is asked too often, or that it is away; None for neither."""
    if not error.transient:
        return None
    if isinstance(error, StatusError):
        if error.status == _ACCEPTED:
            return None
        limited = error.status == _TOO_MANY or error.retry_after is not None
        return "limit" if limited else "outage"
    return "outage" if isinstance(error, NetworkError) else None


@dataclass(slots=True)
class HostState:
    """What is known of a host.

    :param proven: it has answered before.
    :param answered_since: when the last request was made that it has answered.
    :param relents: it has answered a job that it had refused by a status before.
    :param window: connections that it may have.
    :param pacer: requests a second that it may get.
    :param limits: it has said itself that it is asked too often.
    :param free: how requests ended that were made while it was open and had no rate.
    :param paced: the same with one.
    :param until: when a closed host may be asked again, a dead one too.
    :param next_start: when the next request may start, by the rate.
    :param prober: number of the job that asks a closed host whether it is back.
    :param failures: requests in a row without an answer.
    :param since: when the first of these failed.
    :param probes: probes in a row that failed.
    :param spread: the first probe, too, is not to be the first job in line: that may be what is wrong.
    :param served: number of the job, of all that were started, with which it has had its last turn.
    :param running: jobs that run.
    :param mean: seconds that a job takes; None while that is not known.
    :param requests: how many were made.
    :param final: why it is dead.
    """

    state: Literal["open", "closed", "dead"] = "open"
    proven: bool = False
    answered_since: float = -math.inf
    relents: bool = False
    window: float = _TRIAL
    threshold: float = math.inf
    pacer: Pacer = field(default_factory=Pacer)
    limits: bool = False
    free: Tally = field(default_factory=Tally)
    paced: Tally = field(default_factory=Tally)
    closed: float = -math.inf
    until: float = -math.inf
    next_start: float = -math.inf
    prober: int | None = None
    failures: float = 0.0
    since: float | None = None
    probes: int = 0
    spread: bool = False
    served: int = 0
    running: int = 0
    mean: float | None = None
    requests: int = 0
    announced: float | None = None
    final: FetchError | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing is known of it that a later request would need."""
        quick = self.pacer.rate is None and math.isinf(self.threshold)
        return self.state == "open" and self.since is None and quick

    @property
    def heavy(self) -> bool:
        """Whether its jobs hold their connections for long: it is slow, or silent so far."""
        if self.mean is None:
            return self.running > 0 and not self.proven
        return not self.proven or self.mean > _LONG_JOB

    @property
    def is_quick(self) -> bool:
        """Whether its jobs are known to return their connections soon."""
        return self.mean is not None and not self.heavy

    @property
    def tally(self) -> Tally:
        """How requests ended that were made as it may be asked now."""
        return self.free if self.pacer.rate is None else self.paced

    def opens(self) -> float:
        """Return when the next request may start; infinity where that depends on an answer."""
        if self.prober is not None:
            return math.inf
        return max(self.until if self.state == "closed" else -math.inf, self.next_start, self.pacer.next)

    @property
    def place(self) -> float:
        """Where in its line the next job is to be taken from, as a share of it: 0 is the first.

        Probes are spread, but for the first after a limit: neighbours in a list may all be wrong.
        """
        return (self.probes + self.spread) * _GOLDEN % 1 if self.state == "closed" else 0.0

    def started(self, number: int, now: float, wait: float) -> None:
        """Note that the job *number* starts; *wait* is the least time to the next."""
        self.running += 1
        pause = max(wait, self.pacer.gap)
        if pause:
            self.next_start = now + pause
        if self.state == "closed":
            self.prober = number

    def ended(self, number: int, requests: int, now: float, took: float) -> None:
        """Note that the job *number* has ended, whatever came of it, after *took* seconds.

        :param requests: how many had been made when it started: where it made none, the next need not wait.
        """
        self.running -= 1
        self.mean = took if self.mean is None else self.mean + _WEIGHT * (took - self.mean)
        if self.prober == number:
            self.prober = None
        if self.requests == requests:
            self.next_start = min(self.next_start, now)

    def answered(self, began: float, now: float) -> None:
        """Note a proper answer now to a request that began then: a closed host opens."""
        if self.state != "open":
            if began < self.closed:
                return
            self.state, self.prober = "open", None
        else:
            self.tally.add(refused=False)
        # Where the answers and refusals of a limit alternate, there are never several of them in a row.
        self.failures *= _FORGIVEN if self.pacer.rate else 0
        self.probes = 0
        self.since = self.announced = None
        self.proven = True
        self.answered_since = max(self.answered_since, began)
        self.pacer.accepted(began, now)
        if math.isinf(self.threshold):
            self.window = math.inf
        else:
            self.window += 1.0 if self.window < self.threshold else 1 / self.window


class Hosts:
    """The hosts of a run, and what their answers mean for the next requests.

    :param policy: patience, and how waits grow.
    :param wait: seconds between two requests to a host, at least.
    :param random: returns a number in [0, 1).
    :ivar changed: called with the name of a host that may be asked otherwise than before.
    """

    def __init__(
        self, policy: Retry | None = None, *, wait: float = 0.0, random: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._policy = policy or Retry()
        self.wait = wait
        self._random = random
        self._hosts: dict[str, HostState] = {}
        self.changed: Callable[[str], None] = lambda _: None

    def get(self, name: str) -> HostState:
        """Return what is known of the host *name*."""
        host = self._hosts.get(name)
        if host is None:
            if len(self._hosts) >= MAX_HOSTS:
                self._forget()
            host = self._hosts[name] = HostState()
        return host

    def _forget(self) -> None:
        """Forget half of the hosts: those of which nothing is known, else those that were met first."""
        idle = [name for name, host in self._hosts.items() if not host.running]
        plain = [name for name in idle if self._hosts[name].is_plain]
        for name in (plain if len(plain) > MAX_HOSTS // 4 else idle)[: MAX_HOSTS // 2]:
            del self._hosts[name]

    def asked(self, name: str, now: float) -> None:
        """Note that a request is made now, which may be later than its job has started."""
        host = self.get(name)
        host.requests += 1
        if host.next_start > now:
            host.next_start = now + self.wait
        host.pacer.asked(now)

    def answered(self, name: str, began: float, now: float, *, relents: bool = False) -> None:
        """Note a proper answer of *name* now to a request that began then.

        :param relents: it had refused the same job by a status.
        """
        host = self.get(name)
        host.relents = host.relents or relents
        before = host.proven, host.state, host.window
        host.answered(began, now)
        if before != (host.proven, host.state, host.window):
            self.changed(name)

    def away(self, name: str, now: float) -> float:
        """Return the seconds since *name* has not answered."""
        since = self.get(name).since
        return 0.0 if since is None else now - since

    def has_answered(self, name: str, *, since: float) -> bool:
        """Whether *name* has answered a request that was made later than that."""
        return self.get(name).answered_since > since

    def relents(self, name: str) -> bool:
        """Whether *name* has answered a job that it had refused by a status before."""
        return self.get(name).relents

    def faulted(self, name: str, began: float, now: float) -> None:
        """Note an answer of *name* now that is the URL's fault: it is no reason to ask seldom."""
        self.get(name).pacer.accepted(began, now)

    def is_closed(self, name: str) -> bool:
        """Whether jobs for *name* wait in line."""
        return self.get(name).state == "closed"

    def is_dead(self, name: str) -> bool:
        """Whether *name* is given up."""
        return self.get(name).state == "dead"

    def opens_in(self, name: str, now: float) -> float:
        """Return the seconds for which a closed host is not asked."""
        host = self.get(name)
        return max(0.0, host.until - now) if host.state == "closed" else 0.0

    def failed(
        self, name: str, error: FetchError, *, began: float, now: float, held: int, again: bool = False
    ) -> None:
        """Note that a request to *name* failed in a way that says something about the host.

        :param held: its connections.
        :param again: the same job has failed before: it may be at fault, and says nothing of how often to ask.
        """
        kind = trouble(error)
        if kind is None:
            return
        host = self.get(name)
        host.since = now if host.since is None else host.since
        if host.state == "open":
            # The job's own fault, it may be; but not so often where requests are counted.
            own = again and isinstance(error, StatusError)
            if isinstance(error, StatusError):
                host.tally.add(refused=True)
            paced = host.pacer.rate is not None
            host.failures += paced or not own
            if kind == "limit" or host.failures >= _REPEATED:
                if not again or (paced and kind == "outage"):
                    self._slow(host, error, kind, now=now, held=held)
                self._close(host, error, kind, now, slowed=not again)
                self.changed(name)
        elif began < host.closed:
            # One of several that were under way when it closed.
            host.until = max(host.until, now + (self._asked(error) or 0.0))
        else:
            host.prober = None
            host.probes += 1
            self._close(host, error, kind, now)
            self.changed(name)

    def _asked(self, error: FetchError) -> float | None:
        asked = error.retry_after
        return None if asked is None or asked > self._policy.max_wait else asked

    def _slow(self, host: HostState, error: FetchError, kind: Trouble, *, now: float, held: int) -> None:
        """Halve the window, and the rate where the host seems to count requests; none where it does not."""
        again = host.relents or host.threshold < math.inf
        host.threshold = host.window = max(1.0, min(host.window, held) / 2)
        status = error.status if isinstance(error, StatusError) else 0
        if not status:
            host.window = 1.0
        host.limits = host.limits or kind == "limit"
        if not host.limits and not depends_on_rate(host.free, host.paced):
            host.pacer = Pacer()
        elif kind == "limit" or (status and again):
            host.pacer.refused(now)

    def _close(
        self, host: HostState, error: FetchError, kind: Trouble, now: float, *, slowed: bool = False
    ) -> None:
        """Close *host* for as long as it asks for, or for a step that grows, or give it up.

        :param slowed: it will be asked more seldom than it was.
        """
        policy = self._policy
        host.state, host.closed, host.failures = "closed", now, 0.0
        host.spread = kind == "outage"
        if host.probes >= self._most_probes and self._patience_is_over(host, now):
            host.state, host.final = "dead", error
            host.until = now + max(policy.backoff_max, policy.longest_outage)
            return
        asked = self._asked(error)
        first = policy.backoff * (_LIMIT_STEP if kind == "limit" and asked is None else _STEP)
        if slowed:
            first = min(first, max(policy.backoff * _STEP, _LIMIT_GAPS * host.pacer.gap))
        bound = min(policy.backoff_max, max(first, policy.longest_outage / _PROBES_IN_PATIENCE))
        step = min(bound, first * 2.0 ** min(host.probes, 32)) * (1 + self._random()) / 2
        if asked is not None:
            step = asked if host.probes == 0 else max(asked, step)
        host.until = now + step

    @property
    def _most_probes(self) -> float:
        """Probes in a row that may fail; no more than an impatient user allows each job."""
        retries = self._policy.retries
        return math.inf if math.isinf(retries) else min(self._policy.host_patience, retries)

    def _patience_is_over(self, host: HostState, now: float) -> bool:
        return now - (now if host.since is None else host.since) >= self._policy.longest_outage

    def revive(self, name: str, now: float) -> bool:
        """Whether the dead host *name* may be asked once more: it has been left alone for a while."""
        host = self.get(name)
        if host.state == "dead" and now >= host.until:
            host.state, host.final = "closed", None
        return host.state != "dead"

    def announce(self, name: str, until: float, *, asked: bool) -> bool:
        """Whether to announce a wait for *name*: once in an outage, and if it asks for more than was announced.

        :param until: when the wait ends.
        :param asked: the host itself named that time.
        """
        host = self.get(name)
        if host.announced is not None and not (asked and until > host.announced + LONG_WAIT):
            return False
        host.announced = until
        return True
