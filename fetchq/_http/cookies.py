"""Cookies that servers have set, kept and sent back as RFC 6265 sections 5.1 to 5.4 say.

``http.cookiejar``, behind httpx's own jar, follows older drafts: it sends a host's cookie to hosts whose name
ends alike, takes ``Domain=co.uk``, and loses cookies that every browser keeps.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import httpx

from .headers import join_cookies, values, without
from .hostnames import ascii_host

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

__all__ = ["Cookie", "CookieJar", "renew_cookies", "stored_by"]

# What browsers accept of name and value together, and of an attribute (RFC 6265bis section 5.6).
_LONGEST, _LONGEST_ATTRIBUTE = 4096, 1024
# RFC 6265 section 6.1 asks for 50 and 3000 at least; servers that set more than that lose the oldest.
_PER_DOMAIN, _IN_ALL = 50, 3000

_CONTROL = re.compile(rb"[\0-\x08\x0a-\x1f\x7f]")
# RFC 6265 section 5.1.1.
_DELIMITERS = re.compile(r"[\t -/;-@\[-`{-~]+")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# What a token of a date may be, in the order in which it is tried; each is found once.
_DATE = {
    "time": re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL),
    "day": re.compile(r"([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL),
    "month": re.compile(rf"({'|'.join(_MONTHS)}).*", re.DOTALL | re.IGNORECASE | re.ASCII),
    "year": re.compile(r"([0-9]{2,4})(?:[^0-9].*)?", re.DOTALL),
}
_LEAST_YEAR = 1601
_MAX_AGE = re.compile(r"-?[0-9]+")
# A longer number of seconds is for ever.
_AGE_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie as RFC 6265 section 5.3 stores it.

    :param expires: seconds since the epoch; None for the end of the run.
    :param http_only: kept for browsers, whose scripts may not read it.
    :param created: its place in the order of all that were stored.
    """

    name: bytes
    value: bytes
    path: bytes
    host_only: bool
    secure: bool
    expires: float | None
    http_only: bool = False
    created: int = 0


@dataclass(frozen=True, slots=True)
class _Attributes:
    """The attributes of a Set-Cookie field, the last of each kind; ``path`` is empty for the default one."""

    expires: float | None = None
    max_age: float | None = None
    domain: str = ""
    path: bytes = b""
    secure: bool = False
    http_only: bool = False


class CookieJar:
    """Keeps cookies in memory, for one job or for a run.

    :param now: seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._domains: dict[str, dict[tuple[bytes, bytes], Cookie]] = {}
        self._created = 0
        self._count = self._added = 0

    def __bool__(self) -> bool:
        return bool(self._domains)

    def add(self, domain: str, cookie: Cookie) -> None:
        """Store a cookie of the user's, unless it has expired; it does not count against the jar's bounds.

        :param domain: in ASCII and lower case; one that anybody may register names below is for itself only.
        """
        if cookie.expires is not None and cookie.expires <= self._now():
            return
        self._created += 1
        host_only = cookie.host_only or _is_address(domain) or _is_public(domain) is True
        cookies = self._domains.setdefault(domain, {})
        before = cookies.pop((cookie.name, cookie.path), None)
        cookies[cookie.name, cookie.path] = replace(cookie, host_only=host_only, created=self._created)
        self._count += before is None
        self._added += before is None

    def cookies(self) -> Iterator[tuple[str, Cookie]]:
        """Yield domain and cookie of all that have not expired."""
        now = self._now()
        for domain, cookies in sorted(self._domains.items()):
            for cookie in cookies.values():
                if cookie.expires is None or cookie.expires > now:
                    yield domain, cookie

    def extract(self, url: httpx.URL, fields: Sequence[bytes]) -> None:
        """Store what the answer for *url* sets.

        :param fields: the values of its Set-Cookie fields.
        """
        for field in fields:
            pair, *rest = field.split(b";")
            name, sign, value = (part.strip(b" \t") for part in pair.partition(b"="))
            if sign and name and len(name) + len(value) <= _LONGEST and not _CONTROL.search(field):
                self._store(url, name, value, _attributes(rest))

    def _store(self, url: httpx.URL, name: bytes, value: bytes, given: _Attributes) -> None:
        host = _host(url)
        domain = _domain(host, given.domain)
        path = given.path or _default_path(url)
        if domain is None or not _keeps_prefix(url, name, given):
            return
        expires = given.expires if given.max_age is None else self._now() + given.max_age
        cookies = self._domains.get(domain or host, {})
        key = (name, path)
        before = cookies.pop(key, None)
        self._count -= before is not None
        if expires is None or expires > self._now():
            # A cookie that is renewed keeps its place (RFC 6265 section 5.3, step 11.3).
            self._created += before is None
            created = self._created if before is None else before.created
            cookies[key] = Cookie(
                name, value, path, not domain, given.secure, expires, given.http_only, created
            )
            self._count += 1
            self._domains[domain or host] = cookies
            self._evict(cookies)
        elif not cookies:
            self._domains.pop(domain or host, None)

    def _evict(self, cookies: dict[tuple[bytes, bytes], Cookie]) -> None:
        if len(cookies) > _PER_DOMAIN + self._added:
            del cookies[next(iter(cookies))]
            self._count -= 1
        while self._count > _IN_ALL + self._added:
            self._count -= len(self._domains.pop(next(iter(self._domains))))

    def header(self, url: httpx.URL) -> bytes:
        """Return the value of the Cookie field for a request to *url*; empty where no cookie is for it."""
        host, path, now = _host(url), _path(url), self._now()
        found = [
            cookie
            for domain in _suffixes(host)
            for cookie in self._domains.get(domain, {}).values()
            if (domain == host or not cookie.host_only)
            and (cookie.expires is None or cookie.expires > now)
            and (not cookie.secure or url.scheme == "https")
            and _path_matches(path, cookie.path)
        ]
        found.sort(key=lambda cookie: (-len(cookie.path), cookie.created))
        # One without a name is its value alone (RFC 6265bis section 5.8.3).
        return b"; ".join(b"%b=%b" % (each.name, each.value) if each.name else each.value for each in found)


def stored_by(jar: httpx.Cookies, url: httpx.URL) -> bytes:
    """Return the value of the Cookie field that the jar of the caller's own client has for *url*."""
    # httpx's way to ask fails at a character that is no ASCII; what byte it came from, its jar does not know.
    request = urllib.request.Request(str(url))  # noqa: S310 - never opened
    jar.jar.add_cookie_header(request)
    return (request.get_header("Cookie") or "").encode("utf-8", "surrogateescape")


