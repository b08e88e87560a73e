"""Status -> error; error and facts of an attempt -> what follows: the one place that decides on retries."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from ._errors import (
    AuthenticationError,
    ChangedError,
    ChecksumError,
    FetchError,
    NetworkError,
    ProtocolError,
    StatusError,
    TLSError,
)
from ._settings import Retry
from ._units import duration

__all__ = [
    "GOOD",
    "IDEMPOTENT",
    "SAFE",
    "Decision",
    "Failure",
    "decide",
    "error_for",
    "http_date",
    "wait_asked",
]

# Each 2xx whose body is the representation asked for, and those that nobody knows, which count as 200 (RFC 9110
# section 15); 206 is judged by its range. 202 says that the thing is not ready, 207 and 208 come with a report
# of several (RFC 4918), 226 with a difference (RFC 3229).
GOOD = frozenset(range(200, 300)) - {202, 207, 208, 226}

# RFC 9110 section 9.2.2 and IANA's registry: sending such a request twice has the effect of sending it once.
IDEMPOTENT = frozenset(
    {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH", "QUERY"}
)

# RFC 9110 section 9.2.1: such a request only reads.
SAFE = IDEMPOTENT - {"PUT", "DELETE"}

_ACCEPTED = 202
# With the usual backoff of 0.5 s, 5 s.
_LATER = 10
# A larger number for a limit's end is no number of seconds from now, but a time, in seconds or milliseconds.
_LEAST_EPOCH, _LEAST_EPOCH_MS = 1e9, 1e12
# Nine digits are thirty years.
_DURATION = r"(?ai)\s*([0-9]{1,9}(?:\.[0-9]*)?)[0-9]*\s*(?:(ms|s|m|h)(?:ec|econd|in|inute|our)?s?)?\s*"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

# Attempts within the patience with an outage, at least: a server that is back is noticed within a sixth of it.
OUTAGE_ATTEMPTS = 6

_PHRASES = {
    202: "not ready yet",
    400: "bad request",
    401: "user and password wanted",
    403: "forbidden",
    404: "not found",
    407: "the proxy wants a user and password",
    410: "gone for good",
    429: "too many requests",
    451: "unavailable for legal reasons",
    500: "internal server error",
    502: "bad gateway",
    503: "service unavailable",
    504: "gateway timeout",
}


@lru_cache(maxsize=256)
def http_date(text: str | None) -> float | None:
    """Read an HTTP date (RFC 9110 section 5.6.7) as seconds since the epoch; None if it is none."""
    if not text:
        return None
    try:
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return when.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def wait_asked(status: int, headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a server asks to wait, in whichever way; None if it does not.

    :param now: seconds since the epoch; the server's own Date goes before it, so that clocks need not agree.
    """
    now = http_date(headers.get("date")) or now
    if (seconds := _retry_after(headers.get("retry-after", ""), now)) is not None:
        return seconds
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    return _rate_limit(headers, now, certain=status == 429) if status in (403, 429) else None


