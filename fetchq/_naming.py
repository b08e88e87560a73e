"""Headers and URL -> one safe file name; where the user's own name goes; what to try when it is taken.

A name that a server chose passes :func:`sanitise`; a name that the user wrote is kept as written and only
refused (:func:`place`) where it would leave the directory or could not be stored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from urllib.parse import unquote_to_bytes

from ._errors import UsageError

__all__ = ["candidates", "guess", "name_from", "place", "printable", "sanitise"]

Headers = Mapping[str, str]

# A pattern that plain ASCII names do not need is left as text: ``re`` compiles it when it is first used.

# What a file is called when nobody says: the word browsers use.
NAMELESS = "download"

# File systems hold 255 bytes a name; ".part.json.tmp", the longest of our suffixes, takes 14 of them.
MAX_BYTES = 240
FILE_SYSTEM_BYTES = 255

# Bidi controls and line separators re-order or break what a terminal shows; C0, DEL and C1 command it; a
# surrogate cannot be encoded.
_HOSTILE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
# Characters without a glyph: two names that look alike would be two files, or a suffix would hide.
_UNSEEN = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
)
_HOSTILE_CHARACTER = f"[{_HOSTILE}]"
# The joiners shape Persian, Indic scripts and emoji; beside ASCII, at an end or doubled they only hide.
_JOINER = "\u200c\u200d"
_STRIPPED = f"[{_HOSTILE}{_UNSEEN}]|(?<![^\x00-\x7f{_JOINER}])[{_JOINER}]|[{_JOINER}](?![^\x00-\x7f{_JOINER}])"
# Not allowed on Windows file systems and on USB sticks formatted there.
_REPLACED = str.maketrans('<>:"|?*', "_" * 7)
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(?:COM|LPT)[0-9¹²³])(?=[ .]|$)", re.IGNORECASE
)
# Names of ours: a server that chose one would have its file taken for a part, a journal, a store or settings.
_OURS = re.compile(
    r"(?:.*\.part(?:\.json(?:\.tmp)?|\.bad)?|\.fetchq\.db(?:-[a-z]+)?|fetchq\.toml)", re.IGNORECASE | re.DOTALL
)
# What sanitising leaves as it is, if it is no device's name and none of ours: nearly every name there is.
_USUAL = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_+=@-]|\.(?=[A-Za-z0-9_+=@-])){0,199}")
# 15 characters cover the longest suffixes in use (".crdownload", ".torrent"); a compressor's suffix or a
# signature's brings the one before it along, so that "a.tar.gz" stays one.
_SUFFIX = re.compile(
    r"(?<=[^.])(?:(?:\.[a-z][a-z0-9]{0,9})?\.(?:gz|bz2|xz|zst|lz4|lz|lzma|br|z|asc|sig|gpg)|\.[^.\s]{1,15})\Z",
    re.IGNORECASE,
)

# One parameter of Content-Disposition up to its ";" (RFC 6266 section 4.1), read as browsers do: a value
# without quotes may hold spaces, closing quotes may be missing, what follows a quoted value is skipped.
_PARAMETER = r'(?s)([^;="]*)(?:=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;]*)))?[^;]*;?'
_ESCAPED = r"(?s)\\(.)"
# A URL's path, behind scheme and authority where there are any (RFC 3986 appendix B).
_PATH = re.compile(r"(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)")
_PERCENT_ENCODED = r"(?:[A-Za-z0-9\-._~!$&'()*+,=@/]|%[0-9A-Fa-f]{2})+"


def name_from(headers: Headers, url: str, *, dotfiles: bool = False) -> str:
    """Choose the name of a download as browsers do: Content-Disposition, else the URL, else ``download``.

    :param headers: of the response that brings the body, case-insensitive.
    :param url: that response's URL.
    :param dotfiles: let the name begin with a dot.
    """
    disposition = headers.get("content-disposition")
    offers = _disposition_names(disposition) if disposition else ()
    for raw in (*offers, _last_of_path(url)):
        if name := _clean(raw, dotfiles):
            return name
    return NAMELESS


def guess(url: str, *, dotfiles: bool = False) -> str:
    """Give the name that the URL alone suggests; the response may still choose another."""
    return sanitise(_last_of_path(url), dotfiles=dotfiles)


def sanitise(raw: str, *, dotfiles: bool = False) -> str:
    r"""Turn whatever a server says into one safe file name of at most 240 bytes, its suffix kept.

    Only what follows the last separator counts, ``/`` or ``\``. The name is in NFC, without control, bidi
    and unseen characters, leading dots and the names of devices, and it is none of fetchq's own files
    (``.part``, ``.part.json``, ``.fetchq.db``, ``fetchq.toml`` get a ``_``). Applied twice it changes nothing.
    """
    return _clean(raw, dotfiles) or NAMELESS


def place(directory: Path, out: str | None, *, name: str = "") -> tuple[Path, str]:
    """Split the target that the user asked for into the folder, inside *directory*, and the file name.

    :param out: relative path with ``/``; None means *name* in *directory*.
    :raises UsageError: *out* would leave the directory, names a folder, or cannot be a file's name.
    """
    if out is None:
        return directory, name
    if fault := _fault_of(out):
        raise UsageError(f"The target {printable(out)!r} cannot be used: {fault}.")
    folders = [part for part in out.split("/") if part not in {"", "."}]
    file = folders.pop()
    return directory.joinpath(*folders), file


def candidates(name: str) -> Iterator[str]:
    """Yield the names to try when *name* is taken: ``a.iso``, ``a.1.iso``, ``a.2.iso``, and so on."""
    # Nearly always the first one alone is wanted; a character has up to four bytes.
    yield name if len(name) * 4 <= MAX_BYTES else _fit(*_split(name))
    stem, suffix = _split(name)
    for number in count(1):
        yield _fit(stem, f".{number}{suffix}")


def printable(text: str) -> str:
    """Give *text* as a terminal can show it: control, escape and bidi characters become ``?``."""
    # Python's own notion of what can be printed is narrower, and asked in no time.
    return text if text.isprintable() else re.sub(_HOSTILE_CHARACTER, "?", text)


def _clean(raw: str, dotfiles: bool) -> str:
    """Sanitise until nothing changes any more; empty when nothing is left."""
    if _USUAL.fullmatch(raw) and not _DEVICE.match(raw) and not _OURS.fullmatch(raw):
        return raw
    name = _cleaned_once(raw, dotfiles)
    # Each step can lay bare what an earlier one takes away: a dot behind a space, a joiner at a cut.
    while (again := _cleaned_once(name, dotfiles)) != name:
        name = again
    return name


def _cleaned_once(raw: str, dotfiles: bool) -> str:
    name = raw.replace("\\", "/").rstrip("/").rpartition("/")[2]
    if not (name.isascii() and name.isprintable()):
        name = unicodedata.normalize("NFC", re.sub(_STRIPPED, "", name))
    name = name.translate(_REPLACED).strip().rstrip(". ")
    if not dotfiles:
        name = name.lstrip(". ")
    if _DEVICE.match(name):
        name = f"_{name}"
    if _OURS.fullmatch(name):
        name = f"{name}_"
    return _fit(*_split(name))


def _split(name: str) -> tuple[str, str]:
    """Split off the suffix, a double one such as ``.tar.gz`` as a whole."""
    found = _SUFFIX.search(name, max(0, len(name) - 32))
    return (name[: found.start()], found[0]) if found else (name, "")


def _fit(stem: str, suffix: str) -> str:
    """Shorten *stem* so that with *suffix* it takes at most 240 bytes of UTF-8, between two graphemes."""
    room = MAX_BYTES - len(suffix.encode())
    encoded = stem.encode()
    if len(encoded) <= room:
        return stem + suffix
    kept = stem[: len(encoded[:room].decode("utf-8", "ignore"))]
    end = len(kept)
    while end and (_extends(stem[end]) or stem[end - 1] == "\u200d"):
        end -= 1
    # A letter under hundreds of marks is not worth keeping whole.
    return stem[: end or len(kept)] + suffix


def _extends(character: str) -> bool:
    """Tell whether *character* belongs to the one before it: a mark, a joiner, a skin tone."""
    return (
        unicodedata.category(character).startswith("M")
        or character in _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def _fault_of(out: str) -> str | None:
    """Say what keeps the user's own *out* from being used, if anything does."""
    parts = out.split("/")
    if not out:
        return "it is empty"
    if out.startswith("/"):
        return "it must be relative to the directory (use --dir to choose another)"
    if ".." in parts:
        return "'..' would lead out of the directory"
    if parts[-1] in {"", "."}:
        return "it names a folder, not a file"
    if printable(out) != out:
        return "it holds a control character or one that cannot be encoded"
    if len(parts[-1].encode()) > MAX_BYTES:
        return f"its name is longer than {MAX_BYTES} bytes"
    if any(len(part.encode()) > FILE_SYSTEM_BYTES for part in parts):
        return f"a folder's name is longer than {FILE_SYSTEM_BYTES} bytes"
    return None


