"""A job's next request: its header fields, cookies and body, as the origin it goes to may see them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from .._errors import UsageError
from .._models import Job
from .._settings import Network
from .._version import VERSION
from . import headers as _headers
from .headers import Fields
from .http11.parser import RequestHead, request_head
from .url import ParsedURL

Timeouts = Mapping[str, float | None]

# What httpx's client says of itself: any media type, and that the connection is to stay.
_DEFAULTS: Fields = [(b"Accept", b"*/*"), (b"Connection", b"keep-alive")]
# Hosts of one run whose request heads are remembered; one head is some 200 bytes.
_HEADS = 256


class RequestContext(NamedTuple):
    """What stays the same over the hops of one attempt.

    :param home: the job's own URL, whose origin is told its secrets.
    :param asked: the URL that the attempt begins with, a mirror's perhaps with a user of its own.
    :param fields: header fields for every origin, instead of the job's of the same names.
    :param secret: the job's own header fields, for its own origin.
    :param body: the request's body and the Content-Type that goes with it.
    :param timeouts: seconds for ``connect``, ``read``, ``write`` and ``pool``.
    :param buffer: bytes that a chunk of the answer should have at most.
    """

    home: ParsedURL
    asked: ParsedURL
    fields: Fields
    secret: Fields
    body: tuple[bytes, Fields] | None
    timeouts: Timeouts
    buffer: int | None


class Message(NamedTuple):
    """One request, but for what a cookie jar and an auth add.

    :param cookie: the Cookie field of the settings and the job; empty for none.
    :param at_home: it goes to the job's own origin.
    """

    wish: RequestContext
    method: str
    address: ParsedURL
    fields: Fields
    content: bytes | None
    cookie: str
    at_home: bool


class RequestBuilder:
    """Composes requests; secrets go to the origin of the job's own URL only.

    :param theirs: gives header fields and timeouts of the caller's own client, which may change; None: ours.
    :raises UsageError: a setting cannot travel in a header.
    """

    def __init__(self, network: Network, theirs: Callable[[], tuple[Fields, Timeouts]] | None) -> None:
        self._theirs = theirs
        self._ours = _ours(network, owned=theirs is None)
        self._secret = _secret(network)
        self._cookies = "; ".join(f"{name}={value}" for name, value in network.cookies)
        _headers.encoded([("Cookie", self._cookies)])
        self._defaults = _headers.layered(_DEFAULTS, self._ours)
        self._own = _headers.layered(self._defaults, self._secret)
        self._timeouts = _timeouts(network)
        self._heads: dict[str, RequestHead] = {}

    def wish(
        self, job: Job, home: ParsedURL, asked: ParsedURL, fields: Fields, buffer: int | None
    ) -> RequestContext:
        """Gather what the requests of one attempt have in common."""
        timeouts = self._timeouts if self._theirs is None else self._theirs()[1]
        if job.timeout is not None:
            timeouts = dict.fromkeys(timeouts, job.timeout)
        return RequestContext(
            home, asked, fields, _headers.encoded(job.headers), body_of(job), timeouts, buffer
        )

    def compose(self, wish: RequestContext, method: str, address: ParsedURL, *, with_body: bool) -> Message:
        """Build the request to *address*; a redirect may have taken away its body."""
        at_home = address.origin == wish.home.origin
        content, kind = wish.body if wish.body is not None and with_body else (None, [])
        fields = self._own_fields(wish, kind) if at_home else self._foreign_fields(wish, kind)
        if not with_body:
            fields = _headers.of_no_body(fields)
        given = b"; ".join(_headers.values(fields, b"cookie")).decode("latin-1") if at_home else ""
        cookie = _headers.cookie(self._cookies, given) if at_home else ""
        fields = _headers.without(fields, b"cookie") if given else fields
        return Message(wish, method, address, fields, content, cookie, at_home)

    def head(self, wish: RequestContext, method: str, address: ParsedURL, *, with_body: bool) -> RequestHead:
        """Write the head of the request that :meth:`compose` gives, as it goes out without jar and auth.

        :raises LocalProtocolError: it holds what HTTP forbids.
        """
        if address is not wish.home or wish.fields or wish.secret or wish.body or method != "GET":
            return _written(self.compose(wish, method, address, with_body=with_body))
        # Such heads differ in their target only, and a queue has thousands of them for one host.
        known = self._heads.get(address.netloc)
        if known is None:
            whole = _written(self.compose(wish, method, address, with_body=with_body))
            known = whole._replace(data=whole.data.removeprefix(b"GET " + address.target))
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[address.netloc] = known
        _, rest, length, chunked, keep_alive = known
        return RequestHead(b"GET", b"GET " + address.target + rest, length, chunked, keep_alive)

    def names_authorization(self, wish: RequestContext) -> bool:
        """Tell whether the user wrote an Authorization header, which then stands as it is."""
        return any(_headers.values(fields, b"authorization") for fields in (self._secret, wish.secret))

    def _own_fields(self, wish: RequestContext, kind: Fields) -> Fields:
        own = self._own
        if self._theirs is not None:
            own = _headers.layered(self._theirs()[0], self._ours, self._secret)
        return _headers.layered(kind, own, wish.secret, wish.fields)

    def _foreign_fields(self, wish: RequestContext, kind: Fields) -> Fields:
        defaults = self._defaults
        if self._theirs is not None:
            defaults = _headers.layered(self._theirs()[0], self._ours)
        layers = (defaults, self._secret, wish.secret)
        return _headers.layered(kind, *map(_headers.portable, layers), wish.fields)


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


def _timeouts(network: Network) -> Timeouts:
    return {
        "connect": network.connect_timeout,
        "read": network.read_timeout,
        "write": network.write_timeout,
        "pool": network.pool_timeout,
    }


def _written(message: Message) -> RequestHead:
    """Write a request without a body."""
    fields = message.fields
    if not _headers.values(fields, b"host"):
        fields = [(b"Host", message.address.netloc.encode("ascii")), *fields]
    if message.cookie:
        fields = [*fields, (b"Cookie", message.cookie.encode("latin-1"))]
    return request_head(message.method.encode("ascii"), message.address.target, fields)
