"""One URL in one call.

The signatures are written out in full, as httpx does with its own, so that ``help()``, editors and type
checkers show every parameter; a test keeps them equal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO

from .._arguments import URL, AnyPath
from .._events import Observer
from .._models import Job, Result
from .._settings import Settings
from .blocking import refuse_in_loop
from .downloader import Downloader
from .refresh import Refresh
from .streams import Stream
from .targets import MAX_MEMORY, directed, job_of

if TYPE_CHECKING:
    import httpx

__all__ = ["adownload", "afetch_bytes", "download", "fetch_bytes", "stream"]


async def adownload(
    url: str | URL | Job,
    out: AnyPath | BinaryIO | None = None,
    *,
    dir: AnyPath | None = None,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
    refresh: Refresh | None = None,
) -> Result:
    """Download one URL in a running event loop.

    :param url: http or https, or a whole :class:`Job`.
    :param out: target path, relative to *dir* or absolute; one that ends with ``/`` is a folder; or a binary
        file object, which is written from where it stands and not closed; default: a name from the response.
    :param dir: directory for the file; created if missing.
    :param checksum: ``ALGO:HEX``; a file with another digest is refused.
    :param settings: all settings; *dir* and *auth* replace its fields.
    :param auth: any ``httpx.Auth``, or a (user, password) pair; sent to the URL's own origin only.
    :param client: an ``httpx.AsyncClient`` to send requests with; it is not closed.
    :param observers: called with every event, in the event loop's thread; an exception of one cancels the
        download and is raised here, and the part is kept.
    :param refresh: called for a new URL where this one has expired; see :class:`Downloader`.
    :returns: the result, with the file's path.
    :raises FetchError: the download failed.
    """
    job, context = directed(url, out, checksum)
    async with Downloader(
        settings, dir=dir, auth=auth, client=client, observers=observers, refresh=refresh
    ) as downloader:
        # To the end of the run, not only to the result: an observer may raise after it.
        run = downloader._run([job], context)  # noqa: SLF001 - one download is a run of its own
        results = [result async for result in run]
    return results[0].unwrap()


def download(
    url: str | URL | Job,
    out: AnyPath | BinaryIO | None = None,
    *,
    dir: AnyPath | None = None,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
    refresh: Refresh | None = None,
) -> Result:
    """Download one URL and block until it has ended; parameters and result are those of :func:`adownload`.

    :raises UsageError: an event loop is running in this thread; await :func:`adownload` instead.
    :raises FetchError: the download failed.
    """
    refuse_in_loop("download() would block the running event loop: use `await fetchq.adownload(...)`.")
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
            refresh=refresh,
        )
    )


async def afetch_bytes(
    url: str | URL | Job,
    *,
    max_size: int = MAX_MEMORY,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
    refresh: Refresh | None = None,
) -> bytes:
    """Download one URL into memory, in a running event loop; parameters are those of :func:`adownload`.

    :param max_size: most bytes, after decoding.
    :raises TooLargeError: there are more.
    :raises FetchError: the download failed.
    """
    async with Downloader(
        settings, auth=auth, client=client, observers=observers, refresh=refresh
    ) as downloader:
        return await downloader.fetch_bytes(job_of(url, checksum=checksum), max_size=max_size)


def fetch_bytes(
    url: str | URL | Job,
    *,
    max_size: int = MAX_MEMORY,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
    refresh: Refresh | None = None,
) -> bytes:
    """Download one URL into memory and block until it has ended; parameters are those of :func:`afetch_bytes`.

    :raises UsageError: an event loop is running in this thread; await :func:`afetch_bytes` instead.
    :raises FetchError: the download failed.
    """
    refuse_in_loop("fetch_bytes() would block the running event loop: use `await fetchq.afetch_bytes(...)`.")
    return asyncio.run(
        afetch_bytes(
            url,
            max_size=max_size,
            checksum=checksum,
            settings=settings,
            auth=auth,
            client=client,
            observers=observers,
            refresh=refresh,
        )
    )


@asynccontextmanager
async def stream(
    url: str | URL | Job,
    *,
    checksum: str | None = None,
    settings: Settings | None = None,
    auth: httpx.Auth | tuple[str, str] | None = None,
    client: httpx.AsyncClient | None = None,
    observers: Sequence[Observer] = (),
    refresh: Refresh | None = None,
) -> AsyncIterator[Stream]:
    """Open the bytes of one URL: ``async with fetchq.stream(url) as chunks: async for chunk in chunks``.

    Parameters are those of :func:`adownload`; many URLs at once are for :meth:`Downloader.stream`.

    :raises FetchError: the download failed, on entering or while iterating.
    """
    job = job_of(url, checksum=checksum)
    opened = Downloader(settings, auth=auth, client=client, observers=observers, refresh=refresh)
    async with opened as downloader, downloader.stream(job) as chunks:
        yield chunks
