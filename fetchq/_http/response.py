"""A final answer: its head, and the one loop that reads its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import cast

import httpx

from .._errors import FetchError
from .._models import Buffer
from .confidential import confidential
from .errors import failures, translate
from .headers import values

__all__ = ["Response", "drain"]

# Closing may send something (TLS close_notify, HTTP/2 RST_STREAM), which a dead peer never acknowledges. Two
# round trips over a satellite link take about this long.
_CLOSE_SECONDS = 3.0


class Response:
    """An ``httpx.Response``, whatever its status, as transfers use it; must be closed.

    Looking a field up in ``httpx.Headers`` scans all of them; some thirty names are looked for in each answer,
    so ``headers`` is a plain dict.

    :param headers: names in lower case, repeated fields joined (RFC 9110 section 5.3).
    :param url: the URL that answered, query included: it may be signed, and must not be shown.
    :param host: names the server in messages, and the hop and the proxy that led there.
    :ivar hops: redirects that were followed to get here.
    :ivar hint: what a 401 means and what can be done about it, as the end of a sentence.
    """

    __slots__ = ("_handed", "_response", "headers", "hint", "hops", "host", "status", "url", "version")

    def __init__(self, response: httpx.Response, headers: Mapping[str, str], url: str, host: str) -> None:
        self._response = response
        self._handed = 0
        self.host = host
        self.status = response.status_code
        self.version = response.http_version
        self.headers = headers
        self.url = url
        self.hops = 0
        self.hint = ""

    @property
    def received(self) -> int:
        """Body bytes received so far, transfer coding removed and content coding kept."""
        return self._handed or self._response.num_bytes_downloaded

    @property
    def head(self) -> bytes:
        """The status line and the fields, a line each, where HEAD asked for them alone; else empty."""
        asked = self._response
        if asked.request.method.upper() != "HEAD":
            return b""
        first = f"{self.version} {self.status} {asked.reason_phrase}".rstrip().encode("latin-1", "replace")
        return b"".join([first + b"\n", *(b"%b: %b\n" % field for field in asked.headers.raw)])

    @property
    def skipped(self) -> bytes:
        """The first line of the head that is no field and was left out; else empty."""
        ours = self._response.extensions.get("fetchq")
        return ours.get("skipped", b"") if ours else b""

    @property
    def secrets(self) -> Iterator[str]:
        """What the request carried that may be secret; an error's body may repeat it."""
        return confidential(self._response.request)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all fields called *name*, given in lower case, each as it came."""
        return values(self._response.headers.raw, name)

    async def chunks(self) -> AsyncIterator[Buffer]:
        """Read the body, transfer coding removed and content coding kept; that of a HEAD is the head.

        :raises FetchError: the body broke off, or a wait exceeded its timeout.
        """
        # httpx decodes without a bound, so an encoded body is read as it is.
        encoded = "content-encoding" in self.headers
        body = self._response.aiter_raw() if encoded else self._response.aiter_bytes()
        try:
            # httpx annotates an iterator and returns a generator, which is to be closed here and not by the
            # garbage collector.
            async with aclosing(cast("AsyncGenerator[bytes, None]", body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except failures() as error:
            raise translate(error, self.host) from error
        if head := self.head:
            self._handed = len(head)
            yield head

    async def aclose(self) -> None:
        """Close within three seconds; errors are ignored. The connection is kept if the body was read whole."""
        if not self._response.is_closed:
            with suppress(*failures(), TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._response.aclose()


# A redirect's page has a few hundred bytes; reading a longer or slower one costs more than a new connection.
_SHORT_BYTES, _SHORT_SECONDS = 16 * 1024, 1.0


async def drain(response: Response) -> None:
    """Read a short body, so that its connection can be used again; a longer one costs its connection."""
    left = _SHORT_BYTES
    try:
        with suppress(FetchError, TimeoutError):
            async with asyncio.timeout(_SHORT_SECONDS):
                async for chunk in response.chunks():
                    left -= len(chunk)
                    if left < 0:
                        break
    finally:
        await response.aclose()
