"""fetchq downloads: a queue of URLs, streamed to disk, resumed, retried and verified.

The map of the package:

- :func:`download` downloads one URL and blocks; :func:`adownload` does so in a running event loop.
- :func:`fetch_bytes` and :func:`afetch_bytes` download into memory; :func:`stream` hands the bytes over.
- :class:`Downloader` runs any number of jobs and yields a :class:`Result` as each ends; one serves a program.
- :class:`Job` is what is wanted, :class:`Result` how it ended, :class:`Preview` what a run would do.
- A :class:`FormFile` is a file that a job's form sends.
- :class:`Transport` is the HTTP/1.1 under it, for any ``httpx.AsyncClient``.
- :class:`Manifest` holds the checksums of many files, as SHA256SUMS does.
- :class:`Settings` holds :class:`Network`, :class:`Retry`, :class:`Disk` and :class:`Queue` with all defaults.
- :class:`FetchError` is the base of all errors; :mod:`fetchq._errors` shows the tree.
- An :data:`Observer` is any callable that takes an :data:`Event`; :mod:`fetchq._events` defines the events.
"""

from typing import TYPE_CHECKING, Any

from ._version import VERSION as __version__  # noqa: N811 - the conventional name

if TYPE_CHECKING:
    from ._api import Downloader, Results, Stream, adownload, afetch_bytes, download, fetch_bytes, stream
    from ._digests import Manifest
    from ._errors import (
        AuthenticationError,
        ChangedError,
        ChecksumError,
        DiskError,
        DiskFullError,
        ExistsError,
        FetchError,
        IntegrityError,
        LockedError,
        NetworkError,
        ProtocolError,
        QueueFileError,
        StatusError,
        StoppedError,
        StoreError,
        TimedOutError,
        TLSError,
        TooLargeError,
        TooSlowError,
        UsageError,
    )
    from ._events import (
        AttemptFailed,
        Event,
        JobFinished,
        JobStarted,
        Observer,
        Planned,
        Progressed,
        QueueWaiting,
        RunFinished,
        RunStarted,
        Waiting,
        Warned,
    )
    from ._http import Transport
    from ._models import FormFile, Job, Preview, Resource, Result, TLSOptions
    from ._settings import Disk, Network, Queue, Retry, Settings

__all__ = [
    "AttemptFailed",
    "AuthenticationError",
    "ChangedError",
    "ChecksumError",
    "Disk",
    "DiskError",
    "DiskFullError",
    "Downloader",
    "Event",
    "ExistsError",
    "FetchError",
    "FormFile",
    "IntegrityError",
    "Job",
    "JobFinished",
    "JobStarted",
    "LockedError",
    "Manifest",
    "Network",
    "NetworkError",
    "Observer",
    "Planned",
    "Preview",
    "Progressed",
    "ProtocolError",
    "Queue",
    "QueueFileError",
    "QueueWaiting",
    "Resource",
    "Result",
    "Results",
    "Retry",
    "RunFinished",
    "RunStarted",
    "Settings",
    "StatusError",
    "StoppedError",
    "StoreError",
    "Stream",
    "TLSError",
    "TLSOptions",
    "TimedOutError",
    "TooLargeError",
    "TooSlowError",
    "Transport",
    "UsageError",
    "Waiting",
    "Warned",
    "__version__",
    "adownload",
    "afetch_bytes",
    "download",
    "fetch_bytes",
    "stream",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import fetchq`` alone is fast (PEP 562)."""
    if name in __all__:
        from importlib import import_module

        for noun in ("_errors", "_models", "_settings", "_events", "_digests", "_http", "_api"):
            module = import_module(f".{noun}", __name__)
            if name in module.__all__:
                # Set as an attribute, so that __getattr__ is called once for each name.
                return globals().setdefault(name, getattr(module, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
