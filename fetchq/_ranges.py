"""Arithmetic of byte spans, the range headers (RFC 9110 section 14), and what an answer means for a part.

Pure functions: the transfer sends what :func:`ask_for` returns and acts on what :func:`decide` returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter
from typing import Literal, NamedTuple

from ._errors import ProtocolError
from ._models import Resource, Span, redact

__all__ = [
    "Action",
    "Answer",
    "Ask",
    "ContentRange",
    "add",
    "ask_for",
    "before",
    "changed",
    "clip",
    "covers",
    "decide",
    "merge",
    "missing",
    "parse_content_range",
    "refused",
    "resource_of",
    "same_resource",
    "total",
    "unknown_coding",
]

Headers = Mapping[str, str]

# The largest offset in a file: off_t is a signed 64-bit integer.
MAX_OFFSET = 2**63 - 1
# IANA's registry of content codings, of those that a body can have.
_CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})
# Statuses that a request with Range and If-Range may get for these fields alone.
_REFUSALS = frozenset({304, 400, 403, 405, 412, 501})
# Eighteen digits always fit such an offset; a longer number in a header is no length.
_LENGTH_DIGITS = 18


# --- spans ------------------------------------------------------------------------------------------


def merge(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return *spans* sorted, with overlapping and adjacent ones joined and empty ones removed."""
    merged: list[Span] = []
    for span in sorted((s for s in spans if s.stop > s.start), key=attrgetter("start")):
        if merged and span.start <= merged[-1].stop:
            merged[-1] = Span(merged[-1].start, max(merged[-1].stop, span.stop))
        else:
            merged.append(span)
    return tuple(merged)


def before(spans: tuple[Span, ...], position: int) -> int:
    """Return how many bytes without a gap end at *position*."""
    return next((position - span.start for span in spans if span.start < position <= span.stop), 0)


def add(spans: tuple[Span, ...], new: Span) -> tuple[Span, ...]:
    """Return merged *spans* with *new* added; growing the last span, the common case, needs no sort."""
    if spans and spans[-1].start <= new.start <= spans[-1].stop:
        last = spans[-1]
        return (*spans[:-1], Span(last.start, max(last.stop, new.stop)))
    return merge((*spans, new))


def clip(spans: Iterable[Span], size: int) -> tuple[Span, ...]:
    """Return the spans of a journal cut to *size* bytes, the real size of its part."""
    return merge(Span(max(0, s.start), min(s.stop, size)) for s in spans)


def missing(spans: Iterable[Span], length: int) -> tuple[Span, ...]:
    """Return the spans of ``[0, length)`` that *spans* do not cover."""
    edges = [Span(0, 0), *merge(spans), Span(length, length)]
    holes = (Span(before.stop, min(after.start, length)) for before, after in pairwise(edges))
    return tuple(hole for hole in holes if hole.stop > hole.start)


def covers(spans: tuple[Span, ...], length: int) -> bool:
    """Whether merged *spans* cover ``[0, length)``."""
    return length == 0 or (len(spans) == 1 and spans[0].start == 0 and spans[0].stop >= length)


def total(spans: Iterable[Span]) -> int:
    """Return the number of bytes in merged *spans*."""
    return sum(span.stop - span.start for span in spans)


# --- headers ----------------------------------------------------------------------------------------


class ContentRange(NamedTuple):
    """A Content-Range (RFC 9110 section 14.4).

    :param span: the bytes in the body; None in ``bytes */TOTAL``, which a 416 carries.
    :param total: complete length of the representation; None for ``*``, unknown.
    """

    span: Span | None
    total: int | None


_NUMBER = rf"(\d{{1,{_LENGTH_DIGITS}}})"
# The unit is followed by a space; some servers write "bytes=" or "bytes:", or leave it out.
_CONTENT_RANGE = rf"(?ai)(?:bytes\s*[\s=:]\s*)?(?:{_NUMBER}-{_NUMBER}|\*)/(?:{_NUMBER}|\*)"


