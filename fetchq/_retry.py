"""Status -> error; error and facts of an attempt -> what follows: the one place that decides on retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
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

__all__ = ["GOOD", "Decision", "Failure", "decide", "error_for", "http_date", "retry_after"]

# Each 2xx whose body is the representation asked for, and those that nobody knows, which count as 200 (RFC 9110
# section 15); 206 is judged by its range. 202 says that the thing is not ready, 207 and 208 come with a report
# of several (RFC 4918), 226 with a difference (RFC 3229).
GOOD = frozenset(range(200, 300)) - {202, 207, 208, 226}

_PHRASES = {
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


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read Retry-After in both forms (RFC 9110 section 10.2.3) as seconds from *now* (epoch)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    date = http_date(text)
    return None if date is None else max(0.0, date - now)


def error_for(
    status: int, headers: Mapping[str, str], policy: Retry, host: str, now: float, hint: str = ""
) -> FetchError:
    """Give the error that a *status* which is none of :data:`GOOD` means.

    :param now: seconds since the epoch; the server's own Date goes before it, so that clocks need not agree.
    :param hint: what a 401 means here, as the end of a sentence.
    """
    phrase = _PHRASES.get(status)
    told = f"{host} answered {status}" + (f" ({phrase})" if phrase else "")
    if status == 401:
        told = f"{host} answered 401: {hint}" if hint else f"{told}: give -u NAME:PASSWORD or --bearer TOKEN."
        return AuthenticationError(told, status=status)
    if status == 407:
        return AuthenticationError(f"{told}: put them into the proxy's URL.", status=status)
    return StatusError(
        f"{told}.",
        status=status,
        transient=status in policy.retry_on,
        retry_after=retry_after(headers, http_date(headers.get("date")) or now),
    )


class Failure(NamedTuple):
    """What is known of a failed attempt besides its error.

    :param failures: attempts in a row without progress, this one included.
    :param redirected: the last answer came from behind a redirect.
    :param segment: the error is that of one of several connections.
    :param repeated: an error of this kind has restarted the job before.
    :param mirrors: the job has another URL to turn to.
    :param restartable: bytes that were stored can be taken back; False for standard output.
    """

    failures: int = 1
    redirected: bool = False
    segment: bool = False
    repeated: bool = False
    mirrors: bool = False
    restartable: bool = True


class Decision(NamedTuple):
    """What follows from a failed attempt, after *wait* seconds.

    ``again``: from where it broke off. ``restart``: from the first byte. ``next_mirror``: at another URL, this
    one later. ``drop_mirror``: at another URL, and never at this one. ``give_up``: the job has failed.
    """

    kind: Literal["again", "restart", "next_mirror", "drop_mirror", "give_up"]
    wait: float
    reason: str


# Non-transient errors that are one server's and not the job's: another mirror may do better.
_SERVER_ERRORS = (NetworkError, TLSError, AuthenticationError, ProtocolError, StatusError)


def decide(error: FetchError, failure: Failure, policy: Retry, random: Callable[[], float]) -> Decision:
    """Decide what follows from *error*.

    :param random: returns a number in [0, 1).
    """
    if isinstance(error, ChecksumError):
        return _after_wrong_bytes(failure)
    if not _transient(error, failure):
        if failure.mirrors and isinstance(error, _SERVER_ERRORS) and not isinstance(error, ChangedError):
            return Decision("drop_mirror", 0.0, "the server does not have it")
        return Decision("give_up", 0.0, "another attempt would end alike")
    if isinstance(error, ChangedError) and not failure.repeated:
        return Decision("restart", 0.0, "the file changed on the server")
    if failure.failures >= policy.retries:
        return Decision("give_up", 0.0, f"{failure.failures} attempts in a row brought nothing")
    wait = _backoff(failure.failures, error.retry_after, policy, random)
    if isinstance(error, ChangedError):
        return Decision("restart", wait, "the file changed on the server again")
    if failure.mirrors:
        return Decision("next_mirror", wait, "another mirror may answer better")
    return Decision("again", wait, "this may pass")


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


def _backoff(failures: int, asked: float | None, policy: Retry, random: Callable[[], float]) -> float:
    """Return the seconds to wait before the next attempt.

    Exponential backoff with full jitter: any time between none and the bound, so that many clients that
    failed together do not return together. What the server asked for is honoured, up to a bound.
    """
    # 2**32 seconds is past every bound; the exponent is capped so that `inf` retries cannot overflow.
    bound = min(policy.backoff_max, policy.backoff * 2.0 ** min(max(failures - 1, 0), 32))
    wait = bound * random()
    return wait if asked is None else max(wait, min(asked, policy.retry_after_max))