def renew_cookies(request: httpx.Request, stored: bytes) -> None:
    """Replace the cookies of *request* that servers have set by those *stored* since it was built."""
    fields = request.headers.raw
    joined = join_cookies(values(fields, b"cookie"), stored)
    request.headers = httpx.Headers([*without(fields, b"cookie"), *([(b"Cookie", joined)] if joined else [])])


def _attributes(parts: Sequence[bytes]) -> _Attributes:
    """Read the attributes (RFC 6265 section 5.2); the last of a kind counts."""
    expires = max_age = None
    domain, path, secure, http_only = "", b"", False, False
    for part in parts:
        name, _, value = (piece.strip(b" \t") for piece in part.partition(b"="))
        if len(value) > _LONGEST_ATTRIBUTE:
            continue
        match name.lower():
            case b"expires":
                read = _date(value.decode("latin-1"))
                expires = expires if read is None else read
            case b"max-age" if _MAX_AGE.fullmatch(value.decode("latin-1")):
                max_age = float(value[:_AGE_DIGITS])
            case b"domain" if value:
                domain = value.decode("utf-8", "surrogateescape")
            case b"path":
                path = value if value.startswith(b"/") else b""
            case b"secure":
                secure = True
            case b"httponly":
                http_only = True
    return _Attributes(expires, max_age, domain, path, secure, http_only)


def _date(text: str) -> float | None:
    """Return the seconds since the epoch of a date in any form that RFC 6265 section 5.1.1 reads."""
    found: dict[str, re.Match[str]] = {}
    for token in _DELIMITERS.split(text):
        for kind, pattern in _DATE.items():
            matched = None if kind in found else pattern.fullmatch(token)
            if matched:
                found[kind] = matched
                break
    if len(found) < len(_DATE):
        return None
    day, month, year = int(found["day"][1]), 1 + _MONTHS.index(found["month"][1].lower()), int(found["year"][1])
    hour, minute, second = map(int, found["time"].groups())
    if year < 100:
        year += 1900 if year >= 70 else 2000
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() if year >= _LEAST_YEAR else None


def _domain(host: str, attribute: str) -> str | None:
    """Return the domain that a cookie of *host* is for (RFC 6265 section 5.3, steps 4 to 6).

    :param attribute: the Domain attribute.
    :returns: empty for *host* alone; None where the cookie must not be stored.
    """
    try:
        domain = ascii_host(attribute.removeprefix("."))
    except ValueError:
        return None
    if not domain or (domain == host and _is_address(host)):
        return ""
    if domain != host and (not host.endswith(f".{domain}") or _is_address(host)):
        return None
    public = _is_public(domain)
    if public:
        return "" if domain == host else None
    return "" if public is None else domain


def _is_public(domain: str) -> bool | None:
    """Whether anyone may register names below *domain*; None where that is not known."""
    suffixes = _public_suffixes()
    return None if suffixes is None else bool(suffixes.is_public(domain))


@cache
def _public_suffixes() -> PublicSuffixList | None:
    try:
        from publicsuffixlist import PublicSuffixList  # reads a list of 340 kB
    except ImportError:
        return None
    return PublicSuffixList()


def _keeps_prefix(url: httpx.URL, name: bytes, given: _Attributes) -> bool:
    """Whether a cookie has what the prefix of its name promises (RFC 6265bis section 4.1.3)."""
    prefix = name[:9].lower()
    if not prefix.startswith((b"__host-", b"__secure-")):
        return True
    if not given.secure or url.scheme != "https":
        return False
    return prefix.startswith(b"__secure-") or (not given.domain and given.path == b"/")


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii")


def _path(url: httpx.URL) -> bytes:
    return url.raw_path.partition(b"?")[0]


def _default_path(url: httpx.URL) -> bytes:
    return _path(url).rpartition(b"/")[0] or b"/"


def _path_matches(path: bytes, cookie: bytes) -> bool:
    """Whether *path* is the path of a cookie or lies below it (RFC 6265 section 5.1.4)."""
    return path == cookie or path.startswith(cookie if cookie.endswith(b"/") else cookie + b"/")


def _suffixes(host: str) -> Iterator[str]:
    """Yield *host* and the domains that it domain-matches (RFC 6265 section 5.1.3)."""
    yield host
    while not _is_address(host) and "." in host:
        host = host.partition(".")[2]
        yield host


def _is_address(host: str) -> bool:
    """Whether *host* is an IP address, in any form that resolvers read: those end in a number."""
    last = host.removesuffix(".").rpartition(".")[2]
    return ":" in host or last.isdigit() or last.startswith("0x")
