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
from fetchq._retry import GOOD, Decision, Failure, decide, error_for, http_date, wait_asked
from fetchq._settings import Retry

POLICY = Retry(retries=5, patience=0)
NOON = 1_704_110_400.0  # Mon, 01 Jan 2024 12:00:00 GMT


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (202, StatusError, True),
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


@pytest.mark.parametrize("status", [401, 404, 407])
def test_retry_on_is_the_callers_choice(status: int) -> None:
    error = error_for(status, {}, Retry(retry_on=frozenset({status})), "host", NOON)
    assert error.transient


@pytest.mark.parametrize("status", [403, 404, 501, 503, 202])
def test_whatever_comes_with_a_time_to_wait_is_asked_again(status: int) -> None:
    error = error_for(status, {"retry-after": "7"}, Retry(retry_on=frozenset()), "host", NOON)
    assert (error.transient, error.retry_after) == (True, 7.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "9" * 40}, 999_999_999.0),
        ({"retry-after": "\u0667"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 01 Jan 2024 11:00:00 GMT"}, 0.0),
        ({"retry-after": "0.8"}, 0.8),
        ({"retry-after": "3s"}, 3.0),
        ({"retry-after": "2 minutes"}, 120.0),
        ({"retry-after": "1h"}, 3600.0),
        ({"retry-after": "1500ms"}, 1.5),
        ({"retry-after": "2024-01-01T12:00:30Z"}, 30.0),
        ({"retry-after": "2024-01-01T13:00:30+01:00"}, 30.0),
        ({"retry-after": "2024-01-01 12:00:30"}, 30.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 7.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "3 apples"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after-ms": "x"}, None),
        ({}, None),
        # The end of a limit: of 429 in any case, of 403 where nothing remains.
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOON + 40:.0f}"}, 40.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOON * 1000 + 40_000:.0f}"}, 40.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "40"}, 40.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{NOON - 40:.0f}"}, 0.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2024-01-01T12:00:40Z"}, 40.0),
        ({"x-ratelimit-remaining": "0"}, None),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "40"}, 40.0),
        ({"ratelimit": '"default";r=0;t=40'}, 40.0),
        ({"ratelimit": "limit=100, remaining=0, reset=40"}, 40.0),
        ({"ratelimit": '"default";r=0'}, None),
    ],
)
@pytest.mark.parametrize("status", [403, 429])
def test_how_long_a_server_asks_to_wait(status: int, headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked(status, headers, NOON) == seconds
    policy = Retry(retry_on=frozenset(), max_wait=math.inf)
    assert error_for(status, headers, policy, "host", NOON).transient is (seconds is not None)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ratelimit-remaining": "9", "x-ratelimit-reset": "40"},
        {"x-ratelimit-reset": "40"},
        {"ratelimit-remaining": "9", "ratelimit-reset": "40"},
        {"ratelimit": '"default";r=9;t=40'},
    ],
)
def test_a_limit_that_is_not_reached_is_not_what_403_means(headers: dict[str, str]) -> None:
    assert wait_asked(403, headers, NOON) is None
    assert wait_asked(429, headers, NOON) == 40.0
    assert wait_asked(503, headers, NOON) is None


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
LAST: dict[str, Any] = {"failures": 6}


