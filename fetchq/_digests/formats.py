"""The forms in which people publish digests: a line at a time, or a flat JSON object.

A line is read by the first of :data:`FORMATS` that understands it. None takes more than linear time, as a
regular expression with any characters in its middle would: a manifest may come from a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from .._errors import UsageError
from .._naming import printable
from .checksum import Checksum, Hints, of, spelled
from .hashing import SIZES, canonical, mentioned

__all__ = ["ManifestEntry", "parse", "read"]

# A path has at most 4096 bytes on Linux, and up to twice as many when escaped: longer lines hold no digest.
MAX_LINE = 10_000
# gpg --print-md writes digests in groups of two, four or eight digits.
_GROUP = r"[0-9A-Fa-f]{2}(?:[0-9A-Fa-f]{2}|[0-9A-Fa-f]{6})?"
_CONTINUED = rf"[ \t]+{_GROUP}(?:[ \t]+{_GROUP})*[ \t]*"
_SPELLED = r"([A-Za-z][A-Za-z0-9_/-]*)(?:\s*[:=]\s*|\s+)([^\s:=]*)"
# What stands around an algorithm's name in a label or a heading: "SHA256 checksum:", "[sha256]", "## SHA3-256".
_DECORATION = r"(?i)\b(?:check ?sum|digest|hash|sum)s?\b|[#*=:;/\[\]\s]+"
_ESCAPE = r"\\([\\nr])"
_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}
_COMMENT = ("#", "//", ";")
# The name that a program gives its standard input.
_UNNAMED = ("-", "stdin")


class ManifestEntry(NamedTuple):
    """A digest and the file that it is of.

    :param name: as written; empty where the digest stands alone.
    """

    name: str
    checksum: Checksum


Format: TypeAlias = Callable[[str, Hints], ManifestEntry | None]


def parse(text: str) -> Checksum:
    """Read one checksum as people write it or paste it.

    ``sha256:HEX``, ``sha-256=HEX``, ``SHA256 HEX``, ``sha256-BASE64``, HEX alone, or a manifest's whole line.

    :raises UsageError: unknown algorithm, no hex, or the wrong length, with the right one named.
    """
    text = text.strip()
    named = re.fullmatch(_SPELLED, text)
    unknown = named and named[2] and canonical(named[1]) is None and spelled(named[1]) is None
    entry = None if unknown else _entry(text, ())
    if entry is None:
        raise UsageError(_fault_of(named[1], named[2]) if named else _not_understood(text))
    return entry.checksum


def _fault_of(algorithm: str, value: str) -> str:
    name = canonical(algorithm)
    if name is None:
        return f"The checksum algorithm {_shown(algorithm)} is not one of {', '.join(SIZES)}."
    digits = 2 * SIZES[name]
    return (
        f"The {name} checksum {_shown(value)} must be {digits} hex digits, and it has {len(value)} characters."
    )


def _not_understood(text: str) -> str:
    form = "write ALGORITHM:HEX, such as sha256:HEX with 64 hex digits"
    return f"The checksum {_shown(text)} is not understood: {form}."


def _shown(text: str) -> str:
    """Quote what was given, as far as a line has room: the longest honest value has 128 digits."""
    return repr(printable(text if len(text) <= 140 else f"{text[:140]}..."))


def read(text: str, source: str) -> tuple[list[ManifestEntry], list[str]]:
    """Read a manifest.

    :param source: its file name, which may name the algorithm.
    :returns: what it lists, and the places that hold no digest, blank lines, comments and PGP's armour aside.
    """
    named = mentioned(source)
    if text.lstrip().startswith("{") and (members := _members(text)) is not None:
        return _read_members(members, (named,))
    found: list[ManifestEntry] = []
    skipped: list[str] = []
    section = False
    hints: Hints = (named,)
    for number, line in _lines(text):
        indented = line[0] in " \t"
        entry = (_debian(line, hints) if section and indented else None) or _entry(line, hints)
        if entry is not None:
            found.append(entry)
            continue
        comment = line.lstrip().startswith(_COMMENT)
        if (comment or _is_heading(line)) and (about := mentioned(line)):
            hints = (about, named)
        section = line.rstrip().endswith(":")
        if not comment:
            skipped.append(f"line {number}")
    return found, skipped


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, gpg's continued ones joined, PGP's armour left out."""
    pending: tuple[int, str] | None = None
    for number, line in _unarmoured(text):
        if pending is not None and re.fullmatch(_CONTINUED, line):
            pending = pending[0], pending[1] + line
            continue
        if pending is not None:
            yield pending
        pending = number, line
    if pending is not None:
        yield pending


