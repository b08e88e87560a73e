"""The results of a run, as a caller iterates over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Self

from .._models import Result
from .session import QueueRun

__all__ = ["Results"]


class Results:
    """The results of a run, in the order of ending: ``async for result in downloader.run(jobs)``.

    A loop that is left early stops the run: partial files and their journals are saved. Where the iterator is
    kept in a variable, ``async with downloader.run(jobs) as results`` or :meth:`aclose` does so in time.
    """

    def __init__(self, run: QueueRun) -> None:
        self._run = run
        # What :meth:`batches` gave last, as far as it has not been iterated over.
        self._batch: Iterator[Result] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        for result in self._batch:
            return result
        found = await self._run.next()
        if found is None:
            raise StopAsyncIteration
        if isinstance(found, Result):
            return found
        self._batch = iter(found)
        return next(self._batch)

    async def batches(self) -> AsyncIterator[Result | Sequence[Result]]:
        """Yield the results; those of jobs that needed no attempt come together, made when looked at."""
        while (found := await self._run.next()) is not None:
            yield found

    async def aclose(self) -> None:
        """Stop the run if it has not ended, and wait until what is there is saved."""
        await self._run.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._run.abandon()
