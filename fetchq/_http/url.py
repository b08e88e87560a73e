"""URL text -> where to connect and what to ask for, or one sentence that says what is wrong with it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, unquote, urlencode

import httpx

from .._errors import UsageError
from .._models import Pairs, redact
from .hostnames import ascii_host, is_registered_name

Origin: TypeAlias = tuple[str, str, int]

DEFAULT_PORTS = {"http": 80, "https": 443}

# The scheme of RFC 3986 section 3.1, where an authority follows; `host:8080/x` is a forgotten scheme, not one.
# A backslash ends the authority for browsers and not for others, so it is taken as no part of any.
_START = re.compile(
    r"([a-zA-Z][a-zA-Z0-9+.-]*)://(?:([^/?#\\]*)@)?(\[[^]/?#@]*\]|[^:/?#@\\\[\]]*)(:[^/?#]*)?(?=[/?#]|$)"
)
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# RFC 3986 appendix B, with the scheme of its section 3.1: `:80` and `1a:b` are paths.
_REFERENCE = re.compile(
    r"(?:([a-zA-Z][a-zA-Z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL
)
# What the DNS and its users write in names.
_NAME = re.compile(r"[a-z0-9._-]+")
# An IPv6 address, with the name of its zone as RFC 6874 section 2 writes it; httpx looks at it more closely.
_ADDRESS = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*(?:%25[\w.~-]+)?", re.ASCII)
_BRACKETS = "an IPv6 address must stand whole in brackets, such as [::1]"
# Python refuses to read numbers of some thousand digits, and takes the square of their length for others.
_LONG_PORT = 100
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
_ASCII = "".join(map(chr, range(128)))


class ParsedURL(NamedTuple):
    """A URL that can be asked for.

    :param url: without user, password, fragment and dot segments; else path and query byte for byte as they
        were given, and what no request line may hold percent-encoded.
    :param host: for messages and the Host field, with the port where it is not the scheme's own.
    :param login: user and password that the URL carried; the password is None where it named a user only.
    :param origin: scheme, host and port (RFC 9110 section 4.3.1): whom a secret may be told.
    """

    url: httpx.URL
    host: str
    login: tuple[str, str | None] | None
    origin: Origin

    @property
    def text(self) -> str:
        """The URL in full: its query may be a signature, so it must not be shown."""
        return str(self.url)

    @property
    def key(self) -> str:
        """``host:port``, the same for every spelling of one server."""
        return f"{self.origin[1]}:{self.origin[2]}"


def origin_of(url: httpx.URL) -> Origin:
    """Return scheme, host and port of an http or https *url*."""
    scheme = url.scheme
    return scheme, url.raw_host.decode("ascii"), url.port or DEFAULT_PORTS.get(scheme, 0)


def parse(text: str, params: Pairs = (), base: str | None = None) -> ParsedURL:
    """Parse *text*; bytes that are no UTF-8 stand in it as surrogates and are percent-encoded as they are.

    :param params: added to its query, whose own bytes stay as they are: a signature covers them.
    :param base: what a relative URL is appended to, as httpx's ``base_url`` does.
    :raises UsageError: it is not an http or https URL that can be asked for.
    """
    text = text.partition("#")[0]
    if not _SCHEME.match(text):
        text = _absolute(text, base)
    if params:
        text = _extended(text, params)
    try:
        return _parsed(text)
    except (httpx.InvalidURL, ValueError) as error:
        # httpx's own words quote the text, which may hold a password.
        raise UsageError(f"{_shown(text)} is not a valid URL: {_reason(error)}.") from error


# Asked for several times on a job's way, and for all of a batch of lines in turn.
@lru_cache(1024)
def server_of(text: str) -> str | None:
    """Return ``host:port`` of an absolute URL, much cheaper than :func:`parse`; None where that must tell."""
    start = _START.match(text)
    if start is None:
        return None
    try:
        origin = _server(start[1], start[3], start[4]).origin
    except ValueError:
        return None
    return f"{origin[1]}:{origin[2]}"


def _parsed(text: str) -> ParsedURL:
    if _CONTROL.search(text):
        raise _RefusedError("it holds a control character")
    start = _START.match(text)
    if start is None:
        raise _RefusedError(_BRACKETS if "[" in text.split("/")[2] else "its host name is not one")
    scheme, user, host, port = start.groups()
    server = _server(scheme, host, port)
    rest = text[start.end() :]
    if "/." in rest:
        path, mark, query = rest.partition("?")
        rest = remove_dot_segments(path) + mark + query
    if not rest.isascii():
        rest = quote(rest.encode("utf-8", "surrogateescape"), safe=_ASCII)
    url = httpx.URL(f"{scheme}://{server.authority}{rest}")
    return ParsedURL(url, server.shown, _login(user) if user else None, server.origin)


class _Server(NamedTuple):
    """What stands before a URL's path.

    :param authority: in ASCII, with the port where it is not the scheme's own.
    :param shown: the same without the zone of a link-local address, which means nothing to others (RFC 6874
        section 3).
    """

    origin: Origin
    authority: str
    shown: str


# A run asks few servers for many files, and this is a third of the work.
@lru_cache(256)
def _server(scheme: str, host: str, port: str | None) -> _Server:
    origin = scheme, host, number = _checked_origin(scheme, host, port)
    suffix = "" if number == DEFAULT_PORTS[scheme] else f":{number}"
    if ":" not in host:
        return _Server(origin, host + suffix, host + suffix)
    return _Server(origin, f"[{host}]{suffix}", f"[{host.partition('%')[0]}]{suffix}")


def _checked_origin(scheme: str, host: str, port: str | None) -> Origin:
    scheme = scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise _RefusedError(f"{scheme}:// is not supported, only http and https are")
    if not host:
        raise _RefusedError("it names no host" if port is None or port.count(":") < 2 else _BRACKETS)
    if host[0] == "[":
        address, *zone = host[1:-1].split("%25", 1)
        host = "%25".join([address.lower(), *zone])
        valid = _ADDRESS.fullmatch(host)
    else:
        host = _registered(host)
        valid = _NAME.fullmatch(host)
    if not valid:
        raise _RefusedError("its host name is not one")
    return scheme, host, _port(port, DEFAULT_PORTS[scheme])


def _registered(host: str) -> str:
    try:
        host = ascii_host(host)
    except ValueError as error:
        raise _RefusedError("its host name is not one") from error
    if not is_registered_name(host):
        raise _RefusedError("its host name is not one")
    return host


def _port(written: str | None, default: int) -> int:
    digits = (written or "")[1:]
    if not digits:
        return default
    if ":" in digits:
        # What follows the first colon was taken for the port.
        raise _RefusedError(_BRACKETS)
    if not (digits.isascii() and digits.isdigit()):
        raise _RefusedError("its port is not a number")
    port = int(digits) if len(digits) < _LONG_PORT else 0
    if not 0 < port < 65536:
        raise _RefusedError("its port is not between 1 and 65535")
    return port


def _login(user: str) -> tuple[str, str | None]:
    name, colon, password = user.partition(":")
    return unquote(name), unquote(password) if colon else None


def absolute(text: str, base: str) -> str:
    """Return *text*, appended to *base* if it is a relative URL."""
    return text if _SCHEME.match(text) else _absolute(text, base)


def _absolute(text: str, base: str | None) -> str:
    if base is None:
        raise UsageError(f"{_shown(text)} is not a URL: it must begin with http:// or https://.")
    return base.rstrip("/") + "/" + text.lstrip("/")


def _extended(text: str, params: Pairs) -> str:
    joint = "&" if "?" in text else "?"
    if text.endswith(("?", "&")):
        joint = ""
    return text + joint + urlencode(params, quote_via=quote)


def resolve(base: str, reference: str) -> str:
    """Return *reference*, its fragment dropped, resolved against the absolute *base* (RFC 3986 section 5.2.2).

    urllib's function, which httpx uses too, loses empty path segments and an empty query.
    """
    scheme, authority, path, query = _split(reference)
    if scheme is None:
        scheme, base_authority, base_path, base_query = _split(base)
        if authority is None:
            authority = base_authority
            if not path:
                path, query = base_path, base_query if query is None else query
            elif not path.startswith("/"):
                # Section 5.2.3; the empty path of an http URL is "/".
                path = (base_path.rpartition("/")[0] if base_path else "") + "/" + path
    at = "" if authority is None else f"//{authority}"
    asked = "" if query is None else f"?{query}"
    return f"{scheme}:{at}{remove_dot_segments(path)}{asked}"


def _split(reference: str) -> tuple[str | None, str | None, str, str | None]:
    found = _REFERENCE.match(reference)
    return found.groups() if found else (None, None, "", None)  # type: ignore[return-value]


def remove_dot_segments(path: str) -> str:
    """Return *path* without its segments ``.`` and ``..`` (RFC 3986 section 5.2.4)."""
    if not path.startswith("/"):
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


class _RefusedError(ValueError):
    """Carries the reason, in words that quote nothing secret."""


def _reason(error: Exception) -> str:
    if isinstance(error, _RefusedError):
        return str(error)
    words = str(error)
    for sign, reason in (
        ("too long", "it is longer than 65536 characters"),
        ("address", "its host is not a valid IP address"),
    ):
        if sign in words:
            return reason
    return "it cannot be parsed"


def _shown(text: str) -> str:
    shown = redact(text)
    if "://" not in text:
        # Without a scheme, user:password@host is no authority to redact().
        shown = shown.rpartition("@")[2]
    return repr(shown)
