"""The caller's function that finds new links for old ones, as transfers call it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

from .._errors import FetchError, UsageError
from .._models import Job

__all__ = ["Refresh", "Refresher"]

Link: TypeAlias = "str | Job | None"
Refresh: TypeAlias = "Callable[[Job, FetchError], Link | Awaitable[Link]]"

# Signing a link is one request; a page that must be read for it takes a few.
LONGEST = 60.0


class Refresher:
    """Calls *refresh*, in a thread unless it is ``async``, and bounds its time."""

    def __init__(self, refresh: Refresh) -> None:
        if not callable(refresh):
            raise UsageError(f"refresh is called for new links: give a function, not {type(refresh).__name__}.")
        self._refresh = refresh

    async def __call__(self, job: Job, error: FetchError) -> Job:
        """Return the new link.

        :raises FetchError: there is none.
        """
        try:
            async with asyncio.timeout(LONGEST):
                link = await self._call(job, error)
        except TimeoutError:
            raise FetchError(f"refresh did not return within {LONGEST:g} s.") from None
        except FetchError:
            raise
        except Exception as failed:  # the caller's code: its failure is one job's, and is told
            raise FetchError(f"refresh failed: {type(failed).__name__}: {failed}") from failed
        if isinstance(link, str) and link:
            return Job(link)
        if isinstance(link, Job):
            return link
        raise FetchError("refresh returned none.")

    async def _call(self, job: Job, error: FetchError) -> Link:
        def called() -> Link | Awaitable[Link]:
            return self._refresh(job, error)

        found = called() if inspect.iscoroutinefunction(self._refresh) else await _in_thread(called)
        return await found if isinstance(found, Awaitable) else found


async def _in_thread(work: Callable[[], Link | Awaitable[Link]]) -> Link | Awaitable[Link]:
    """Return what *work* returns, without waiting for it when cancelled."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Link | Awaitable[Link]] = loop.create_future()

    def deliver(result: Link | Awaitable[Link], error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result: Link | Awaitable[Link] = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - is raised where it is awaited
            failed = error
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(deliver, result, failed)

    # A daemon: a call that hangs must not keep the process alive, as a pool's thread would.
    threading.Thread(target=run, name="fetchq-refresh", daemon=True).start()
    return await done
