"""What callers pass, as fields have it: checked and converted by the fields' annotations.

What does not fit is a UsageError that names the field. No message repeats a value that may be secret.
"""

from __future__ import annotations

import difflib
import operator
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache, partial
from inspect import Parameter, Signature
from itertools import compress
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from ._errors import UsageError

__all__ = [
    "URL",
    "AnyPath",
    "GivenPairs",
    "GivenPath",
    "GivenPaths",
    "Pairs",
    "PairsLike",
    "check_fields",
    "check_media_type",
    "convert_fields",
    "path",
    "seconds_of",
    "signature_of",
    "text",
]

Pairs: TypeAlias = tuple[tuple[str, str], ...]
# What is accepted for header fields, cookies, parameters and forms.
PairsLike: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]
AnyPath: TypeAlias = "str | os.PathLike[str]"


class URL(Protocol):
    """A URL object, such as ``httpx.URL``."""

    @property
    def scheme(self) -> str:
        """The scheme."""

    def join(self, url: Any) -> Any:
        """Resolve another URL against this one."""


if TYPE_CHECKING:
    Given_contra = TypeVar("Given_contra", contravariant=True)
    Kept_co = TypeVar("Kept_co", covariant=True)

    class Converted(Generic[Given_contra, Kept_co]):
        """A field that a type checker lets be given as one type and be read as another."""

        def __get__(self, thing: object, kind: type | None = None) -> Kept_co: ...
        def __set__(self, thing: object, value: Given_contra) -> None: ...

    GivenPairs = Converted[PairsLike, Pairs]
    GivenPath = Converted[AnyPath, Path]
    GivenOptionalPath = Converted[AnyPath | None, Path | None]
    GivenPaths = Converted[Iterable[AnyPath], tuple[Path, ...]]
else:
    GivenPairs, GivenPath, GivenOptionalPath, GivenPaths = Pairs, Path, Path | None, tuple[Path, ...]

_PAIR, _LOGIN = 2, 3


def check_fields(thing: object) -> None:
    """Check the fields of a frozen dataclass's new instance, and convert what can be.

    Fields that have their default are passed over, so that a job costs little.

    :raises UsageError: a value does not fit its field.
    """
    read, defaults, converters = _rules(cast("Hashable", type(thing)))
    values = read(thing)
    differ = map(operator.is_not, values, defaults)
    for value, (name, convert) in compress(zip(values, converters, strict=True), differ):
        converted = convert(value)
        if converted is not value:
            object.__setattr__(thing, name, converted)


def convert_fields(kind: type, given: dict[str, Any]) -> None:
    """Do as :func:`check_fields` for the fields that a new instance of *kind* is *given*, in place.

    :raises TypeError: there is no such field.
    """
    rules = _rules_by_name(cast("Hashable", kind))
    for name, value in given.items():
        try:
            default, convert = rules[name]
        except KeyError:
            raise TypeError(f"{kind.__name__}() got an unexpected keyword argument {name!r}") from None
        if convert is not None and value is not default:
            given[name] = convert(value)


def signature_of(kind: type) -> Signature:
    """Return the parameters of a dataclass as its generated ``__init__`` would have them."""
    return Signature(
        [
            Parameter(
                item.name,
                Parameter.KEYWORD_ONLY if item.kw_only else Parameter.POSITIONAL_OR_KEYWORD,
                default=Parameter.empty if item.default is MISSING else item.default,
                annotation=item.type,
            )
            for item in fields(kind)
        ]
    )


Converter: TypeAlias = Callable[[Any], Any]


@cache
def _rules_by_name(kind: Any) -> dict[str, tuple[Any, Converter | None]]:
    """Return the default of each field that has one, and what converts another value for it."""
    hints = get_type_hints(kind)
    return {
        item.name: (item.default, _converter(item, hints[item.name]))
        for item in fields(kind)
        if item.default is not MISSING
    }


@cache
def _rules(kind: Any) -> tuple[Callable[[object], tuple[Any, ...]], list[Any], list[tuple[str, Converter]]]:
    """Return what reads the fields that have a default and are checked, these defaults, and the converters."""
    every = _rules_by_name(kind).items()
    rules = [(name, default, convert) for name, (default, convert) in every if convert is not None]
    names = [name for name, _, _ in rules]
    return operator.attrgetter(*names), [default for _, default, _ in rules], [(n, c) for n, _, c in rules]


def _converter(item: Field[Any], hint: Any) -> Converter | None:
    """Return what converts a value for a field; None for a field that takes anything."""
    optional = get_origin(hint) in {Union, UnionType}
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if optional else [hint]
    if len(kinds) != 1:
        return None
    kind = kinds[0]
    convert: Callable[..., Any] | None = _BY_TYPE.get(kind)
    if convert is None and get_origin(kind) is Literal:
        convert = partial(_choice, get_args(kind))
    if convert is None:
        return None
    if convert in {_number, _count} and item.metadata.get("signed"):
        convert = partial(convert, least=None)
    convert = partial(convert, name=item.name)
    return partial(_unless_none, convert) if optional else convert


def _unless_none(convert: Converter, value: Any) -> Any:
    return None if value is None else convert(value)


def _refusal(name: str, wanted: str, value: object) -> UsageError:
    return UsageError(f"{name} must be {wanted}, not {_kind(value)}.")


