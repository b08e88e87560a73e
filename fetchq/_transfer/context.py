"""What every transfer of a run is handed: the edges, the settings, and clock, sleep and chance as values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import BinaryIO, NamedTuple

from .._connections import Budget
from .._disk import Parts, Sink
from .._errors import UsageError
from .._events import Observer
from .._http import HttpClient
from .._settings import Settings
from .._throttle import Bucket

__all__ = ["RunContext"]


class RunContext(NamedTuple):
    """The surroundings of a transfer.

    :param observe: is told every event.
    :param bucket: the rate limit that all transfers share, if there is one.
    :param stdout: where ``-`` goes; None where the process has no standard output for bytes.
    :param clock: steady seconds.
    :param now: seconds since the epoch, for what servers date.
    :param sleep: waits that many seconds.
    :param random: gives a number in [0, 1).
    """

    http: HttpClient
    parts: Parts
    settings: Settings
    budget: Budget
    bucket: Bucket | None
    observe: Observer
    stdout: BinaryIO | None
    clock: Callable[[], float]
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]

    def pipe(self) -> Sink:
        """Give standard output in a part's place.

        :raises UsageError: there is none.
        """
        if self.stdout is None:
            raise UsageError("Standard output takes no bytes here: give the target a name.")
        return self.parts.pipe(self.stdout)

    async def pace(self, size: int) -> None:
        """Count *size* bytes that came against the rate limit; wait if they came too fast."""
        if self.bucket is not None:
            pause = self.bucket.take(size, self.clock())
            if pause > 0:
                await self.sleep(pause)
