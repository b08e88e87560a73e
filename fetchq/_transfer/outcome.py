"""How a job ended well, as a result; and how one ended that cannot go on."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from .._disk import Existing, Finished
from .._errors import ChangedError

Verified: TypeAlias = Literal["digest", "length", "nothing"]

__all__ = ["kept", "stuck", "vouched"]


def kept(file: Finished | Existing, before: int, verified: Verified, *, stdout: bool) -> dict[str, Any]:
    """Say what a result holds of the *file* that came of a job; *before* bytes of it are an earlier run's."""
    facts: dict[str, Any] = {"path": None if stdout else file.path, "size": file.size}
    if isinstance(file, Existing):
        return {**facts, "status": "skipped", "reason": file.reason}
    facts |= {"status": "done", "digests": file.digests, "verified": verified}
    if before:
        facts |= {"status": "resumed", "reason": f"{before} bytes from an earlier run"}
    return facts


def vouched(*, digest: bool, framed: bool) -> Verified:
    """Say what stands behind the bytes: a digest, a length that was told, or nothing."""
    return "digest" if digest else "length" if framed else "nothing"


def stuck(have: int, reason: str) -> ChangedError:
    """Give the error of a download that cannot go on, and whose *have* bytes cannot be taken back."""
    out = f"Standard output got {have} bytes, and cannot get the rest"
    return ChangedError(f"{out}: {reason.removesuffix('.')}.", transient=False)
