"""The errors of the package, sorted by their consequence.

::

    FetchError                      .transient .retry_after .exit_code
    ├── UsageError            2     a mistake of the caller, found before any request
    │   └── QueueFileError    2     a queue file, or one line of it, cannot be used
    ├── DiskError             3     the file system refused
    │   ├── DiskFullError     3     no space is left, or a quota is used up
    │   ├── LockedError       3     another process is downloading the same file
    │   ├── ExistsError       3     the name is taken and ``--if-exists error`` was asked for
    │   └── StoreError        3     the store that was asked for cannot be used
    ├── NetworkError          4     no connection, or it broke off (transient)
    │   ├── TimedOutError     4     a timeout of the network (transient)
    │   └── TooSlowError      4     below ``--min-speed`` for too long (transient)
    ├── TLSError              5     the handshake failed, or the certificate is not trusted
    ├── AuthenticationError   6     401 or 407
    ├── ProtocolError         7     the response breaks HTTP, or a limit for responses
    │   ├── ChangedError      7     the resource changed while it was being fetched (transient)
    │   └── TooLargeError     7     larger than ``--max-size`` or another limit of the settings
    ├── StatusError           8     the server answered with an error status
    ├── ChecksumError         9     right length, wrong bytes
    ├── IntegrityError        1     the bytes stored are not those received: a fault in fetchq
    └── StoppedError        130     the run was stopped before this job ended

*transient* means: another attempt may succeed. A FetchError ends one job; any other exception is a bug and ends
the run. Exit codes are wget's where it has one.
"""

from __future__ import annotations

import copyreg
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar

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
    "StoreError",
    "TLSError",
    "TimedOutError",
    "TooLargeError",
    "TooSlowError",
    "UsageError",
]

# Sentences name the options of the command line. To a Python program they name its arguments.
_OPTIONS_NAMED: ContextVar[bool] = ContextVar("fetchq_options_named", default=False)
# An option after a space or a bracket, and the word for its value.
_OPTION = re.compile(
    r"(?<![^\s('])(?P<option>--[a-z][a-z0-9-]+|-[a-zA-Z](?![\w-]))(?: (?P<value>[A-Z]+(?::[A-Z]+)?(?![\w:])))?"
)
# Arguments that are not called as their options are.
_ARGUMENTS = {
    "--allow-outside": "confined=False",
    "--checksums": "manifest",
    "--cookie": "cookies",
    "--data": "content",
    "--header": "headers",
    "--no-env": "env=False",
    "--no-store": "store=None",
    "--output": "out",
    "--param": "params",
    "--request": "method",
    "-H": "headers",
    "-d": "dir",
    "-e": "referer",
    "-i": "jobs",
    "-j": "jobs",
    "-k": "insecure=True",
    "-o": "out",
    "-u": "user",
    "-x": "connections",
}
_FLAGS = {"--allow-unlisted", "--ca-native", "--http2", "--insecure", "--netrc", "--require-checksum"}


@contextmanager
def options_named() -> Iterator[None]:
    """Let sentences name the options of the command line, in this context and those that come of it."""
    token = _OPTIONS_NAMED.set(True)
    try:
        yield
    finally:
        _OPTIONS_NAMED.reset(token)


def worded(message: str) -> str:
    """Return *message* with arguments in the place of options, unless :func:`options_named` is in force."""
    return message if _OPTIONS_NAMED.get() or "-" not in message else _OPTION.sub(_argument, message)


