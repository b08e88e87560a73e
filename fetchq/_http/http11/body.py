"""One response body: received bytes are framed, gathered into buffers, and become chunks."""

from __future__ import annotations

from collections import deque

from ..._models import Buffer
from .buffers import Buffers
from .parser import ChunkedDecoder, ResponseHead

__all__ = ["BodyReader"]

_EMPTY = memoryview(b"")
# Chunks that wait while their consumer is busy with another: one ready, one to cover the time of its wake-up.
_MOST_READY = 2


class BodyReader:
    """Reads one body: the socket is read into :meth:`room`, and :meth:`received` is told how much came.

    :param inline: the connection's own buffer; ``inline[start:stop]`` came together with the head.
    :param size: bytes of the buffers to fill after that.
    :param max_trailer: most bytes of a chunked body's trailer section.
    :ivar ready: chunks for the consumer.
    :ivar complete: the body's last byte has been received.
    :ivar surplus: bytes came after the body.
    """

    __slots__ = (
        "_buffers",
        "_decoder",
        "_fill",
        "_full",
        "_inline",
        "_left",
        "_limit",
        "_size",
        "_start",
        "_view",
        "complete",
        "ready",
        "surplus",
    )

    def __init__(
        self,
        head: ResponseHead,
        inline: memoryview,
        start: int,
        stop: int,
        *,
        buffers: Buffers,
        size: int,
        max_trailer: int,
    ) -> None:
        self._buffers = buffers
        self._size = size
        self._decoder = ChunkedDecoder(max_trailer) if head.chunked else None
        self._left = head.length  # bytes still to come; None when only the peer knows
        self._inline = self._view = inline
        self._start = self._fill = start
        self.ready: deque[Buffer] = deque()
        self.complete = self.surplus = False
        early = stop - start
        if head.length is not None and head.length <= early:
            self._whole(head.length, early)
        else:
            self._set_bounds()
            if early:
                self.received(early)

    def _whole(self, length: int, early: int) -> None:
        """Take a body that came with its head; nothing else is needed for it."""
        if length:
            self.ready.append(bytes(self._inline[self._start : self._start + length]))
        self.complete, self.surplus = True, early > length

    @property
    def pending(self) -> bool:
        """Whether bytes were received that are not in a ready chunk yet."""
        return self._fill > self._start

    @property
    def crowded(self) -> bool:
        """Whether reading must pause until the consumer takes a chunk."""
        return len(self.ready) >= _MOST_READY

    def room(self) -> memoryview:
        """Return the memory for the next bytes; it ends one byte past the body, so that a surplus shows."""
        if self._fill >= self._full:
            self._next_buffer()
        return self._view[self._fill : self._limit]

    def _next_buffer(self) -> None:
        if self._fill - self._start >= self._size:
            self.flush()
        held = self._view[self._start : self._fill]
        count = len(held)
        self._view = self._buffers.take(
            self._size if self._left is None else min(self._size, count + self._left)
        )
        self._view[:count] = held
        self._start, self._fill = 0, count
        self._set_bounds()

    def _set_bounds(self) -> None:
        """Set where the current buffer is full, and how far the socket may write into it."""
        capacity = len(self._view) - 1
        if self._left is None:
            self._full = self._limit = capacity
        elif self._fill + self._left <= capacity:
            self._full = self._fill + self._left
            self._limit = self._full + 1
        else:
            # A body that does not fit beside its head goes on in a large buffer at once.
            self._full = self._limit = 0 if self._view is self._inline else capacity

    def received(self, count: int) -> None:
        """Account for *count* bytes that were written into :meth:`room`.

        :raises httpx.RemoteProtocolError: they are not the chunked coding that the head promised.
        """
        if self._decoder is not None:
            self._fill = self._decoder.decode(self._view, self._fill, self._fill + count)
            self.complete = self._decoder.done
            self.surplus = self._decoder.done and self._decoder.surplus > 0
        elif self._left is not None:
            self.surplus = count > self._left
            count = min(count, self._left)
            self._fill += count
            self._left -= count
            self.complete = not self._left
        else:
            self._fill += count
        if self.complete or (self._fill >= self._full and self._view is not self._inline):
            self.flush()

    def flush(self) -> None:
        """Make a chunk of what was received: the buffer itself, or a copy where the copy costs less."""
        view, start, fill = self._view, self._start, self._fill
        if fill == start:
            return
        if view is self._inline or (fill - start) * 4 <= self._full:
            self.ready.append(bytes(view[start:fill]))
            self._fill = start
            self._set_bounds()
        else:
            self.ready.append(view[start:fill])
            self._view = _EMPTY
            self._start = self._fill = self._full = 0

    def end(self, *, clean: bool) -> bool:
        """Take note that the peer closed; return whether the body is complete now.

        :param clean: the peer ended the stream itself, by a FIN or over TLS by a close_notify.
        """
        self.flush()
        self.complete = self.complete or (clean and self._left is None and self._decoder is None)
        return self.complete
