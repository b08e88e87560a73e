"""The fields of a job as JSON Lines and CSV write them: names and values -> a Job.

A new field is a row of ``FIELDS``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, get_args

from .._arguments import check_media_type
from .._errors import UsageError
from .._models import FormFile, Job, Pairs, TLSOptions
from .._naming import home_expanded
from .._settings import IfExists
from .values import (
    Absolute,
    QueueWarnings,
    check_header,
    check_retries,
    check_timeout,
    parse_checksum,
    parse_directory,
    usable_urls,
)

__all__ = ["FIELDS", "build_job", "parse_cell"]

# Deeper JSON would exceed Python's recursion limit later, when the request is built.
_MAX_DEPTH = 64
_TLS_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
_TIMEOUTS = ("connect", "read", "write", "pool")
_BODIES = ("content", "json", "form")
_TLS = tuple(item.name for item in dataclass_fields(TLSOptions))


def build_job(values: Mapping[str, Any], source: str, warnings: QueueWarnings, absolute: Absolute) -> Job:
    """Return the job of *values*, by the names of ``FIELDS``; None is a field that is not given.

    :param source: ``FILE:LINE``.
    :param absolute: returns the URL that a word without a scheme means.
    :raises ValueError: a field that cannot be used, or none that holds a URL.
    """
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name not in FIELDS:
            warnings.unknown("field", name, source)
        elif value is not None:
            field, read = FIELDS[name]
            try:
                fields[field] = read(value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
    bodies = sum(name in fields for name in _BODIES)
    if bodies > 1 or (bodies and "files" in fields and "form" not in fields):
        raise ValueError("only one of 'data', 'json' and 'form' with 'files' can be the body")
    _put_together(fields)
    url, *mirrors = usable_urls([*map(absolute, _urls(fields))], source, warnings)
    return Job(url, mirrors=tuple(mirrors), source=source, confined=True, **fields)


def _put_together(fields: dict[str, Any]) -> None:
    """Make the values of those *fields* that the file writes in several: user and password, and TLS.

    :raises ValueError: a password without its user, or a token beside them.
    """
    if "user" in fields and "bearer" in fields:
        raise ValueError("only one of 'user' and 'bearer' can be sent")
    password = fields.pop("password", None)
    if "user" in fields:
        # No user's name holds a colon (RFC 7617 section 2), so this is what curl's -u takes.
        user, _, own = fields["user"].partition(":") if password is None else (fields["user"], "", password)
        fields["user"] = user, own
    elif password is not None:
        raise ValueError("'password' needs 'user'")
    tls = {name: fields.pop(name) for name in _TLS if name in fields}
    if tls:
        fields["tls"] = TLSOptions(**tls)


def parse_cell(name: str, text: str) -> Any:
    """Return what the *text* of a cell means in the field *name*: itself where that is text, else JSON."""
    if name not in FIELDS:
        return text
    if name != "json":
        try:
            FIELDS[name][1](text)
        except TypeError:
            pass  # it must be a number, a list or an object
        except ValueError:
            return text
        else:
            return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


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


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("it must be true or false")
    return value


def _size(value: object) -> int:
    size = _integer(value)
    if size < 0:
        raise ValueError("it must be 0 or more")
    return size


def _timeout(value: object) -> float | dict[str, float]:
    """Return the seconds of each wait, or of each of the four by its name."""
    if not isinstance(value, dict):
        return _seconds(value)
    for name in value:
        if name not in _TIMEOUTS:
            raise ValueError(f"{name[:40]!r} is none: there are {', '.join(_TIMEOUTS)}")
    return {name: _seconds(seconds) for name, seconds in value.items()}


def _seconds(value: object) -> float:
    return math.inf if value == "none" else check_timeout(_number(value))


def _id(value: object) -> str:
    """Return the caller's own identifier of the job as text; it may be an integer."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _if_exists(value: object) -> str:
    word = _text(value)
    if word not in get_args(IfExists):
        raise ValueError(f"it must be one of {', '.join(get_args(IfExists))}")
    return word


def _password(value: object) -> str:
    """Return a text as it is: blanks may be part of it."""
    if not isinstance(value, str):
        raise TypeError("it must be text")
    return value


def _path(value: object) -> Path:
    return Path(home_expanded(_text(value)))


def _tls_version(value: object) -> str:
    word = _text(value)
    if word not in _TLS_VERSIONS:
        raise ValueError(f"it must be one of {', '.join(_TLS_VERSIONS)}")
    return word


def _media_type(value: object) -> str:
    kind = _text(value)
    try:
        check_media_type(kind, name="it")
    except UsageError as error:
        raise ValueError(str(error).removesuffix(".")) from error
    return kind


def _pairs(value: object) -> Pairs:
    """Return the pairs of an object whose values are scalars, or lists of scalars for a name that repeats."""
    if not isinstance(value, dict):
        raise TypeError("it must be an object")
    return tuple(
        (name, _scalar(item))
        for name, items in value.items()
        for item in (items if isinstance(items, list) else [items])
    )


def _form_files(value: object) -> tuple[tuple[str, FormFile], ...]:
    """Return the files of an object; a value is a path, an object with ``path``, or a list of these."""
    if not isinstance(value, dict):
        raise TypeError("it must be an object")
    return tuple(
        (name, _form_file(file))
        for name, files in value.items()
        for file in (files if isinstance(files, list) else [files])
    )


def _form_file(value: object) -> FormFile:
    given = value if isinstance(value, dict) else {"path": value}
    unknown = given.keys() - {"path", "type", "filename"}
    if unknown or "path" not in given:
        raise ValueError("a file is a path, or an object with 'path', 'type' and 'filename'")
    words: dict[str, Any] = {name: _text(word) for name, word in given.items()}
    return FormFile(confined=True, **words)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError("a value must be text, a number, true or false")


# Name in the file -> field of the Job, and what reads the value: TypeError is for a value of another type.
FIELDS: dict[str, tuple[str, Callable[[object], Any]]] = {
    "url": ("url", _text),
    "urls": ("urls", _texts),
    "out": ("out", _text),
    "dir": ("dir", lambda value: parse_directory(_text(value))),
    "if_exists": ("if_exists", _if_exists),
    "method": ("method", lambda value: _text(value).upper()),
    "headers": ("headers", lambda value: tuple(check_header(*pair) for pair in _pairs(value))),
    "cookies": ("cookies", lambda value: tuple(check_header(*pair) for pair in _pairs(value))),
    "params": ("params", _pairs),
    "json": ("json", _json),
    "data": ("content", _body),
    "form": ("form", _pairs),
    "files": ("files", _form_files),
    "checksum": ("checksum", lambda value: parse_checksum(_text(value))),
    "size": ("size", _size),
    "priority": ("priority", _integer),
    "retries": ("retries", lambda value: check_retries(math.inf if value == "inf" else _number(value))),
    "timeout": ("timeout", _timeout),
    "deadline": ("deadline", lambda value: check_timeout(_number(value))),
    "redirects": ("redirects", _boolean),
    "retry_unsafe": ("retry_unsafe", _boolean),
    "proxy": ("proxy", _text),
    "user": ("user", _text),
    "password": ("password", _password),
    "bearer": ("bearer", _text),
    "insecure": ("insecure", _boolean),
    "cacert": ("cacert", _path),
    "cert": ("cert", _path),
    "key": ("key", _path),
    "key_password": ("key_password", _password),
    "tls_min": ("tls_min", _tls_version),
    "expect_type": ("expect_type", _media_type),
    "id": ("id", _id),
}
