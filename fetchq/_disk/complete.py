"""A body that arrived whole: written, verified and named in one go, without a journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .._digests import Hasher
from .._errors import ChecksumError
from .._models import Buffer
from .._settings import Disk
from .files import write_all
from .journal import forget
from .names import Existing, LockedPart
from .publish import Finished, publish, twin

__all__ = ["CompleteBody"]


class CompleteBody(NamedTuple):
    """A complete body, and what is to hold of its file.

    :param mtime: modification time to set, in seconds since the epoch.
    :param check: is handed algorithm to hex, and raises if these are wrong.
    """

    chunks: Sequence[Buffer]
    algorithms: Sequence[str]
    mtime: float | None
    check: Callable[[Mapping[str, str]], None]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(len, self.chunks))

    def store(self, claim: LockedPart, settings: Disk, began: float) -> Finished | Existing:
        """Make this the file that *claim* is for; the claim stays open.

        :raises ChecksumError: the bytes are kept as ``NAME.part.bad``.
        """
        size = self.size
        if not claim.unnamed:
            # An older journal would vouch for these bytes if we were killed half-way.
            forget(claim.files, claim.name, claim.dir_fd, durable=settings.fsync)
        write_all(claim.files, claim.fd, self.chunks, 0)
        if claim.size > size:
            claim.files.truncate(claim.fd, size)
        digests = self._digests()
        self._verify(claim, digests)
        if self.mtime is not None:
            claim.files.touch(claim.fd, self.mtime)
        kept = twin(claim, settings, size, began) or publish(claim, settings, size, journal=False)
        return kept if isinstance(kept, Existing) else Finished(kept, size, digests)

    def _digests(self) -> dict[str, str]:
        hasher = Hasher(self.algorithms)
        for chunk in self.chunks:
            hasher.update(chunk)
        return hasher.hexdigests()

    def _verify(self, claim: LockedPart, digests: Mapping[str, str]) -> None:
        try:
            self.check(digests)
        except ChecksumError:
            claim.put_aside()
            raise
