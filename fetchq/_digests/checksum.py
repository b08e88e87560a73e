"""A checksum that a file must have: its spellings, and the comparison with what was computed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .._errors import ChecksumError, UsageError
from .._naming import printable
from .hashing import SIZES, canonical, decode_base64

__all__ = ["Checksum", "algorithms", "compare", "matches", "of", "spelled", "strongest"]

_HEX = r"(?:[0-9A-Fa-f]{2})+"
_RANK = {name: number for number, name in enumerate(SIZES)}
# CRC-32's eight digits alone are more often a number or a word: it must be named.
_BY_SIZE = {
    size: tuple(name for name in SIZES if SIZES[name] == size) for size in {*SIZES.values()} - {SIZES["crc32"]}
}

Hints = tuple[frozenset[str], ...]


class Checksum(NamedTuple):
    """What a file must hash to.

    :param hex: lower-case hex.
    :param algorithms: canonical names, the usual one first; any one of them suffices. More than one where the
        value came without an algorithm: SHA-256, SHA3-256 and BLAKE2s cannot be told from one another.
    """

    hex: str
    algorithms: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.algorithms[0]}:{self.hex}" if len(self.algorithms) == 1 else self.hex


def of(value: str, *, algorithm: str | None = None, hints: Hints = ()) -> Checksum | None:
    """Return the checksum of a hex (or, where the algorithm is known, base64) *value*; None if it is none.

    :param algorithm: any spelling; without it the algorithms of that length count.
    :param hints: algorithms to choose from; the first set with one of that length counts.
    """
    if algorithm is None:
        return _bare(value, hints)
    name = canonical(algorithm)
    digest = None if name is None else _hex_of(value, SIZES[name])
    return None if name is None or digest is None else Checksum(digest, (name,))


def _bare(value: str, hints: Hints) -> Checksum | None:
    if not re.fullmatch(_HEX, value):
        return None
    size = len(value) // 2
    for hint in hints:
        if named := tuple(name for name in SIZES if name in hint and SIZES[name] == size):
            return Checksum(value.lower(), named)
    return Checksum(value.lower(), _BY_SIZE[size]) if size in _BY_SIZE else None


def _hex_of(value: str, size: int) -> str | None:
    if re.fullmatch(_HEX, value):
        return value.lower() if len(value) == 2 * size else None
    decoded = decode_base64(value)
    return decoded.hex() if decoded is not None and len(decoded) == size else None


def spelled(word: str, hints: Hints = ()) -> Checksum | None:
    """Read ``HEX``, ``ALGORITHM:VALUE``, ``ALGORITHM=VALUE``, ``ALGORITHM-BASE64``; None for another word."""
    if (bare := _bare(word, hints)) is not None:
        return bare
    named = re.match(r"([^:=]+)[:=](.+)", word)
    if named and canonical(named[1]):
        return of(named[2], algorithm=named[1])
    # Subresource Integrity's form; base64's own alphabet has no "-".
    name, _, value = word.rpartition("-")
    return of(value, algorithm=name)


def strongest(found: Iterable[Checksum], where: str) -> Checksum | None:
    """Return the checksum by the strongest algorithm; None where there is none.

    :param where: whose checksums these are, for the message.
    :raises UsageError: two of one algorithm differ.
    """
    best: Checksum | None = None
    known: dict[str, str] = {}
    # Named ones first: a bare value that differs from them is not by their algorithms.
    for checksum in sorted(found, key=lambda checksum: len(checksum.algorithms)):
        left = tuple(name for name in checksum.algorithms if known.get(name, checksum.hex) == checksum.hex)
        if not left:
            name = checksum.algorithms[0]
            raise UsageError(
                f"{where} has two {name} digests that differ, {known[name]} and {checksum.hex}:"
                " give the right one with --checksum."
            )
        known |= dict.fromkeys(left, checksum.hex)
        if best is None or _RANK[left[0]] > _RANK[best.algorithms[0]]:
            best = Checksum(checksum.hex, left)
    return best


def algorithms(expected: Iterable[Checksum], *, likely: bool = False) -> list[str]:
    """Return what has to be computed to compare with *expected*.

    :param likely: only the usual algorithm of a value that came without one: the others cost three times as
        much again, and can be computed where it differs.
    """
    return list(
        dict.fromkeys(
            name
            for checksum in expected
            for name in (checksum.algorithms[:1] if likely else checksum.algorithms)
        )
    )


def matches(checksum: Checksum, actual: Mapping[str, str]) -> bool:
    """Whether one of the digests computed, algorithm to hex, is the one that is asked for."""
    return any(actual.get(name) == checksum.hex for name in checksum.algorithms)


def compare(expected: Iterable[Checksum], actual: Mapping[str, str], name: str) -> None:
    """Check that the digests computed of a file are those expected, every one.

    :param actual: algorithm to hex, with all that :func:`algorithms` asks for, if only when it is asked for.
    :param name: of the file, for the message.
    :raises ChecksumError: one differs; the message has both values.
    """
    for checksum in expected:
        if not matches(checksum, actual):
            first, *others = checksum.algorithms
            which = f"{', '.join([first, *others[:-1]])} or {others[-1]}" if others else first
            found = f"the {first} is" if others else "it is"
            raise ChecksumError(
                f"{printable(name)}: the {which} should be {checksum.hex}, and {found} {actual[first]}."
            )