def parse_content_range(text: str | None) -> ContentRange | None:
    """Parse a Content-Range; return None where it is missing, malformed or contradicts itself."""
    found = re.fullmatch(_CONTENT_RANGE, text.strip()) if text else None
    if found is None:
        return None
    first, last, whole = (int(group) if group else None for group in found.groups())
    if first is None or last is None:
        return ContentRange(None, whole) if whole is not None else None
    if last < first or (whole is not None and last >= whole):
        return None
    return ContentRange(Span(first, last + 1), whole)


def _content_range(headers: Headers, status: int) -> ContentRange | None:
    """Return a response's Content-Range where it means something: under 206 and 416 (RFC 9110 section 14.4).

    Some servers send a range under 200. It is believed if the body has as many bytes as it says, or if there is
    no Content-Length to tell and the range is not everything.
    """
    content_range = parse_content_range(headers.get("content-range"))
    if content_range is None or status in (206, 416):
        return content_range
    span, length = content_range.span, content_length(headers)
    if span is None:
        return None
    fits = len(span) == length if length is not None else span != Span(0, content_range.total or 0)
    return content_range if fits else None


def content_length(headers: Headers) -> int | None:
    """Return Content-Length in bytes; None where it is missing or overridden by Transfer-Encoding.

    A list of equal values counts as one (RFC 9110 section 8.6; RFC 9112 section 6.3 for Transfer-Encoding).

    :raises ProtocolError: the values differ, or are not a number of at most 18 digits.
    """
    text = headers.get("content-length")
    if text is None or "transfer-encoding" in headers:
        return None
    values = {value.strip() for value in text.split(",")}
    value = values.pop()
    if values or not (value.isascii() and value.isdigit()) or len(value) > _LENGTH_DIGITS:
        raise ProtocolError(f"The server sent a Content-Length that is no length: {text[:40]!r}.")
    return int(value)


def _codings(headers: Headers) -> list[str]:
    """Return the content codings in lower case, in the order in which they were applied."""
    codings = (coding.strip().lower() for coding in headers.get("content-encoding", "").split(","))
    return [coding for coding in codings if coding]


def content_encoding(headers: Headers) -> str | None:
    """Return the content codings that exist, except identity, joined by ``", "``; None without any.

    What is no coding (``utf-8``, ``none``, ``aws-chunked``) is a mistake of the server's and changes no byte.
    """
    if "content-encoding" not in headers:
        return None
    return ", ".join(coding for coding in _codings(headers) if coding in _CODINGS) or None


def unknown_coding(headers: Headers) -> str:
    """Return the first word in Content-Encoding that is no content coding; else empty."""
    return next((word for word in _codings(headers) if word not in _CODINGS and word != "identity"), "")


def resource_of(headers: Headers, url: str, status: int, digests: Mapping[str, str]) -> Resource:
    """Return what the head of a response says about the resource.

    The length is that of the complete representation: from Content-Range where that means something, else from
    Content-Length.

    :param url: of this response, after redirects; stored redacted.
    :param digests: :func:`_digests.promised` of the same head.
    :raises ProtocolError: Content-Length is needed and no length.
    """
    content_range = _content_range(headers, status) if "content-range" in headers else None
    if content_range is not None:
        length = content_range.total
    else:
        length = None if status in (206, 416) else content_length(headers)
    return Resource(
        url=redact(url),
        length=0 if status in (204, 205) else length,
        etag=headers.get("etag", "").strip() or None,
        last_modified=headers.get("last-modified", "").strip() or None,
        ranges=status == 206 or headers.get("accept-ranges", "").strip().lower() == "bytes",
        encoding=content_encoding(headers),
        digests=digests,
    )


def same_resource(known: Resource, seen: Resource) -> bool | None:
    """Whether *seen* has the same bytes as *known*; None where length and validators leave it open.

    Different lengths mean False, and different entity tags. Equal strong ones mean True, unless Last-Modified
    differs: some servers keep a tag while the file changes. Equal weak ones promise equal meaning, not equal
    bytes (RFC 9110 section 8.8.1), and leave it to Last-Modified.
    """
    if known.length is not None and seen.length is not None and known.length != seen.length:
        return False
    if known.strong_etag and seen.strong_etag:
        return (None if _other_date(known, seen) else True) if known.etag == seen.etag else False
    if known.etag and seen.etag and known.etag.removeprefix("W/") != seen.etag.removeprefix("W/"):
        return False
    if known.last_modified and seen.last_modified:
        return known.last_modified == seen.last_modified
    return None


