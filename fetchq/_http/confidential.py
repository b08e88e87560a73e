"""What of a request may be secret, in each form that an answer may repeat it in."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import parse_qsl, quote, unquote_plus

import httpx

from .headers import PORTABLE
from .multipart import Multipart

__all__ = ["confidential"]

# Fields that describe the connection and the file, and hold nothing of the user's.
_TECHNICAL = frozenset(
    {"host", "content-length", "transfer-encoding", "range", "if-range", "if-none-match", "if-modified-since"}
)
_LOGINS = frozenset({"authorization", "proxy-authorization"})
# Bytes of a request's body that are looked through: a form with a password is short.
_MOST_BODY = 64 * 1024
_JSON_TEXT = re.compile(r':\s*"((?:[^"\\]|\\.)+)"')


def confidential(request: httpx.Request) -> Iterator[str]:
    """Yield the values of the URL's query, the header fields and the body of *request*."""
    yield from _pairs(request.url.query.decode("latin-1"))
    for name, value in request.headers.multi_items():
        if name.encode("latin-1") not in PORTABLE and name not in _TECHNICAL:
            yield from _field(name, value)
    if isinstance(request.stream, Multipart):
        yield from request.stream.values
    with suppress(httpx.RequestNotRead):
        body = request.content[:_MOST_BODY].decode("utf-8", "replace")
        yield from _JSON_TEXT.findall(body) if body[:1] in {"{", "["} else _pairs(body)


def _pairs(text: str) -> Iterator[str]:
    """Yield a query or a form, and each of its values as it is sent and as it is meant."""
    if not text:
        return
    yield text
    for pair in text.split("&"):
        value = pair.partition("=")[2]
        yield from filter(None, (value, unquote_plus(value)))
    for _, value in parse_qsl(text):
        yield quote(value)


def _field(name: str, value: str) -> Iterator[str]:
    """Yield a header field's value and the parts of it: the cookies, the token, the user and password."""
    yield value
    yield from filter(None, (part.partition("=")[2] for part in value.split("; ")))
    scheme, _, token = value.partition(" ")
    if name not in _LOGINS or not token:
        return
    yield token
    if scheme.lower() == "basic":
        with suppress(ValueError):
            pair = base64.b64decode(token).decode("utf-8", "replace")
            yield from filter(None, (pair, pair.partition(":")[2]))
