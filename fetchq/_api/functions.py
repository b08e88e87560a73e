"""One URL in one call.

The two signatures are written out in full, as httpx does with its own, so that ``help()``, editors and type
checkers show every parameter; a test keeps them equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._arguments import URL, AnyPath
from .._errors import UsageError
from .._events import Observer
from .._models import Job, Result
from .._settings import Settings
from .downloader import Downloader, job_of

if TYPE_CHECKING:
    import httpx

__all__ = ["adownload", "download"]


async def adownload(
    url: str | URL | Job,
    out: AnyPath | None = None,
    *,
    dir: AnyPath | None = None,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
) -> Result:
    """Download one URL in a running event loop.

    :param url: http or https, or a whole :class:`Job`.
    :param out: target path, relative to *dir* or absolute; one that ends with ``/`` is a folder; default: a
        name from the response.
    :param dir: directory for the file; created if missing.
    :param checksum: ``ALGO:HEX``; a file with another digest is refused.
    :param settings: all settings; *dir* and *auth* replace its fields.
    :param auth: any ``httpx.Auth``, or a (user, password) pair; sent to the URL's own origin only.
    :param client: an ``httpx.AsyncClient`` to send requests with; it is not closed.
    :param observers: called with every event, in the event loop's thread; an exception of one cancels the
        download and is raised here, and the part is kept.
    :returns: the result, with the file's path.
    :raises FetchError: the download failed.
    """
    job = job_of(url, out, checksum)
    async with Downloader(settings, dir=dir, auth=auth, client=client, observers=observers) as downloader:
        # To the end of the run, not only to the result: an observer may raise after it.
        results = [result async for result in downloader.run([job])]
    return results[0].unwrap()


def download(
    url: str | URL | Job,
    out: AnyPath | None = None,
    *,
    dir: AnyPath | None = None,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
) -> Result:
    """Download one URL and block until it has ended; parameters and result are those of :func:`adownload`.

    :raises UsageError: an event loop is running in this thread; await :func:`adownload` instead.
    :raises FetchError: the download failed.
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
