"""JSON Lines (https://jsonlines.org): one object a line, its fields those of a Job.

``url`` is the address, ``urls`` are several addresses of the same bytes. ``headers``, ``params`` and ``form``
are objects whose values are text, numbers, booleans or lists of these; ``data`` is the body as text, ``json``
as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from .._errors import QueueFileError
from .._models import Job, Pairs
from .lines import QueueLine, line_error
from .values import UnknownNames, check_header, check_retries, check_timeout, parse_checksum, parse_directory

# Deeper JSON would exceed Python's recursion limit later, when the request is built.
_MAX_DEPTH = 64


def matches(first: str) -> bool:
    """Whether the file's first line begins a JSON value; an array is an error, and is reported as JSON."""
    return first.startswith(("{", "["))


def parse(lines: Iterator[QueueLine], name: str, warn: Callable[[str], None]) -> Iterator[Job | QueueFileError]:
    """Yield a Job for each line, or its error.

    :param lines: neither blank nor comments.
    :param name: the file's name for messages.
    :param warn: called once for each unknown field.
    """
    unknown = UnknownNames(warn, "field")
    for line in lines:
        yield _result(line, name, unknown)


def _result(line: QueueLine, name: str, unknown: UnknownNames) -> Job | QueueFileError:
    try:
        if line.error:
            raise ValueError(line.error)
        return _job(_object(line.text), f"{name}:{line.number}", unknown)
    except (TypeError, ValueError) as error:
        return line_error(name, line.number, error)


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    if "\\u" in line and not _encodable(value):
        raise ValueError("half of a surrogate pair, which is no character")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in names if names.count(key) > 1)!r} is given twice")
    return fields


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON (RFC 8259 section 6)")


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _job(line: dict[str, Any], source: str, unknown: UnknownNames) -> Job:
    fields: dict[str, Any] = {}
    for name, value in line.items():
        if name not in _FIELDS:
            unknown.add(name, source)
        elif value is not None:
            field, read = _FIELDS[name]
            try:
                fields[field] = read(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
    if sum(name in fields for name in ("content", "json", "form")) > 1:
        raise ValueError("only one of 'data', 'json' and 'form' can be the body")
    url, *mirrors = _urls(fields)
    return Job(url, mirrors=tuple(mirrors), source=source, confined=True, **fields)


def _urls(fields: dict[str, Any]) -> list[str]:
    """Remove ``url`` or ``urls`` from *fields* and return the addresses."""
    urls: list[str] = fields.pop("urls", [])
    if "url" in fields:
        if urls:
            raise ValueError("'url' and 'urls' are both given")
        urls = [fields.pop("url")]
    if not urls:
        raise ValueError("'url' is missing")
    return urls


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise TypeError("it must be text that is not empty")
    return value.strip()


def _texts(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError("it must be a list of texts")
    return [_text(item) for item in value]


def _body(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError("it must be text")
    return value.encode()


def _json(value: object) -> object:
    if _is_deeper(value, _MAX_DEPTH):
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    json.dumps(value, allow_nan=False)  # 1e999 reads as infinity, which is not JSON
    return value


def _is_deeper(value: object, depth: int) -> bool:
    """Whether *value* is nested more than *depth* deep."""
    if not isinstance(value, dict | list):
        return False
    return depth == 0 or any(
        _is_deeper(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("it must be a number")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("it must be a whole number")
    return value


def _size(value: object) -> int:
    size = _integer(value)
    if size < 0:
        raise ValueError("it must be 0 or more")
    return size


def _id(value: object) -> str:
    """Return the caller's own identifier of the job as text; it may be an integer."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _pairs(value: object) -> Pairs:
    """Return the pairs of an object whose values are scalars, or lists of scalars for a name that repeats."""
    if not isinstance(value, dict):
        raise TypeError("it must be an object")
    return tuple(
        (name, _scalar(item))
        for name, items in value.items()
        for item in (items if isinstance(items, list) else [items])
    )


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError("a value must be text, a number, true or false")


_FIELDS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "url": ("url", _text),
    "urls": ("urls", _texts),
    "out": ("out", _text),
    "dir": ("dir", lambda value: parse_directory(_text(value))),
    "method": ("method", lambda value: _text(value).upper()),
    "headers": ("headers", lambda value: tuple(check_header(*pair) for pair in _pairs(value))),
    "params": ("params", _pairs),
    "json": ("json", _json),
    "data": ("content", _body),
    "form": ("form", _pairs),
    "checksum": ("checksum", lambda value: parse_checksum(_text(value))),
    "size": ("size", _size),
    "priority": ("priority", _integer),
    "retries": ("retries", lambda value: check_retries(math.inf if value == "inf" else _number(value))),
    "timeout": ("timeout", lambda value: check_timeout(_number(value))),
    "id": ("id", _id),
}
