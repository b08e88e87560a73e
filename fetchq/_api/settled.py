"""Results of jobs that need no attempt, together: a queue that is repeated has millions of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, overload

from .. import _naming
from .._events import JobFinished
from .._models import Job, Result

if TYPE_CHECKING:
    from .._store import FinishedJob

__all__ = ["Settled", "SettledJob", "finished_event"]


# Number of a job that an earlier run has finished, and what that run knew of it.
SettledJob: TypeAlias = "tuple[int, Job, FinishedJob]"


class Settled(Sequence[Result]):
    """Results that are made when they are looked at: most callers only count them.

    :param result: makes one.
    :ivar size: bytes of all files.
    """

    def __init__(self, jobs: Sequence[SettledJob], result: Callable[[FinishedJob, Job], Result]) -> None:
        self._jobs = jobs
        self._result = result
        self._results: list[Result] = []
        self.size = sum([finished.size for _, _, finished in jobs])

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, at: int) -> Result: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Result]: ...
    def __getitem__(self, at: int | slice) -> Result | Sequence[Result]:
        return self._made()[at]

    def __iter__(self) -> Iterator[Result]:
        return iter(self._made())

    def _made(self) -> Sequence[Result]:
        if not self._results:
            self._results = [self._result(finished, job) for _, job, finished in self._jobs]
        return self._results

    def events(self) -> Iterator[JobFinished]:
        """Yield the event of each."""
        for (number, _, _), result in zip(self._jobs, self, strict=True):
            yield finished_event(number, result)


def finished_event(number: int, result: Result, name: str = "") -> JobFinished:
    """Return the event of a job that ended.

    :param name: of a file that is not there.
    """
    return JobFinished(number, _naming.printable(name if result.path is None else result.path.name), result)
