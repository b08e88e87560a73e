"""One URL, in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .._errors import FetchError, UsageError
from .._events import Observer
from .._models import Job, Result
from .._settings import Settings
from .downloader import Downloader

if TYPE_CHECKING:
    import httpx

__all__ = ["adownload", "download"]


async def adownload(
    url: str | Job,
    out: str | None = None,
    *,
    dir: str | Path | None = None,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
) -> Result:
    """Fetch one URL inside a running event loop.

    :param url: http or https, or a whole :class:`Job`.
    :param out: target name relative to *dir*; default: from the response.
    :param dir: directory where the file goes; created when missing.
    :param checksum: ``ALGO:HEX``; the file is refused when it differs.
    :returns: how it ended, with the file's path.
    :raises FetchError: it could not be fetched.
    """
    job = url if isinstance(url, Job) else Job(url)
    job = replace(job, out=out or job.out, checksum=checksum or job.checksum)
    async with Downloader(settings, dir=dir, auth=auth, client=client, observers=observers) as downloader:
        async for result in downloader.run([job]):
            return result.unwrap()
    raise FetchError("The run ended without a result.")


def download(
    url: str | Job,
    out: str | None = None,
    *,
    dir: str | Path | None = None,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
) -> Result:
    """Fetch one URL and block until it is there; takes and gives what :func:`adownload` does.

    :raises UsageError: an event loop is running in this thread; await :func:`adownload` there.
    :raises FetchError: it could not be fetched.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(
            adownload(
                url,
                out,
                dir=dir,
                checksum=checksum,
                settings=settings,
                auth=auth,
                client=client,
                observers=observers,
            )
        )
    raise UsageError("download() would block the running event loop: use `await fetchq.adownload(...)`.")
