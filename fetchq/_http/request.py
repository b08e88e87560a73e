"""A job's next request: the header fields, cookies and body that the origin it goes to may see."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx

from .._errors import UsageError
from .._models import Job
from .._settings import Network
from .._version import VERSION
from .headers import encoded, join_cookies, layered, portable, values, without, without_body_fields
from .http11.parser import Fields
from .multipart import Multipart
from .url import ParsedURL

__all__ = ["RequestBuilder", "RequestContext", "body_of", "own_timeouts"]

Timeouts = Mapping[str, float | None]

# What httpx's client sends: any media type, and that the connection is to stay.
_DEFAULTS: Fields = [(b"Accept", b"*/*"), (b"Connection", b"keep-alive")]
# httpx works out framing fields for each request that is built without a stream: 7 us that a GET can save.
_EMPTY = httpx.ByteStream(b"")
_TIMEOUTS = ("connect", "read", "write", "pool")
# Hosts whose headers are remembered, some 500 bytes each.
_MOST_HOSTS = 256


class RequestContext(NamedTuple):
    """What the requests of one attempt have in common, over all its redirects.

    :param home: the job's own URL, to whose origin its secrets may be sent.
    :param asked: the URL that the attempt begins with; a mirror's may carry credentials of its own.
    :param fields: header fields for every origin, which replace the job's of the same names.
    :param secret: the job's own header fields, for its own origin.
    :param body: the request's body and the fields that describe it.
    :param extensions: httpx's, with the timeouts.
    :param given: header fields for the origin of *asked* alone.
    """

    job: Job
    home: ParsedURL
    asked: ParsedURL
    fields: Fields
    secret: Fields
    body: tuple[bytes | Multipart, Fields] | None
    extensions: Mapping[str, Any]
    given: Fields

    @property
    def is_plain(self) -> bool:
        """Whether the job adds nothing to its requests."""
        return not (self.fields or self.secret or self.given or self.body)


class RequestBuilder:
    """Builds requests; secrets go to the origin of the job's own URL only.

    :param theirs: returns header fields and timeouts of the caller's own client, which may change; None: ours.
    :raises UsageError: a setting cannot travel in a header.
    """

    def __init__(self, network: Network, theirs: Callable[[], tuple[Fields, Timeouts]] | None) -> None:
        self._theirs = theirs
        self._ours = _ours(network, owned=theirs is None)
        self._secret = _secret(network)
        [(_, self._cookies)] = encoded([("Cookie", "; ".join(map("=".join, network.cookies)))])
        self._defaults = layered(_DEFAULTS, self._ours)
        self._own = layered(self._defaults, self._secret)
        self._timeouts = _timeouts(network)
        self._adds_nothing = theirs is None and not (self._secret or self._cookies)
        # Headers of plain requests by host: most requests of a run are alike but for their URL.
        self._plain: dict[str, httpx.Headers] = {}

    def context(
        self,
        job: Job,
        home: ParsedURL,
        asked: ParsedURL,
        fields: Fields,
        buffer: int | None,
        given: Fields,
    ) -> RequestContext:
        """Gather what the requests of one attempt have in common.

        :param buffer: bytes that a chunk of the answer should have at most.
        :param given: header fields for the origin of *asked* alone.
        """
        timeouts = self._timeouts if self._theirs is None else self._theirs()[1]
        if job.timeout is not None:
            timeouts = {**timeouts, **own_timeouts(job)}
        extensions = {"timeout": timeouts, "fetchq": {"buffer": buffer, "proxy": job.proxy, "job": job}}
        return RequestContext(job, home, asked, fields, _secret_fields(job), body_of(job), extensions, given)

    def build(
        self, context: RequestContext, method: str, url: ParsedURL, *, with_body: bool, cookies: bytes
    ) -> httpx.Request:
        """Build the request to *url*.

        :param with_body: False once a redirect has taken the body away.
        :param cookies: those that servers have set, as a Cookie field has them.
        """
        if self._adds_nothing and context.is_plain and method == "GET" and with_body and not cookies:
            return httpx.Request(
                "GET", url.url, headers=self._plain_headers(url), stream=_EMPTY, extensions=context.extensions
            )
        at_home = url.origin == context.home.origin
        content, kind = context.body if context.body is not None and with_body else (None, [])
        fields = self._own_fields(context, kind) if at_home else self._foreign_fields(context, kind)
        if isinstance(content, Multipart):
            # Its boundary must be named, whatever type the user gave.
            fields = layered(fields, kind)
        if context.given and url.origin == context.asked.origin:
            fields = layered(fields, context.given, context.fields)
        if not with_body:
            fields = without_body_fields(fields)
        given = values(fields, b"cookie")
        if given or cookies or (at_home and self._cookies):
            own = [self._cookies, *given] if at_home else given
            joined = join_cookies(own, cookies)
            fields = [*without(fields, b"cookie"), *([(b"Cookie", joined)] if joined else [])]
        if not values(fields, b"host"):
            fields = [(b"Host", url.host.encode("ascii")), *fields]
        stream: httpx.AsyncByteStream | None = content if isinstance(content, Multipart) else None
        if content is None and method == "GET":
            stream = _EMPTY
        return httpx.Request(
            method,
            url.url,
            headers=fields,
            content=None if isinstance(content, Multipart) else content,
            stream=stream,
            extensions=dict(context.extensions),
        )

    def _plain_headers(self, url: ParsedURL) -> httpx.Headers:
        headers = self._plain.get(url.host)
        if headers is None:
            if len(self._plain) >= _MOST_HOSTS:
                self._plain.clear()
            headers = self._plain[url.host] = httpx.Headers(
                [(b"Host", url.host.encode("ascii")), *self._defaults]
            )
        return headers

    def names_authorization(self, context: RequestContext) -> bool:
        """Whether the user wrote an Authorization header, which is then sent as it is."""
        return any(values(fields, b"authorization") for fields in (self._secret, context.secret))

    def has_secrets(self, context: RequestContext) -> bool:
        """Whether the job's own origin is told a header or a cookie that no other is told."""
        own = self._own_fields(context._replace(fields=[]), [])
        return bool(self._cookies) or len(portable(own)) < len(own)

    def _own_fields(self, context: RequestContext, kind: Fields) -> Fields:
        own = self._own
        if self._theirs is not None:
            own = layered(self._theirs()[0], self._ours, self._secret)
        if not (kind or context.secret or context.fields):
            return own
        return layered(kind, own, context.secret, context.fields)

    def _foreign_fields(self, context: RequestContext, kind: Fields) -> Fields:
        defaults = self._defaults
        if self._theirs is not None:
            defaults = layered(self._theirs()[0], self._ours)
        layers = (defaults, self._secret, context.secret)
        return layered(kind, *map(portable, layers), context.fields)