def forget_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of *error* and of what led to it.

    Their frames keep all that was in use when it was raised, such as the connection with its buffers, which is
    too much for each of the failed jobs of a long queue. Type, message and causes stay.
    """
    left = [error]
    while left:
        each = left.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            left += each.__cause__, each.__context__
            left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _argument(found: re.Match[str]) -> str:
    option, value = found["option"], found["value"]
    if option in _FLAGS:
        return f"{option[2:].replace('-', '_')}=True" + (f" {value}" if value else "")
    name = _ARGUMENTS.get(option) or (option[2:].replace("-", "_") if option[1] == "-" else option)
    if value is None or "=" in name:
        return name + (f" {value}" if value else "")
    return f"{name}=({value.replace(':', ', ')})" if ":" in value else f"{name}={value}"


class FetchError(Exception):
    """A job failed. ``str(error)`` is one sentence for people.

    :param message: what happened, to what, and what to do next; without secrets.
    :param transient: another attempt may succeed; default: as for the class.
    :param retry_after: seconds to wait first, if the server sent Retry-After (RFC 9110 section 10.2.3).
    :ivar url: the URL that was asked, or was to be, without secrets; empty where no job is concerned.
    :ivar attempts: requests made for the job until then.
    :ivar unsent: the request did not reach the server, so that it cannot act twice when it is repeated.
    """

    exit_code: ClassVar[int] = 1
    _transient: ClassVar[bool] = False

    def __init__(
        self, message: str, *, transient: bool | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = self._transient if transient is None else transient
        self.retry_after = retry_after
        self.url = ""
        self.attempts = 0
        self.unsent = False

    def __str__(self) -> str:
        return worded(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the class with the message alone, which a required keyword refuses; one such
        # error then breaks a whole pool of processes.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined] # not in typeshed

    @property
    def kind(self) -> str:
        """The class's name in lower case without ``Error``; JSON events carry it, so it is stable."""
        return type(self).__name__.removesuffix("Error").lower() or "fetch"


class UsageError(FetchError):
    """A mistake of the caller, found before any request."""

    exit_code = 2


class QueueFileError(UsageError):
    """A queue file, or one line of it, cannot be used; the message names file and line.

    :ivar source: ``FILE:LINE``; empty for a whole file.
    """

    def __init__(self, message: str, *, source: str = "") -> None:
        super().__init__(message)
        self.source = source


class DiskError(FetchError):
    """The file system refused: no permission, read-only, a folder of that name, an I/O error."""

    exit_code = 3


class DiskFullError(DiskError):
    """Too little space for this file, none left, or a quota is used up; smaller files may still fit."""


class LockedError(DiskError):
    """Another process holds the lock of the part; ``pid`` is its process id, None if unknown."""

    def __init__(self, message: str, *, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class ExistsError(DiskError):
    """There is a file of that name that is not this download, and the caller asked for an error."""


class StoreError(DiskError):
    """The store cannot be made, read or written; ``reason`` says why, without advice and full stop."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NetworkError(FetchError):
    """No connection, no response, or a response that broke off."""

    exit_code = 4
    _transient = True


class TimedOutError(NetworkError):
    """A timeout of the network passed."""


class TooSlowError(NetworkError):
    """The speed was below ``min_speed`` for a whole window of 30 s."""


class TLSError(FetchError):
    """The TLS handshake failed, or the certificate is not trusted."""

    exit_code = 5


class AuthenticationError(FetchError):
    """401 or 407: the server or proxy does not accept the credentials; ``status`` says which.

    :ivar body: see :class:`StatusError`.
    :ivar said: see :class:`StatusError`.
    """

    exit_code = 6

    def __init__(self, message: str, *, status: int = 401, transient: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.status = status
        self.body = self.said = ""


class ProtocolError(FetchError):
    """The response breaks HTTP, or a limit for responses."""

    exit_code = 7


class ChangedError(ProtocolError):
    """The resource is not the one whose bytes are in the part."""

    _transient = True


class TooLargeError(ProtocolError):
    """The resource is larger than ``--max-size`` or another limit of the settings."""


class StatusError(FetchError):
    """The server answered with an error status; ``status`` holds it.

    :ivar body: the first 2 KiB of what it sent with that, as text; control characters are replaced, and so is
        what the request carried in confidence.
    :ivar said: the message in there, on one line: S3's code and message, or an API's; else empty.
    """

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
        self.body = self.said = ""


class ChecksumError(FetchError):
    """The file is complete, but a digest differs from the expected one."""

    exit_code = 9


class IntegrityError(FetchError):
    """The bytes about to be stored are not those that were received, by their count: a fault in fetchq.

    They were not stored, so what is in the part is right, and the same command goes on from there.
    """


class StoppedError(FetchError):
    """The run was stopped before this job ended; part and journal are kept."""

    exit_code = 130
