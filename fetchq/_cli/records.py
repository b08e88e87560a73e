"""The records of a store that a command is about: where the store is, why jobs failed, which are meant."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._api.intake import QueuedJob
from .._errors import QueueFileError, UsageError
from .._models import Job
from .._naming import printable
from .._queue_files.fields import build_job
from .._queue_files.values import QueueWarnings
from .._queue_files.write import MISSING
from .._store import Record, Store, is_missing
from .._transfer import Placement
from .options import STORE

__all__ = ["STATES", "chosen", "job_of", "line_of", "reason_of", "store_path"]

# What a user may name a record's state: that of the file, however it came.
STATES = {"done": ("done", "resumed", "skipped"), "failed": ("failed",), "all": ()}
_STATUS = re.compile(r"answered (\d{3})(?: \(([^()]*)\))?")


def store_path(directory: Path) -> Path:
    """Return the store of *directory*, which may be a store's file itself.

    :raises UsageError: there is none.
    """
    path = directory if directory.is_file() else directory / STORE
    if is_missing(path):
        raise UsageError(f"There is no {printable(str(path))}: no queue has been run into that directory.")
    return path


def reason_of(record: Record) -> str:
    """Return why a job failed, in words that others share: ``404 not found``, ``network``, ``checksum``."""
    found = _STATUS.search(record.error)
    if found is None or record.kind not in {"status", "authentication"}:
        return record.kind
    return " ".join(filter(None, found.groups()))


def chosen(store: Store, state: str, only: Collection[str]) -> Iterator[Record]:
    """Yield the records in *state*; of failures those alone whose reason, or its first word, is in *only*.

    :raises UsageError: no failure has such a reason, or others than failures are meant.
    """
    wanted = {word.lower() for word in only}
    if wanted and state != "failed":
        raise UsageError("--only names reasons of failures: leave out --state.")
    if not wanted:
        yield from store.rows(*STATES[state])
        return
    other: set[str] = set()
    found = False
    for record in store.rows("failed"):
        reason = reason_of(record)
        if wanted & {reason, reason.split(" ")[0], record.kind}:
            found = True
            yield record
        elif len(other) < 20:
            other.add(reason)
    if not found:
        there = f"; there is: {', '.join(sorted(other))}" if other else ""
        raise UsageError(f"No job failed for {printable(' or '.join(sorted(wanted)))}{there}.")


def line_of(record: Record, *, digest: bool = True) -> dict[str, Any]:
    """Return the fields of a line of JSON Lines that asks for a job again.

    :param digest: with that of its file, where it has one.
    """
    if record.job:
        fields: dict[str, Any] = json.loads(record.job)
        run = fields.pop("run", {})
        # The template that has named it may not be that of the next run.
        if "name" in run and "out" not in fields:
            fields["out"] = os.path.join(run.get("folder", ""), run["name"])
        return fields
    fields = {"url": record.url}
    if "?***" in record.url:
        fields[MISSING] = ["user or query of the URL"]
    if record.path is not None:
        fields["out"] = record.path
    if digest and "sha256" in record.digests:
        fields["checksum"] = f"sha256:{record.digests['sha256']}"
    return fields


def job_of(record: Record) -> QueuedJob | Job | QueueFileError:
    """Return the job of a failure with its place in the queue, or why it cannot be asked for again."""
    fields: dict[str, Any] = json.loads(record.job) if record.job else line_of(record)
    run = fields.pop("run", None)
    missing = fields.get(MISSING)
    told = record.source or record.url
    if missing:
        return QueueFileError(
            f"{told}: {', '.join(missing)} not stored (--store-secrets): run its list again to retry it.",
            source=record.source,
        )
    if not record.job:
        why = "an earlier version recorded it: run its list again to retry it."
        return QueueFileError(f"{told}: {why}", source=record.source)
    try:
        job = build_job(fields, record.source, QueueWarnings(lambda _: None), str)
    except ValueError as error:
        return QueueFileError(f"{told}: {error}.", source=record.source)
    if run is None:
        return job
    folder = Path(run["folder"]) if "folder" in run else None
    placement = Placement(folder, run.get("name", ""), run.get("ordinal", 0), run.get("copy", 0))
    return QueuedJob(replace(job, confined="outside" not in run), record.key, "", placement)
