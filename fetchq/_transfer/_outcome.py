"""How a job ended well, as a result."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from .._disk import Existing, Finished
from .._models import Result

__all__ = ["kept", "vouched"]


def kept(result: Result, file: Finished | Existing, before: int) -> Result:
    """Complete a *result* with the *file* that came of it; *before* bytes of it are an earlier run's."""
    path = None if result.job.out == "-" else file.path
    result = replace(result, path=path, size=file.size)
    if isinstance(file, Existing):
        return replace(result, status="skipped", reason=file.reason)
    if before:
        result = replace(result, status="resumed", reason=f"{before} bytes from an earlier run")
    return replace(result, digests=file.digests)


def vouched(*, digest: bool, framed: bool) -> Literal["digest", "length", "nothing"]:
    """Say what stands behind the bytes: a digest, a length that was told, or nothing."""
    return "digest" if digest else "length" if framed else "nothing"
