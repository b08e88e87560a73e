"""Which header fields a request carries, and which of them a foreign origin may see: plain functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .._errors import UsageError
from .http11.parser import Fields

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5: these three end or falsify a field.
_FORBIDDEN = re.compile(r"[\r\n\0]")

# What describes the message or the program rather than the user. Everything else that the user gave may be
# a secret, whatever its name is, and stays with the origin that it was given for.
PORTABLE = frozenset(
    {b"accept", b"accept-encoding", b"accept-language", b"connection", b"content-type", b"user-agent"}
)


def encoded(pairs: Iterable[tuple[str, str]]) -> Fields:
    """Return header fields as bytes.

    :raises UsageError: a name is not a token, or a value cannot travel in a header.
    """
    return [(_name(name), _value(name, value)) for name, value in pairs]


def _name(name: str) -> bytes:
    if not _TOKEN.fullmatch(name):
        raise UsageError(f"{name[:40]!r} is not a header name: write headers as 'Name: value'.")
    return name.encode("ascii")


def _value(name: str, value: str) -> bytes:
    # The value itself stays out of the message: headers carry secrets.
    if _FORBIDDEN.search(value):
        raise UsageError(f"The value of header {name} holds a line break or a NUL character.")
    try:
        return value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError as error:
        raise UsageError(f"The value of header {name} holds characters that HTTP headers cannot.") from error


def check_method(method: str) -> None:
    """Refuse what is not a method name.

    :raises UsageError: it is not a token (RFC 9110 section 9.1).
    """
    if method != "GET" and not _TOKEN.fullmatch(method):
        raise UsageError(f"{method[:40]!r} is not a request method.")


def layered(*layers: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Join layers of fields; a later layer replaces the fields of the same name in the earlier ones."""
    fields: Fields = []
    for layer in layers:
        if fields and layer:
            names = {name.lower() for name, _ in layer}
            fields = [field for field in fields if field[0].lower() not in names]
        fields.extend(layer)
    return fields


def portable(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Keep the fields that any origin may see."""
    return [field for field in fields if field[0].lower() in PORTABLE]


def without(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> Fields:
    """Drop the fields called *name*, given in lower case."""
    return [field for field in fields if field[0].lower() != name]


def without_body_fields(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Drop what describes a body that is no longer sent (RFC 9110 section 15.4, on changing the method)."""
    return [field for field in fields if not field[0].lower().startswith((b"content-", b"transfer-encoding"))]


def values(fields: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Return the values of all fields called *name*, given in lower case."""
    return [value for field, value in fields if field.lower() == name]


def join_cookies(own: Iterable[bytes], stored: bytes) -> bytes:
    """Return the value of a Cookie field with the user's *own* cookies and those that servers have set.

    Of two of the user's with one name the later counts, and one that a server has set since replaces it.
    """
    renewed = {crumb.partition(b"=")[0] for crumb in stored.split(b"; ")}
    crumbs: dict[bytes, bytes] = {}
    for crumb in filter(None, map(bytes.strip, b";".join(own).split(b";"))):
        crumbs[crumb.partition(b"=")[0]] = crumb
    kept = [crumb for name, crumb in crumbs.items() if name not in renewed]
    return b"; ".join([*kept, *([stored] if stored else [])])
