"""A job of the queue as bytes, and back."""

from __future__ import annotations

import marshal
from pathlib import Path

from .._errors import FetchError
from .._models import Job
from .._transfer import Placement
from .intake import QueuedJob

__all__ = ["pack", "unpack"]


def pack(queued: QueuedJob | FetchError) -> bytes | None:
    """Return bytes of a job of the queue; None if there is more to it than plain values.

    Only for this process: they hold the job's secrets, and depend on the version of Python.
    """
    if not isinstance(queued, QueuedJob) or type(queued.job) is not Job:
        return None
    job, key, equal, placement = queued
    fields = vars(job)
    if job.dir is not None:
        fields = {**fields, "dir": str(job.dir)}
    folder, *named = placement
    try:
        return marshal.dumps(
            (fields, key, None if equal == key else equal, None if folder is None else str(folder), named)
        )
    except ValueError:  # an object of the caller's in a body, or a file to send
        return None


def unpack(data: bytes) -> QueuedJob | FetchError:
    """Return the job that :func:`pack` has made the bytes of."""
    fields, key, equal, folder, named = marshal.loads(data)  # noqa: S302 # made by pack(), in this process
    if fields.get("dir") is not None:
        fields["dir"] = Path(fields["dir"])
    job = Job.__new__(Job)  # its fields were checked when it was made
    vars(job).update(fields)
    placement = Placement(None if folder is None else Path(folder), *named)
    return QueuedJob(job, key, key if equal is None else equal, placement)
