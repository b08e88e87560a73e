"""JSON Lines: an object a line, its fields those of a Job.

``url`` is the address, or ``urls`` several of the same bytes. ``headers``, ``params`` and ``form`` are objects
whose values are text, numbers, booleans or lists of these; ``data`` is the body as text, ``json`` as JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from .._errors import QueueFileError
from .._models import Job, Pairs
from .fields import Unknown, attempts, checksum, folder, header_pair, seconds
from .line import Line, bad

# Deeper JSON is made to break readers, and would meet Python's own bound of 1000 later, in the middle of a run.
_DEEPEST = 64


def parse(lines: Iterator[Line], name: str, warn: Callable[[str], None]) -> Iterator[Job | QueueFileError]:
    """Give a Job for each line, or what is wrong with it.

    :param lines: neither blank nor comments.
    :param name: of the file, for messages.
    :param warn: is told once of each unknown field.
    """
    unknown = Unknown(warn, "field")
    for line in lines:
        yield _result(line, name, unknown)


def _result(line: Line, name: str, unknown: Unknown) -> Job | QueueFileError:
    try:
        if line.fault:
            raise ValueError(line.fault)
        return _job(_object(line.text), f"{name}:{line.number}", unknown)
    except (TypeError, ValueError) as error:
        return bad(name, line.number, error)


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_once, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    if "\\u" in line and not _encodable(value):
        raise ValueError("half of a surrogate pair, which is no character")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in names if names.count(key) > 1)!r} is given twice")
    return fields


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON (RFC 8259 section 6)")


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _job(line: dict[str, Any], where: str, unknown: Unknown) -> Job:
    fields: dict[str, Any] = {}
    for name, value in line.items():
        if name not in _FIELDS:
            unknown(name, where)
        elif value is not None:
            field, read = _FIELDS[name]
            try:
                fields[field] = read(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
    if sum(name in fields for name in ("content", "json", "form")) > 1:
        raise ValueError("only one of 'data', 'json' and 'form' can be the body")
    url, *mirrors = _urls(fields)
    return Job(url, mirrors=tuple(mirrors), source=where, **fields)


def _urls(fields: dict[str, Any]) -> list[str]:
    """Take the one field out that says where the bytes are."""
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
    if _deeper(value, _DEEPEST):
        raise ValueError(f"nested more than {_DEEPEST} deep")
    json.dumps(value, allow_nan=False)  # 1e999 reads as infinity, which is not JSON
    return value


def _deeper(value: object, room: int) -> bool:
    """Tell whether *value* is nested more than *room* deep."""
    if not isinstance(value, dict | list):
        return False
    return room == 0 or any(
        _deeper(item, room - 1) for item in (value.values() if isinstance(value, dict) else value)
    )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("it must be a number")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("it must be a whole number")
    return value


def _size(value: object) -> int:
    size = _whole(value)
    if size < 0:
        raise ValueError("it must be 0 or more")
    return size


def _name(value: object) -> str:
    """Read the caller's own name for a job, which may be a number of theirs."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _pairs(value: object) -> Pairs:
    """Read an object whose values are scalars, or lists of them for a name that repeats."""
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
    "dir": ("dir", lambda value: folder(_text(value))),
    "method": ("method", lambda value: _text(value).upper()),
    "headers": ("headers", lambda value: tuple(header_pair(*pair) for pair in _pairs(value))),
    "params": ("params", _pairs),
    "json": ("json", _json),
    "data": ("content", _body),
    "form": ("form", _pairs),
    "checksum": ("checksum", lambda value: checksum(_text(value))),
    "size": ("size", _size),
    "priority": ("priority", _whole),
    "retries": ("retries", lambda value: attempts(math.inf if value == "inf" else _number(value))),
    "timeout": ("timeout", lambda value: seconds(_number(value))),
    "id": ("id", _name),
}
