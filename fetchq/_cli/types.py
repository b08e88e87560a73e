"""The types of the options' values; no error message repeats a value that may be secret."""

from __future__ import annotations

import math
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, get_args

import click

from .._errors import UsageError
from .._settings import IfExists
from .._units import parse_size

__all__ = [
    "CHECKSUM",
    "CODES",
    "COOKIE",
    "COUNT",
    "FILE",
    "FORM",
    "GIVEN_FILE",
    "GIVEN_PATH",
    "HEADER",
    "IF_EXISTS",
    "PAIR",
    "PATH",
    "PAUSE",
    "RATE",
    "RETRIES",
    "SECONDS",
    "SIZE",
    "TARGET",
    "URL",
    "WHOLE",
]

# A token of RFC 9110 section 5.6.2.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110 section 5.5 forbids these in a value: they could end the header and begin another.
_BREAKS = r"[\r\n\0]"


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not subscriptable in older releases


class OptionType(ParamType, ABC):
    """Base of the types; in an environment variable several values are separated by line ends."""

    envvar_list_splitter: ClassVar[str] = "\n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return *value* if it was converted before, as a default may be, else :meth:`read` it."""
        if not isinstance(value, str | int | float):
            return value
        try:
            return self.read(str(value))
        except (ValueError, UsageError) as error:
            self.refuse(str(error), param, ctx)

    @abstractmethod
    def read(self, text: str) -> Any:
        """Return the value of *text*.

        :raises ValueError: or UsageError, with a sentence that says what is allowed.
        """

    def refuse(self, reason: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        """Raise click's usage error with *reason*."""
        self.fail(reason.removesuffix("."), param, ctx)


class SizeType(OptionType):
    """A size or a rate."""

    name = "size"

    def read(self, text: str) -> int:
        """Return bytes."""
        return parse_size(text)


class RateType(SizeType):
    """A limit in bytes per second."""

    def read(self, text: str) -> int:
        """Return bytes per second."""
        rate = super().read(text)
        if rate < 1:
            raise ValueError("at 0 bytes a second nothing would arrive: leave it out for no limit.")
        return rate


class CountType(OptionType):
    """A whole number.

    :param least: the first that is allowed.
    """

    name = "count"

    def __init__(self, least: int = 1) -> None:
        self._least = least

    def read(self, text: str) -> int:
        """Return the number."""
        count = text.strip()
        if not count.isascii() or not count.isdigit() or int(count) < self._least:
            raise ValueError(f"{text!r} is not a count: write a whole number from {self._least} on.")
        return int(count)


class SecondsType(OptionType):
    """A timeout: more than 0 seconds, or ``none``."""

    name = "seconds"

    def read(self, text: str) -> float:
        """Return seconds, infinity for ``none``."""
        seconds = math.inf if text.strip().lower() == "none" else _number(text)
        if not seconds > 0:
            raise ValueError("a wait takes more than 0 seconds: write none for no bound.")
        return seconds


class PauseType(OptionType):
    """A wait of 0 seconds or more."""

    name = "seconds"

    def read(self, text: str) -> float:
        """Return seconds."""
        seconds = _number(text)
        if seconds < 0:
            raise ValueError("it takes 0 seconds or more.")
        return seconds


class RetriesType(OptionType):
    """A whole number from 0, or ``inf``."""

    name = "count"

    def read(self, text: str) -> float:
        """Return the number, infinity for ``inf``."""
        if text.strip().lower() in ("inf", "infinite"):
            return math.inf
        if not text.strip().isascii() or not text.strip().isdigit():
            raise ValueError(f"{text!r} is not a whole number: write 0, 1, 2, ... or inf.")
        return int(text)


class CodesType(OptionType):
    """HTTP status codes and ranges: ``429,503,520-524``."""

    name = "codes"

    def read(self, text: str) -> frozenset[int]:
        """Return the set of codes."""
        codes: set[int] = set()
        for part in re.split(r"[,\s]+", text.strip()):
            found = re.fullmatch(r"([1-5]\d\d)(?:-([1-5]\d\d))?", part, re.ASCII)
            if not found:
                raise ValueError(
                    f"{part!r} is not a status: write codes from 100 to 599 such as 429,503,520-524."
                )
            codes.update(range(int(found[1]), int(found[2] or found[1]) + 1))
        return frozenset(codes)


class HeaderType(OptionType):
    """``Name: value``."""

    name = "header"

    def read(self, text: str) -> tuple[str, str]:
        """Return name and value."""
        name, colon, value = text.partition(":")
        if not colon or not re.fullmatch(_NAME, name.strip()):
            raise ValueError("a header is written 'Name: value'.")
        if re.search(_BREAKS, value):
            raise ValueError(f"the value of {name.strip()} holds a line break, which no header may.")
        return name.strip(), value.strip()


class PairType(OptionType):
    """``K=V``."""

    name = "K=V"

    def read(self, text: str) -> tuple[str, str]:
        """Return name and value."""
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ValueError("it is written NAME=VALUE.")
        return key, value


# As curl writes them behind the file's name, which may hold a semicolon itself.
_OF_FILE = re.compile(r"(.*?)((?:;(?:type|filename)=[^;]*)*)", re.DOTALL)


class FormType(PairType):
    """``K=V``, or ``K=@FILE`` with ``;type=TYPE`` and ``;filename=NAME`` behind it."""

    def read(self, text: str) -> tuple[str, Any]:
        """Return name and value, or name and file."""
        key, value = super().read(text)
        found = _OF_FILE.fullmatch(value[1:]) if value.startswith("@") else None
        if found is None:
            return key, value
        if not found[1]:
            raise ValueError("a file is written NAME=@FILE.")
        from .._models import FormFile

        more: dict[str, Any] = dict(part.split("=", 1) for part in found[2].split(";")[1:])
        return key, FormFile(_home_expanded(found[1]), **more)


class CookieType(PairType):
    """One or several cookies, as in a Cookie header: ``a=1; b=2`` (RFC 6265 section 4.2.1)."""

    def read(self, text: str) -> tuple[tuple[str, str], ...]:  # type: ignore[override] # a pair, several times
        """Return all pairs."""
        if re.search(_BREAKS, text):
            raise ValueError("a cookie holds no line break.")
        if "=" not in text:
            raise ValueError("it is written NAME=VALUE; a file of cookies is given with --load-cookies.")
        return tuple(super(CookieType, self).read(part.strip()) for part in text.split(";") if part.strip())


class ChecksumType(OptionType):
    """``ALGO:HEX``."""

    name = "checksum"

    def read(self, text: str) -> str:
        """Return the canonical spelling."""
        from .._digests import parse  # not needed for --version

        return str(parse(text))


class TargetType(OptionType):
    """A path that may also be ``-``, or a URL where the option takes one."""

    name = "path"

    def read(self, text: str) -> str:
        """Return *text* with the home folder in place of a leading ``~``: the shell knows it in words only."""
        return _home_expanded(text)


class PathType(click.Path):
    """A path of a file or folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, with the home folder in place of a leading ``~``."""
        try:
            return super().convert(_home_expanded(os.fspath(value)), param, ctx)
        except (ValueError, UsageError) as error:
            self.fail(str(error).removesuffix("."), param, ctx)


class UrlType(OptionType):
    """A URL, taken as written."""

    name = "URL"

    def read(self, text: str) -> str:
        """Return *text*."""
        return text


def _home_expanded(path: str) -> str:
    from .._naming import home_expanded  # not needed for --version

    return home_expanded(path)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number of seconds.")
    return number


FORM = FormType()
CHECKSUM, CODES, COOKIE, COUNT, HEADER = ChecksumType(), CodesType(), CookieType(), CountType(), HeaderType()
PAIR, PAUSE, RATE, RETRIES, SECONDS = PairType(), PauseType(), RateType(), RetriesType(), SecondsType()
SIZE, TARGET, URL, WHOLE = SizeType(), TargetType(), UrlType(), CountType(least=0)
# Not to be read at once: files can be put into a folder that may only be entered.
PATH, FILE = PathType(readable=False, path_type=Path), PathType(dir_okay=False, path_type=Path)
GIVEN_FILE = PathType(exists=True, dir_okay=False, path_type=Path)
GIVEN_PATH = PathType(exists=True, path_type=Path)
IF_EXISTS = click.Choice(get_args(IfExists))
