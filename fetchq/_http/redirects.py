"""A redirect's answer -> the next request (RFC 9110 section 15.4): plain functions."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import ProtocolError, UsageError
from .url import ParsedURL, parse, resolve

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def next_method(method: str, status: int) -> str:
    """Return the method that follows the redirect; when it differs, the body is dropped with it.

    RFC 9110 sections 15.4.2 and 15.4.3 allow what every browser does: POST becomes GET on 301 and 302.
    """
    if status == 303 and method != "HEAD":
        return "GET"
    if status in {301, 302} and method == "POST":
        return "GET"
    return method


def next_url(current: ParsedURL, locations: Sequence[bytes]) -> ParsedURL:
    """Resolve the Location against the URL that answered with it (RFC 3986 section 5.2).

    A user and password that it carries are kept where it stays with the origin that wrote it.

    :param locations: the values of the answer's Location fields.
    :raises ProtocolError: there is none, there are two different ones, or it is no http or https URL.
    """
    written = {location.strip(b" \t") for location in locations}
    if len(written) > 1:
        raise ProtocolError(f"{current.host} redirects to {len(written)} different places at once.")
    # A Location should hold ASCII only; other bytes are asked for as they are, which text keeps as surrogates.
    location = written.pop().decode("utf-8", "surrogateescape") if written else ""
    if not location:
        raise ProtocolError(f"{current.host} redirects without saying where to.")
    try:
        following = parse(resolve(current.text, location))
    except (UsageError, ValueError) as error:
        raise ProtocolError(f"{current.host} redirects to something that is no http or https URL.") from error
    return following._replace(login=_login(current, following, location))


def _login(current: ParsedURL, following: ParsedURL, location: str) -> tuple[str, str | None] | None:
    if following.origin != current.origin:
        return None
    return following.login if "//" in location and following.login else current.login
