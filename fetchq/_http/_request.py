"""A job's next request: its header fields, cookies, body and auth, as the origin it goes to may see them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from .._errors import UsageError
from .._models import Job
from .._settings import Network
from .._version import VERSION
from . import _headers
from ._address import Address
from ._headers import Fields


@dataclass(frozen=True, slots=True)
class Wish:
    """What stays the same over the hops of one attempt.

    :param home: the job's own URL, whose origin is told its secrets.
    :param asked: the URL that the attempt begins with, a mirror's perhaps with a user of its own.
    :param fields: header fields for every origin, instead of the job's of the same names.
    :param secret: the job's own header fields, for its own origin.
    :param body: the request's body and the Content-Type that goes with it.
    """

    home: Address
    asked: Address
    fields: Fields
    secret: Fields
    body: tuple[bytes, Fields] | None
    extensions: dict[str, Any]


class Composer:
    """Composes the requests of one client; secrets go to the origin of the job's own URL only.

    :param owned: the client is ours, so that its default header fields never change.
    :raises UsageError: a setting cannot travel in a header.
    """

    def __init__(self, client: httpx.AsyncClient, network: Network, *, owned: bool) -> None:
        self._client = client
        self._owned = owned
        self._ours = _ours(network, owned=owned)
        self._secret = _secret(network)
        self._cookies = "; ".join(f"{name}={value}" for name, value in network.cookies)
        _headers.encoded([("Cookie", self._cookies)])
        self._defaults = _headers.layered(client.headers.raw, self._ours)
        self._own = _headers.layered(self._defaults, self._secret)
        self._timeout = _timeout(network)

    def wish(self, job: Job, home: Address, asked: Address, fields: Fields, buffer: int | None) -> Wish:
        """Gather what the requests of one attempt have in common."""
        timeout = self._timeout if self._owned else self._client.timeout.as_dict()
        if job.timeout is not None:
            timeout = dict.fromkeys(timeout, job.timeout)
        extensions: dict[str, Any] = {"timeout": timeout}
        if buffer is not None:
            extensions["fetchq"] = {"buffer": buffer}
        return Wish(home, asked, fields, _headers.encoded(job.headers), body_of(job), extensions)

    def compose(self, wish: Wish, method: str, address: Address, *, with_body: bool) -> httpx.Request:
        """Build the request to *address*; a redirect may have taken away its body."""
        at_home = address.origin == wish.home.origin
        content, kind = wish.body if wish.body is not None and with_body else (None, [])
        fields = self._own_fields(wish, kind) if at_home else self._foreign_fields(wish, kind)
        if not with_body:
            fields = _headers.of_no_body(fields)
        given = b"; ".join(_headers.values(fields, b"cookie")).decode("latin-1") if at_home else ""
        request = httpx.Request(
            method,
            address.url,
            headers=_headers.without(fields, b"cookie") if given else fields,
            content=content,
            extensions=wish.extensions,
        )
        self._add_cookies(request, given, at_home=at_home)
        return request

    def names_authorization(self, wish: Wish) -> bool:
        """Tell whether the user wrote an Authorization header, which then stands as it is."""
        return any(_headers.values(fields, b"authorization") for fields in (self._secret, wish.secret))

    def _own_fields(self, wish: Wish, kind: Fields) -> Fields:
        own = self._own
        if not self._owned:
            own = _headers.layered(self._client.headers.raw, self._ours, self._secret)
        return _headers.layered(kind, own, wish.secret, wish.fields)

    def _foreign_fields(self, wish: Wish, kind: Fields) -> Fields:
        defaults = _headers.layered(self._client.headers.raw, self._ours)
        layers = (defaults, self._secret, wish.secret)
        return _headers.layered(kind, *map(_headers.portable, layers), wish.fields)

    def _add_cookies(self, request: httpx.Request, given: str, *, at_home: bool) -> None:
        jar = self._client.cookies
        if jar:
            # A caller's cookie without a domain would go to whomever the server names in a redirect.
            (jar if at_home or self._owned else _with_domain(jar)).set_cookie_header(request)
        if at_home and (given or self._cookies):
            request.headers["Cookie"] = _headers.cookie(self._cookies, given, request.headers.get("Cookie", ""))


def body_of(job: Job) -> tuple[bytes, Fields] | None:
    """Give the request body of *job* and its Content-Type, or None.

    :raises UsageError: two bodies were given, or one that is not JSON.
    """
    if (job.content is not None) + (job.json is not None) + bool(job.form) > 1:
        raise UsageError("A request has one body: give content, json or form, not two of them.")
    if job.json is not None:
        try:
            text = json.dumps(job.json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return text.encode(), [(b"Content-Type", b"application/json")]
        except (TypeError, ValueError) as error:
            raise UsageError(f"The json body is not JSON: {type(error).__name__}.") from error
    if job.form:
        return urlencode(job.form).encode(), [(b"Content-Type", b"application/x-www-form-urlencoded")]
    return None if job.content is None else (job.content, [])


def _ours(network: Network, *, owned: bool) -> Fields:
    # An encoded body has no ranges that fit the file, so none is asked for (RFC 9110 section 14.2).
    fields = [("Accept-Encoding", "identity")]
    if network.user_agent is not None:
        fields.append(("User-Agent", network.user_agent))
    elif owned:
        fields.append(("User-Agent", f"fetchq/{VERSION}"))
    return _headers.encoded(fields)


def _secret(network: Network) -> Fields:
    fields = _headers.encoded(network.headers)
    referer = _headers.encoded([("Referer", network.referer)] if network.referer is not None else [])
    return _headers.layered(referer, fields)


def _timeout(network: Network) -> dict[str, float | None]:
    return {
        "connect": network.connect_timeout,
        "read": network.read_timeout,
        "write": network.write_timeout,
        "pool": network.pool_timeout,
    }


def _with_domain(jar: httpx.Cookies) -> httpx.Cookies:
    kept = httpx.Cookies()
    for cookie in jar.jar:
        if cookie.domain:
            kept.jar.set_cookie(cookie)
    return kept
