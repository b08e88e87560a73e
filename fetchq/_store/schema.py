"""The tables of a store, what is asked of them, and what leads from one version of them to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

__all__ = [
    "APPLICATION",
    "COLUMNS",
    "CONTESTED",
    "COUNTS",
    "OWNER",
    "SPAN",
    "VERSION",
    "columns_of",
    "finished_of",
    "migrate",
]

# "ftch" in ASCII: marks the file as ours (https://www.sqlite.org/pragma.html#pragma_application_id).
APPLICATION = 0x66746368
# What leads to each version from the one before; those that were published do not change. WITHOUT ROWID: a
# look-up by key searches one B-tree instead of two (https://www.sqlite.org/withoutrowid.html). The index is for
# asking whose a file is, and costs 1 us a row.
_STEPS = {
    1: (
        """
        CREATE TABLE jobs (
            key TEXT PRIMARY KEY,
            url TEXT NOT NULL,
            path TEXT,
            size INTEGER NOT NULL,
            mtime_ns INTEGER,
            digests TEXT NOT NULL,
            status TEXT NOT NULL,
            kind TEXT NOT NULL,
            error TEXT NOT NULL,
            finished_at REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX jobs_by_path ON jobs (path)",
        f"PRAGMA application_id = {APPLICATION}",
    ),
    2: (
        "ALTER TABLE jobs ADD COLUMN fingerprint TEXT NOT NULL DEFAULT ''",
        """
        CREATE TABLE runs (
            owner TEXT PRIMARY KEY,
            process TEXT NOT NULL,
            expires REAL NOT NULL,
            shares INTEGER NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE TABLE leases (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID",
    ),
    3: (
        "ALTER TABLE jobs ADD COLUMN etag TEXT",
        "ALTER TABLE jobs ADD COLUMN last_modified TEXT",
        "ALTER TABLE jobs ADD COLUMN source TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN job TEXT NOT NULL DEFAULT ''",
    ),
}
VERSION = max(_STEPS)
COLUMNS = (
    "key, url, path, size, mtime_ns, digests, status, kind, error, finished_at, "
    "fingerprint, etag, last_modified, source, job"
)
# A path need not be UTF-8, so its bytes are read.
_FIRST = "key, url, CAST(path AS BLOB), size, mtime_ns, digests, status, kind, error, finished_at"
_READ = {
    1: f"{_FIRST}, '', NULL, NULL, '', ''",
    2: f"{_FIRST}, fingerprint, NULL, NULL, '', ''",
    3: f"{_FIRST}, fingerprint, etag, last_modified, source, job",
}


OWNER = """
SELECT key, url FROM jobs WHERE path = CAST(? AS TEXT) AND status != 'failed' ORDER BY finished_at DESC LIMIT 1
"""
# Signed URLs of one file differ in their queries only.
CONTESTED = """
SELECT CAST(path AS BLOB), MIN(url), MAX(url) FROM jobs WHERE path IS NOT NULL AND status != 'failed'
GROUP BY path HAVING COUNT(DISTINCT substr(url, 1, instr(url || '?', '?') - 1)) > 1
"""
# A URL's host stands between its first "//" and the next "/" or "?".
_HOST = "substr(url, instr(url, '//') + 2)"
_HOST = f"substr({_HOST}, 1, instr(replace({_HOST}, '?', '/') || '/', '/') - 1)"
COUNTS = f"SELECT {_HOST}, status, COUNT(*), SUM(size) FROM jobs GROUP BY 1, 2"  # noqa: S608 - our own names
SPAN = """
SELECT MIN(finished_at), MAX(finished_at), SUM(size), SUM(size * (finished_at >= ?)) FROM jobs
WHERE status IN ('done', 'resumed')
"""


def columns_of(version: int) -> str:
    """Return the expressions that read ``COLUMNS`` from a store of this *version*."""
    return _READ[version]


def finished_of(version: int) -> str:
    """Return the same for the few columns that tell what became of a finished job."""
    fingerprint = "fingerprint" if version > 1 else "''"
    validators = "etag, last_modified" if version > 2 else "NULL, NULL"
    return f"key, CAST(path AS BLOB), size, mtime_ns, digests, {fingerprint}, status, {validators}"


def migrate(connection: sqlite3.Connection, version_of: Callable[[sqlite3.Connection], int]) -> None:
    """Bring the tables to ``VERSION``, in one transaction.

    :param version_of: returns the version of the file, 0 for an empty one.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked here: another run may have done it meanwhile.
        for step in range(version_of(connection) + 1, VERSION + 1):
            for statement in _STEPS[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
