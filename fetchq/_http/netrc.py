"""The netrc file -> who we are at which machine, read as curl and wget do.

Python's own parser refuses a whole file for a line that other programs pass over.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .._errors import UsageError

__all__ = ["Netrc", "read"]

# A word, in quotes where it holds blanks; the end of a line matters to comments and macros.
_WORD = re.compile(r'(\n)|"((?:[^"\\\n]|\\.)*)"|([^\s"][^\s]*|"[^\s]*)')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_VALUES = {"login": "login", "user": "login", "password": "password", "passwd": "password", "account": ""}
# No host is called so: the machine of the entry for all others, and that of an entry for none.
_ANY, _NONE = "*", "\n"
# Others than the owner may read it.
_SHARED = 0o077


@dataclass(slots=True)
class _NetrcEntry:
    machine: str
    login: str | None = None
    password: str | None = None


@dataclass(slots=True)
class Netrc:
    """The entries of a netrc file, and what is odd about it.

    :ivar warnings: sentences that name the file and the line, and no word of it: words may be passwords.
    """

    entries: list[_NetrcEntry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def login(self, host: str, user: str | None = None, *, default: bool = False) -> tuple[str, str] | None:
        """Return user and password for *host*, of the first entry that has both; None where there is none.

        :param user: whose password is wanted.
        :param default: the entry for any other machine counts too.
        """
        for machine in (host, _ANY) if default else (host,):
            for entry in self.entries:
                name = entry.login if entry.login is not None else user
                wanted = entry.machine == machine and user in {None, name}
                if wanted and name is not None and entry.password is not None:
                    return name, entry.password
        return None


def read(environ: bool, file: Path | None = None) -> Netrc:
    """Read *file*, else the one that NETRC names, else ``~/.netrc``; of these two, one may be missing.

    :param environ: the environment counts.
    :raises UsageError: it is there and cannot be read, or *file* is missing.
    """
    named = os.environ.get("NETRC") if environ else None
    path = file or (Path(named) if named else Path("~/.netrc").expanduser())
    try:
        text = path.read_text("utf-8", "surrogateescape")
        mode = path.stat().st_mode
    except OSError as error:
        if file is None and isinstance(error, FileNotFoundError):
            return Netrc()
        raise UsageError(f"Cannot read the netrc file {path}: {error.strerror}.") from error
    found = _parse(text, str(path))
    if stat.S_ISREG(mode) and mode & _SHARED and any(entry.password for entry in found.entries):
        found.warnings.append(f"{path} holds passwords that other users may read: chmod 600 it.")
    return found


def _parse(text: str, path: str) -> Netrc:
    found = Netrc()
    words = _words(text)
    entry = _NetrcEntry(_NONE)  # takes what stands before the first machine
    odd = 0
    for line, word in words:
        match word.lower():
            case "\n":
                continue
            case "machine" | "default":
                name = _ANY if word.lower() == "default" else _value(words)
                entry = _NetrcEntry(_NONE if name is None else name.lower())
                found.entries.append(entry)
            case "macdef":
                _skip_macro(words)
            case known if known in _VALUES:
                value = _value(words)
                # Of two logins the first counts.
                if _VALUES[known] and value is not None and getattr(entry, _VALUES[known]) is None:
                    setattr(entry, _VALUES[known], value)
            case comment if comment.startswith("#"):
                _skip_line(words)
            case _ if line != odd:
                odd = line
                found.warnings.append(
                    f"{path}, line {line}: a word that netrc files do not have is passed over."
                )
    return found


def _words(text: str) -> Iterator[tuple[int, str]]:
    """Yield each word with the number of its line, and a line feed for each end of a line."""
    line = 1
    for found in _WORD.finditer(text):
        end, quoted, plain = found.groups()
        yield line, end or (plain if quoted is None else _ESCAPE.sub(_unescaped, quoted))
        line += end is not None


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1])


def _value(words: Iterator[tuple[int, str]]) -> str | None:
    """Take the next word, on whatever line; None at the end of the file."""
    return next((word for _, word in words if word != "\n"), None)


def _skip_line(words: Iterator[tuple[int, str]]) -> None:
    for _, word in words:
        if word == "\n":
            return


def _skip_macro(words: Iterator[tuple[int, str]]) -> None:
    """Pass over a macro's name and its lines, up to the first empty one or the end of the file."""
    _skip_line(words)
    at_start = True
    for _, word in words:
        if word == "\n" and at_start:
            return
        at_start = word == "\n"
