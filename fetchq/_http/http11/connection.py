"""One HTTP/1.1 connection as asyncio sees it: requests out, heads and bodies in, every wait bounded."""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import NamedTuple, cast

import httpx

from ..._models import Buffer
from .buffers import OWN, BodyReader, Buffers
from .parser import RequestHead, ResponseHead, head_end, parse_head
from .timer import Timer

__all__ = ["Connection", "HeadLimits"]

# Short enough that a slow stream flows, long enough that a fast one fills its buffer first.
_FLUSH_AFTER = 0.05
# A drip of one byte per read timeout must not keep a head open for ever; two is what an honest one needs.
_HEAD_TIMEOUTS = 2
_SWITCHING_PROTOCOLS = 101
# Servers send one or two (100, 103); the bound only ends those that never stop.
_MAX_INTERIM = 100


class HeadLimits(NamedTuple):
    """Bounds against the server: bytes of all heads of one answer, and fields of one head."""

    max_head: int
    max_headers: int


class Connection(asyncio.BufferedProtocol):
    """A connection for one exchange after another: ``send``, ``head``, ``chunk`` until None, ``finish``.

    ``untouched`` tells that not one byte of the current answer has come; ``lost`` is done once the socket is
    closed; ``when_unfit`` is called when an idle connection can no longer be used.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, buffers: Buffers, limits: HeadLimits) -> None:
        self._loop = loop
        self._buffers = buffers
        self._limits = limits
        # One byte more than a head may have, so that a head that is too large shows.
        self._own = bytearray(max(OWN, limits.max_head + 1))
        self._view = memoryview(self._own)
        self._alarm = Timer(loop, self._ring)
        self._waiter: asyncio.Future[None] | None = None
        self._late: type[httpx.TimeoutException] = httpx.ReadTimeout
        self._transport: asyncio.Transport | None = None
        self._tls: ssl.SSLObject | None = None
        self._poll = select.poll()
        self._closed = self._paused = self._blocked = False
        self._error: httpx.TransportError | None = None
        self.lost: asyncio.Future[None] = loop.create_future()
        self.when_unfit: Callable[[Connection], None] | None = None
        self._rest()

    def _rest(self) -> None:
        """Be as between two exchanges."""
        self._busy = False
        self._head: ResponseHead | None = None
        self._intake: BodyReader | None = None
        self._fill = self._searched = 0  # bytes in the own buffer while a head is awaited, and those looked at
        self._interim_bytes = self._interims = 0
        self._read_timeout = self._head_until = math.inf
        self._first_at = 0.0  # loop time when the buffer got its first byte
        self._alarm.set(math.inf)
        self.untouched = True

    # The exchange, in the order of its steps.

    async def send(
        self, request: RequestHead, body: AsyncIterable[bytes] | None, *, size: int, timeout: float
    ) -> None:
        """Write the request; an answer that comes before all of it is written ends the writing.

        :param size: bytes of the buffers that the answer's body is to be received in.
        :param timeout: seconds for each wait until the peer takes more.
        """
        self._busy, self._method, self._size = True, request.method, size
        self._keep = request.keep_alive
        self._write(request.data)
        if request.chunked or request.length:
            await self._send_body(request, body, timeout)

    async def _send_body(self, request: RequestHead, body: AsyncIterable[bytes] | None, timeout: float) -> None:
        sent = 0
        async for part in _nothing() if body is None else body:
            sent += len(part)
            if sent > request.length and not request.chunked:
                raise httpx.LocalProtocolError("the request's body is longer than its Content-Length")
            if part:
                self._write(b"%x\r\n%b\r\n" % (len(part), part) if request.chunked else part)
            while self._blocked and self._head is None and self._error is None:
                await self._wait(self._loop.time() + timeout, httpx.WriteTimeout)
            if self._head is not None or self._error is not None:
                self._keep = False
                return
        if request.chunked:
            self._write(b"0\r\n\r\n")
        elif sent != request.length:
            raise httpx.LocalProtocolError("the request's body is shorter than its Content-Length")

    async def head(self, timeout: float) -> tuple[ResponseHead, BodyReader]:
        """Wait for the final answer's head.

        :param timeout: seconds without a byte; all heads together may take twice as long.
        """
        now = self._loop.time()
        self._read_timeout, self._head_until = timeout, now + timeout * _HEAD_TIMEOUTS
        while self._head is None or self._intake is None:
            if self._error is not None:
                raise self._error
            await self._wait(now + timeout, httpx.ReadTimeout)
        return self._head, self._intake

    async def chunk(self) -> Buffer | None:
        """Wait for the body's next chunk; None after its last."""
        intake = cast("BodyReader", self._intake)
        while not intake.ready:
            if intake.complete:
                return None
            if self._error is not None:
                raise self._error
            now = self._loop.time()
            until = self._first_at + _FLUSH_AFTER if intake.pending else now + self._read_timeout
            if until <= now:
                intake.flush()
            else:
                await self._wait(until, httpx.ReadTimeout)
        chunk = intake.ready.popleft()
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    def finish(self) -> bool:
        """End the exchange; say whether the connection may serve another."""
        head, intake = self._head, self._intake
        whole = intake is not None and intake.complete and not intake.surplus
        fit = whole and self._keep and head is not None and head.keep_alive and not self._closed
        self._rest()
        return fit

    def is_fit(self) -> bool:
        """Tell whether the idle connection is open, with nothing unasked for in its socket."""
        return not self._closed and not self._poll.poll(0)

    def abort(self) -> None:
        """Close at once; safe at any time."""
        self._closed = True
        self._alarm.stop()
        if self._transport is not None:
            self._transport.abort()

    # Waiting.

    async def _wait(self, until: float, late: type[httpx.TimeoutException]) -> None:
        self._late = late
        self._waiter = self._loop.create_future()
        self._alarm.set(until)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _ring(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        if self._late is httpx.ReadTimeout and self._intake is not None and self._intake.pending:
            self._intake.flush()
            self._wake()
        elif self._late is httpx.ReadTimeout:
            what = (
                "nothing" if self.untouched or self._intake is not None else "only a part of its answer's head"
            )
            self._fail(httpx.ReadTimeout(f"the server sent {what} within the time allowed"))
        else:
            self._fail(self._late("the server did not take the request within the time allowed"))

    def _fail(self, error: httpx.TransportError, cause: BaseException | None = None) -> None:
        if self._error is None:
            error.__cause__ = cause
            self._error = error
        self.abort()
        self._wake()

    # What asyncio calls: the socket can be written, or has brought bytes.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, plain or TLS."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object")
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause_writing(self) -> None:
        """Hold back the request's body."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Go on with the request's body."""
        self._blocked = False
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Say where the next bytes go: straight into the body's buffer once its head is known."""
        intake = self._intake
        if intake is None or intake.complete:
            return self._view[self._fill :]
        return intake.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that have come."""
        try:
            if not self._busy or (self._intake is not None and self._intake.complete):
                self._unasked()
            elif self._intake is None:
                self.untouched = False
                self._fill += nbytes
                self._read_head()
            else:
                self._read_body(self._intake, nbytes)
        except httpx.RemoteProtocolError as error:
            self._fail(error)

    def _unasked(self) -> None:
        """Bytes that no request asked for: what comes next could be taken for its answer."""
        self._keep = False
        if self.when_unfit is not None:
            self.when_unfit(self)
        elif not self._busy:
            self._fail(httpx.RemoteProtocolError("the server sent bytes before it was asked for any"))

    def _read_head(self) -> None:
        while self._head is None:
            end = head_end(self._own, self._searched, self._fill)
            if self._interim_bytes + (end or self._fill) > self._limits.max_head:
                raise httpx.RemoteProtocolError(f"the response head exceeds {self._limits.max_head} bytes")
            if not end:
                self._await_rest_of_head()
                return
            head = parse_head(
                bytes(self._view[:end]), method=self._method, max_headers=self._limits.max_headers
            )
            if head.status < 200:
                self._skip_interim(head, end)
            else:
                self._begin_body(head, end)

    def _await_rest_of_head(self) -> None:
        start = bytes(self._view[: min(5, self._fill)])
        if not b"HTTP/".startswith(start):
            raise httpx.RemoteProtocolError(f"the answer is not HTTP/1.1: it begins with {start!r}")
        self._searched = self._fill
        if self._waiter is not None and self._late is httpx.ReadTimeout:
            self._alarm.set(min(self._loop.time() + self._read_timeout, self._head_until))

    def _skip_interim(self, head: ResponseHead, end: int) -> None:
        # We never ask for an upgrade, so a switch of protocols answers nobody (RFC 9110 section 7.8).
        if head.status == _SWITCHING_PROTOCOLS:
            raise httpx.RemoteProtocolError("the server switched protocols unasked")
        self._interims += 1
        self._interim_bytes += end
        if self._interims > _MAX_INTERIM:
            raise httpx.RemoteProtocolError(f"the server sent over {_MAX_INTERIM} interim answers")
        rest = self._fill - end
        self._view[:rest] = self._view[end : self._fill]
        self._fill, self._searched = rest, 0

    def _begin_body(self, head: ResponseHead, end: int) -> None:
        self._intake = BodyReader(
            head,
            self._view,
            end,
            self._fill,
            buffers=self._buffers,
            size=self._size,
            max_trailer=self._limits.max_head,
        )
        self._head = head
        self._fill = 0
        self._first_at = self._loop.time()
        self._wake()

    def _read_body(self, intake: BodyReader, nbytes: int) -> None:
        fresh = not intake.pending
        intake.received(nbytes)
        if intake.ready or intake.complete:
            self._wake()
            if intake.crowded and not intake.complete and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()
        elif fresh and intake.pending:
            # Framing alone is no progress, so it moves no deadline.
            self._first_at = self._loop.time()
            if self._waiter is not None:
                self._alarm.set(self._first_at + _FLUSH_AFTER)

    # What asyncio calls: the peer has closed, or the connection broke.

    def eof_received(self) -> None:
        """Take note of the peer's end of sending."""
        self._end(None, told=self._tls is None or self._drain(self._tls))
        self.abort()

    def _drain(self, tls: ssl.SSLObject) -> bool:
        """Read what asyncio leaves in the TLS layer when the peer closes; tell whether a close_notify came.

        asyncio.sslproto reads one buffer's worth and then shuts down, whatever else has been received.
        """
        try:
            while self._error is None:
                room = self.get_buffer(-1)
                count = cast("int", tls.read(len(room), room))
                if not count:
                    return True
                self.buffer_updated(count)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLError:
            return False
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the socket is closed."""
        self._end(exc, told=False)
        self._closed = True
        self._alarm.stop()
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def _end(self, exc: Exception | None, *, told: bool) -> None:
        self._closed = True
        if self.when_unfit is not None:
            self.when_unfit(self)
            return
        if self._intake is not None and self._intake.end(told=told):
            self._wake()
        elif exc is not None and self._blocked:
            self._fail(httpx.WriteError(f"the connection broke while the request was sent: {exc}"), exc)
        elif exc is not None:
            self._fail(httpx.ReadError(f"the connection broke while the answer was read: {exc}"), exc)
        elif self.untouched:
            self._fail(httpx.RemoteProtocolError("the server closed the connection without sending an answer"))
        else:
            what = "head" if self._intake is None else "body"
            self._fail(httpx.RemoteProtocolError(f"the server closed the connection before the {what}'s end"))


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for part in nothing:
        yield part