def changed(known: Resource, seen: Resource) -> bool:
    """Whether *seen* is another version than *known*, rather than the same on a server with tags of its own.

    Servers behind one name may compute tags that differ (from the inode, say); then length and date agree.
    """
    by_date = same_resource(replace(known, etag=None), replace(seen, etag=None))
    return by_date is False or (by_date is None and same_resource(known, seen) is False)


def _other_date(known: Resource, seen: Resource) -> bool:
    both = known.last_modified is not None and seen.last_modified is not None
    return both and known.last_modified != seen.last_modified


# --- asking -----------------------------------------------------------------------------------------


class Ask(NamedTuple):
    """What one request asks for.

    :param span: the bytes wanted; None for the complete representation.
    :param compare: number of bytes before the span that are requested too, to be compared with the part.
    :param condition: value of If-Range; None to send none.
    :param to_end: send an open range, ``bytes=N-``.
    :param unless: entity tag and date of a finished file: only another version of it is wanted.
    """

    span: Span | None = None
    compare: int = 0
    condition: str | None = None
    to_end: bool = False
    unless: tuple[str | None, str | None] | None = None

    def headers(self) -> list[tuple[str, str]]:
        """Return Range and If-Range (RFC 9110 sections 14.2 and 13.1.5), or the conditions of *unless*.

        If-None-Match precedes If-Modified-Since, and servers that know both ignore the date (section 13.2.2).
        """
        if self.span is None:
            conditions = zip(("If-None-Match", "If-Modified-Since"), self.unless or (), strict=False)
            return [(name, value) for name, value in conditions if value is not None]
        stop = "" if self.to_end else str(self.span.stop - 1)
        fields = [("Range", f"bytes={self.span.start - self.compare}-{stop}")]
        return [*fields, ("If-Range", self.condition)] if self.condition else fields


def ask_for(span: Span, known: Resource, overlap: int, *, plain: bool = False) -> Ask:
    """Return a request for *span* of *known* whose answer cannot be mistaken for another version.

    If-Range carries the strong entity tag, else Last-Modified. Servers that make tags of date and size, or that
    keep one while a file is replaced, are found out by bytes that are compared besides.

    :param overlap: bytes before the span to fetch again and compare.
    :param plain: send no If-Range, because this server mishandles it.
    """
    to_end = known.length is None or span.stop >= known.length
    condition = None if plain else known.strong_etag or known.last_modified
    return Ask(span, min(overlap, span.start), condition, to_end)


Action = Literal["whole", "slice", "complete", "ask_plain", "ask_whole"]


class Answer(NamedTuple):
    """What a response means.

    :param action: ``whole``: the body is the complete representation, to be written from 0. ``slice``: the
        body holds the bytes *body*; those before the span asked for are to be compared and dropped.
        ``complete``: the part has every byte already. ``ask_plain``: repeat the request without If-Range.
        ``ask_whole``: repeat it without Range.
    :param reason: why, in words for people.
    """

    action: Action
    reason: str
    body: Span | None = None


def refused(ask: Ask, status: int) -> Answer | None:
    """Return what is asked next where *status* may be an answer to the fields of *ask*; None if it is none.

    Servers and caches that forbid Range, or mishandle If-Range, answer with an error, or with 304, to what they
    would send without these fields.
    """
    if ask.span is None or status not in _REFUSALS:
        return None
    if ask.condition is not None:
        return Answer("ask_plain", f"the server answers {status} to If-Range")
    return Answer("ask_whole", f"the server answers {status} to a range")


