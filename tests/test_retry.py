"""Error and attempt -> wait how long, or give up."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from fetchq._errors import AuthenticationError, DiskError, NetworkError, StatusError
from fetchq._retry import GOOD, error_for, http_date, retry_after, wait_before
from fetchq._settings import Retry

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
    assert [status for status in range(100, 600) if status in GOOD] == [200, 201, 203, 204, 206]


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


@pytest.mark.parametrize(("failures", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_backoff_doubles_and_jitters_over_its_full_width(failures: int, bound: float) -> None:
    error = NetworkError("gone")
    policy = Retry(retries=10)
    assert wait_before(error, failures, policy, lambda: 0.0) == 0.0
    assert wait_before(error, failures, policy, lambda: 0.5) == bound / 2


def test_backoff_has_an_upper_bound_however_often_it_failed() -> None:
    assert (
        wait_before(NetworkError("gone"), 10_000, Retry(retries=math.inf), lambda: 1.0) == Retry().backoff_max
    )


@pytest.mark.parametrize(
    ("retries", "failures", "again"),
    [(5, 4, True), (5, 5, False), (1, 1, False), (0, 1, False), (math.inf, 99, True)],
)
def test_retries_counts_attempts_in_a_row(retries: float, failures: int, again: bool) -> None:
    assert (
        wait_before(NetworkError("gone"), failures, Retry(retries=retries), lambda: 0.0) is not None
    ) is again


def test_what_is_not_transient_is_not_tried_again() -> None:
    assert wait_before(DiskError("full"), 1, Retry(), lambda: 0.0) is None


def test_the_servers_wish_is_honoured_up_to_a_bound() -> None:
    policy = Retry(retries=9, retry_after_max=60)
    assert wait_before(NetworkError("busy", retry_after=20), 1, policy, lambda: 0.0) == 20
    assert wait_before(NetworkError("busy", retry_after=86_400), 1, policy, lambda: 0.0) == 60
