"""What can go wrong, sorted by what follows from it.

::

    FetchError                      .transient .retry_after .exit_code
    ├── UsageError            2     the caller's mistake: nothing was asked of the network
    │   └── QueueFileError    2     a queue file, or one line of it, cannot be used
    ├── DiskError             3     the file system said no
    │   ├── DiskFullError     3     no space, quota or file-size limit: the whole run stops
    │   ├── LockedError       3     another process is downloading this very file
    │   └── ExistsError       3     the name is taken and ``--if-exists error`` was asked for
    ├── NetworkError          4     no answer, or it broke off (transient)
    │   ├── TimedOutError     4     a wait passed its bound (transient)
    │   └── TooSlowError      4     below the least speed for too long (transient)
    ├── TLSError              5     the peer could not be trusted
    ├── AuthenticationError   6     401 or 407
    ├── ProtocolError         7     the answer breaks HTTP, or a limit set against the server
    │   ├── ChangedError      7     the resource changed while it was being fetched (transient)
    │   └── TooLargeError     7     larger than ``--max-size``, or than a bound of ours
    ├── StatusError           8     the server answered with an error status
    ├── ChecksumError         9     right length, wrong bytes
    ├── IntegrityError        1     the bytes stored are not those received: a fault in fetchq
    └── StoppedError        130     the run was stopped before this job ended

*transient* means: worth another attempt. Only a FetchError ends a job quietly; any other exception is a
bug and passes through. Exit codes follow wget where wget has one.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthenticationError",
    "ChangedError",
    "ChecksumError",
    "DiskError",
    "DiskFullError",
    "ExistsError",
    "FetchError",
    "IntegrityError",
    "LockedError",
    "NetworkError",
    "ProtocolError",
    "QueueFileError",
    "StatusError",
    "StoppedError",
    "TLSError",
    "TimedOutError",
    "TooLargeError",
    "TooSlowError",
    "UsageError",
]


class FetchError(Exception):
    """A job could not be done; ``str(error)`` is one sentence for people.

    :param message: what happened, to what, and what to do next; free of secrets.
    :param transient: worth another attempt; the class's own answer when not given.
    :param retry_after: seconds the server asked us to wait (RFC 9110 section 10.2.3), if it did.
    """

    exit_code: ClassVar[int] = 1
    _transient: ClassVar[bool] = False

    def __init__(
        self, message: str, *, transient: bool | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = self._transient if transient is None else transient
        self.retry_after = retry_after

    @property
    def kind(self) -> str:
        """The class's name without ``Error``, in lower case: the stable word used in JSON events."""
        return type(self).__name__.removesuffix("Error").lower() or "fetch"


class UsageError(FetchError):
    """The caller's mistake, found before anything was asked of the network."""

    exit_code = 2


class QueueFileError(UsageError):
    """A queue file, or one line of it, cannot be used; the message names file and line."""


class DiskError(FetchError):
    """The file system refused: permission, read-only, a name taken by a folder, an I/O error."""

    exit_code = 3


class DiskFullError(DiskError):
    """No space, quota or file-size limit left; the run stops, since every other job would fail too."""


class LockedError(DiskError):
    """Another process holds the part; ``pid`` is its process id where it is known."""

    def __init__(self, message: str, *, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class ExistsError(DiskError):
    """The name is taken by something that is not this download, and the caller asked for an error."""


class NetworkError(FetchError):
    """No connection, no answer, or an answer that broke off."""

    exit_code = 4
    _transient = True


class TimedOutError(NetworkError):
    """A wait for the network passed its bound."""


class TooSlowError(NetworkError):
    """Bytes came, but slower than the least speed for a whole window."""


class TLSError(FetchError):
    """The TLS handshake failed, or the certificate is not trusted."""

    exit_code = 5


class AuthenticationError(FetchError):
    """401 or 407: the server or the proxy wants other credentials."""

    exit_code = 6

    def __init__(self, message: str, *, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class ProtocolError(FetchError):
    """The answer breaks HTTP, or a bound that guards against the server."""

    exit_code = 7


class ChangedError(ProtocolError):
    """The resource is no longer the one whose bytes are in the part."""

    _transient = True


class TooLargeError(ProtocolError):
    """The resource is larger than the caller, or a bound of ours, allows."""


class StatusError(FetchError):
    """The server answered with an error status; ``status`` holds it."""

    exit_code = 8

    def __init__(
        self,
        message: str,
        *,
        status: int,
        transient: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, transient=transient, retry_after=retry_after)
        self.status = status


class ChecksumError(FetchError):
    """Complete, but not the bytes that the digest promises."""

    exit_code = 9


class IntegrityError(FetchError):
    """The bytes about to be stored are not those that were received, by their count: a fault in fetchq.

    They were not stored, so what is in the part is right, and the same command goes on from there.
    """


class StoppedError(FetchError):
    """The run was stopped before this job ended; its part and journal are kept."""

    exit_code = 130