def _last_of_path(url: str) -> str:
    """Give the last segment of the URL's path that is not empty, percent-decoded."""
    path = _PATH.match(url)
    encoded = path[1].rstrip("/").rpartition("/")[2].encode("utf-8", "replace") if path else b""
    return _decoded(unquote_to_bytes(encoded))


def _decoded(raw: bytes) -> str:
    """Decode as UTF-8, else as Latin-1, in which any bytes are text."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _disposition_names(field: str) -> Iterator[str]:
    """Yield the names that a Content-Disposition offers, ``filename*`` first (RFC 6266 section 4.3)."""
    offers: dict[str, str] = {}
    for found in re.finditer(_PARAMETER, _wire_text(field)):
        value = re.sub(_ESCAPED, r"\1", found[2]) if found[2] is not None else (found[3] or "").strip()
        offers.setdefault(found[1].strip().lower(), value)
    if extended := _ext_value(offers.get("filename*", "")):
        yield extended
    if plain := offers.get("filename"):
        yield _percent_decoded(plain)


def _wire_text(field: str) -> str:
    """Undo Latin-1 decoding where the bytes were UTF-8, which is what servers send and browsers read."""
    try:
        return field.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return field


def _ext_value(value: str) -> str | None:
    """Decode ``charset'language'percent-encoded`` (RFC 8187 section 3.2); None when it is not that."""
    charset, _, rest = value.partition("'")
    _, mark, encoded = rest.partition("'")
    if not mark or charset.strip().lower() not in {"utf-8", "iso-8859-1"}:
        return None
    try:
        return unquote_to_bytes(encoded.encode("utf-8", "replace")).decode(charset.strip())
    except UnicodeDecodeError:
        return None


def _percent_decoded(plain: str) -> str:
    """Decode a plain ``filename`` that was percent-encoded against the RFC, as browsers do.

    Only where nothing else can be meant: every ``%`` begins an escape, no character stands bare that an
    encoder would have escaped, and the bytes are UTF-8. ``100% sure.txt`` stays as it is.
    """
    if "%" not in plain or not re.fullmatch(_PERCENT_ENCODED, plain):
        return plain
    try:
        return unquote_to_bytes(plain).decode("utf-8")
    except UnicodeDecodeError:
        return plain
