"""A redirect's answer -> the next request (RFC 9110 section 15.4): plain functions."""

from __future__ import annotations

from .._errors import ProtocolError, UsageError
from .url import ParsedURL, parse

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def next_method(method: str, status: int) -> str:
    """Give the method that follows the redirect; when it differs, the body is dropped with it.

    RFC 9110 sections 15.4.2 and 15.4.3 allow what every browser does: POST becomes GET on 301 and 302.
    """
    if status == 303 and method != "HEAD":
        return "GET"
    if status in {301, 302} and method == "POST":
        return "GET"
    return method


def next_address(current: ParsedURL, location: str | None) -> ParsedURL:
    """Resolve *location* against the URL that answered with it (RFC 3986 section 5.2).

    :raises ProtocolError: there is none, or it is not an http or https URL.
    """
    location = _text(location or "").strip().partition("#")[0]
    if not location:
        raise ProtocolError(f"{current.host} redirects without saying where to.")
    try:
        return parse(_resolved(current, location))
    except (UsageError, ValueError) as error:
        raise ProtocolError(f"{current.host} redirects to something that is no http or https URL.") from error


def _text(field: str) -> str:
    """Undo Latin-1 decoding where the bytes were UTF-8, which no Location should hold and some do."""
    try:
        return field.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return field


def _resolved(base: ParsedURL, location: str) -> str:
    # The first two keep every byte of the target; urljoin, behind httpx's join, drops an empty query.
    if location.startswith("//"):
        return f"{base.origin[0]}:{location}"
    if location.startswith("/"):
        return f"{base.origin[0]}://{base.host}{location}"
    return base.join(location)
