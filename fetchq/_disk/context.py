"""What all parts of a run share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, TypeVarTuple

from .._settings import Disk
from .files import Files, translate
from .room import Reserved
from .threads import Threads

if TYPE_CHECKING:
    from .lock import LockedPart
    from .sink import Sink

__all__ = ["DiskContext"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DiskContext(NamedTuple):
    """The settings and services that parts and names are handed.

    :param clock: monotonic seconds.
    :param open: sinks to close when the run ends.
    :param reserved: the room that these have yet to fill.
    """

    settings: Disk
    files: Files
    threads: Threads
    clock: Callable[[], float]
    open: set[Sink]
    reserved: Reserved

    def require_room(self, part: LockedPart, length: int, *, reserve: bool = False) -> None:
        """Check that a file of *length* bytes fits where its part is, and where it is to be.

        :param reserve: keep room for it until :meth:`release_room`.
        :raises DiskFullError: it does not fit.
        """
        entry = part.entry
        folder = entry.directory if part.unnamed else entry.part.directory
        self.reserved.require(part.fd, folder / entry.name, length, reserve=reserve)
        if not part.unnamed and self.files.fstat(entry.dir_fd).st_dev != self.files.fstat(part.fd).st_dev:
            self.reserved.require(entry.dir_fd, entry.path, length, reserve=reserve)

    def release_room(self, part: LockedPart) -> None:
        """Keep no more room for a file; before *part* is closed."""
        self.reserved.release(part.fd)
        self.reserved.release(part.entry.dir_fd)

    async def run(self, path: Path, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* in a thread.

        :param path: what the download is to be, for messages.
        :raises DiskError: the file system refused.
        """
        try:
            return await self.threads.run(function, *args)
        except OSError as error:
            raise translate(error, path) from error
