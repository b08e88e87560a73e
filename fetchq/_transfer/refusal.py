"""What a server says in the body of an error: read within bounds, decoded, and without what is secret."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from .. import _ranges
from .._errors import AuthenticationError, FetchError, StatusError
from .._models import Buffer
from .._naming import printable
from .body import Body
from .context import Reply
from .decoder import Decoder, decodable

__all__ = ["MOST", "attach"]

# Bytes that are kept: the errors of S3, Azure and most APIs have fewer than 1 KiB.
MOST = 2048
# Seconds for a body that hardly helps.
_SECONDS = 1.0
# Characters of what is said in one line.
_LINE = 300
# A shorter value may be part of any word.
_SHORTEST = 3
_TITLE = re.compile(r"(?ais)<title>\s*(?:(?:error:? )?[0-9]{3}\b)?([^<]*)</title>")
_BREAKS = re.compile(r"[\t\r\n ]+")
# Names under which APIs put the sentence: OAuth (RFC 6749), problem details (RFC 9457), and usage.
_WORDS = ("message", "Message", "error_description", "detail", "title", "error", "errors", "reason")
_CODES = ("code", "Code", "status")


async def attach(error: StatusError | AuthenticationError, body: Body, reply: Reply) -> None:
    """Read what *reply*, the answer that *error* is about, has to say, and note it in the error."""
    first: Buffer = b""
    with suppress(FetchError, TimeoutError):
        async with asyncio.timeout(_SECONDS):
            first = await body.peek(MOST)
    text = _masked(_text(_decoded(bytes(first[: 16 * MOST]), reply.headers), reply.headers), reply.secrets)
    error.body = "\n".join(printable(line) for line in text.splitlines())
    error.said = printable(_BREAKS.sub(" ", _sentence(text, reply.headers, error.status)))[:_LINE].strip()


def _decoded(data: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the first bytes of what *data* decodes to; as they were sent where that is not known."""
    coding = _ranges.content_encoding(headers) if "content-encoding" in headers else None
    if coding is None or not decodable(coding):
        return data[:MOST]
    found = b""
    with suppress(FetchError):
        for piece in Decoder(coding, 1 << 20).feed(data):
            found += piece[:MOST]
            if len(found) >= MOST:
                break
    return found[:MOST]


def _text(data: bytes, headers: Mapping[str, str]) -> str:
    named = re.search(r"""(?ai)charset\s*=\s*["']?([\w.:+-]{1,40})""", headers.get("content-type", ""))
    with suppress(LookupError, ValueError):
        return data.decode(named[1] if named else "utf-8-sig", "replace")
    return data.decode("utf-8", "replace")


def _masked(text: str, secrets: Iterable[str]) -> str:
    """Return *text* with ``***`` for what was sent in confidence: servers like to repeat a request."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "***")
    return text


def _sentence(text: str, headers: Mapping[str, str], status: int) -> str:
    """Return code and message of S3's XML or an API's JSON, a plain text, or what a page's title says."""
    start = text.lstrip()[:1]
    if start in {"{", "["}:
        with suppress(ValueError, RecursionError):
            return _of_json(json.loads(text))
        return ""
    if start == "<":
        from html import unescape

        found = [re.search(rf"<{name}>([^<]*)</{name}>", text) for name in ("Code", "Message")]
        said = ": ".join(unescape(each[1]) for each in found if each and each[1].strip())
        return said or unescape(_title(text, status))
    return text if headers.get("content-type", "")[:10].lower() == "text/plain" else ""


def _title(text: str, status: int) -> str:
    """Return a page's title, where nginx and proxies have their reason; empty if it is the status again."""
    found = _TITLE.search(text)
    words = found[1].strip(" -:|") if found else ""
    with suppress(ValueError):
        if words.lower() in HTTPStatus(status).phrase.lower():
            return ""
    return words


def _of_json(value: Any, code: str = "") -> str:
    """Return the message in *value*, and its *code* before it; messages lie up to three levels deep."""
    if isinstance(value, list) and value:
        return _of_json(value[0], code)
    if not isinstance(value, dict):
        told = value if isinstance(value, str) else ""
        return ": ".join(filter(None, (code if code != told else "", told)))
    code = next((str(value[name]) for name in _CODES if isinstance(value.get(name), str | int)), code)
    said = (_of_json(value[name], code) for name in _WORDS if value.get(name))
    return next(filter(None, said), "")
