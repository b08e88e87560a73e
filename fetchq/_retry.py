"""Error and attempt -> wait how long, or give up; status -> error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache

from ._errors import AuthenticationError, FetchError, StatusError
from ._settings import Retry

__all__ = ["GOOD", "error_for", "http_date", "retry_after", "wait_before"]

# Each 2xx whose body is the representation asked for (RFC 9110 section 15.3); 206 is judged by its range.
# 202 says that the thing is not ready, 205 and 208 say nothing of a file.
GOOD = frozenset({200, 201, 203, 204, 206})

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

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@lru_cache(maxsize=256)
def http_date(text: str | None) -> float | None:
    """Read an HTTP date (RFC 9110 section 5.6.7) as seconds since the epoch; None if it is none."""
    if not text:
        return None
    try:
        when = _read_date(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return when.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _read_date(text: str) -> datetime:
    """Read ``Sun, 06 Nov 1994 08:49:37 GMT``; the mail parser, for all else, takes 2 ms to import."""
    if len(text) == 29 and text[3:5] == ", " and text.endswith(" GMT"):
        with suppress(ValueError):
            day, month, year, clock = text[5:25].split(" ")
            hour, minute, second = map(int, clock.split(":"))
            return datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(text)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read Retry-After in both forms (RFC 9110 section 10.2.3) as seconds from *now* (epoch)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    date = http_date(text)
    return None if date is None else max(0.0, date - now)


def error_for(status: int, headers: Mapping[str, str], policy: Retry, host: str, now: float) -> FetchError:
    """Give the error that a *status* which is none of :data:`GOOD` means.

    :param now: seconds since the epoch; the server's own Date goes before it, so that clocks need not agree.
    """
    phrase = _PHRASES.get(status)
    told = f"{host} answered {status}" + (f" ({phrase})" if phrase else "")
    if status == 401:
        return AuthenticationError(f"{told}: give -u NAME:PASSWORD or --bearer TOKEN.", status=status)
    if status == 407:
        return AuthenticationError(f"{told}: put them into the proxy's URL.", status=status)
    return StatusError(
        f"{told}.",
        status=status,
        transient=status in policy.retry_on,
        retry_after=retry_after(headers, http_date(headers.get("date")) or now),
    )


def wait_before(error: FetchError, failures: int, policy: Retry, random: Callable[[], float]) -> float | None:
    """Give the seconds to wait before the next attempt, or None to give up.

    Exponential backoff with full jitter: any time between none and the bound, so that many clients that
    failed together do not return together. What the server asks for is honoured, up to a bound.

    :param failures: attempts in a row without progress, this one included.
    :param random: gives a number in [0, 1).
    """
    if not error.transient or failures >= policy.retries:
        return None
    # 2**32 seconds is past every bound; the exponent is capped so that `inf` retries cannot overflow.
    bound = min(policy.backoff_max, policy.backoff * 2.0 ** min(max(failures - 1, 0), 32))
    wait = bound * random()
    if error.retry_after is not None:
        wait = max(wait, min(error.retry_after, policy.retry_after_max))
    return wait
