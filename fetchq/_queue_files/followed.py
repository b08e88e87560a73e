"""A queue file that others append to, as ``tail -F`` reads it: on and on, and anew when it was replaced."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO

from .._errors import QueueFileError
from .lines import QueueLine, lines_of
from .unpack import is_packed

__all__ = ["FollowedFile"]

# Seconds between two looks at a file that has nothing new.
POLL = 0.5
_CHUNK = 64 << 10


class FollowedFile:
    """The whole lines of a file, also those that are still to be written.

    A file that was replaced by another of its name, as log rotation does, is read to its end, and then the new
    one from its beginning; so is one that was truncated. A FIFO may have a further writer when one has closed
    it; a pipe on standard input ends.

    :param path: ``-`` is *stdin*, which stays open.
    :param name: for messages.
    :param sleep: waits for so many seconds.
    :raises QueueFileError: the file cannot be opened, or it is compressed.
    """

    def __init__(self, path: str, name: str, stdin: BinaryIO | None, *, sleep: Callable[[float], None]) -> None:
        self._path = path
        self._named = path != "-"
        self._sleep = sleep
        self._buffer = b""
        # How much of it has no line end.
        self._searched = 0
        # No line was given since the last pause.
        self._quiet = True
        self._ended = False
        try:
            self._fd = self._open() if self._named else (stdin or sys.stdin).fileno()
            self._mode = os.fstat(self._fd).st_mode
            head = os.pread(self._fd, 16, 0) if stat.S_ISREG(self._mode) else b""
        except (OSError, ValueError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or "standard input is closed"
            raise QueueFileError(f"The queue file {name} cannot be read: {reason}.") from error
        if is_packed(head):
            raise QueueFileError(
                f"{name} is compressed: --follow reads lists as they are written, so unpack it."
            )

    def __iter__(self) -> Iterator[Iterator[QueueLine]]:
        """Yield the lines of the file, then those of each file that takes its place.

        A line without text among them says that there is no other for now.
        """
        try:
            while not self._ended:
                yield lines_of(self._readline)
                if not self._ended:
                    self._begin_anew()
        finally:
            if self._named:
                os.close(self._fd)

    def _readline(self, limit: int) -> bytes | None:
        """Return the next whole line, or *limit* bytes of it; empty at the end of this file.

        None, once, when there is none for a while.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched, limit) + 1
            if end or len(self._buffer) >= limit:
                return self._take(end or limit)
            self._searched = len(self._buffer)
            data = self._more()
            if data:
                self._buffer += data
            elif data is not None:
                return self._take(len(self._buffer))
            elif not self._quiet:
                self._quiet = True
                return None

    def _take(self, length: int) -> bytes:
        line, self._buffer, self._searched = self._buffer[:length], self._buffer[length:], 0
        self._quiet = False
        return line

    def _more(self) -> bytes | None:
        """Return the next bytes; empty at the end of this file, None if there are none for ``POLL`` seconds."""
        if not (self._named or stat.S_ISREG(self._mode)):
            return self._more_of_pipe()
        data = self._read()
        if not data:
            self._sleep(POLL)
            data = self._read()
        if data:
            return data
        if not stat.S_ISREG(self._mode):
            # Its last writer has closed it: the next one does not continue that one's line.
            return data if self._buffer else None
        if self._is_truncated():
            # The rest of this line was never written.
            self._buffer = b""
            return b""
        # Its writer may have gone on until it was replaced, and after that.
        return self._read() if self._is_replaced() else None

    def _more_of_pipe(self) -> bytes | None:
        if not select.select([self._fd], [], [], POLL)[0]:
            return None
        data = self._read()
        self._ended = not data
        return data

    def _read(self) -> bytes | None:
        """Return what is there; None for a FIFO with a writer that writes nothing."""
        try:
            return os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            self._ended = True
            raise

    def _open(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def _is_truncated(self) -> bool:
        return os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR)

    def _is_replaced(self) -> bool:
        """Whether another file has the name; not while none has it."""
        try:
            return self._named and not os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except OSError:
            return False

    def _begin_anew(self) -> None:
        """Go to the beginning of the file that now has the name."""
        if not self._is_replaced():
            os.lseek(self._fd, 0, os.SEEK_SET)
            return
        while True:
            try:
                fd = self._open()
                break
            except OSError:  # it has been taken away again, or is not readable yet
                self._sleep(POLL)
        os.close(self._fd)
        self._fd, self._mode = fd, os.fstat(fd).st_mode
