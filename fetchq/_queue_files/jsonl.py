"""JSON Lines (https://jsonlines.org): one object a line, its fields those of a Job.

``url`` is the address, ``urls`` are several addresses of the same bytes. ``headers``, ``params`` and ``form``
are objects whose values are text, numbers, booleans or lists of these; ``data`` is the body as text, ``json``
as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from .._errors import QueueFileError
from .._models import Job
from .fields import build_job
from .lines import QueueLine, line_error
from .values import Absolute, QueueWarnings


def matches(first: str) -> bool:
    """Whether the file's first line begins a JSON object."""
    return first.startswith("{")


def parse(
    lines: Iterator[QueueLine], name: str, warn: Callable[[str], None], absolute: Absolute
) -> Iterator[Job | QueueFileError]:
    """Yield a Job for each line, or its error.

    :param lines: neither blank nor comments.
    :param name: the file's name for messages.
    :param warn: called once for each unknown field.
    :param absolute: returns the URL that a word without a scheme means.
    """
    warnings = QueueWarnings(warn)
    for line in lines:
        if line.text:
            yield _result(line, name, warnings, absolute)


def _result(line: QueueLine, name: str, warnings: QueueWarnings, absolute: Absolute) -> Job | QueueFileError:
    try:
        if line.error:
            raise ValueError(line.error)
        return build_job(_object(line.text), f"{name}:{line.number}", warnings, absolute)
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