def decide(ask: Ask, known: Resource | None, status: int, headers: Headers, seen: Resource) -> Answer:
    """Return what the body of a response is, from status, Content-Range and validators together.

    :param known: the resource that the part was begun with; None for a fresh start.
    :param status: one of ``_retry.GOOD``, or 416.
    :param seen: :func:`resource_of` this response.
    :raises ProtocolError: the response is none to *ask*, or looks like an error page under status 200.
    """
    content_range = _content_range(headers, status) if "content-range" in headers else None
    # Some servers send a range under status 200.
    partial = status == 206 or content_range is not None
    # 1. Never give up the part for what is hardly the file.
    if known is not None and status not in (206, 416):
        _refuse_unvalidated(known, seen)
    # 2. Without a part, or without a range asked for, only the complete representation is of use.
    if ask.span is None or known is None:
        return _decide_whole(status, content_range)
    # 3. No bytes: the part may be complete.
    if status == 416:
        return _decide_unsatisfied(ask.span.start, known, seen, content_range)
    # 4. Another version: its range is of no use. If only the entity tag differs, the bytes are compared.
    if same_resource(known, seen) is False:
        if ask.condition and not changed(known, seen):
            return Answer("ask_plain", "the entity tag differs from server to server")
        return Answer("ask_whole" if partial else "whole", "the resource changed")
    # 5. The same entity tag with another date: only the bytes can tell.
    if partial and not ask.compare and _other_date(known, seen):
        return Answer("ask_plain", "the entity tag is the same and the date is not")
    # 6. A range with its place; not of a coded form, whose offsets count coded bytes.
    if content_range is not None and content_range.span is not None and not seen.encoding:
        return _decide_slice(ask, status, content_range, headers)
    # 7. Any other range.
    if partial:
        return Answer("ask_whole", f"the server sent {_useless(seen, headers)}")
    # 8. Everything, although the validator sent in If-Range still holds: some servers compare it wrongly.
    if ask.condition and same_resource(known, seen) is True and not seen.encoding:
        return Answer("ask_plain", "the server does not honour If-Range")
    # 9. Everything, which a server may always send (RFC 9110 section 14.2).
    return Answer("whole", "the server ignores ranges")


def _useless(seen: Resource, headers: Headers) -> str:
    """Return what is wrong with a range that cannot be added to a part."""
    if seen.encoding:
        return "a range of a coded form"
    if headers.get("content-type", "").lower().startswith("multipart/"):
        return "several ranges in one body"
    return "a range without its place"


def _refuse_unvalidated(known: Resource, seen: Resource) -> None:
    """Refuse a response that lost the validators which *known* has, and has another length too.

    :raises ProtocolError: such a response is usually a login or error page under a status of success.
    """
    had = known.etag or known.last_modified
    if had and not (seen.etag or seen.last_modified) and seen.length != known.length:
        raise ProtocolError(
            "The server now sends something else under this URL, without date or entity tag; "
            "remove the .part file if that is what you want.",
            transient=True,
        )


def _decide_whole(status: int, content_range: ContentRange | None) -> Answer:
    """Return what the answer to a request without Range means; a range is accepted if it is everything."""
    if content_range is not None and content_range.span is not None:
        if content_range.span.start > 0 or content_range.span.stop != content_range.total:
            raise ProtocolError("The server sent a part of the file although all of it was asked for.")
    elif status == 206:
        raise ProtocolError("The server answered 206 without a Content-Range to a request for the whole file.")
    return Answer("whole", "nothing is here yet")


def _decide_unsatisfied(
    start: int, known: Resource, seen: Resource, content_range: ContentRange | None
) -> Answer:
    """Return what a 416 to a range from *start* means.

    The part is complete only if the server names *start* as the total and nothing speaks of another version.
    """
    at_end = content_range is not None and content_range.span is None and content_range.total == start
    if at_end and same_resource(known, seen) is not False and not _other_date(known, seen):
        return Answer("complete", "the server has no more bytes")
    return Answer("ask_whole", "the server refuses the range")


def _decide_slice(ask: Ask, status: int, content_range: ContentRange, headers: Headers) -> Answer:
    """Return what a response with a range means.

    A server may begin earlier, at a block's start, and end earlier than asked for. If it has no more than the
    bytes that are to be compared, these are all there are.
    """
    body, start = content_range.span or Span(0, 0), ask.span.start if ask.span else 0
    told = content_length(headers)
    if told is not None and told != len(body):
        return Answer("ask_whole", "Content-Range and Content-Length disagree")
    at_end = body.stop == content_range.total == start and ask.to_end
    if body.start > start - ask.compare or (body.stop <= start and not at_end):
        return Answer("ask_whole", "the server sent another range")
    kept = "the server goes on where the part ends"
    return Answer("slice", kept if status == 206 else "the right range under status 200", body)
