"""Span arithmetic, range headers, and what an answer means: tables of cases."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._errors import ProtocolError
from fetchq._models import Resource, Span
from fetchq._ranges import (
    MAX_OFFSET,
    Ask,
    ContentRange,
    add,
    ask_for,
    changed,
    clip,
    covers,
    decide,
    merge,
    missing,
    parse_content_range,
    refused,
    resource_of,
    same_resource,
    total,
)

spans = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: Span(min(p), max(p))), max_size=8
)


def bytes_of(some: tuple[Span, ...]) -> set[int]:
    return {at for span in some for at in range(span.start, span.stop)}


@given(spans)
def test_merge_keeps_exactly_the_bytes_and_leaves_no_touching_spans(some: list[Span]) -> None:
    merged = merge(some)
    assert bytes_of(merged) == bytes_of(tuple(some))
    assert all(span.start < span.stop for span in merged)
    assert all(a.stop < b.start for a, b in pairwise(merged))


@given(spans, st.integers(0, 60), st.integers(0, 60))
def test_add_equals_merge(some: list[Span], one: int, other: int) -> None:
    new = Span(min(one, other), max(one, other))
    assert add(merge(some), new) == merge([*some, new])


@pytest.mark.parametrize(
    ("new", "spans"),
    [
        ((30, 40), [(0, 10), (20, 40)]),
        ((25, 28), [(0, 10), (20, 30)]),
        ((31, 40), [(0, 10), (20, 30), (31, 40)]),
        ((5, 12), [(0, 12), (20, 30)]),
        ((10, 20), [(0, 30)]),
        ((15, 35), [(0, 10), (15, 35)]),
    ],
)
def test_add(new: tuple[int, int], spans: list[tuple[int, int]]) -> None:
    assert add((Span(0, 10), Span(20, 30)), Span(*new)) == spans_of(spans)


def spans_of(pairs: Iterable[tuple[int, int]]) -> tuple[Span, ...]:
    return tuple(Span(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("spans", "length", "whole"),
    [
        ([], 0, True),
        ([], 5, False),
        ([(0, 5)], 5, True),
        ([(0, 6)], 5, True),
        ([(0, 4)], 5, False),
        ([(1, 5)], 5, False),
        ([(0, 2), (3, 5)], 5, False),
    ],
)
def test_covers(spans: list[tuple[int, int]], length: int, whole: bool) -> None:
    assert covers(spans_of(spans), length) is whole


def test_nothing_lies_before_the_first_byte() -> None:
    assert clip([Span(-5, 3), Span(8, 12)], 10) == (Span(0, 3), Span(8, 10))


@given(spans, st.integers(0, 70))
def test_missing_and_clip_divide_the_length_between_them(some: list[Span], length: int) -> None:
    here, holes = clip(some, length), missing(some, length)
    assert bytes_of(here) | bytes_of(holes) == set(range(length))
    assert not bytes_of(here) & bytes_of(holes)
    assert total(here) + total(holes) == length
    assert covers(here, length) == (not holes)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("bytes 0-9/10", ContentRange(Span(0, 10), 10)),
        ("BYTES 5-9/10", ContentRange(Span(5, 10), 10)),
        (" bytes 9-9/10 ", ContentRange(Span(9, 10), 10)),
        ("bytes 5-9/*", ContentRange(Span(5, 10), None)),
        ("bytes */10", ContentRange(None, 10)),
        ("bytes */*", None),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes=0-9/10", ContentRange(Span(0, 10), 10)),
        ("bytes: 0-9/10", ContentRange(Span(0, 10), 10)),
        ("*/10", ContentRange(None, 10)),
        ("bytes0-9/10", None),
        ("bytes 5-9", None),
        ("items 0-9/10", None),
        ("bytes -5-9/10", None),
        ("bytes 0-9/10, 20-29/30", None),
        ("bytes 0-999999999999999999/*", ContentRange(Span(0, 10**18), None)),
        ("bytes 0-9/999999999999999999", ContentRange(Span(0, 10), 10**18 - 1)),
        ("bytes 0-1000000000000000000/*", None),
        ("bytes 0-9/1000000000000000000", None),
        ("bytes \u0660-\u0669/\u0661\u0660", None),
        ("", None),
        (None, None),
    ],
)
def test_content_range(text: str | None, meaning: ContentRange | None) -> None:
    assert parse_content_range(text) == meaning
    assert meaning is None or meaning.span is None or meaning.span.stop <= MAX_OFFSET


@given(st.text(max_size=40))
def test_content_range_takes_any_text(text: str) -> None:
    found = parse_content_range(text)
    assert found is None or found.span is not None or found.total is not None


@pytest.mark.parametrize("text", ["5, 6", "-1", "+5", "0x10", "1e3", "\u0665", "", "1" + "0" * 18, "9" * 99])
def test_a_content_length_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(f"no length: {text[:40]!r}.")):
        resource_of({"content-length": text}, "http://h/", 200, {})


WHEN = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("status", "headers", "resource"),
    [
        (200, {}, Resource("u")),
        (200, {"content-length": "5"}, Resource("u", 5)),
        (200, {"content-length": "5, 5"}, Resource("u", 5)),
        (200, {"content-length": "9" * 18}, Resource("u", 10**18 - 1)),
        (200, {"content-length": "5", "transfer-encoding": "chunked"}, Resource("u")),
        (200, {"content-length": "5", "content-range": "bytes 0-4/10"}, Resource("u", 10)),
        (200, {"content-length": "5", "content-range": "bytes */10"}, Resource("u", 5)),
        (200, {"content-length": "5", "content-range": "bytes 0-9/10"}, Resource("u", 5)),
        (200, {"content-range": "bytes 0-9/10"}, Resource("u")),
        (200, {"content-range": "bytes 5-9/10"}, Resource("u", 10)),
        (299, {"content-length": "5"}, Resource("u", 5)),
        (205, {}, Resource("u", 0)),
        (204, {}, Resource("u", 0)),
        (206, {"content-length": "5", "content-range": "bytes 0-4/10"}, Resource("u", 10, ranges=True)),
        (206, {"content-length": "5", "content-range": "bytes */10"}, Resource("u", 10, ranges=True)),
        (206, {"content-length": "5"}, Resource("u", ranges=True)),
        (416, {"content-length": "5", "content-range": "bytes */10"}, Resource("u", 10)),
        (416, {"content-length": "5"}, Resource("u")),
        (200, {"etag": ' "a" ', "last-modified": f" {WHEN} "}, Resource("u", None, '"a"', WHEN)),
        (200, {"etag": " ", "last-modified": " "}, Resource("u")),
        (200, {"accept-ranges": " Bytes "}, Resource("u", ranges=True)),
        (200, {"accept-ranges": "none"}, Resource("u")),
        (200, {"content-encoding": " GZIP , identity,,br"}, Resource("u", encoding="gzip, br")),
        (200, {"content-encoding": "Identity"}, Resource("u")),
        (200, {"content-encoding": "utf-8"}, Resource("u")),
        (200, {"content-encoding": "aws-chunked, GZIP"}, Resource("u", encoding="gzip")),
    ],
)
def test_what_a_head_says_of_the_resource(status: int, headers: dict[str, str], resource: Resource) -> None:
    assert resource_of(headers, "u", status, {}) == resource


def test_a_resource_keeps_no_secret_of_its_url_and_what_was_promised() -> None:
    seen = resource_of({}, "http://me:pw@h/f?key=secret", 200, {"md5": "00"})
    assert (seen.url, seen.digests) == ("http://h/f?***", {"md5": "00"})


STRONG = Resource("u", 100, '"a"', None)
DATED = Resource("u", 100, None, WHEN)
BOTH = Resource("u", 100, '"a"', WHEN)
BARE = Resource("u", 100, None, None)


@pytest.mark.parametrize(
    ("known", "seen", "same"),
    [
        (STRONG, Resource("u", 100, '"a"'), True),
        (STRONG, Resource("u", 100, '"b"'), False),
        (STRONG, Resource("u", 101, '"a"'), False),
        (BOTH, BOTH, True),
        (BOTH, Resource("u", 100, '"a"', "Tue, 02 Jan 2024 00:00:00 GMT"), None),
        (BOTH, STRONG, True),
        (STRONG, Resource("u", 100, 'W/"a"'), None),
        (STRONG, Resource("u", 100, 'W/"b"'), False),
        (Resource("u", 100, 'W/"a"'), Resource("u", 100, 'W/"a"'), None),
        (DATED, DATED, True),
        (DATED, Resource("u", 100, None, "Tue, 02 Jan 2024 00:00:00 GMT"), False),
        (BARE, BARE, None),
        (BARE, Resource("u", 101), False),
        (BARE, Resource("u"), None),
        (Resource("u"), BARE, None),
        (STRONG, BARE, None),
        (BARE, STRONG, None),
        (DATED, BARE, None),
        (BARE, DATED, None),
        (STRONG, DATED, None),
        (Resource("u", 100, 'W/"a"'), STRONG, None),
        (BARE, Resource("u", 100, 'W/"a"'), None),
    ],
)
def test_same_resource(known: Resource, seen: Resource, same: bool | None) -> None:
    assert same_resource(known, seen) is same


@pytest.mark.parametrize(
    ("known", "plain", "headers"),
    [
        (STRONG, False, [("Range", "bytes=30-"), ("If-Range", '"a"')]),
        (DATED, False, [("Range", "bytes=30-"), ("If-Range", DATED.last_modified)]),
        (
            Resource("u", 100, 'W/"a"', DATED.last_modified),
            False,
            [("Range", "bytes=30-"), ("If-Range", DATED.last_modified)],
        ),
        (Resource("u", 100, 'W/"a"'), False, [("Range", "bytes=30-")]),
        (Resource("u", 100, "a"), False, [("Range", "bytes=30-")]),
        (Resource("u", 100, '"'), False, [("Range", "bytes=30-")]),
        (Resource("u", 100, "a", WHEN), False, [("Range", "bytes=30-"), ("If-Range", WHEN)]),
        (BARE, False, [("Range", "bytes=30-")]),
        (STRONG, True, [("Range", "bytes=30-")]),
    ],
)
def test_what_is_asked_to_go_on_at_40(known: Resource, plain: bool, headers: list[tuple[str, str]]) -> None:
    assert ask_for(Span(40, 100), known, 10, plain=plain).headers() == headers


@pytest.mark.parametrize(
    ("ask", "headers"),
    [
        (Ask(), []),
        (Ask(Span(40, 60)), [("Range", "bytes=40-59")]),
        (ask_for(Span(40, 60), BARE, 0), [("Range", "bytes=40-59")]),
        (ask_for(Span(40, 60), BARE, 50), [("Range", "bytes=0-59")]),
        (ask_for(Span(40, 60), Resource("u"), 0), [("Range", "bytes=40-")]),
    ],
)
def test_what_is_sent(ask: Ask, headers: list[tuple[str, str]]) -> None:
    assert ask.headers() == headers


FROM_40 = ask_for(Span(40, 100), STRONG, 10)
PLAIN_40 = ask_for(Span(40, 100), BARE, 10)
OPEN_40 = Ask(Span(40, 99), 10, None, True)
RANGE = {"content-range": "bytes 30-99/100", "content-length": "70"}
OK = RANGE | {"etag": '"a"'}
WHOLE = {"content-length": "100", "etag": '"a"'}

# What was asked for, what the part was begun with, the answer, and what it means.
MEANINGS = {
    # No part, or no range asked for.
    "fresh": (Ask(), None, 200, {"content-length": "100"}, "whole: nothing is here yet"),
    "fresh, length unknown": (Ask(), None, 200, {"content-range": "bytes */9"}, "whole: nothing is here yet"),
    "206 of everything": (Ask(), None, 206, {"content-range": "bytes 0-99/100"}, "whole: nothing is here yet"),
    "range of no use": (Ask(), STRONG, 200, WHOLE, "whole: nothing is here yet"),
    "part of no use": (FROM_40, None, 200, WHOLE, "whole: nothing is here yet"),
    # 416.
    "416: all is here": (
        OPEN_40, Resource("u"), 416, {"content-range": "bytes */40"}, "complete: the server has no more bytes"
    ),
    "416: shorter now": (
        FROM_40, STRONG, 416, {"content-range": "bytes */40"}, "ask_whole: the server refuses the range"
    ),
    "416: more than is here": (
        OPEN_40, Resource("u"), 416, {"content-range": "bytes */50"}, "ask_whole: the server refuses the range"
    ),
    "416: as much, but changed": (
        OPEN_40, Resource("u", None, '"a"'), 416, {"content-range": "bytes */40", "etag": '"b"'},
        "ask_whole: the server refuses the range",
    ),
    "416 with a range": (
        OPEN_40, Resource("u"), 416, {"content-range": "bytes 0-39/40"},
        "ask_whole: the server refuses the range",
    ),
    "416 without a total": (FROM_40, STRONG, 416, {}, "ask_whole: the server refuses the range"),
    "416: as much, but of another date": (
        OPEN_40, replace(BOTH, length=None), 416,
        {"content-range": "bytes */40", "etag": '"a"', "last-modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        "ask_whole: the server refuses the range",
    ),
    # Another version.
    "the same tag with another date": (
        FROM_40._replace(compare=0), BOTH, 206, OK | {"last-modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        "ask_plain: the entity tag is the same and the date is not",
    ),
    "the same tag with another date, compared": (
        PLAIN_40, BOTH, 206, OK | {"last-modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        "slice: the server goes on where the part ends",
    ),
    "200: the same tag with another date": (
        FROM_40, BOTH, 200, WHOLE | {"last-modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        "whole: the server ignores ranges",
    ),
    "206 of another version": (
        FROM_40, STRONG, 206, OK | {"etag": '"b"'}, "ask_whole: the resource changed"
    ),
    "another total": (
        FROM_40, STRONG, 206, OK | {"content-range": "bytes 40-99/101"}, "ask_whole: the resource changed"
    ),
    "another total, no validator": (
        PLAIN_40, BARE, 206, RANGE | {"content-range": "bytes 40-99/101"}, "ask_whole: the resource changed"
    ),
    "another total, validators lost": (
        FROM_40, STRONG, 206, RANGE | {"content-range": "bytes 40-99/101"}, "ask_whole: the resource changed"
    ),
    "200: changed": (FROM_40, STRONG, 200, WHOLE | {"etag": '"b"'}, "whole: the resource changed"),
    "200: changed, with a total alone": (
        FROM_40, STRONG, 200, WHOLE | {"etag": '"b"', "content-range": "bytes */100"},
        "whole: the resource changed",
    ),
    "200: other length": (
        FROM_40, STRONG, 200, WHOLE | {"content-length": "90"}, "whole: the resource changed"
    ),
    "200: other length, no validator": (
        PLAIN_40, BARE, 200, {"content-length": "90"}, "whole: the resource changed"
    ),
    "200: other length, only a date now": (
        FROM_40, STRONG, 200, {"content-length": "90", "last-modified": WHEN}, "whole: the resource changed"
    ),
    "slice of another version under 200": (
        FROM_40, STRONG, 200, OK | {"etag": '"b"'}, "ask_whole: the resource changed"
    ),
    "slice of another length under 200": (
        FROM_40, STRONG, 200, OK | {"content-range": "bytes 30-99/101"}, "ask_whole: the resource changed"
    ),
    "another tag, equal date": (
        FROM_40, BOTH, 206, OK | {"etag": '"b"', "last-modified": WHEN},
        "ask_plain: the entity tag differs from server to server",
    ),
    "another tag, equal date, asked plainly": (
        PLAIN_40, BOTH, 206, OK | {"etag": '"b"', "last-modified": WHEN}, "ask_whole: the resource changed"
    ),
    # A range with its place.
    "the right range": (FROM_40, STRONG, 206, OK, "slice: the server goes on where the part ends"),
    "the right range, chunked": (
        FROM_40, STRONG, 206, {"content-range": "bytes 30-99/100"},
        "slice: the server goes on where the part ends",
    ),
    "right slice under 200": (FROM_40, STRONG, 200, OK, "slice: the right range under status 200"),
    "block-aligned early start": (
        FROM_40, STRONG, 206, OK | {"content-range": "bytes 16-99/100", "content-length": "84"},
        "slice: the server goes on where the part ends",
    ),
    "shorter than asked": (
        FROM_40, STRONG, 206, OK | {"content-range": "bytes 30-40/100", "content-length": "11"},
        "slice: the server goes on where the part ends",
    ),
    "starts too late": (
        FROM_40, STRONG, 206, OK | {"content-range": "bytes 41-99/100", "content-length": "59"},
        "ask_whole: the server sent another range",
    ),
    "starts after the bytes to compare": (
        FROM_40, STRONG, 206, OK | {"content-range": "bytes 40-99/100", "content-length": "60"},
        "ask_whole: the server sent another range",
    ),
    "no more than the bytes to compare": (
        OPEN_40, Resource("u"), 206, {"content-range": "bytes 30-39/40", "content-length": "10"},
        "slice: the server goes on where the part ends",
    ),
    "ends too early": (
        FROM_40, STRONG, 206, OK | {"content-range": "bytes 20-39/100", "content-length": "20"},
        "ask_whole: the server sent another range",
    ),
    "length and range disagree": (
        FROM_40, STRONG, 206, OK | {"content-length": "61"},
        "ask_whole: Content-Range and Content-Length disagree",
    ),
    # Any other range.
    "206 without Content-Range": (
        FROM_40, STRONG, 206, {"etag": '"a"'}, "ask_whole: the server sent a range without its place"
    ),
    "206 with a total alone": (
        FROM_40, STRONG, 206, {"content-range": "bytes */100"},
        "ask_whole: the server sent a range without its place",
    ),
    "multipart": (
        FROM_40, STRONG, 206, {"content-type": "Multipart/byteranges; boundary=x"},
        "ask_whole: the server sent several ranges in one body",
    ),
    "range of the gzip form": (
        FROM_40, STRONG, 206, OK | {"content-encoding": "gzip"},
        "ask_whole: the server sent a range of a coded form",
    ),
    "slice of the gzip form under 200": (
        FROM_40, STRONG, 200, OK | {"content-encoding": "gzip"},
        "ask_whole: the server sent a range of a coded form",
    ),
    # Everything.
    "200 though nothing changed": (
        FROM_40, STRONG, 200, WHOLE, "ask_plain: the server does not honour If-Range"
    ),
    "200 of the gzip form": (
        FROM_40, STRONG, 200, {"etag": '"a"', "content-encoding": "gzip"}, "whole: the server ignores ranges"
    ),
    "200, validators lost": (
        FROM_40, STRONG, 200, {"content-length": "100"}, "whole: the server ignores ranges"
    ),
    "200, asked plainly": (PLAIN_40, STRONG, 200, WHOLE, "whole: the server ignores ranges"),
    "ranges ignored": (PLAIN_40, BARE, 200, {"content-length": "100"}, "whole: the server ignores ranges"),
}  # fmt: skip


@pytest.mark.parametrize(("ask", "known", "status", "headers", "meaning"), MEANINGS.values(), ids=MEANINGS)
def test_what_an_answer_means(
    ask: Ask, known: Resource | None, status: int, headers: dict[str, str], meaning: str
) -> None:
    answer = decide(ask, known, status, headers, resource_of(headers, "http://h/f", status, {}))
    assert f"{answer.action}: {answer.reason}" == meaning
    place = parse_content_range(headers.get("content-range"))
    assert answer.body == (place.span if place and answer.action == "slice" else None)


@pytest.mark.parametrize("status", [304, 400, 403, 405, 412, 501])
def test_what_is_asked_next_where_an_error_may_be_meant_for_the_range(status: int) -> None:
    asks = [(Ask(), None), (FROM_40, "ask_plain"), (PLAIN_40, "ask_whole")]
    for ask, action in asks:
        answer = refused(ask, status)
        assert (answer and answer.action) == action


@pytest.mark.parametrize("status", [200, 206, 401, 404, 416, 429, 500, 503])
def test_other_statuses_are_meant_for_the_request(status: int) -> None:
    assert refused(FROM_40, status) is None


@pytest.mark.parametrize(
    ("seen", "is_changed"),
    [
        (BOTH, False),
        (Resource("u", 100, '"b"', WHEN), False),
        (Resource("u", 101, '"b"', WHEN), True),
        (Resource("u", 100, '"a"', "Tue, 02 Jan 2024 00:00:00 GMT"), True),
        (Resource("u", 100, '"b"'), True),
        (BARE, False),
    ],
)
def test_what_is_changed_rather_than_tagged_by_another_server(seen: Resource, is_changed: bool) -> None:
    assert changed(BOTH, seen) is is_changed


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {}),
        (206, {"content-range": "bytes */100"}),
        (206, {"content-range": "bytes 1-99/100"}),
        (206, {"content-range": "bytes 0-9/100"}),
        (206, {"content-range": "bytes 0-9/*"}),
        (200, {"content-range": "bytes 5-99/100"}),
    ],
)
def test_a_slice_that_nobody_asked_for_is_refused(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        decide(Ask(), None, status, headers, resource_of(headers, "http://h/f", status, {}))


@pytest.mark.parametrize("headers", [{"content-length": "90"}, {}])
@pytest.mark.parametrize("known", [STRONG, DATED, BOTH])
@pytest.mark.parametrize("ask", [FROM_40, PLAIN_40, Ask()])
def test_what_is_hardly_the_file_does_not_replace_the_part(
    ask: Ask, known: Resource, headers: dict[str, str]
) -> None:
    with pytest.raises(ProtocolError, match="something else under this URL") as caught:
        decide(ask, known, 200, headers, resource_of(headers, "http://h/f", 200, {}))
    assert caught.value.transient