def _unarmoured(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank and are no part of a PGP signature (RFC 9580 section 7)."""
    armour = ""
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.startswith("-----"):
            armour = line.strip("- \t")
        elif line.strip() and not (armour and line.startswith("Hash: ")) and armour != "BEGIN PGP SIGNATURE":
            yield number, line.removeprefix("- ") if armour else line


def _is_heading(line: str) -> bool:
    return line.rstrip().endswith(":") or _label(line) is not None


def _label(text: str) -> str | None:
    """Return the algorithm that a label names, empty where it is only a word for digest; None for a name."""
    bare = re.sub(_DECORATION, "", text[:MAX_LINE])
    return bare if not bare or canonical(bare) else None


def _entry(line: str, hints: Hints) -> ManifestEntry | None:
    if not line or len(line) > MAX_LINE:
        return None
    return next((entry for form in FORMATS if (entry := form(line, hints)) is not None), None)


def _tagged(line: str, hints: Hints) -> ManifestEntry | None:
    """``ALGORITHM (NAME) = HEX`` of BSD and coreutils' --tag, ``SHA2-256(NAME)= HEX`` of OpenSSL."""
    end = _tag_end(line)
    if end < 0:
        return None
    head, _, name = line[:end].partition("(")
    algorithm = head.strip()
    value = line[end + 1 :].strip().removeprefix("=").strip()
    checksum = of(value, algorithm=algorithm.removeprefix("\\") or None, hints=hints)
    return None if checksum is None else _named(name, checksum, escaped=algorithm.startswith("\\"))


def _tag_end(line: str) -> int:
    return max(line.rfind(")="), line.rfind(") ="))


def _digest_first(line: str, hints: Hints) -> ManifestEntry | None:
    r"""``HEX  NAME`` and ``HEX *NAME`` of coreutils, behind a ``\`` if the name is escaped; HEX alone."""
    body = line.strip()
    escaped = body.startswith("\\")
    word = body[escaped:].split(None, 1)[0] if body[escaped:] else ""
    checksum = spelled(word, hints)
    if checksum is None:
        return None
    rest = body[escaped + len(word) :]
    return _named(rest[2:] if rest.startswith(" *") else rest.lstrip(), checksum, escaped=escaped)


def _table_row(line: str, hints: Hints) -> ManifestEntry | None:  # noqa: ARG001 - a Format's
    """``SHA256    HEX    PATH`` of PowerShell's Get-FileHash; ``SHA256 HEX``."""
    words = line.split(None, 2)
    checksum = of(words[1], algorithm=words[0].rstrip(":")) if len(words) > 1 else None
    return None if checksum is None else ManifestEntry("".join(words[2:]), checksum)


def _name_first(line: str, hints: Hints) -> ManifestEntry | None:
    """``NAME HEX``, ``NAME: HEX``, ``NAME = HEX``; ``SHA256 checksum: HEX``."""
    name, *value = line.strip().rsplit(None, 1)
    if not value or _tag_end(line) >= 0:
        return None
    return _labelled(name, value[0], spelled(value[0], hints))


def _grouped(line: str, hints: Hints) -> ManifestEntry | None:
    """``NAME: 0123 4567 ...`` of gpg --print-md, ``NAME: SHA256 = 01234567 ...`` of --print-mds."""
    words = line.split()
    count = 0
    while count < len(words) and re.fullmatch(_GROUP, words[-1 - count]):
        count += 1
    if count < 2:
        return None
    digits = "".join(words[-count:])
    head = line.rsplit(None, count)[0].strip() if count < len(words) else ""
    if head.endswith("="):
        name, _, algorithm = head[:-1].rpartition(":")
        return _labelled(name, digits, of(digits, algorithm=algorithm))
    return _labelled(head, digits, of(digits, hints=hints)) if not head or head.endswith(":") else None


def _debian(line: str, hints: Hints) -> ManifestEntry | None:
    """``HEX SIZE PATH``, indented below a heading, of Debian's Release, .dsc and .changes."""
    words = line.split(None, 2)
    if len(words) < 3 or not words[1].isdigit():
        return None
    checksum = of(words[0], hints=hints)
    return None if checksum is None else ManifestEntry(words[2], checksum)


# In this order, since a name may look like a digest and an algorithm like a name.
FORMATS: tuple[Format, ...] = (_tagged, _digest_first, _table_row, _name_first, _grouped)


def _named(name: str, checksum: Checksum, *, escaped: bool) -> ManifestEntry:
    if escaped:
        name = re.sub(_ESCAPE, lambda found: _ESCAPES[found[1]], name)
    return ManifestEntry("" if name in _UNNAMED else name, checksum)


def _labelled(name: str, value: str, checksum: Checksum | None) -> ManifestEntry | None:
    """Return the entry of a *value* behind a file's name, or behind a label that may name the algorithm."""
    label = _label(name)
    if label:
        checksum = of(value, algorithm=label)
    if checksum is None:
        return None
    return ManifestEntry(name.rstrip(":= \t") if label is None else "", checksum)


def _members(text: str) -> list[tuple[str, object]] | None:
    """Return the members of a JSON object, repeated ones too; None for what is no JSON."""
    import json

    try:
        members: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    return members


def _read_members(members: list[tuple[str, object]], hints: Hints) -> tuple[list[ManifestEntry], list[str]]:
    found: list[ManifestEntry] = []
    skipped: list[str] = []
    for name, value in members:
        text = value.strip() if isinstance(value, str) else ""
        entry = _labelled(name, text, spelled(text, hints))
        if entry is not None:
            found.append(entry)
        else:
            skipped.append(f"the member {printable(name[:80])!r}")
    return found, skipped