def _secret_fields(job: Job) -> Fields:
    fields = encoded(job.headers)
    if not job.cookies:
        return fields
    return [*fields, *encoded([("Cookie", "; ".join(map("=".join, job.cookies)))])]


def own_timeouts(job: Job) -> Timeouts:
    """Return the timeouts that *job* has of its own, as httpx names and writes them.

    :raises UsageError: another name than these, or no time to wait.
    """
    given = job.timeout if isinstance(job.timeout, Mapping) else dict.fromkeys(_TIMEOUTS, job.timeout)
    for name, seconds in given.items():
        if name not in _TIMEOUTS:
            raise UsageError(f"{name[:40]!r} is no timeout: there are {', '.join(_TIMEOUTS)}.")
        if seconds is not None and not seconds > 0:
            raise UsageError(f"The {name} timeout must be more than 0 seconds.")
    return {name: None if seconds == math.inf else seconds for name, seconds in given.items()}


def body_of(job: Job) -> tuple[bytes | Multipart, Fields] | None:
    """Return the request body of *job* and the fields that describe it, or None.

    :raises UsageError: two bodies were given, one that is not JSON, or a file that cannot be sent.
    """
    if (job.content is not None) + (job.json is not None) + bool(job.form or job.files) > 1:
        raise UsageError("A request has one body: give content, json or form, not two of them.")
    if job.json is not None:
        try:
            text = json.dumps(job.json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return text.encode(), [(b"Content-Type", b"application/json")]
        except (TypeError, ValueError) as error:
            raise UsageError(f"The json body is not JSON: {type(error).__name__}.") from error
    if job.files:
        body = Multipart(job.form, job.files, confined=job.confined)
        length = (b"Content-Length", b"%d" % body.length)
        return body, [(b"Content-Type", body.content_type.encode()), length]
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
    return encoded(fields)


def _secret(network: Network) -> Fields:
    fields = encoded(network.headers)
    referer = encoded([("Referer", network.referer)] if network.referer is not None else [])
    return layered(referer, fields)


def _timeouts(network: Network) -> Timeouts:
    return {
        "connect": network.connect_timeout,
        "read": network.read_timeout,
        "write": network.write_timeout,
        "pool": network.pool_timeout,
    }
