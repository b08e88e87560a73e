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

    async def run(self, path: Path, function: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call *function* in a thread.

        :param path: what the download is to be, for messages.
        :raises DiskError: the file system refused.
        """
        try:
            return await self.threads.run(function, *args)
        except OSError as error:
            raise translate(error, path) from error