def _kind(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__}"


def text(value: Any, *, name: str) -> str:
    """Return a text, or that of a URL object such as ``httpx.URL``."""
    if isinstance(value, str):
        return value
    # yarl, starlette and others have one too; none of them is imported for this.
    if type(value).__name__ == "URL":
        return str(value)
    raise _refusal(name, "text", value)


def path(value: Any, *, name: str) -> Path:
    """Return a path of text or of any path object."""
    try:
        plain = os.fspath(value)
    except TypeError:
        plain = None
    if not isinstance(plain, str):
        raise _refusal(name, "text or a Path", value)
    return value if isinstance(value, Path) else Path(plain)


def _flag(value: Any, *, name: str) -> bool:
    if not isinstance(value, bool):
        raise _refusal(name, "True or False", value)
    return value


def _number(value: Any, *, name: str, least: float | None = 0) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise _refusal(name, "a number", value)
    number = float(value)
    if number != number or (least is not None and number < least):
        raise UsageError(f"{name} must be {least} or more, not {number:g}.")
    return value if isinstance(value, int) else number


def seconds_of(value: Any, *, name: str) -> float | Mapping[str, float | None]:
    """Return one number of seconds, or a mapping to such numbers; what its names are is not looked at."""
    if not isinstance(value, Mapping):
        return _number(value, name=name)
    for key, seconds in value.items():
        if seconds is not None:
            _number(seconds, name=f"{name} {key}")
    return value


def check_media_type(value: str, *, name: str) -> None:
    """Refuse what is no media type, or group of them (RFC 9110 section 12.5.1)."""
    if not re.fullmatch(r"(?a)[\w.+-]+/([\w.+-]+|\*)", value):
        raise UsageError(f"{name} must be a media type such as application/zip or image/*.")


def _count(value: Any, *, name: str, least: int | None = 0) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _refusal(name, "a whole number", value)
    number = operator.index(value)
    if least is not None and number < least:
        raise UsageError(f"{name} must be {least} or more, not {number}.")
    return number


def _bytes(value: Any, *, name: str) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _refusal(name, "bytes", value)
    return bytes(value)


def _choice(words: tuple[str, ...], value: Any, *, name: str) -> Any:
    if isinstance(value, str) and value in words:
        return value
    close = difflib.get_close_matches(str(value), words, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"{name} must be {' or '.join(map(repr, words))}, not {str(value)[:40]!r}.{hint}")


def _several(value: Any, name: str, wanted: str) -> tuple[Any, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise _refusal(name, wanted, value)
    return tuple(value)


def _texts(value: Any, *, name: str) -> tuple[str, ...]:
    return tuple(text(each, name=name) for each in _several(value, name, "a list of texts"))


def _paths(value: Any, *, name: str) -> tuple[Path, ...]:
    return tuple(path(each, name=name) for each in _several(value, name, "a list of paths"))


def _codes(value: Any, *, name: str) -> frozenset[int]:
    return frozenset(_count(each, name=name) for each in _several(value, name, "a set of numbers"))


def _row(size: int, value: Any, *, name: str) -> tuple[str, ...]:
    row = _several(value, name, f"{size} texts")
    if len(row) != size or not all(isinstance(each, str) for each in row):
        raise UsageError(f"{name} must be {size} texts.")
    return row


def _rows(size: int, value: Any, *, name: str) -> tuple[tuple[str, ...], ...]:
    return tuple(_row(size, each, name=name) for each in _several(value, name, f"rows of {size} texts"))


def pairs(value: Any, *, name: str) -> Pairs:
    """Return pairs of name and value: those of a mapping, or of an iterable of pairs.

    A list as a mapping's value repeats its name. Numbers and truth values become text, as in httpx.
    """
    # httpx.Headers and httpx.QueryParams are mappings, and hold a name more than once.
    items = getattr(value, "multi_items", None) or getattr(value, "items", None)
    found: list[tuple[str, str]] = []
    for item in items() if callable(items) else _several(value, name, "a mapping, or pairs of name and value"):
        if isinstance(item, str | bytes) or not isinstance(item, Iterable):
            raise UsageError(f"{name} must be a mapping, or pairs of name and value.")
        pair = tuple(item)
        if len(pair) != _PAIR:
            raise UsageError(f"{name} must be a mapping, or pairs of name and value.")
        key = _word(pair[0], name, "a name")
        several = pair[1] if isinstance(pair[1], list | tuple) else [pair[1]]
        found += [(key, _word(each, name, f"the value of {key[:40]!r}")) for each in several]
    return tuple(found)


def _word(value: Any, name: str, what: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise UsageError(f"In {name}, {what} must be text or a number, not {_kind(value)}.")


_BY_TYPE: dict[Any, Callable[..., Any]] = {
    str: text,
    bytes: _bytes,
    bool: _flag,
    int: _count,
    float: _number,
    Path: path,
    tuple[str, ...]: _texts,
    tuple[Path, ...]: _paths,
    frozenset[int]: _codes,
    tuple[str, str]: partial(_row, _PAIR),
    tuple[tuple[str, str, str], ...]: partial(_rows, _LOGIN),
    tuple[tuple[str, str], ...]: pairs,
}
