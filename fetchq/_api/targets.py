"""The arguments of one download: its job, and a file object in the place of its target."""

from __future__ import annotations

import os
from dataclasses import replace
from io import TextIOBase
from typing import Any, BinaryIO, cast

from .._arguments import URL, AnyPath
from .._errors import UsageError
from .._models import Job
from .._settings import MIB
from .session import Adapt

__all__ = ["MAX_MEMORY", "directed", "job_of"]

# Bytes that a download into memory may have: a page or a manifest has less, and a file belongs on a disk.
MAX_MEMORY = 64 * MIB


def directed(
    url: str | URL | Job, out: AnyPath | BinaryIO | None = None, checksum: str | None = None
) -> tuple[Job, Adapt]:
    """Return the job of one download, and what gives its context the file object that it is written to.

    :raises UsageError: the file object is not open for bytes.
    """
    if out is None or isinstance(out, str | os.PathLike):
        return job_of(url, out, checksum), lambda run: run
    file = _writable(out)
    return job_of(url, "-", checksum), lambda run: run._replace(pipe=lambda: run.parts.file_object(file))


def _writable(file: Any) -> BinaryIO:
    if not callable(getattr(file, "write", None)):
        raise UsageError(f"out must be text, a Path or a binary file object, not {type(file).__name__}.")
    if isinstance(file, TextIOBase):
        raise UsageError("out is a file object for text: open it with mode 'wb'.")
    if getattr(file, "closed", False):
        raise UsageError("out is a file object that is closed.")
    if not getattr(file, "writable", lambda: True)():
        raise UsageError("out is a file object that is not open for writing: open it with mode 'wb'.")
    return cast("BinaryIO", file)


def job_of(url: str | URL | Job, out: AnyPath | None = None, checksum: str | None = None) -> Job:
    """Return the job of the arguments of one download; those that are given replace the job's own."""
    job = url if isinstance(url, Job) else Job(url)
    changes: dict[str, Any] = {"out": out, "checksum": checksum}
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(job, **given) if given else job
