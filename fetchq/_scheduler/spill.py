"""Jobs in line that are kept outside memory, so that a host with very many of them hides no other."""

from __future__ import annotations

import heapq
import marshal
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar

from .._errors import FetchError

__all__ = ["Aside", "Spill", "surplus"]

J = TypeVar("J")

# Jobs that are kept together: they are read back at once, within a millisecond.
PIECE = 128
# Most jobs that are moved at once: the event loop is held up for some ten milliseconds.
MOST_MOVED = 1024
# A line as short as this stays in memory: less is not worth a piece.
SHORT = 32


class Aside(Protocol):
    """Keeps bytes outside memory."""

    def put(self, data: bytes, /) -> Any:
        """Return what stands for *data*.

        :raises FetchError: it cannot be kept.
        """

    def take(self, piece: Any, /) -> bytes:
        """Return the bytes that *piece* stands for, once.

        :raises FetchError: they cannot be read.
        """

    def close(self) -> None:
        """Let go of all."""


def surplus(lines: Mapping[str, Sized]) -> tuple[str, int] | None:
    """Return the host whose line is to be shortened, and by how many jobs; None if all lines are short.

    The longest is the one, and half of it stays: so hosts with much work come to have equal shares of memory.
    """
    host = max(lines, key=lambda name: len(lines[name]), default=None)
    if host is None or len(lines[host]) <= SHORT:
        return None
    return host, min(MOST_MOVED, len(lines[host]) // 2)


class Spill(Generic[J]):
    """The ends of hosts' lines.

    :param aside: where the jobs are.
    :param pack: returns bytes that stand for a job; None for one that must stay in memory.
    :param unpack: returns the job.
    :ivar count: jobs that are kept here.
    """

    def __init__(self, aside: Aside, pack: Callable[[J], bytes | None], unpack: Callable[[bytes], J]) -> None:
        self._aside = aside
        self._pack = pack
        self._unpack = unpack
        self.count = 0
        # Of each host: rank and number of a piece's first job, and what stands for the piece. A heap: jobs that
        # come later may have a higher priority, so pieces may overlap.
        self._pieces: dict[str, list[tuple[int, int, Any]]] = {}

    def put(self, host: str, jobs: Sequence[tuple[int, int, J]]) -> set[int]:
        """Keep jobs of *host*, and return the numbers of those that are kept.

        :param jobs: with rank and number, in order.
        """
        kept: set[int] = set()
        for at in range(0, len(jobs), PIECE):
            packed = [
                (rank, number, data)
                for rank, number, job in jobs[at : at + PIECE]
                if (data := self._pack(job)) is not None
            ]
            if not packed:
                continue
            try:
                piece = self._aside.put(marshal.dumps(packed))
            except FetchError:
                break  # the jobs stay in memory, and no more are read for now
            heapq.heappush(self._pieces.setdefault(host, []), (*packed[0][:2], piece))
            kept.update(number for _, number, _ in packed)
        self.count += len(kept)
        return kept

    def due(self, host: str, first: tuple[int, int] | None) -> list[tuple[int, int, J]]:
        """Return the jobs of *host*, with rank and number, that belong into memory now; often none.

        :param first: rank and number of the first job that is in memory; None where there is none.
        :raises FetchError: they cannot be read.
        """
        pieces = self._pieces.get(host)
        if not pieces or (first is not None and first < pieces[0][:2]):
            return []
        _, _, piece = heapq.heappop(pieces)
        packed = marshal.loads(self._aside.take(piece))  # noqa: S302 # put there by this object, and by no other
        self.count -= len(packed)
        return [(rank, number, self._unpack(data)) for rank, number, data in packed]

    def close(self) -> None:
        """Let go of all jobs."""
        self._aside.close()
