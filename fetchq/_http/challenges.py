"""What a WWW-Authenticate or Proxy-Authenticate field asks for (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Challenge", "challenges"]

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# A parameter, or a scheme with its credentials in one word, or something that is passed over.
_NEXT = re.compile(
    rb"[\s,]*(?:"
    rb"(?P<name>%b)\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s,\"]*))(?=[\s,]|$)"
    rb"|(?P<scheme>%b)(?:[ \t]+[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$)))?(?=[\s,]|$)"
    rb"|[^,]+)" % (_TOKEN, _TOKEN),
    re.DOTALL,
)


class Challenge(NamedTuple):
    """One scheme and its parameters.

    :param scheme: as it was written; case does not matter.
    :param parameters: names in lower case; values without their quotes and with their backslashes, as both
        sides hash them (RFC 7616 section 3.4).
    """

    scheme: str
    parameters: dict[str, bytes]


def challenges(fields: Iterable[bytes]) -> list[Challenge]:
    """Return every challenge of every field, several in one line included, in the order of the fields."""
    found: list[Challenge] = []
    for field in fields:
        first = len(found)
        for item in _NEXT.finditer(field):
            if item["scheme"]:
                found.append(Challenge(item["scheme"].decode("ascii"), {}))
            elif item["name"] and len(found) > first:
                value = item["plain"] if item["quoted"] is None else item["quoted"]
                found[-1].parameters.setdefault(item["name"].decode("ascii").lower(), value)
    return found
