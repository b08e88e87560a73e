"""File names: from headers and URL, from the user, and the alternatives when a name is taken.

A name from a server passes :func:`sanitise`. A name from the user is kept as written, and may lead anywhere;
one from a queue file may not leave the run's directory. :func:`place` refuses what could not be stored.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from ._errors import UsageError

__all__ = [
    "candidate",
    "candidate_number",
    "candidates",
    "decoded",
    "guess",
    "home_expanded",
    "name_from",
    "place",
    "printable",
    "sanitise",
    "shorten",
    "split_name",
]

Headers = Mapping[str, str]

# The patterns that plain ASCII names do not need are strings: ``re`` compiles and caches them at first use.

# The name of a download without any other: the word browsers use.
NAMELESS = "download"

# File systems allow 255 bytes a name; ".part.99.json.tmp", the longest suffix of a side file, takes 17.
MAX_BYTES = 238
FILE_SYSTEM_BYTES = 255

# C0, DEL and C1 controls are terminal commands; bidi controls and line separators reorder or break a line;
# surrogates cannot be encoded.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
# Characters without a glyph: with them two different names look the same.
_INVISIBLE = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufdd0-\ufdef\ufff9-\ufffb\ufffe\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
)
_CONTROL = f"[{_CONTROLS}]"
# Joiners are needed within Persian, Indic scripts and emoji; next to ASCII, at an end or doubled they are not.
_JOINER = "\u200c\u200d"
_STRIPPED = (
    f"[{_CONTROLS}{_INVISIBLE}]|(?<![^\x00-\x7f{_JOINER}])[{_JOINER}]|[{_JOINER}](?![^\x00-\x7f{_JOINER}])"
)
# Not allowed in names on NTFS, FAT and exFAT.
_REPLACED = str.maketrans('<>:"|?*', "_" * 7)
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(?:COM|LPT)[0-9¹²³])(?=[ .]|$)", re.IGNORECASE
)
# fetchq's own files: a download of such a name would be read as a part, journal, store or settings.
_RESERVED = re.compile(
    r"(?:.*\.part(?:\.json(?:\.tmp)?|\.bad)?|\.fetchq\.db(?:-[a-z]+)?|fetchq\.toml)", re.IGNORECASE | re.DOTALL
)
# Names that sanitising does not change, if they are neither a device's nor reserved: nearly every real one.
_USUAL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_+=@-]*(?:\.[A-Za-z0-9_+=@-]+)*")
_LONGEST_USUAL = 200
# 15 characters cover the longest suffixes in use (".crdownload"). The suffix of a compressor or signature
# includes the one before it: ".tar.gz".
_SUFFIX = re.compile(
    r"(?<=[^.])(?:(?:\.[a-z][a-z0-9]{0,9})?\.(?:gz|bz2|xz|zst|lz4|lz|lzma|br|z|asc|sig|gpg)|\.[^.\s]{1,15})\Z",
    re.IGNORECASE,
)

# One parameter of Content-Disposition up to its ";" (RFC 6266 section 4.1). As in browsers, a value without
# quotes may contain spaces, the closing quote may be missing, and text after a quoted value is ignored.
_PARAMETER = r'(?s)([^;="]*)(?:=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;]*)))?[^;]*;?'
_ESCAPED = r"(?s)\\(.)"
_WINDOWS_PATH = r'[A-Za-z]:\\[^\\"]'
# RFC 8187 section 3.2.1, with any charset.
_EXT_VALUE = r"[A-Za-z0-9_-]+'[A-Za-z0-9-]*'(?:[!#$&+.^_`|~0-9A-Za-z-]|%[0-9A-Fa-f]{2})+"
# Encodings of text alone: Python knows others by such names, of which some run forms of escapes.
_CHARSET = (
    r"(?i)utf-?8|us-ascii|iso-8859-[0-9]{1,2}|windows-[0-9]{3,4}|cp[0-9]{3,4}|euc-(?:jp|kr)|gbk|gb2312|gb18030"
    r"|big5|shift_jis|koi8-[ru]"
)
# The path of a URL, after optional scheme and authority (RFC 3986 appendix B).
_MARKS = 2  # slashes before the authority: what stands behind a third one is in the path
_PATH = re.compile(r"(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)")
_PERCENT_ENCODED = r"(?:[A-Za-z0-9\-._~!$&'()*+,=@/]|%[0-9A-Fa-f]{2})+"


def name_from(headers: Headers, url: str, *, dotfiles: bool = False) -> str:
    """Return a safe name for a download: from Content-Disposition, else the URL, else ``download``.

    :param headers: fields of the response with the body; names in lower case, or case-insensitive.
    :param url: URL of that response, after redirects.
    :param dotfiles: allow a leading dot.
    """
    disposition = headers.get("content-disposition")
    for raw in _disposition_names(disposition) if disposition else ():
        if name := _clean(raw, dotfiles):
            return name
    return guess(url, dotfiles=dotfiles)


def guess(url: str, *, dotfiles: bool = False) -> str:
    """Return a safe name from the URL alone, before there is a response."""
    return _guessed(url, dotfiles)


def guess_anew(url: str, dotfiles: bool = False) -> str:
    """Return the same, where it is asked for each of many URLs once."""
    return _clean(_last_of_path(url), dotfiles) or NAMELESS


# Asked for several times on a job's way.
_guessed = functools.lru_cache(512)(guess_anew)


def sanitise(raw: str, *, dotfiles: bool = False) -> str:
    r"""Return a safe file name of at most 238 bytes for any text; idempotent.

    Everything up to the last ``/`` or ``\`` is dropped. The result is in NFC, without control, bidi and
    invisible characters. Unless *dotfiles*, leading dots are dropped. A device's name (``CON``) gets a ``_``
    in front, the name of one of fetchq's own files (``NAME.part``, ``fetchq.toml``) a ``_`` behind. A long
    name is cut before its suffix. Where nothing is left, the result is ``download``.
    """
    return _clean(raw, dotfiles) or NAMELESS


def place(
    base: Path, out: str | None, *, dir: Path | None = None, name: str = "", confined: bool = False
) -> tuple[Path, str]:
    """Return folder and file name of a job's target.

    :param base: the run's directory.
    :param out: path relative to *dir*, or absolute; None means *name* in *dir*.
    :param dir: folder relative to *base*, or absolute; None means *base*.
    :param confined: the target must be below *base*.
    :raises UsageError: *out* names a folder, a path cannot be stored, or it leads out of *base* and may not.
    """
    folder = base if dir is None else _joined(base, base, str(dir), confined=confined)
    if out is None:
        return folder, name
    if fault := _file_fault(out):
        raise _refusal(out, fault)
    target = _joined(base, folder, out, confined=confined)
    return target.parent, target.name


def home_expanded(path: str) -> str:
    """Return *path* with a leading ``~`` or ``~user`` replaced by that home folder.

    :raises UsageError: the user has no home folder, as in some containers.
    """
    expanded = os.path.expanduser(path)
    if expanded.partition("/")[0] == "~":
        raise UsageError(f"{printable(path)!r} cannot be used: this user has no home folder; set HOME.")
    return expanded


def candidates(name: str) -> Iterator[str]:
    """Yield the names to try when *name* is taken: ``a.iso``, ``a.1.iso``, ``a.2.iso``, and so on."""
    return map(functools.partial(candidate, name), count())


def candidate(name: str, number: int) -> str:
    """Return the name to try after *number* others: ``a.iso`` for 0, ``a.1.iso`` for 1."""
    if not number:
        # Splitting is avoided for most names: a character takes up to four bytes.
        return name if len(name) * 4 <= MAX_BYTES else _fit(*split_name(name))
    stem, suffix = split_name(name)
    return _fit(stem, f".{number}{suffix}")


def candidate_number(name: str, found: str) -> int | None:
    """Return which candidate for *name* the name *found* is, 1 and up; None if it is none."""
    stem, suffix = split_name(name)
    middle = found[len(stem) + 1 : len(found) - len(suffix)]
    if not (middle.isascii() and middle.isdigit()) or len(middle) > 9:
        return None
    return int(middle) if candidate(name, int(middle)) == found and int(middle) else None


def shorten(name: str, limit: int) -> str:
    """Return *name* cut before its suffix to at most *limit* bytes of UTF-8, 24 or more."""
    return _fit(*split_name(name), limit)


def printable(text: str) -> str:
    """Return *text* with control, bidi and surrogate characters replaced by ``?``, for a terminal."""
    # isprintable() is stricter than the pattern, and saves most text the search.
    return text if text.isprintable() else re.sub(_CONTROL, "?", text)


def _clean(raw: str, dotfiles: bool) -> str:
    """Return *raw* sanitised until nothing changes; empty if nothing is left."""
    usual = len(raw) <= _LONGEST_USUAL and _USUAL.fullmatch(raw)
    if usual and not _DEVICE.match(raw) and not _RESERVED.fullmatch(raw):
        return raw
    name = _cleaned_once(raw, dotfiles)
    # A later step can create what an earlier one removes: a cut may end at a space or a joiner.
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
    if _RESERVED.fullmatch(name):
        name = f"{name}_"
    return _fit(*split_name(name))


def split_name(name: str) -> tuple[str, str]:
    """Return stem and suffix of *name*; a double suffix such as ``.tar.gz`` counts as one."""
    found = _SUFFIX.search(name)
    return (name[: found.start()], found[0]) if found else (name, "")


def _fit(stem: str, suffix: str, limit: int = MAX_BYTES) -> str:
    """Return *stem* and *suffix* joined, the stem cut between two graphemes to fit *limit* bytes of UTF-8."""
    room = limit - len(suffix.encode())
    encoded = stem.encode()
    if len(encoded) <= room:
        return stem + suffix
    kept = stem[: len(encoded[:room].decode("utf-8", "ignore"))]
    end = len(kept)
    while end and (_extends(stem[end]) or stem[end - 1] == "\u200d"):
        end -= 1
    # One letter with hundreds of marks: cut within it rather than keep nothing.
    return stem[: end or len(kept)] + suffix


def _extends(character: str) -> bool:
    """Whether *character* belongs to the grapheme of the one before it: a mark, a joiner, a skin tone."""
    return (
        unicodedata.category(character).startswith("M")
        or character in _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
    )


def _joined(base: Path, folder: Path, text: str, *, confined: bool) -> Path:
    """Return the path *text*, relative to *folder* unless it is absolute; below *base* if *confined*."""
    if fault := _path_fault(text):
        raise _refusal(text, fault)
    path = folder / home_expanded(text)
    # By its text alone: a symbolic link that leads out is refused when the folder is opened.
    if confined and (".." in text.split("/") or not path.is_relative_to(base)):
        raise _refusal(text, "it leads out of the directory, which a queue file may with --allow-outside only")
    return path


def _refusal(text: str, fault: str) -> UsageError:
    return UsageError(f"The target {printable(text)!r} cannot be used: {fault}.")


def _path_fault(text: str) -> str | None:
    """Return why no file system takes the path *text*, or None if one may."""
    if printable(text) != text:
        return "it holds a control character or one that cannot be encoded"
    if any(len(part.encode()) > FILE_SYSTEM_BYTES for part in text.split("/")):
        return f"a folder's name is longer than {FILE_SYSTEM_BYTES} bytes"
    return None


def _file_fault(out: str) -> str | None:
    """Return why *out* is no file's path, or None if it is one."""
    name = out.rpartition("/")[2]
    if not out:
        return "it is empty"
    if name in {"", ".", ".."}:
        return "it names a folder, not a file"
    if len(name.encode("utf-8", "replace")) > MAX_BYTES:
        return f"its name is longer than {MAX_BYTES} bytes"
    return None


