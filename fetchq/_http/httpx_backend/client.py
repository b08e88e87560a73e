"""Requests that take httpx's client: the caller's own, or ours where auth, hooks, cookies or a body want it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import httpx

from ..._errors import UsageError
from ..._models import Buffer
from ..headers import cookie
from ..http11.parser import joined
from ..request import Message
from ..response import Response
from ..url import ParsedURL
from .errors import FOREIGN, translate_foreign

__all__ = ["Client", "HttpxClient"]


class HttpxClient:
    """An httpx client, sending what was composed and nothing else of its own but cookies and auth.

    :param owned: the client is not the caller's, who may have put cookies without a domain into its jar.
    """

    def __init__(self, client: httpx.AsyncClient, *, owned: bool) -> None:
        self._client = client
        self._owned = owned

    @property
    def has_cookies(self) -> bool:
        """Tell whether a server has set any, or the caller."""
        return bool(self._client.cookies)

    def keep_cookies(self, address: ParsedURL, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Take the cookies that an answer from *address* sets into the jar."""
        request = httpx.Request("GET", address.text)
        self._client.cookies.extract_cookies(httpx.Response(200, headers=list(fields), request=request))

    async def send(self, message: Message, auth: Any) -> Response:
        """Send one request and give its answer, whatever its status.

        :param auth: httpx's argument: None is nobody, its default the client's own.
        :raises FetchError: no answer, or no proper one.
        """
        if self._client.is_closed:
            raise UsageError("The httpx client has been closed: keep it open while downloads run.")
        host = message.address.host
        try:
            response = await self._client.send(
                self._request(message), stream=True, follow_redirects=False, auth=auth
            )
        except FOREIGN as error:
            raise translate_foreign(error, host) from error
        return Response(
            response.status_code,
            response.http_version,
            joined(response.headers.raw),
            str(response.url),
            _ResponseStream(response, host),
        )

    async def aclose(self) -> None:
        """Close the client, unless it is the caller's."""
        if self._owned:
            await self._client.aclose()

    def _request(self, message: Message) -> httpx.Request:
        wish = message.wish
        extensions: dict[str, Any] = {"timeout": dict(wish.timeouts)}
        if wish.buffer is not None:
            extensions["fetchq"] = {"buffer": wish.buffer}
        request = httpx.Request(
            message.method,
            message.address.text,
            headers=message.fields,
            content=message.content,
            extensions=extensions,
        )
        jar = self._client.cookies
        if jar:
            # A caller's cookie without a domain would go to whomever the server names in a redirect.
            (jar if message.at_home or self._owned else _with_domain(jar)).set_cookie_header(request)
        if message.cookie:
            request.headers["Cookie"] = cookie(message.cookie, request.headers.get("Cookie", ""))
        return request


class _ResponseStream:
    """The body of one of httpx's responses."""

    arrived: Sequence[Buffer] | None = None

    def __init__(self, response: httpx.Response, host: str) -> None:
        self._response = response
        self._host = host

    async def chunks(self) -> AsyncIterator[Buffer]:
        """Give the body's bytes as they arrive: transfer coding removed, content coding kept."""
        # httpx would decode without a bound, so an encoded body is taken as it is.
        encoded = "content-encoding" in self._response.headers
        body = self._response.aiter_raw() if encoded else self._response.aiter_bytes()
        try:
            # httpx promises an iterator and gives a generator, which must not wait for the collector.
            async with aclosing(cast("AsyncGenerator[bytes, None]", body)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except FOREIGN as error:
            raise translate_foreign(error, self._host) from error

    async def aclose(self) -> None:
        """Let go of the connection."""
        if not self._response.is_closed:
            try:
                await self._response.aclose()
            except FOREIGN as error:
                raise translate_foreign(error, self._host) from error


class _Cookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        """Look for cookies only where some are set: the look costs more than the rest of httpx's ``send``."""
        if "set-cookie" in response.headers:
            super().extract_cookies(response)


class Client(httpx.AsyncClient):
    """httpx's client, with a jar that costs nothing where no server sets a cookie."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._jar = _Cookies()

    @property
    def cookies(self) -> httpx.Cookies:
        """Cookies that servers have set, for the servers that they are for."""
        return self._jar

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._jar = _Cookies(cookies)


def _with_domain(jar: httpx.Cookies) -> httpx.Cookies:
    kept = httpx.Cookies()
    for each in jar.jar:
        if each.domain:
            kept.jar.set_cookie(each)
    return kept
