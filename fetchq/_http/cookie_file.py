"""Cookies in Netscape's format, as browsers export and curl, wget and yt-dlp read and write them.

A line a cookie, seven fields between TABs: domain, whether it is for the domain's subdomains too, path, whether
it is for https only, when it expires (seconds since the epoch, 0 for the end of the session), name and value.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .._errors import DiskError, UsageError
from .cookies import Cookie, CookieJar

__all__ = ["check_target", "load", "save"]

_HEADER = "# Netscape HTTP Cookie File\n# Written by fetchq. It holds secrets: keep it to yourself.\n\n"
# What curl and browsers' extensions write before cookies that scripts may not read.
_HTTP_ONLY = "#HttpOnly_"
_FIELDS = 7
# A browser has some thousand cookies, of 4 KiB at most.
_MOST_BYTES = 16 << 20
# What other formats begin with, and what they are.
_OTHERS = (
    ("SQLite format 3", "a browser's database"),
    ("[", "JSON"),
    ("{", "JSON"),
    ("#LWP-Cookies", "of libwww-perl"),
)


def load(path: Path, jar: CookieJar) -> list[str]:
    """Put the cookies of the file *path* into *jar*; return warnings, which name lines and repeat none.

    :raises UsageError: it cannot be read, or is a file of another format.
    """
    text = _contents(path)
    odd: list[int] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        hidden = line.startswith(_HTTP_ONLY)
        line = line.removeprefix(_HTTP_ONLY)  # noqa: PLW2901 - the cookie on it
        if (not hidden and line.startswith("#")) or not line.strip():
            continue
        cookie = _cookie(line.split("\t"), http_only=hidden)
        if cookie is None:
            odd.append(number)
        else:
            jar.add(*cookie)
    if odd and not jar:
        raise UsageError(_another(path, text))
    places = ", ".join(map(str, odd[:5])) + (", ..." if len(odd) > 5 else "")
    return [f"{path}: {len(odd)} lines are no cookies and are passed over: {places}."] if odd else []


def check_target(path: Path) -> None:
    """Refuse a file that could not be written at the end, or that holds something else than cookies.

    :raises UsageError: one of these.
    """
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: it is a folder, or in one that cannot be written to.")
    if path.is_file() and path.stat().st_size:
        load(path, CookieJar())


def save(path: Path, jar: CookieJar) -> None:
    """Write the cookies of *jar* to the file *path*, which its owner alone may read; it is replaced whole.

    :raises DiskError: it cannot be written.
    """
    text = _HEADER + "".join(_line(domain, cookie) for domain, cookie in jar.cookies())
    try:
        final = Path(os.path.realpath(path))
        number, name = tempfile.mkstemp(prefix=f".{final.name}.", dir=final.parent)  # for its owner alone
        try:
            with open(number, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                file.write(text)
            os.replace(name, final)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise DiskError(f"The cookies cannot be saved to {path}: {error.strerror}.") from error


def _contents(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"Cannot read cookies from {path}: {error.strerror}.") from error
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path} is larger than 16 MiB: it is no cookie file.")
    return data.decode("utf-8", "surrogateescape")


def _another(path: Path, text: str) -> str:
    kind = next((kind for start, kind in _OTHERS if text.lstrip().startswith(start)), "")
    told = f"is {kind}, not a cookie file" if kind else "is no cookie file"
    return f"{path} {told} in Netscape's format, seven fields a line between TABs: export it as cookies.txt."


def _cookie(fields: list[str], *, http_only: bool) -> tuple[str, Cookie] | None:
    """Return the domain and cookie of a line; None where it is none."""
    if len(fields) == _FIELDS - 1:
        fields = [*fields, ""]  # some programs leave out an empty value and its TAB
    if len(fields) != _FIELDS:
        return None
    domain, below, path, secure, expires, name, value = fields
    flags = {below.upper(), secure.upper()}
    if not (domain.strip(".") and path.startswith("/") and flags <= {"TRUE", "FALSE"}):
        return None
    try:
        seconds = float(expires or 0)
    except ValueError:
        return None
    return domain.removeprefix(".").lower(), Cookie(
        _bytes(name),
        _bytes(value),
        _bytes(path),
        host_only=below.upper() == "FALSE",
        secure=secure.upper() == "TRUE",
        expires=seconds if seconds > 0 else None,
        http_only=http_only,
    )


def _line(domain: str, cookie: Cookie) -> str:
    start = (_HTTP_ONLY if cookie.http_only else "") + ("" if cookie.host_only else ".") + domain
    words: Iterable[str] = (
        start,
        _flag(not cookie.host_only),
        _text(cookie.path),
        _flag(cookie.secure),
        f"{cookie.expires or 0:.0f}",
        _text(cookie.name),
        _text(cookie.value),
    )
    return "\t".join(words) + "\n"


def _flag(true: bool) -> str:
    return "TRUE" if true else "FALSE"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
