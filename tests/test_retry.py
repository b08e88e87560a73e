"""Status -> error; error and the facts of its attempt -> what follows."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from fetchq._errors import (
    AuthenticationError,
    ChangedError,
    ChecksumError,
    DiskError,
    DiskFullError,
    FetchError,
    IntegrityError,
    NetworkError,
    ProtocolError,
    StatusError,
    TimedOutError,
    TLSError,
    TooLargeError,
    UsageError,
)
from fetchq._retry import GOOD, Decision, Failure, decide, error_for, http_date, retry_after
from fetchq._settings import Retry

POLICY = Retry(retries=5)
NOON = 1_704_110_400.0  # Mon, 01 Jan 2024 12:00:00 GMT


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (202, StatusError, False),
        (304, StatusError, False),
        (400, StatusError, False),
        (401, AuthenticationError, False),
        (403, StatusError, False),
        (404, StatusError, False),
        (407, AuthenticationError, False),
        (408, StatusError, True),
        (410, StatusError, False),
        (429, StatusError, True),
        (500, StatusError, True),
        (501, StatusError, False),
        (503, StatusError, True),
        (522, StatusError, True),
        (599, StatusError, False),
    ],
)
def test_what_a_status_means(status: int, kind: type, transient: bool) -> None:
    error = error_for(status, {}, Retry(), "host", NOON)
    assert isinstance(error, kind)
    assert isinstance(error, StatusError | AuthenticationError)
    assert error.transient is transient
    assert error.status == status


def test_the_statuses_whose_body_is_the_file() -> None:
    assert [status for status in range(200, 300) if status not in GOOD] == [202, 207, 208, 226]
    assert min(GOOD) == 200
    assert max(GOOD) == 299


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "host answered 401 (user and password wanted): give -u NAME:PASSWORD or --bearer TOKEN."),
        (404, "host answered 404 (not found)."),
        (407, "host answered 407 (the proxy wants a user and password): put them into the proxy's URL."),
        (418, "host answered 418."),
    ],
)
def test_what_a_status_says(status: int, message: str) -> None:
    assert str(error_for(status, {}, Retry(), "host", NOON)) == message


def test_retry_on_is_the_callers_choice() -> None:
    error = error_for(404, {}, Retry(retry_on=frozenset({404})), "host", NOON)
    assert error.transient


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "9" * 40}, 999_999_999.0),
        ({"retry-after": "\u0667"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 01 Jan 2024 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
    ],
)
def test_retry_after_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOON) == seconds


def test_a_date_is_read_against_the_servers_own_clock() -> None:
    headers = {"retry-after": "Mon, 01 Jan 2024 12:00:30 GMT", "date": "Mon, 01 Jan 2024 12:00:20 GMT"}
    error = error_for(503, headers, Retry(), "host", NOON + 86_400)
    assert error.retry_after == 10.0
    del headers["date"]
    assert error_for(503, headers, Retry(), "host", NOON).retry_after == 30.0


@pytest.mark.parametrize("month", range(1, 13))
def test_a_date_of_each_month(month: int) -> None:
    when = datetime(2023, month, 4, 5, 6, 7, tzinfo=UTC)
    assert http_date(format_datetime(when, usegmt=True)) == when.timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 -0000",
        "Sun, 06 Nov 1994 09:49:37 +0100",
    ],
)
def test_a_date_in_each_form(text: str) -> None:
    assert http_date(text) == 784_111_777


@pytest.mark.parametrize("text", ["", None, "yesterday", "Mon, 99 Jan 2024 12:00:00 GMT", "\0", "1,2,3"])
def test_no_date_is_no_date(text: str | None) -> None:
    assert http_date(text) is None


# --- what follows from an error


def decided(error: FetchError, policy: Retry = POLICY, chance: float = 0.0, **facts: Any) -> Decision:
    return decide(error, Failure(**facts), policy, lambda: chance)


GONE = NetworkError("gone")
REFUSED = StatusError("no", status=404)
FORBIDDEN = StatusError("no", status=403)
CHANGED = ChangedError("new")
STUCK = ChangedError("out already", transient=False)
WRONG = ChecksumError("wrong")
LAST: dict[str, Any] = {"failures": 5}


@pytest.mark.parametrize(
    ("error", "facts", "kind"),
    [
        # Transient: from where it broke off, as long as that brings something.
        (GONE, {}, "again"),
        (GONE, {"failures": 4}, "again"),
        (GONE, LAST, "give_up"),
        (GONE, {"mirrors": True}, "next_mirror"),
        (GONE, {**LAST, "mirrors": True}, "give_up"),
        (TimedOutError("late"), {}, "again"),
        (StatusError("busy", status=503, transient=True), {}, "again"),
        # Permanent: another server may do better, the same one will not.
        (REFUSED, {}, "give_up"),
        (REFUSED, {"mirrors": True}, "drop_mirror"),
        (REFUSED, {**LAST, "mirrors": True}, "drop_mirror"),
        (TLSError("no trust"), {"mirrors": True}, "drop_mirror"),
        (AuthenticationError("who?"), {"mirrors": True}, "drop_mirror"),
        (ProtocolError("not HTTP"), {"mirrors": True}, "drop_mirror"),
        (TooLargeError("5 GB"), {"mirrors": True}, "drop_mirror"),
        # Permanent, and no server's fault.
        (FetchError("strange"), {"mirrors": True}, "give_up"),
        (UsageError("no URL"), {"mirrors": True}, "give_up"),
        (DiskError("read-only"), {"mirrors": True}, "give_up"),
        (DiskFullError("full"), {"mirrors": True}, "give_up"),
        (IntegrityError("miscounted"), {"mirrors": True}, "give_up"),
        # A segment that was refused says nothing about the file.
        (REFUSED, {"segment": True}, "again"),
        (ProtocolError("no second range"), {"segment": True}, "again"),
        (REFUSED, {"segment": True, **LAST}, "give_up"),
        (REFUSED, {"segment": True, "mirrors": True}, "next_mirror"),
        # A signed URL may have expired, once.
        (FORBIDDEN, {}, "give_up"),
        (FORBIDDEN, {"redirected": True}, "again"),
        (FORBIDDEN, {"redirected": True, "failures": 2}, "give_up"),
        (REFUSED, {"redirected": True}, "give_up"),
        # The file changed: from its first byte, unless bytes are out that cannot be taken back.
        (CHANGED, {}, "restart"),
        (CHANGED, {**LAST, "mirrors": True}, "restart"),
        (CHANGED, {"repeated": True}, "restart"),
        (CHANGED, {"repeated": True, **LAST}, "give_up"),
        (STUCK, {}, "give_up"),
        (STUCK, {"mirrors": True}, "give_up"),
        # Wrong bytes: once more, then from elsewhere.
        (WRONG, {}, "restart"),
        (WRONG, LAST, "restart"),
        (WRONG, {"repeated": True}, "give_up"),
        (WRONG, {"mirrors": True}, "restart"),
        (WRONG, {"repeated": True, "mirrors": True}, "drop_mirror"),
        (WRONG, {"restartable": False}, "give_up"),
        (WRONG, {"restartable": False, "mirrors": True}, "give_up"),
    ],
)
def test_what_follows_from_an_error(error: FetchError, facts: dict[str, Any], kind: str) -> None:
    decision = decided(error, **facts)
    assert decision.kind == kind
    assert decision.reason
    assert decision.wait == 0.0


@pytest.mark.parametrize(
    ("error", "facts", "waits"),
    [
        (GONE, {}, True),
        (GONE, {"mirrors": True}, True),
        (REFUSED, {"segment": True}, True),
        (CHANGED, {"repeated": True}, True),
        (CHANGED, {}, False),
        (WRONG, {}, False),
        (REFUSED, {"mirrors": True}, False),
        (REFUSED, {}, False),
    ],
)
def test_what_is_worth_a_pause(error: FetchError, facts: dict[str, Any], waits: bool) -> None:
    assert decided(error, chance=1.0, **facts).wait == (POLICY.backoff if waits else 0.0)


def test_a_reason_is_fit_to_be_shown() -> None:
    assert decided(GONE, **LAST).reason == "5 attempts in a row brought nothing"
    assert decided(CHANGED).reason == "the file changed on the server"


@pytest.mark.parametrize(("failures", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_backoff_doubles_and_jitters_over_its_full_width(failures: int, bound: float) -> None:
    policy = Retry(retries=10)
    assert decided(GONE, policy, 0.0, failures=failures).wait == 0.0
    assert decided(GONE, policy, 0.5, failures=failures).wait == bound / 2


def test_backoff_has_an_upper_bound_however_often_it_failed() -> None:
    assert decided(GONE, Retry(retries=math.inf), 1.0, failures=10_000).wait == Retry().backoff_max


@pytest.mark.parametrize(
    ("retries", "failures", "kind"),
    [
        (5, 4, "again"),
        (5, 5, "give_up"),
        (1, 1, "give_up"),
        (0, 1, "give_up"),
        (math.inf, 99, "again"),
    ],
)
def test_retries_counts_attempts_in_a_row(retries: float, failures: int, kind: str) -> None:
    assert decided(GONE, Retry(retries=retries), failures=failures).kind == kind


@pytest.mark.parametrize(("asked", "wait"), [(20, 20), (86_400, 60), (0.1, 0.5)])
def test_what_the_server_asks_for_is_honoured_up_to_a_bound(asked: float, wait: float) -> None:
    policy = Retry(retries=9, retry_after_max=60)
    assert decided(NetworkError("busy", retry_after=asked), policy, 1.0).wait == wait
