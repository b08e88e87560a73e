"""What may stand behind an option, read from text; no message repeats a value that may be secret."""

from __future__ import annotations

import math
import re
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
    "HEADER",
    "IF_EXISTS",
    "PAIR",
    "PAUSE",
    "RATE",
    "RETRIES",
    "SECONDS",
    "SIZE",
    "URL",
]

# RFC 9110 section 5.6.2.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110 section 5.5 forbids these in a value: they would begin another header.
_BREAKS = r"[\r\n\0]"


if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not subscriptable in older releases


class Type(ParamType):
    """A kind of value; several of them in one environment variable stand on lines of their own."""

    envvar_list_splitter: ClassVar[str] = "\n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read *value*; one that was read before passes."""
        if not isinstance(value, str | int | float):
            return value
        try:
            return self.read(str(value))
        except (ValueError, UsageError) as error:
            self.refuse(str(error), param, ctx)

    def read(self, text: str) -> Any:
        """Give what *text* means, or raise ValueError or UsageError."""
        raise NotImplementedError

    def refuse(self, reason: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        """End with a usage error, in one sentence."""
        self.fail(reason.removesuffix("."), param, ctx)


class Size(Type):
    """A size or a rate."""

    name = "size"

    def read(self, text: str) -> int:
        """Give bytes."""
        return parse_size(text)


class Rate(Size):
    """A limit in bytes a second."""

    def read(self, text: str) -> int:
        """Give bytes a second."""
        rate = super().read(text)
        if rate < 1:
            raise ValueError("at 0 bytes a second nothing would arrive: leave it out for no limit.")
        return rate


class Count(Type):
    """How many of something that there must be one of."""

    name = "count"

    def read(self, text: str) -> int:
        """Give a whole number from 1 on."""
        count = text.strip()
        if not count.isascii() or not count.isdigit() or int(count) < 1:
            raise ValueError(f"{text!r} is not a count: write a whole number from 1 on.")
        return int(count)


class Seconds(Type):
    """A time; infinity stands for ``none``."""

    name = "seconds"

    def read(self, text: str) -> float:
        """Give seconds."""
        seconds = math.inf if text.strip().lower() == "none" else _number(text)
        if not seconds > 0:
            raise ValueError("a wait takes more than 0 seconds: write none for no bound.")
        return seconds


class Pause(Type):
    """A time that may be nothing at all."""

    name = "seconds"

    def read(self, text: str) -> float:
        """Give seconds."""
        seconds = _number(text)
        if seconds < 0:
            raise ValueError("it takes 0 seconds or more.")
        return seconds


class Retries(Type):
    """A count without a last number."""

    name = "count"

    def read(self, text: str) -> float:
        """Give a whole number, or infinity for ``inf``."""
        if text.strip().lower() in ("inf", "infinite"):
            return math.inf
        if not text.strip().isascii() or not text.strip().isdigit():
            raise ValueError(f"{text!r} is not a whole number: write 0, 1, 2, ... or inf.")
        return int(text)


class Codes(Type):
    """HTTP statuses: ``429,503,520-524``."""

    name = "codes"

    def read(self, text: str) -> frozenset[int]:
        """Give the set of statuses."""
        codes: set[int] = set()
        for part in re.split(r"[,\s]+", text.strip()):
            found = re.fullmatch(r"([1-5]\d\d)(?:-([1-5]\d\d))?", part, re.ASCII)
            if not found:
                raise ValueError(
                    f"{part!r} is not a status: write codes from 100 to 599 such as 429,503,520-524."
                )
            codes.update(range(int(found[1]), int(found[2] or found[1]) + 1))
        return frozenset(codes)


class Header(Type):
    """``Name: value``."""

    name = "header"

    def read(self, text: str) -> tuple[str, str]:
        """Give name and value."""
        name, colon, value = text.partition(":")
        if not colon or not re.fullmatch(_NAME, name.strip()):
            raise ValueError("a header is written 'Name: value'.")
        if re.search(_BREAKS, value):
            raise ValueError(f"the value of {name.strip()} holds a line break, which no header may.")
        return name.strip(), value.strip()


class Pair(Type):
    """``K=V``."""

    name = "K=V"

    def read(self, text: str) -> tuple[str, str]:
        """Give key and value."""
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise ValueError("it is written NAME=VALUE.")
        return key, value


class Cookie(Pair):
    """``K=V``, or several as a browser shows them: ``a=1; b=2``."""

    def read(self, text: str) -> tuple[tuple[str, str], ...]:  # type: ignore[override] # a pair, several times
        """Give all pairs."""
        if re.search(_BREAKS, text):
            raise ValueError("a cookie holds no line break.")
        return tuple(super(Cookie, self).read(part.strip()) for part in text.split(";") if part.strip())


class Checksum(Type):
    """``ALGO:HEX``."""

    name = "checksum"

    def read(self, text: str) -> str:
        """Give the canonical spelling."""
        from .._digests import parse  # its tables are not needed for --version

        return str(parse(text))


class Url(Type):
    """A URL, taken as written."""

    name = "URL"

    def read(self, text: str) -> str:
        """Give *text*."""
        return text


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number of seconds.")
    return number


CHECKSUM, CODES, COOKIE, COUNT, HEADER = Checksum(), Codes(), Cookie(), Count(), Header()
PAIR, PAUSE, RATE, RETRIES, SECONDS = Pair(), Pause(), Rate(), Retries(), Seconds()
SIZE, URL = Size(), Url()
IF_EXISTS = click.Choice(get_args(IfExists))
