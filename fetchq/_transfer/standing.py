"""What the answers and failures of a transfer mean for the host that it asks."""

from __future__ import annotations

import math
import weakref
from typing import Protocol

from .._errors import AuthenticationError, FetchError, ProtocolError, StatusError
from .._events import Waiting, Warned
from .._hosts import LONG_WAIT, trouble
from .._models import Again
from .._units import duration
from .context import RunContext

__all__ = ["Standing"]

# Times that a job is refused, and others not, by a host whose refusals pass, until that is taken for the job's.
_PASSING = 3


class _Asked(Protocol):
    """Whom a transfer asks now."""

    @property
    def host(self) -> str:
        """Its name, for messages."""

    @property
    def key(self) -> str:
        """What its connections are counted by."""


class Standing:
    """Reports to the hosts of the run, and asks them when the next attempt follows.

    :param asked: whom the transfer asks.
    :ivar error: that of the last attempt that failed.
    :ivar alone: the job has failed again although the host has answered others meanwhile.
    :ivar persistent: and the host has never answered one that it had refused before.
    """

    def __init__(self, asked: _Asked, context: RunContext) -> None:
        # Its owner: a reference would make a cycle, and keep each transfer until the garbage collector runs.
        self._asked = weakref.proxy(asked)
        self._context = context
        self._hosts = context.hosts
        # When the attempt or its last request began, and whether it has had a proper answer.
        self._began = 0.0
        self._answered = False
        self._failing_since = self._failed = context.clock()
        self._outlived = 0
        self.error: FetchError | None = None
        self.alone = self.persistent = False

    def begin(self) -> None:
        """Begin an attempt."""
        self._began, self._answered = self._context.clock(), False

    def asked(self) -> None:
        """Note that a request is made."""
        self._began = self._context.clock()
        self._hosts.asked(self._asked.key, self._began)

    def answered(self) -> None:
        """Note a proper answer."""
        self._answered = True
        key, now = self._asked.key, self._context.clock()
        refused = isinstance(self.error, StatusError) and trouble(self.error) is not None
        self._hosts.answered(key, self._began, now, relents=refused)

    def failed(self, error: FetchError, failures: int) -> None:
        """Note what the attempt's error says about the host.

        One that has answered, and broke off later, says nothing: what it brought was progress. Neither does one
        that fails again although the host has answered others meanwhile.

        :param failures: attempts of this job in a row without progress, this one included.
        """
        self.error, self.alone, self.persistent = error, False, False
        if self._answered:
            return
        hosts, key, now = self._hosts, self._asked.key, self._context.clock()
        kind, is_status = trouble(error), isinstance(error, StatusError)
        if kind is None:
            if isinstance(error, StatusError | AuthenticationError | ProtocolError):
                hosts.answered(key, self._began, now)
            return
        self._outlived = 0 if failures == 1 else self._outlived + hosts.has_answered(key, since=self._failed)
        self._failed = now
        passes = kind == "limit" or hosts.relents(key)
        if self._outlived >= (_PASSING if passes else 1) and (is_status or not hosts.away(key, now)):
            self.alone, self.persistent = True, not passes
            if is_status:
                hosts.faulted(key, self._began, now)
            return
        before = hosts.is_dead(key)
        held = self._context.budget.held(key)
        hosts.failed(key, error, began=self._began, now=now, held=held, again=failures > 1)
        if hosts.is_dead(key) and not before:
            answers = "answered nothing else" if is_status else "not answered"
            told = f"{self._asked.host} has {answers} for {duration(hosts.away(key, now))} and is given up"
            self._context.observe(Warned(0, f"{told}, the jobs that it was not asked for fail: {error}"))

    @property
    def is_given_up(self) -> bool:
        """Whether the host is not asked any more."""
        return self._hosts.is_dead(self._asked.key)

    def away(self, failures: int) -> float:
        """Return the seconds since this job, or any job of the host, last had an answer or progress.

        :param failures: attempts of this job in a row without progress.
        """
        now = self._context.clock()
        if failures == 1:
            self._failing_since = now
        return max(now - self._failing_since, self._hosts.away(self._asked.key, now))

    def again(self, wait: float, state: object) -> Again:
        """Return when the next attempt follows: in the host's line where that is closed, else after *wait*."""
        key = self._asked.key
        if self._hosts.is_closed(key) and not self.alone:
            return Again(self._hosts.opens_in(key, self._context.clock()), state, in_line=True, host=key)
        return Again(wait, state, host=key)

    def announce(self, number: int, error: FetchError, away: float, wait: float, lasts: float) -> None:
        """Announce a long wait, unless that was done for the host already.

        :param away: seconds since it began.
        :param wait: seconds until the next attempt.
        :param lasts: seconds for which attempts go on.
        """
        if away + wait <= LONG_WAIT:
            return
        until = self._context.now() + max(lasts, wait)
        if self._hosts.announce(self._asked.key, until, asked=error.retry_after is not None):
            known = None if math.isinf(until) else until
            self._context.observe(Waiting(number, self._asked.host, error, wait, known))
