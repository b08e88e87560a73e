"""Records of jobs, and the rows of the table that hold them."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from types import MappingProxyType, NoneType
from typing import Any, NamedTuple, TypeAlias, get_args

from .._digests import SIZES
from .._models import Job, ResultStatus
from .._queue_files.write import line_fields
from .schema import COLUMNS

__all__ = [
    "ROWS_PER_INSERT",
    "FinishedJob",
    "HostCount",
    "Record",
    "SqlValues",
    "batched",
    "finished_of",
    "host_count_of",
    "insert",
    "job_text",
    "record_of",
    "span_of",
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
    :param job: a failed job as an object of JSON Lines, without what may be a secret unless that was asked for;
        its ``run`` is :attr:`run`.
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

    @property
    def run(self) -> Mapping[str, Any]:
        """What its run knew of a failed job: see ``_RUN``. Without what is as usual."""
        fields: dict[str, Any] = _decode(self.job) if self.job else {}
        return fields.get("run", {})  # type: ignore[no-any-return] # looked at when it was read


class FinishedJob(NamedTuple):
    """What became of a job, as the table has it: a repeated queue asks for nothing else.

    :param path: as bytes, and
    :param digests: as JSON; else these are the fields of a :class:`Record`.
    """

    key: str
    path: bytes | None
    size: int
    mtime_ns: int | None
    digests: str
    fingerprint: str
    status: str
    etag: str | None
    last_modified: str | None

    @classmethod
    def of(cls, record: Record) -> FinishedJob:
        """Return the same of a record that is not in the table yet."""
        path = None if record.path is None else os.fsencode(record.path)
        first = record.key, path, record.size, record.mtime_ns, _digests(record.digests)
        return cls(*first, record.fingerprint, record.status, record.etag, record.last_modified)

    def decoded(self) -> Mapping[str, str]:
        """Return the digests."""
        found: Mapping[str, str] = _decode(self.digests)
        return found


class HostCount(NamedTuple):
    """How many jobs of one host ended in one way, and the bytes of their files."""

    host: str
    status: str
    jobs: int
    size: int


def batched(rows: list[SqlValues], size: int) -> Iterator[list[SqlValues]]:
    """Yield *rows* in lists of at most *size* (itertools.batched is new in Python 3.12)."""
    return (rows[at : at + size] for at in range(0, len(rows), size))


def job_text(job: Job, run: Mapping[str, Any], *, secrets: bool) -> str:
    """Return :attr:`Record.job`; empty where the job holds what JSON does not.

    :param run: :attr:`Record.run`.
    :param secrets: with what may be one.
    """
    try:
        return json.dumps({**line_fields(job, secrets=secrets), "run": dict(run)})
    except (TypeError, ValueError):
        return ""


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


# What the columns of a record may hold: key and URL, path, size, mtime_ns, digests to error, finished_at,
# fingerprint, validators, source and job. A page that was overwritten can hold anything, whatever the table
# says.
_TYPES: tuple[tuple[type, ...], ...] = (
    *((str,), (str,), (bytes, NoneType), (int,), (int, NoneType), (str,), (str,), (str,), (str,), (float,)),
    *((str,), (str, NoneType), (str, NoneType), (str,), (str,)),
)
_ROWS = frozenset(product(*_TYPES))
_FINISHED = frozenset(product(*_TYPES[:1], *_TYPES[2:6], *_TYPES[10:11], *_TYPES[6:7], *_TYPES[11:13]))
_STATUSES = frozenset(get_args(ResultStatus))
# What is written for no digest, or for the usual one: nearly all that there are.
_USUAL = re.compile(r'\{(?:"sha256": "[0-9a-f]{64}")?\}')


def finished_of(row: SqlValues) -> FinishedJob:
    """Return what a row of ``schema.finished_of`` holds.

    :raises ValueError: it holds what no record has.
    """
    _require(tuple(map(type, row)) in _FINISHED)
    _, path, _, _, digests, _, status, _, _ = row
    _require(status in _STATUSES and (path is None or b"\0" not in path))
    if not _USUAL.fullmatch(digests):  # a third of the cost of decoding them
        _digests_of(digests)
    return FinishedJob._make(row)


def record_of(row: SqlValues) -> Record:
    """Return the record that a row of ``columns_of`` holds.

    :raises ValueError: it holds what no record has.
    """
    _require(tuple(map(type, row)) in _ROWS)
    key, url, path, size, mtime_ns, digests, status, *rest = row
    _require(status in _STATUSES and (path is None or b"\0" not in path))
    if job := row[-1]:
        _check_job(_decode(job))
    name = None if path is None else os.fsdecode(path)
    return Record(key, url, name, size, mtime_ns, _digests_of(digests), status, *rest)


def host_count_of(row: SqlValues) -> HostCount:
    """Return what a row of such counts holds.

    :raises ValueError: it holds what none of ours does.
    """
    count = HostCount(*row)
    _require(tuple(map(type, row)) == (str, str, int, int) and count.status in _STATUSES)
    return count


def span_of(row: SqlValues) -> tuple[float, float, int, int]:
    """Return a row of two times and two sums; None in it is 0, as there is no file.

    :raises ValueError: it holds something else.
    """
    first, last, total, recent = (0 if value is None else value for value in row)
    numbers = (first, last, total, recent)
    _require(all(type(number) in {int, float} and math.isfinite(number) for number in numbers))
    return first, last, total, recent


def _digests_of(text: str) -> dict[str, str]:
    digests = _decode(text)
    _require(type(digests) is dict)
    for algorithm, value in digests.items():
        _require(type(value) is str and len(value) == 2 * SIZES.get(algorithm, 0))
        bytes.fromhex(value)
    return digests  # type: ignore[no-any-return] # looked at


# Which run it was, the status that the server answered with, the run's directory, the job's placement, and
# whether it may lead out of that directory.
_RUN = {
    "by": str,
    "status": int,
    "dir": str,
    "folder": str,
    "name": str,
    "ordinal": int,
    "copy": int,
    "outside": bool,
}


def _check_job(fields: Any) -> None:
    _require(type(fields) is dict)
    urls = fields.get("urls", [fields.get("url")])
    _require(type(urls) is list and bool(urls) and all(type(url) is str for url in urls))
    run = fields.get("run", {})
    _require(type(run) is dict and all(type(value) is _RUN.get(name) for name, value in run.items()))


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError("this is no record")