def _retry_after(text: str, now: float) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3), also with a fraction, with a unit, or as an ISO date."""
    found = re.fullmatch(_DURATION, text)
    if found is not None:
        return float(found[1]) * _UNITS[(found[2] or "s").lower()]
    date = http_date(text) if text else None
    if date is None:
        date = _iso_date(text.strip())
    return None if date is None else max(0.0, date - now)


def _iso_date(text: str) -> float | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()


def _rate_limit(headers: Mapping[str, str], now: float, *, certain: bool) -> float | None:
    """Read when the limit of requests ends: GitHub's fields, and those of the IETF's drafts.

    :param certain: the status says that the limit is reached; else a field must say that nothing remains.
    """
    fields = headers.get("ratelimit", "")
    remaining = headers.get("x-ratelimit-remaining") or headers.get("ratelimit-remaining")
    remaining = remaining or _member("r|remaining", fields)
    if not certain and (remaining is None or _number(remaining) != 0):
        return None
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset") or _member("t|reset", fields)
    seconds = _number(reset or "")
    if seconds is None:
        return _retry_after(reset, now) if reset else None
    if seconds > _LEAST_EPOCH_MS:
        seconds /= 1000
    return max(0.0, seconds - now) if seconds > _LEAST_EPOCH else seconds


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"(?a)\s*[0-9]{1,15}(?:\.[0-9]*)?\s*", text) else None


def _member(names: str, fields: str) -> str | None:
    found = re.search(rf"(?a)(?:^|[;,\s])(?:{names})=([0-9]+)", fields)
    return found[1] if found else None


def error_for(
    status: int, headers: Mapping[str, str], policy: Retry, host: str, now: float, hint: str = ""
) -> FetchError:
    """Return the error that a *status* which is none of :data:`GOOD` means.

    Whatever comes with a time to wait passes: 202 says that the file is being made, and hosts answer 403 to who
    asks too often.

    :param now: seconds since the epoch.
    :param hint: what a 401 means here, as the end of a sentence.
    """
    phrase = _PHRASES.get(status)
    told = f"{host} answered {status}" + (f" ({phrase})" if phrase else "")
    wanted = status in policy.retry_on
    if status == 401:
        told = f"{host} answered 401: {hint}" if hint else f"{told}: give -u NAME:PASSWORD or --bearer TOKEN."
        return AuthenticationError(told, status=status, transient=wanted)
    if status == 407:
        told = f"{told}: put them into the proxy's URL."
        return AuthenticationError(told, status=status, transient=wanted)
    wait = wait_asked(status, headers, now)
    passes = wanted or wait is not None or status == _ACCEPTED
    if passes and wait is not None and wait > policy.max_wait:
        told, passes = f"{told}, and asks to wait {duration(wait)}, longer than --max-wait allows", False
    return StatusError(f"{told}.", status=status, transient=passes, retry_after=wait)


class Failure(NamedTuple):
    """What is known of a failed attempt besides its error.

    :param failures: attempts in a row without progress, this one included.
    :param away: seconds since the first of them, or since the host has been away.
    :param persistent: the host has answered other jobs meanwhile, and none that it had refused before.
    :param redirected: the last answer came from behind a redirect.
    :param segment: the error is that of one of several connections.
    :param repeated: an error of this kind has restarted the job before.
    :param mirrors: the job has another URL to turn to.
    :param restartable: bytes that were stored can be taken back; False for standard output.
    :param repeatable: sending the request once more cannot have another effect than sending it once.
    """

    failures: int = 1
    away: float = 0.0
    persistent: bool = False
    redirected: bool = False
    segment: bool = False
    repeated: bool = False
    mirrors: bool = False
    restartable: bool = True
    repeatable: bool = True


class Decision(NamedTuple):
    """What follows from a failed attempt, after *wait* seconds.

    ``again``: from where it broke off. ``restart``: from the first byte. ``next_mirror``: at another URL, this
    one later. ``drop_mirror``: at another URL, and never at this one. ``give_up``: the job has failed.

    :param lasts: seconds after which the job is given up if nothing changes, but at least *wait*.
    """

    kind: Literal["again", "restart", "next_mirror", "drop_mirror", "give_up"]
    wait: float
    reason: str
    lasts: float = 0.0


# Non-transient errors that are one server's and not the job's: another mirror may do better.
_SERVER_ERRORS = (NetworkError, TLSError, AuthenticationError, ProtocolError, StatusError)


def decide(error: FetchError, failure: Failure, policy: Retry, random: Callable[[], float]) -> Decision:
    """Decide what follows from *error*.

    :param random: returns a number in [0, 1).
    """
    if not failure.repeatable:
        return Decision("give_up", 0.0, "the server may have acted on the request")
    if isinstance(error, ChecksumError):
        return _after_wrong_bytes(failure)
    if not _transient(error, failure):
        if failure.mirrors and isinstance(error, _SERVER_ERRORS) and not isinstance(error, ChangedError):
            return Decision("drop_mirror", 0.0, "the server does not have it")
        return Decision("give_up", 0.0, "another attempt would end alike")
    if isinstance(error, ChangedError) and not failure.repeated:
        return Decision("restart", 0.0, "the file changed on the server")
    left = policy.longest_outage - failure.away if _is_outage(error) and not failure.persistent else 0.0
    if failure.failures > policy.retries and left <= 0:
        return Decision("give_up", 0.0, f"{failure.failures} attempts in a row brought nothing")
    wait = _backoff(failure.failures, left, error, policy, random)
    lasts = math.inf if policy.retries == math.inf else max(wait, left)
    if isinstance(error, ChangedError):
        return Decision("restart", wait, "the file changed on the server again", lasts)
    if failure.mirrors:
        return Decision("next_mirror", wait, "another mirror may answer better", lasts)
    return Decision("again", wait, "this may pass", lasts)


def _is_outage(error: FetchError) -> bool:
    """Whether *error* means that the server, or the network on the way to it, is away for now."""
    return error.transient and isinstance(error, NetworkError | StatusError)


def _after_wrong_bytes(failure: Failure) -> Decision:
    if not failure.restartable:
        return Decision("give_up", 0.0, "what is out cannot be taken back")
    if not failure.repeated:
        return Decision("restart", 0.0, "the bytes were wrong")
    if failure.mirrors:
        return Decision("drop_mirror", 0.0, "the bytes were wrong twice")
    return Decision("give_up", 0.0, "the bytes were wrong twice")


def _transient(error: FetchError, failure: Failure) -> bool:
    """Whether another attempt at the same URL may end otherwise."""
    # A refused segment says nothing about the file: the next attempt asks for what is missing. A signed URL
    # behind a redirect may have expired, and the first URL signs anew.
    expired = isinstance(error, StatusError) and error.status == 403 and failure.redirected
    return error.transient or failure.segment or (expired and failure.failures == 1)


def _backoff(
    failures: int, left: float, error: FetchError, policy: Retry, random: Callable[[], float]
) -> float:
    """Return the seconds to wait before the next attempt.

    Exponential backoff with full jitter: any time between none and the bound, so that many clients that
    failed together do not return together. What the server asked for is honoured, up to a bound. One that says
    "too often", or "not yet", and not when, is given more time, and at least the shortest of it. Behind the
    last of the retries, the attempts are spread over what is *left* of the patience with an outage.
    """
    asked = error.retry_after
    later = asked is None and isinstance(error, StatusError) and error.status in (_ACCEPTED, 429)
    least = min(policy.backoff_max, policy.backoff * _LATER) if later else 0.0
    # 2**32 seconds is past every bound; the exponent is capped so that `inf` retries cannot overflow.
    bound = min(policy.backoff_max, (least or policy.backoff) * 2.0 ** min(max(failures - 1, 0), 32))
    wait = least + (bound - least) * random()
    if failures > policy.retries:
        bound = min(policy.backoff_max, policy.longest_outage / OUTAGE_ATTEMPTS)
        wait = min(left, bound * (1 + random()) / 2)
    return wait if asked is None or asked > policy.max_wait else max(wait, asked)
