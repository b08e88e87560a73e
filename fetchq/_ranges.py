"""Span arithmetic, the range headers, and the decision what an answer means for the bytes already here.

Plain functions: the transfer asks, acts on the answer, and holds no opinion of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Literal, NamedTuple

from ._errors import ProtocolError
from ._models import Resource, Span, redact

__all__ = [
    "Answer",
    "Ask",
    "ContentRange",
    "add",
    "ask_for",
    "clip",
    "covers",
    "decide",
    "merge",
    "missing",
    "parse_content_range",
    "resource_of",
    "same_resource",
    "total",
]

Headers = Mapping[str, str]

# A length beyond 2**63 overflows every file offset there is; such a header is garbage.
MAX_OFFSET = 2**63 - 1


# --- spans ------------------------------------------------------------------------------------------


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Give *spans* sorted, touching ones joined, empty ones dropped."""
    merged: list[Span] = []
    for span in sorted((s for s in spans if s.stop > s.start), key=attrgetter("start")):
        if merged and span.start <= merged[-1].stop:
            if span.stop > merged[-1].stop:
                merged[-1] = Span(merged[-1].start, span.stop)
        else:
            merged.append(span)
    return tuple(merged)


def add(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """Give merged *spans* with *new* in it; growing the last span, the common case, costs no sort."""
    if spans and spans[-1].start <= new.start <= spans[-1].stop:
        last = spans[-1]
        return (*spans[:-1], Span(last.start, max(last.stop, new.stop)))
    return merge((*spans, new))


def clip(spans: Iterable[Span], size: int) -> tuple[Span, ...]:
    """Give what of *spans* lies below *size* bytes: a journal is not believed past the part's end."""
    return merge(Span(max(0, s.start), min(s.stop, size)) for s in spans)


def missing(spans: Iterable[Span], length: int) -> tuple[Span, ...]:
    """Give the holes that *spans* leave in ``[0, length)``."""
    holes = []
    at = 0
    for span in merge(spans):
        if span.start > at:
            holes.append(Span(at, min(span.start, length)))
        at = max(at, span.stop)
    holes.append(Span(at, length))
    return tuple(hole for hole in holes if hole.stop > hole.start)


def covers(spans: tuple[Span, ...], length: int) -> bool:
    """Tell whether merged *spans* are all of ``[0, length)``."""
    return length == 0 or (len(spans) == 1 and spans[0].start == 0 and spans[0].stop >= length)


def total(spans: Iterable[Span]) -> int:
    """Give how many bytes merged *spans* hold."""
    return sum(span.stop - span.start for span in spans)


# --- headers ----------------------------------------------------------------------------------------


class ContentRange(NamedTuple):
    """A Content-Range (RFC 9110 section 14.4): ``span`` is None in an unsatisfied ``*/total``."""

    span: Span | None
    total: int | None


_CONTENT_RANGE = r"(?ai)bytes\s+(?:(\d{1,19})-(\d{1,19})|\*)/(?:(\d{1,19})|\*)"


def parse_content_range(text: str | None) -> ContentRange | None:
    """Read a Content-Range, or give None for anything that is not one with a plain meaning."""
    found = re.fullmatch(_CONTENT_RANGE, text.strip()) if text else None
    if found is None:
        return None
    first, last, whole = (int(group) if group else None for group in found.groups())
    if whole is not None and whole > MAX_OFFSET:
        return None
    if first is None or last is None:
        return ContentRange(None, whole) if whole is not None else None
    if last < first or last >= MAX_OFFSET or (whole is not None and last >= whole):
        return None
    return ContentRange(Span(first, last + 1), whole)


def content_length(headers: Headers) -> int | None:
    """Give Content-Length where it counts: not beside Transfer-Encoding (RFC 9112 section 6.3).

    :raises ProtocolError: values that differ, or no number.
    """
    text = headers.get("content-length")
    if text is None or "transfer-encoding" in headers:
        return None
    values = {value.strip() for value in text.split(",")}
    value = values.pop()
    if values or not (value.isascii() and value.isdigit()) or len(value) > 19 or int(value) > MAX_OFFSET:
        raise ProtocolError(f"The server sent a Content-Length that is no length: {text[:40]!r}.")
    return int(value)


def content_encoding(headers: Headers) -> str | None:
    """Give the content codings other than identity, lower case, as one comma list; None for none."""
    codings = (coding.strip().lower() for coding in headers.get("content-encoding", "").split(","))
    return ", ".join(c for c in codings if c and c != "identity") or None


def resource_of(headers: Headers, url: str, status: int, digests: Mapping[str, str]) -> Resource:
    """Read what the head of an answer says about the resource, its complete length included."""
    content_range = parse_content_range(headers.get("content-range"))
    if content_range is not None and (status in (206, 416) or content_range.span is not None):
        length = content_range.total
    else:
        length = None if status in (206, 416) else content_length(headers)
    return Resource(
        url=redact(url),
        length=0 if status == 204 else length,
        etag=headers.get("etag", "").strip() or None,
        last_modified=headers.get("last-modified", "").strip() or None,
        ranges=status == 206 or headers.get("accept-ranges", "").strip().lower() == "bytes",
        encoding=content_encoding(headers),
        digests=digests,
    )


def same_resource(known: Resource, seen: Resource) -> bool | None:
    """Tell whether *seen* is still *known*: True or False by validators, None where there are none.

    A length that differs settles it. Two strong entity tags settle it; a weak one only vouches for
    equal meaning, not equal bytes (RFC 9110 section 8.8.1), so it can refute but not confirm.
    """
    if known.length is not None and seen.length is not None and known.length != seen.length:
        return False
    if known.strong_etag and seen.strong_etag:
        return known.strong_etag == seen.strong_etag
    if known.etag and seen.etag and known.etag.removeprefix("W/") != seen.etag.removeprefix("W/"):
        return False
    if known.last_modified and seen.last_modified:
        return known.last_modified == seen.last_modified
    return None


# --- asking -----------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """What one request asks for.

    :param span: the bytes wanted; None for the whole.
    :param compare: bytes before the span that are asked for too, to be compared with the part.
    :param condition: value of If-Range, if it is sent.
    :param to_end: the range is left open at its end.
    """

    span: Span | None = None
    compare: int = 0
    condition: str | None = None
    to_end: bool = False

    def headers(self) -> list[tuple[str, str]]:
        """Give Range and If-Range (RFC 9110 sections 14.2 and 13.1.5)."""
        if self.span is None:
            return []
        stop = "" if self.to_end else str(self.span.stop - 1)
        fields = [("Range", f"bytes={self.span.start - self.compare}-{stop}")]
        return [*fields, ("If-Range", self.condition)] if self.condition else fields


def ask_for(span: Span, known: Resource, overlap: int, *, plain: bool = False) -> Ask:
    """Ask for *span* of a *known* resource, so that another version cannot slip in.

    If-Range carries a strong entity tag, else the date. Without either, or when *plain* because the
    server mishandles If-Range, *overlap* bytes before the span are fetched again and compared.
    """
    to_end = known.length is None or span.stop >= known.length
    condition = None if plain else known.strong_etag or known.last_modified
    compare = 0 if condition else min(overlap, span.start)
    return Ask(span, compare, condition, to_end)


Action = Literal["whole", "slice", "complete", "ask_plain", "ask_whole"]


class Answer(NamedTuple):
    """What an answer means.

    ``whole``: the body is the complete representation, written from 0. ``slice``: the body is
    ``body``, to be compared and trimmed up to the span asked for. ``complete``: the part already is
    everything. ``ask_plain``: try the range once more without If-Range. ``ask_whole``: the range is of
    no use, ask without one.
    """

    action: Action
    reason: str
    body: Span | None = None


def decide(ask: Ask, known: Resource | None, status: int, headers: Headers, seen: Resource) -> Answer:
    """Decide by status, Content-Range and validators together what the body of an answer is.

    :param known: what the part was begun with; None for a fresh start.
    :param seen: :func:`resource_of` this answer.
    :raises ProtocolError: a slice that nobody asked for.
    """
    content_range = parse_content_range(headers.get("content-range"))
    # Some servers send a range under status 200.
    partial = status == 206 or (content_range is not None and content_range.span is not None)
    if known is not None and status not in (206, 416):
        _refuse_stranger(known, seen)
    if ask.span is None or known is None:
        return _decide_whole(status, content_range)
    if status == 416:
        return _decide_unsatisfied(ask.span, known, seen, content_range)
    if same_resource(known, seen) is False:
        if ask.condition and same_resource(replace(known, etag=None), replace(seen, etag=None)):
            return Answer("ask_plain", "the entity tag differs from server to server")
        return Answer("ask_whole" if partial else "whole", "the resource changed")
    if content_range is not None and content_range.span is not None and not seen.encoding:
        return _decide_slice(ask, known, status, content_range.span, content_range.total, headers)
    if partial:
        kind = headers.get("content-type", "").lower()
        why = "several ranges in one body" if kind.startswith("multipart/") else "a range without its place"
        return Answer("ask_whole", f"the server sent {why}")
    if ask.condition and same_resource(known, seen) is True and not seen.encoding:
        return Answer("ask_plain", "the server does not honour If-Range")
    return Answer("whole", "the server ignores ranges")


def _refuse_stranger(known: Resource, seen: Resource) -> None:
    """Refuse to give up good bytes for what is hardly the file: other length, and no validator any more.

    :raises ProtocolError: it is a page for people, or nothing at all, under a status of success.
    """
    had = known.etag or known.last_modified
    if had and not (seen.etag or seen.last_modified) and seen.length != known.length:
        raise ProtocolError(
            "The server now sends something else under this URL, without date or entity tag; "
            "remove the .part file if that is what you want.",
            transient=True,
        )


def _decide_whole(status: int, content_range: ContentRange | None) -> Answer:
    """Judge the answer to a request without Range."""
    span = content_range.span if content_range else None
    if span is not None and content_range is not None and span != Span(0, content_range.total or -1):
        raise ProtocolError("The server sent a part of the file although all of it was asked for.")
    if status == 206 and span is None:
        raise ProtocolError("The server answered 206 without a Content-Range to a request for the whole file.")
    return Answer("whole", "nothing is here yet")


def _decide_unsatisfied(
    span: Span, known: Resource, seen: Resource, content_range: ContentRange | None
) -> Answer:
    """Judge a 416: it means finished only where the total equals what is here and nothing changed."""
    at_end = content_range is not None and content_range.span is None and content_range.total == span.start
    if at_end and same_resource(known, seen) is not False and known.length in (None, span.start):
        return Answer("complete", "the server has no more bytes")
    return Answer("ask_whole", "the server refuses the range")


def _decide_slice(
    ask: Ask, known: Resource, status: int, body: Span, whole: int | None, headers: Headers
) -> Answer:
    """Judge a Content-Range: it must begin at, or before, what is wanted and belong to the same total."""
    assert ask.span is not None  # noqa: S101 - the caller has just looked
    if whole is not None and known.length is not None and whole != known.length:
        return Answer("ask_whole", "the length changed")
    told = content_length(headers)
    if told is not None and told != len(body):
        return Answer("ask_whole", "Content-Range and Content-Length disagree")
    if body.start > ask.span.start or body.stop <= ask.span.start:
        return Answer("ask_whole", "the server sent another range")
    kept = "the server goes on where the part ends"
    return Answer("slice", kept if status == 206 else "the right range under status 200", body)
