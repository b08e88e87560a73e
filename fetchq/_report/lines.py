"""Where text goes, for as long as somebody takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

__all__ = ["LineWriter"]


class LineWriter:
    """A stream that can go away: the first failed write is the last one.

    :param gone: called once when the reader at the other end has left.
    :param lost: called once when the stream cannot be written for another reason.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        gone: Callable[[], None] = lambda: None,
        lost: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self.stream = stream
        self._gone = gone
        self._lost = lost
        self._open = True

    def write(self, text: str) -> None:
        """Write *text* at once, in whatever characters the stream can show."""
        if not self._open or not text:
            return
        try:
            self.stream.write(self._encodable(text))
            self.stream.flush()
        except OSError as error:
            self._open = False
            if isinstance(error, BrokenPipeError):
                self._gone()
            else:
                self._lost(error)

    def say(self, text: str) -> None:
        """Write one line."""
        self.write(f"{text}\n")

    def _encodable(self, text: str) -> str:
        encoding = self.stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text