def _last_of_path(url: str) -> str:
    """Return the last non-empty segment of the URL's path, percent-decoded."""
    before, _, segment = url.rpartition("/")
    if not segment or before.count("/") < _MARKS or "?" in url or "#" in url:
        path = _PATH.match(url)
        segment = path[1].rstrip("/").rpartition("/")[2] if path else ""
    if "%" not in segment and segment.isascii():
        return segment
    return decoded(unquote_to_bytes(segment.encode("utf-8", "replace")))


def decoded(raw: bytes) -> str:
    """Return *raw* decoded as UTF-8, else as :func:`_western`."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _western(raw)


def _western(raw: bytes) -> str:
    """Return *raw* decoded as ISO-8859-1 is read by browsers (WHATWG Encoding): as Windows-1252."""
    try:
        return raw.decode("windows-1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _disposition_names(field: str) -> Iterator[str]:
    """Yield the names in a Content-Disposition, the most trustworthy first (RFC 6266 section 4.3).

    A ``filename*`` that breaks the grammar comes after ``filename``; a name in pieces is RFC 2231's.
    """
    offers: dict[str, str] = {}
    for found in re.finditer(_PARAMETER, _wire_text(field)):
        value = _unquoted(found[2]) if found[2] is not None else (found[3] or "").strip()
        offers.setdefault(found[1].strip().lower(), value)
    star, in_pieces, plain = offers.get("filename*", ""), _joined_pieces(offers), offers.get("filename", "")
    well_formed = re.fullmatch(_EXT_VALUE, star) is not None
    for text, offered in (
        (star, well_formed),
        (in_pieces, True),
        (plain, True),
        (star, not well_formed),
    ):
        name = _percent_decoded(text) if text is plain else _ext_value(text)
        if offered and name:
            yield name


def _unquoted(value: str) -> str:
    """Return what a quoted string means; a Windows path in it, whose backslashes escape nothing, as it is."""
    return value if re.match(_WINDOWS_PATH, value) else re.sub(_ESCAPED, r"\1", value)


def _joined_pieces(offers: Mapping[str, str]) -> str:
    """Return the pieces ``filename*0``, ``filename*1*`` and so on as one extended value; else empty."""
    pieces: list[str] = []
    for number in count():
        if (encoded := offers.get(f"filename*{number}*")) is not None:
            pieces.append(encoded)
        elif (plain := offers.get(f"filename*{number}")) is not None:
            pieces.append(quote(plain, encoding="utf-8", errors="replace"))
        else:
            break
    if pieces and "filename*0*" not in offers:
        pieces.insert(0, "UTF-8''")
    return "".join(pieces)


def _wire_text(field: str) -> str:
    """Return *field* decoded as UTF-8 where its bytes allow that, as browsers do, instead of Latin-1."""
    try:
        return decoded(field.encode("latin-1"))
    except UnicodeError:
        return field


def _ext_value(value: str) -> str | None:
    """Return ``charset'language'percent-encoded`` decoded, or None if it cannot be (RFC 8187 section 3.2).

    Besides the charsets of the RFC, those that servers use.
    """
    charset, _, rest = value.partition("'")
    _, _, encoded = rest.partition("'")
    if not re.fullmatch(_CHARSET, charset):
        return None
    raw = unquote_to_bytes(encoded.encode("utf-8", "replace"))
    try:
        return _western(raw) if charset.lower() == "iso-8859-1" else raw.decode(charset)
    except (UnicodeDecodeError, LookupError):
        return None


def _percent_decoded(plain: str) -> str:
    """Return a plain ``filename`` decoded where it was percent-encoded; the RFC forbids it, browsers do it.

    Only an unambiguous one is decoded: every ``%`` starts an escape, every character that an encoder would
    escape is escaped, and the bytes are UTF-8. ``100% sure.txt`` is returned unchanged.
    """
    if not re.fullmatch(_PERCENT_ENCODED, plain):
        return plain
    try:
        return unquote_to_bytes(plain).decode("utf-8")
    except UnicodeDecodeError:
        return plain
