"""Equal jobs of one run: the first is transferred, and its result is that of the others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from .._models import Job, Result
from .recent import trim

__all__ = ["EqualJobs"]

# Ended jobs that are remembered, about 10 MB; beyond them the store and the files know what is done.
MOST_ENDED = 10_000
# Keys of jobs that are to begin, about 2 MB.
MOST_EXPECTED = 20_000


class EqualJobs:
    """Which jobs run or have ended, by their keys.

    :ivar forgot: some that have ended are not known here any more.
    """

    def __init__(self) -> None:
        # The number of the first job, then of those that wait for it.
        self._running: dict[str, list[int]] = {}
        self._ended: OrderedDict[str, Result] = OrderedDict()
        self.forgot = False
        # Those that are to begin: what they tell counts for later lines whenever that is.
        self._expected: dict[str, None] = {}

    def begin(self, key: str, number: int) -> Literal["first", "runs", "ended"]:
        """Return whether the job *number* is the first of its key, or what became of the one that was.

        :param key: empty for a job that has a transfer of its own.
        :param number: position in the queue.
        """
        if not key:
            return "first"
        if key in self._ended:
            return "ended"
        numbers = self._running.setdefault(key, [number])
        if numbers[0] == number:
            return "first"
        numbers.append(number)
        return "runs"

    def expect(self, key: str) -> None:
        """Note that a job of *key* is going to begin."""
        self._expected[key] = None
        trim(self._expected, MOST_EXPECTED)

    def knows(self, key: str) -> bool:
        """Whether a job of *key* is to begin or has begun, so that it tells what becomes of another one."""
        return key in self._running or key in self._ended or key in self._expected

    def end(self, key: str, result: Result) -> Sequence[int]:
        """Note how the first job of *key* ended; return the numbers of those that have waited for it."""
        if not key:
            return ()
        self._expected.pop(key, None)
        self._ended[key] = result
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
            self.forgot = True
        return self._running.pop(key, [])[1:]

    def forget_failures(self) -> None:
        """Let jobs that are equal to failed ones have a transfer of their own from now on."""
        for key in [key for key, result in self._ended.items() if result.error is not None]:
            del self._ended[key]

    def result(self, key: str, job: Job) -> Result:
        """Return the result of *job*, which is equal to one that has ended."""
        first = self._ended[key]
        if first.error is not None:
            return Result(job, "failed", error=first.error)
        return Result(
            job,
            "skipped",
            first.path,
            first.size,
            digests=first.digests,
            reason=f"the same as {first.job.source or 'another job'}",
            etag=first.etag,
            last_modified=first.last_modified,
        )
