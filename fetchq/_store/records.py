"""Records of jobs, and the rows of the table that hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from .schema import COLUMNS

__all__ = [
    "ROWS_PER_INSERT",
    "HostCount",
    "Record",
    "SqlValues",
    "batched",
    "insert",
    "record_of",
    "sql_values",
]

SqlValues: TypeAlias = tuple[Any, ...]

_PLACEHOLDERS = (
    "(?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, CAST(? AS TEXT), ?)"
)
# Rows per INSERT: each statement releases and reacquires the GIL, which costs more than a row.
# SQLite before 3.32 accepts 999 values (https://www.sqlite.org/limits.html#max_variable_number).
ROWS_PER_INSERT = 66


class Record(NamedTuple):
    """How one job ended; a tuple, since a queue that is repeated makes one for each line.

    :param key: :attr:`Job.key`, a hash.
    :param url: redacted.
    :param path: relative to the store's directory if the file is below it, so that the directory may be moved.
    :param size: bytes of the finished file.
    :param mtime_ns: modification time of the finished file in nanoseconds; None if there is no file.
    :param digests: algorithm to hex.
    :param status: ``done``, ``resumed``, ``skipped`` or ``failed``.
    :param kind: :attr:`FetchError.kind` of a failure.
    :param error: the failure's message, one sentence.
    :param finished_at: seconds since the epoch.
    :param fingerprint: :attr:`Job.fingerprint` of a job with an ``id``; else empty, for *key* is it.
    :param etag: entity tag of the finished file's resource, and
    :param last_modified: its date, as the server sent them.
    :param source: ``FILE:LINE`` of the job.
    :param job: a failed job as an object of JSON Lines, without what may be a secret unless that was asked for.
    """

    key: str
    url: str
    path: str | None
    size: int
    mtime_ns: int | None
    digests: Mapping[str, str] = MappingProxyType({})
    status: str = "done"
    kind: str = ""
    error: str = ""
    finished_at: float = 0.0
    fingerprint: str = ""
    etag: str | None = None
    last_modified: str | None = None
    source: str = ""
    job: str = ""


class HostCount(NamedTuple):
    """How many jobs of one host ended in one way, and the bytes of their files."""

    host: str
    status: str
    jobs: int
    size: int


def batched(rows: list[SqlValues], size: int) -> Iterator[list[SqlValues]]:
    """Yield *rows* in lists of at most *size* (itertools.batched is new in Python 3.12)."""
    return (rows[at : at + size] for at in range(0, len(rows), size))


_decode = json.JSONDecoder().decode  # json.loads looks at its arguments first


@lru_cache(ROWS_PER_INSERT)
def insert(rows: int) -> str:
    return f"INSERT OR REPLACE INTO jobs ({COLUMNS}) VALUES {', '.join([_PLACEHOLDERS] * rows)}"  # noqa: S608 - no values


def sql_values(record: Record) -> SqlValues:
    """Return the values of one row; text as bytes, which the placeholders cast: a path need not be UTF-8."""
    return (
        record.key,
        record.url.encode("utf-8", "replace"),
        None if record.path is None else os.fsencode(record.path),
        record.size,
        record.mtime_ns,
        _digests(record.digests),
        record.status,
        record.kind,
        record.error.encode("utf-8", "replace"),
        record.finished_at,
        record.fingerprint,
        record.etag,
        record.last_modified,
        record.source.encode("utf-8", "replace"),
        record.job,
    )


def _digests(digests: Mapping[str, str]) -> str:
    """Return a JSON object. Names and values need no escaping, and the encoder costs more than this."""
    return "{" + ", ".join(f'"{algorithm}": "{value}"' for algorithm, value in digests.items()) + "}"


def record_of(row: SqlValues) -> Record:
    """Return the record that a row of ``columns_of`` holds.

    :raises ValueError: its digests are no JSON.
    """
    key, url, path, size, mtime_ns, digests, *rest = row
    name = None if path is None else os.fsdecode(path)
    return Record(key, url, name, size, mtime_ns, _decode(digests), *rest)
