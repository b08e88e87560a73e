"""Text to a stream that may be closed at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

__all__ = ["LineWriter"]


class LineWriter:
    """Writes text to a stream until a write fails; later text is dropped.

    :param on_closed: called once when the reader has closed the pipe.
    :param on_error: called once when a write fails for another reason.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        on_closed: Callable[[], None] = lambda: None,
        on_error: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self._stream = stream
        self._on_closed = on_closed
        self._on_error = on_error
        self._open = True

    def write(self, text: str) -> None:
        """Write and flush *text*; characters that the stream's encoding lacks are escaped."""
        if not self._open or not text:
            return
        try:
            self._stream.write(self._encodable(text))
            self._stream.flush()
        except OSError as error:
            self._open = False
            if isinstance(error, BrokenPipeError):
                self._on_closed()
            else:
                self._on_error(error)

    def write_line(self, text: str) -> None:
        """Write *text* and a line end."""
        self.write(f"{text}\n")

    def _encodable(self, text: str) -> str:
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text
