"""A body that arrived whole: written, verified and named in one go, without a journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .._digests import Hasher
from .._errors import ChecksumError
from .._models import Buffer
from .context import DiskContext
from .existing import HEAD, Existing
from .files import Files, write_all
from .hashing import Digests
from .journal import Journal
from .lock import LockedPart
from .publish import Finished, Finishing, publish

__all__ = ["CompleteBody"]


class CompleteBody(NamedTuple):
    """All bytes of a file, and what must hold of them.

    :param algorithms: digests to compute, canonical names.
    :param mtime: modification time to set, in seconds since the epoch.
    :param check: is handed algorithm to hex; raises ChecksumError if these are wrong.
    :param etag: the server's, and so is *last_modified*: to be recorded with the file.
    """

    chunks: Sequence[Buffer]
    algorithms: Sequence[str]
    mtime: float | None
    check: Callable[[Mapping[str, str]], None]
    etag: str | None = None
    last_modified: str | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(map(len, self.chunks))

    @property
    def head(self) -> bytes:
        """The first bytes."""
        head = b""
        for chunk in self.chunks:
            head += memoryview(chunk)[: HEAD - len(head)]
            if len(head) == HEAD:
                break
        return head

    def holds(self, files: Files, fd: int) -> bool:
        """Whether the file open as *fd* has these bytes."""
        offset = 0
        for chunk in self.chunks:
            found = bytearray(len(chunk))
            if files.preadv(fd, [found], offset) != len(chunk) or found != chunk:
                return False
            offset += len(chunk)
        return files.fstat(fd).st_size == offset

    def store(self, part: LockedPart, context: DiskContext) -> Finished | Existing:
        """Make this the file that *part* is locked for; *part* stays open.

        :raises ChecksumError: wrong bytes, which are kept as ``NAME.part.bad``.
        """
        size, files = self.size, part.entry.files
        if not part.unnamed and part.journal != (new := Journal.new(part.identity)):
            # An older journal would vouch for these bytes if the process were killed half-way.
            part.entry.save(new, durable=context.settings.fsync)
        write_all(files, part.fd, self.chunks, 0)
        if part.size > size:
            files.truncate(part.fd, size)
        digests = self._digests(self.algorithms)
        try:
            self.check(Digests(digests, lambda name: self._digests([name])[name]))
        except ChecksumError:
            part.put_aside()
            part.entry.delete_journal()
            raise
        return publish(part, context, Finishing(size, digests, self.mtime, self.etag, self.last_modified))

    def _digests(self, algorithms: Sequence[str]) -> dict[str, str]:
        hasher = Hasher(algorithms)
        for chunk in self.chunks:
            hasher.update(chunk)
        return hasher.hexdigests()
