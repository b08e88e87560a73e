"""What all parts of a run share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .._settings import Disk
from .files import Files
from .threads import Threads

if TYPE_CHECKING:
    from .sink import Sink

__all__ = ["DiskContext"]


class DiskContext(NamedTuple):
    """The settings and services that parts and names are handed.

    :param clock: monotonic seconds.
    :param open: sinks to close when the run ends.
    """

    settings: Disk
    files: Files
    threads: Threads
    clock: Callable[[], float]
    open: set[Sink]
