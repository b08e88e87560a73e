"""URL text -> where to connect and what to ask for, or one sentence that says what is wrong with it."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

import httpx

from .._errors import UsageError
from .._models import Pairs, redact

Origin: TypeAlias = tuple[str, str, int]

DEFAULT_PORTS = {"http": 80, "https": 443}

# What the DNS and its users write in names; a colon only ever comes from an IPv6 literal.
_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+(?:%25[\w.~-]+)?", re.IGNORECASE)
# The scheme of RFC 3986 section 3.1, where an authority follows; `host:8080/x` is a forgotten scheme, not one.
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
# RFC 1035 section 2.3.4: longer ones cannot be looked up, and the resolver answers them with a UnicodeError.
_LABEL, _NAME = 63, 253


class ParsedURL(NamedTuple):
    """A URL that can be asked for.

    :param url: without user, password and fragment; path and query byte for byte as they were given.
    :param host: for messages, with the port where it is not the scheme's own.
    :param login: user and password that the URL carried.
    :param origin: scheme, host and port (RFC 9110 section 4.3.1): whom a secret may be told.
    """

    url: httpx.URL
    host: str
    login: tuple[str, str] | None
    origin: Origin

    @property
    def text(self) -> str:
        """The URL in full: its query may be a signature, so it must not be shown."""
        return str(self.url)

    @property
    def key(self) -> str:
        """``host:port``, the same for every spelling of one server."""
        return f"{self.origin[1]}:{self.origin[2]}"

    def join(self, reference: str) -> str:
        """Resolve *reference* against this URL (RFC 3986 section 5.2).

        :raises ValueError: the result is no URL.
        """
        try:
            return str(self.url.join(reference))
        except httpx.InvalidURL as error:
            raise ValueError(str(error)) from error


def origin_of(url: httpx.URL) -> Origin:
    """Return scheme, host and port of an http or https *url*."""
    scheme = url.scheme
    return scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS.get(scheme, 0)


def parse(text: str, params: Pairs = (), base: str | None = None) -> ParsedURL:
    """Parse *text*.

    :param params: added to its query, whose own bytes stay as they are: a signature covers them.
    :param base: what a relative URL is appended to, as httpx's ``base_url`` does.
    :raises UsageError: it is not an http or https URL that can be asked for.
    """
    text = text.partition("#")[0]
    if not _SCHEME.match(text):
        text = _absolute(text, base)
    try:
        url = httpx.URL(_extended(text, params))
        login = (url.username, url.password) if url.userinfo else None
        origin = _checked_origin(url)
    except (httpx.InvalidURL, ValueError) as error:
        # httpx's own words quote the text, which may hold a password.
        raise UsageError(f"{_shown(text)} is not a valid URL: {_reason(error)}.") from error
    if url.userinfo:
        url = url.copy_with(userinfo=b"")
    return ParsedURL(url, url.netloc.decode("ascii"), login, origin)


def _absolute(text: str, base: str | None) -> str:
    if base is None:
        raise UsageError(f"{_shown(text)} is not a URL: it must begin with http:// or https://.")
    return base.rstrip("/") + "/" + text.lstrip("/")


def _extended(text: str, params: Pairs) -> str:
    if not params:
        return text
    joint = "&" if "?" in text else "?"
    if text.endswith(("?", "&")):
        joint = ""
    return text + joint + urlencode(params, quote_via=quote)


def _checked_origin(url: httpx.URL) -> Origin:
    scheme, host, port = origin = origin_of(url)
    if scheme not in DEFAULT_PORTS:
        raise _RefusedError(f"{scheme}:// is not supported, only http and https are")
    if not host:
        raise _RefusedError("it names no host")
    if not _HOST.fullmatch(host) or len(host) > _NAME:
        raise _RefusedError("its host name is not one")
    if ":" not in host and not all(0 < len(label) <= _LABEL for label in host.removesuffix(".").split(".")):
        raise _RefusedError("its host name is not one")
    if url.port == 0 or not 0 < port < 65536:
        raise _RefusedError("its port is not between 1 and 65535")
    return origin


class _RefusedError(ValueError):
    """Carries the reason, in words that quote nothing secret."""


def _reason(error: Exception) -> str:
    if isinstance(error, _RefusedError):
        return str(error)
    words = str(error)
    for sign, reason in (
        # What follows the first colon is taken for the port.
        ("port: .*:", "an IPv6 address must stand whole in brackets, such as [::1]"),
        ("port", "its port is not a number"),
        ("non-printable", "it holds a control character"),
        ("too long", "it is longer than 65536 characters"),
        ("address", "its host is not a valid IP address"),
        ("host", "its host name is not one"),
    ):
        if re.search(sign, words):
            return reason
    return "it cannot be parsed"


def _shown(text: str) -> str:
    shown = redact(text)
    if "://" not in text:
        # Without a scheme, user:password@host is no authority to redact().
        shown = shown.rpartition("@")[2]
    return repr(shown)
