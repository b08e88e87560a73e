"""Span arithmetic, range headers, and what an answer means: tables of cases."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._errors import ProtocolError
from fetchq._models import Resource, Span
from fetchq._ranges import (
    Ask,
    ContentRange,
    add,
    ask_for,
    clip,
    covers,
    decide,
    merge,
    missing,
    parse_content_range,
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
    assert all(a.stop < b.start for a, b in pairwise(merged))


@given(spans, st.integers(0, 60), st.integers(0, 60))
def test_add_equals_merge(some: list[Span], one: int, other: int) -> None:
    new = Span(min(one, other), max(one, other))
    assert add(merge(some), new) == merge([*some, new])


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
        ("bytes 5-9/*", ContentRange(Span(5, 10), None)),
        ("bytes */10", ContentRange(None, 10)),
        ("bytes */*", None),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes 5-9", None),
        ("items 0-9/10", None),
        ("bytes -5-9/10", None),
        ("bytes 0-9/99999999999999999999", None),
        ("bytes \u0660-\u0669/\u0661\u0660", None),
        ("", None),
        (None, None),
    ],
)
def test_content_range(text: str | None, meaning: ContentRange | None) -> None:
    assert parse_content_range(text) == meaning


@given(st.text(max_size=40))
def test_content_range_takes_any_text(text: str) -> None:
    found = parse_content_range(text)
    assert found is None or found.span is not None or found.total is not None


@pytest.mark.parametrize("text", ["5, 6", "-1", "+5", "0x10", "1e3", "\u0665", "99999999999999999999"])
def test_a_content_length_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        resource_of({"content-length": text}, "http://h/", 200, {})


def test_transfer_encoding_wins_over_content_length() -> None:
    assert (
        resource_of({"content-length": "5", "transfer-encoding": "chunked"}, "http://h/", 200, {}).length
        is None
    )


def test_equal_lengths_that_are_repeated_are_one() -> None:
    assert resource_of({"content-length": "5, 5"}, "http://h/", 200, {}).length == 5


STRONG = Resource("u", 100, '"a"', None)
DATED = Resource("u", 100, None, "Mon, 01 Jan 2024 00:00:00 GMT")
BARE = Resource("u", 100, None, None)


@pytest.mark.parametrize(
    ("known", "seen", "same"),
    [
        (STRONG, Resource("u", 100, '"a"'), True),
        (STRONG, Resource("u", 100, '"b"'), False),
        (STRONG, Resource("u", 101, '"a"'), False),
        (STRONG, Resource("u", 100, 'W/"a"'), None),
        (STRONG, Resource("u", 100, 'W/"b"'), False),
        (Resource("u", 100, 'W/"a"'), Resource("u", 100, 'W/"a"'), None),
        (DATED, DATED, True),
        (DATED, Resource("u", 100, None, "Tue, 02 Jan 2024 00:00:00 GMT"), False),
        (BARE, BARE, None),
        (STRONG, BARE, None),
    ],
)
def test_same_resource(known: Resource, seen: Resource, same: bool | None) -> None:
    assert same_resource(known, seen) is same


@pytest.mark.parametrize(
    ("known", "plain", "headers"),
    [
        (STRONG, False, [("Range", "bytes=40-"), ("If-Range", '"a"')]),
        (DATED, False, [("Range", "bytes=40-"), ("If-Range", DATED.last_modified)]),
        (
            Resource("u", 100, 'W/"a"', DATED.last_modified),
            False,
            [("Range", "bytes=40-"), ("If-Range", DATED.last_modified)],
        ),
        (Resource("u", 100, 'W/"a"'), False, [("Range", "bytes=30-")]),
        (BARE, False, [("Range", "bytes=30-")]),
        (STRONG, True, [("Range", "bytes=30-")]),
    ],
)
def test_what_is_asked_to_go_on_at_40(known: Resource, plain: bool, headers: list[tuple[str, str]]) -> None:
    assert ask_for(Span(40, 100), known, 10, plain=plain).headers() == headers


def test_a_hole_in_the_middle_is_asked_for_with_its_end() -> None:
    assert ask_for(Span(40, 60), STRONG, 0).headers()[0] == ("Range", "bytes=40-59")


FROM_40 = ask_for(Span(40, 100), STRONG, 10)
PLAIN_40 = ask_for(Span(40, 100), BARE, 10)
OK = {"content-range": "bytes 40-99/100", "content-length": "60", "etag": '"a"'}


@pytest.mark.parametrize(
    ("ask", "known", "status", "headers", "action"),
    [
        pytest.param(FROM_40, STRONG, 206, OK, "slice", id="the right range"),
        pytest.param(
            FROM_40,
            STRONG,
            206,
            OK | {"content-range": "bytes 32-99/100", "content-length": "68"},
            "slice",
            id="block-aligned early start",
        ),
        pytest.param(
            FROM_40,
            STRONG,
            206,
            OK | {"content-range": "bytes 40-59/100", "content-length": "20"},
            "slice",
            id="shorter than asked",
        ),
        pytest.param(
            FROM_40,
            STRONG,
            206,
            OK | {"content-range": "bytes 50-99/100", "content-length": "50"},
            "ask_whole",
            id="starts too late",
        ),
        pytest.param(
            FROM_40, STRONG, 206, OK | {"content-range": "bytes 40-99/101"}, "ask_whole", id="another total"
        ),
        pytest.param(
            FROM_40, STRONG, 206, OK | {"content-length": "61"}, "ask_whole", id="length and range disagree"
        ),
        pytest.param(FROM_40, STRONG, 206, {"etag": '"a"'}, "ask_whole", id="206 without Content-Range"),
        pytest.param(
            FROM_40,
            STRONG,
            206,
            {"content-type": "multipart/byteranges; boundary=x"},
            "ask_whole",
            id="multipart",
        ),
        pytest.param(FROM_40, STRONG, 206, OK | {"etag": '"b"'}, "ask_whole", id="206 of another version"),
        pytest.param(
            FROM_40, STRONG, 206, OK | {"content-encoding": "gzip"}, "ask_whole", id="range of the gzip form"
        ),
        pytest.param(
            FROM_40, STRONG, 200, {"content-length": "100", "etag": '"b"'}, "whole", id="200: changed"
        ),
        pytest.param(
            FROM_40, STRONG, 200, {"content-length": "90", "etag": '"a"'}, "whole", id="200: other length"
        ),
        pytest.param(
            FROM_40,
            STRONG,
            200,
            {"content-length": "100", "etag": '"a"'},
            "ask_plain",
            id="200 though nothing changed",
        ),
        pytest.param(PLAIN_40, BARE, 200, {"content-length": "100"}, "whole", id="ranges ignored"),
        pytest.param(FROM_40, STRONG, 200, OK, "slice", id="right slice under 200"),
        pytest.param(
            FROM_40, STRONG, 200, OK | {"etag": '"b"'}, "ask_whole", id="slice of another version under 200"
        ),
        pytest.param(
            FROM_40,
            STRONG,
            200,
            OK | {"content-range": "bytes 40-99/101"},
            "ask_whole",
            id="slice of another length under 200",
        ),
        pytest.param(
            FROM_40,
            STRONG,
            200,
            OK | {"content-encoding": "gzip"},
            "ask_whole",
            id="slice of the gzip form under 200",
        ),
        pytest.param(FROM_40, STRONG, 416, {"content-range": "bytes */40"}, "ask_whole", id="416: shorter now"),
        pytest.param(FROM_40, STRONG, 416, {}, "ask_whole", id="416 without a total"),
        pytest.param(
            Ask(Span(40, 99), 0, None, True),
            Resource("u"),
            416,
            {"content-range": "bytes */40"},
            "complete",
            id="416: all is here",
        ),
        pytest.param(Ask(), None, 200, {"content-length": "100"}, "whole", id="fresh"),
        pytest.param(Ask(), None, 206, {"content-range": "bytes 0-99/100"}, "whole", id="206 of everything"),
    ],
)
def test_what_an_answer_means(
    ask: Ask, known: Resource | None, status: int, headers: dict[str, str], action: str
) -> None:
    seen = resource_of(headers, "http://h/f", status, {})
    assert decide(ask, known, status, headers, seen).action == action


@pytest.mark.parametrize(
    "headers", [{}, {"content-range": "bytes 5-99/100"}, {"content-range": "bytes 0-9/100"}]
)
def test_a_slice_that_nobody_asked_for_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        decide(Ask(), None, 206, headers, resource_of(headers, "http://h/f", 206, {}))