@pytest.mark.parametrize(
    ("error", "facts", "kind"),
    [
        # Transient: from where it broke off, as long as that brings something.
        (GONE, {}, "again"),
        (GONE, {"failures": 5}, "again"),
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
    assert decided(GONE, **LAST).reason == "6 attempts in a row brought nothing"
    assert decided(CHANGED).reason == "the file changed on the server"


@pytest.mark.parametrize(("failures", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)])
def test_backoff_doubles_and_jitters_over_its_full_width(failures: int, bound: float) -> None:
    policy = Retry(retries=10)
    assert decided(GONE, policy, 0.0, failures=failures).wait == 0.0
    assert decided(GONE, policy, 0.5, failures=failures).wait == bound / 2


@pytest.mark.parametrize("status", [202, 429])
@pytest.mark.parametrize(
    ("failures", "least", "most"), [(1, 5.0, 5.0), (2, 5.0, 10.0), (3, 5.0, 20.0), (9, 5.0, 60.0)]
)
def test_too_often_and_not_yet_without_a_time_wait_longer(
    status: int, failures: int, least: float, most: float
) -> None:
    error, policy = StatusError("later", status=status, transient=True), Retry(retries=20)
    assert decided(error, policy, 0.0, failures=failures).wait == least
    assert decided(error, policy, 1.0, failures=failures).wait == most
    assert decided(error, Retry(retries=20, backoff=0.0), 1.0, failures=failures).wait == 0.0


def test_backoff_has_an_upper_bound_however_often_it_failed() -> None:
    assert decided(GONE, Retry(retries=math.inf), 1.0, failures=10_000).wait == Retry().backoff_max


@pytest.mark.parametrize(
    ("retries", "failures", "kind"),
    [
        (6, 6, "again"),
        (6, 7, "give_up"),
        (1, 1, "again"),
        (1, 2, "give_up"),
        (0, 1, "give_up"),
        (math.inf, 99, "again"),
    ],
)
def test_retries_counts_the_attempts_in_a_row_after_the_first(retries: float, failures: int, kind: str) -> None:
    assert decided(GONE, Retry(retries=retries), failures=failures).kind == kind


@pytest.mark.parametrize(("asked", "wait"), [(20, 20), (60, 60), (0.1, 0.5)])
def test_what_the_server_asks_for_is_honoured(asked: float, wait: float) -> None:
    policy = Retry(retries=9, max_wait=60)
    assert decided(NetworkError("busy", retry_after=asked), policy, 1.0).wait == wait


@pytest.mark.parametrize(
    ("facts", "kind"), [({}, "give_up"), ({"mirrors": True}, "drop_mirror"), ({"segment": True}, "again")]
)
def test_a_wait_beyond_the_bound_is_not_begun(facts: dict[str, Any], kind: str) -> None:
    error = error_for(503, {"retry-after": "86400"}, Retry(max_wait=600), "host", NOON)
    assert str(error) == (
        "host answered 503 (service unavailable), and asks to wait 24:00:00, longer than --max-wait allows."
    )
    decision = decided(error, chance=1.0, **facts)
    assert (decision.kind, decision.wait) == (kind, 0.5 if kind == "again" else 0.0)


@pytest.mark.parametrize(
    ("policy", "error", "failures", "away", "kind"),
    [
        # By default an outage of a minute is survived, and one that lasts longer is not.
        (Retry(), GONE, 6, 59.9, "again"),
        (Retry(), GONE, 9, 60.0, "give_up"),
        (Retry(), GONE, 5, 60.0, "again"),
        (Retry(), StatusError("busy", status=503, transient=True), 6, 59.9, "again"),
        (Retry(), ProtocolError("odd", transient=True), 6, 1.0, "give_up"),
        # Who asks for a number of retries has it, unless there is a patience as well.
        (Retry(retries=2), GONE, 3, 0.0, "give_up"),
        (Retry(retries=2, patience=30), GONE, 3, 29.0, "again"),
        (Retry(patience=0), GONE, 6, 0.0, "give_up"),
    ],
)
def test_an_outage_is_survived_for_as_long_as_the_patience(
    policy: Retry, error: FetchError, failures: int, away: float, kind: str
) -> None:
    assert decided(error, policy, failures=failures, away=away).kind == kind


def test_a_host_that_answers_others_is_not_away() -> None:
    busy = StatusError("busy", status=503, transient=True)
    assert decided(busy, Retry(), failures=5, persistent=True).kind == "again"
    assert decided(busy, Retry(), failures=6, persistent=True).kind == "give_up"


@pytest.mark.parametrize("backoff", [0.0, 0.5])
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_attempts_are_spread_over_the_patience_and_the_last_is_at_its_end(
    chance: float, backoff: float
) -> None:
    policy, away, failures = Retry(backoff=backoff), 0.0, 1
    while (decision := decided(GONE, policy, chance, failures=failures, away=away)).kind == "again":
        assert decision.lasts == pytest.approx(max(decision.wait, 60 - away))
        away, failures = away + decision.wait, failures + 1
    assert away == pytest.approx(60.0)
    assert policy.retries + 6 <= failures <= policy.retries + 14


def test_a_patience_without_end_is_no_number_of_seconds() -> None:
    assert decided(GONE, Retry(retries=math.inf), failures=99).lasts == math.inf
