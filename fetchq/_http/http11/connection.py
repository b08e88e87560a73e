"""One HTTP/1.1 connection on asyncio: a request out, its response in, every wait bounded."""

from __future__ import annotations

import asyncio
import math
import select
import socket
import ssl
import struct
from collections.abc import AsyncIterable, Callable
from typing import Any, NamedTuple, cast

import httpx

from ..._models import Buffer
from ..._retry import IDEMPOTENT
from .body import BodyReader
from .buffers import Buffers
from .parser import RequestHead, ResponseHead, head_end, parse_head
from .timer import Timer

__all__ = ["Connection", "HeadLimits", "NetworkStream", "UnsentError"]

# The connection's own buffer, for heads and small bodies: what one read of a socket usually brings.
_INLINE_BUFFER = 64 * 1024
# Short enough that a slow stream flows, long enough that a fast one fills its buffer first.
_FLUSH_SECONDS = 0.05
# One byte per read timeout must not keep a head open for ever; an honest server needs no more than two.
_HEAD_TIMEOUTS = 2
# Servers that do not know Expect never send the 100 (RFC 9110 section 10.1.1); curl waits as long.
_CONTINUE_SECONDS = 1.0
_CONTINUE, _SWITCHING_PROTOCOLS = 100, 101
_LINE_BREAKS = b"\r\n"
# Servers send one or two (100, 103); the bound only ends those that never stop.
_MAX_INTERIM = 100
# tcpi_bytes_acked in Linux's struct tcp_info (linux/tcp.h): bytes sent that the peer has acknowledged.
_BYTES_ACKED = struct.Struct("=120xQ")


class UnsentError(httpx.RemoteProtocolError):
    """The server received none of the request, or says that it has not processed it."""


class HeadLimits(NamedTuple):
    """Bounds against the server: bytes of all heads of one response, and fields of one head."""

    max_head: int
    max_headers: int


class NetworkStream:
    """What ``response.extensions["network_stream"]`` is: facts about the connection, and no way to use it."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._info: dict[str, Any] = {
            "ssl_object": transport.get_extra_info("ssl_object"),
            "socket": transport.get_extra_info("socket"),
            "client_addr": transport.get_extra_info("sockname"),
            "server_addr": transport.get_extra_info("peername"),
        }

    def get_extra_info(self, info: str) -> Any:
        """Return ``ssl_object`` (None without TLS), ``socket``, ``client_addr`` or ``server_addr``."""
        return self._info.get(info)


class _PendingError(NamedTuple):
    """Why an exchange failed.

    Not the exception itself: once raised, its traceback refers to frames that refer to the connection.
    """

    kind: type[httpx.TransportError]
    message: str
    cause: BaseException | None


class Connection(asyncio.BufferedProtocol):
    """A connection that serves one exchange after another.

    An exchange is :meth:`send_head`, :meth:`send_body` if there is one, :meth:`receive_head`,
    :meth:`receive_chunk` until None, and :meth:`end_exchange`. After an exception it must be aborted.

    :ivar untouched: no byte of the current response has been received.
    :ivar reused: an exchange has ended well on it.
    :ivar lost: done once the socket is closed.
    :ivar when_unusable: called when the idle connection can no longer be used.
    :ivar network_stream: for the response's extensions; None after the socket is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, buffers: Buffers, limits: HeadLimits) -> None:
        self._loop = loop
        self._buffers = buffers
        self._limits = limits
        self._inline = bytearray()
        self._view = memoryview(self._inline)
        self._timer = Timer(loop, self._timed_out)
        self._waiter: asyncio.Future[None] | None = None
        self._timeout_kind: type[httpx.TimeoutException] | None = None
        self._transport: asyncio.Transport | None = None
        self._tls: ssl.SSLObject | None = None
        self._poll = select.poll()
        self._closed = self._reading_paused = self._writing_paused = False
        self._failure: _PendingError | None = None
        self.reused = False
        self.lost: asyncio.Future[None] = loop.create_future()
        self.when_unusable: Callable[[Connection], None] | None = None
        self.network_stream: NetworkStream | None = None
        self._reset()

    def _reset(self) -> None:
        """Return to the state between two exchanges."""
        self._request: RequestHead | None = None
        self._head: ResponseHead | None = None
        self._body: BodyReader | None = None
        self._continued = False
        self._acked: int | None = None  # bytes acknowledged before the request, where that will count
        self._fill = self._searched = 0  # bytes of the head received, and of those searched for its end
        self._interim_bytes = self._interims = 0
        self._read_timeout = self._head_deadline = math.inf
        self._first_at = 0.0  # loop time when the body's buffer got its first byte
        self._timer.set(math.inf)
        self.untouched = True

    # The exchange, in the order of its steps.

    def send_head(self, request: RequestHead, *, buffer_size: int) -> None:
        """Write the request's head.

        :param buffer_size: bytes of the buffers that the response's body is to be received in.
        """
        self._request = request
        self._buffer_size = buffer_size
        self._keep = request.keep_alive
        if self.reused and request.method.decode("ascii") not in IDEMPOTENT:
            self._acked = self._bytes_acked()
        self._write(request.data)

    async def send_body(self, stream: AsyncIterable[bytes], timeout: float) -> None:
        """Write the request's body; a response that comes before its end ends the writing.

        :param timeout: seconds for each wait until the peer takes more.
        """
        request = cast("RequestHead", self._request)
        if request.expects_continue:
            await self._wait_for_continue()
        sent = 0
        if not self._is_answered():
            async for part in stream:
                sent += len(part)
                if sent > request.length and not request.chunked:
                    raise httpx.LocalProtocolError("the request's body is longer than its Content-Length")
                if part:
                    self._write(b"%x\r\n%b\r\n" % (len(part), part) if request.chunked else part)
                while self._writing_paused and not self._is_answered():
                    await self._wait(self._loop.time() + timeout, httpx.WriteTimeout)
                if self._is_answered():
                    break
        if self._is_answered():
            self._keep = False  # the server may still wait for the rest of the body
        elif request.chunked:
            self._write(b"0\r\n\r\n")
        elif sent != request.length:
            raise httpx.LocalProtocolError("the request's body is shorter than its Content-Length")

    def _is_answered(self) -> bool:
        return self._head is not None or self._failure is not None

    async def _wait_for_continue(self) -> None:
        until = self._loop.time() + _CONTINUE_SECONDS
        while not (self._continued or self._is_answered()) and self._loop.time() < until:
            await self._wait(until, None)

    async def receive_head(self, timeout: float) -> ResponseHead:
        """Wait for the final response's head.

        :param timeout: seconds without a byte; all heads together may take twice as long.
        """
        now = self._loop.time()
        self._read_timeout, self._head_deadline = timeout, now + timeout * _HEAD_TIMEOUTS
        while self._head is None:
            self._raise_failure()
            await self._wait(now + timeout, httpx.ReadTimeout)
        return self._head

    @property
    def body(self) -> BodyReader:
        """The body of the response whose head has been received."""
        return cast("BodyReader", self._body)

    async def receive_chunk(self) -> Buffer | None:
        """Wait for the body's next chunk; None after its last."""
        body = self.body
        while not body.ready:
            if body.complete:
                return None
            self._raise_failure()
            now = self._loop.time()
            until = self._first_at + _FLUSH_SECONDS if body.pending else now + self._read_timeout
            if until <= now:
                body.flush()
            else:
                await self._wait(until, httpx.ReadTimeout)
        chunk = body.ready.popleft()
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        return chunk

    def end_exchange(self) -> bool:
        """Return to rest; return whether the connection may serve another exchange."""
        head, body = self._head, self._body
        whole = body is not None and body.complete and not body.surplus
        self.reused = whole and self._keep and head is not None and head.keep_alive and not self._closed
        self._reset()
        return self.reused

    def is_usable(self) -> bool:
        """Whether the idle connection is open and its socket holds nothing to read."""
        return not self._closed and not self._poll.poll(0)

    def abort(self) -> None:
        """Close at once; safe at any time."""
        self._closed = True
        self._timer.set(math.inf)
        if self._transport is not None:
            self._transport.abort()

    def fail(self, kind: type[httpx.TransportError], message: str, cause: BaseException | None = None) -> None:
        """Close, and raise *kind* from the step of the exchange that is under way or comes next."""
        if self._failure is None:
            self._failure = _PendingError(kind, message, cause)
        self.abort()
        self._wake()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            kind, message, cause = self._failure
            raise kind(message) from cause

    # Waiting.

    async def _wait(self, until: float, timeout_kind: type[httpx.TimeoutException] | None) -> None:
        """Wait for a wake-up, at most until loop time *until*: then the exchange fails with *timeout_kind*."""
        self._timeout_kind = timeout_kind
        self._waiter = self._loop.create_future()
        self._timer.set(until)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _timed_out(self) -> None:
        if self._waiter is None or self._waiter.done():
            return
        kind, body = self._timeout_kind, self._body
        if kind is None:
            self._wake()
        elif kind is httpx.WriteTimeout:
            self.fail(kind, "the server did not take the request within the time allowed")
        elif body is not None and body.pending:
            body.flush()
            self._wake()
        else:
            what = "nothing" if self.untouched or body is not None else "only a part of its answer's head"
            self.fail(kind, f"the server sent {what} within the time allowed")

    # Called by asyncio: the socket is connected, can be written, or has brought bytes.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, plain or TLS."""
        # Not before: asyncio's failed TLS handshakes are cycles that refer to this object. One byte more than a
        # head may have, so that a head that is too large shows.
        self._inline = bytearray(max(_INLINE_BUFFER, self._limits.max_head + 1))
        self._view = memoryview(self._inline)
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object")
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.network_stream = NetworkStream(transport)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def pause_writing(self) -> None:
        """Hold back the request's body."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Go on with the request's body."""
        self._writing_paused = False
        self._wake()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Return where the next bytes go: straight into the body's buffer once its head is known."""
        body = self._body
        if body is None or body.complete:
            return self._view[self._fill :]
        return body.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Account for *nbytes* that were read into the buffer."""
        try:
            if self._request is None or (self._body is not None and self._body.complete):
                self._unasked()
            elif self._body is None:
                self.untouched = False
                self._fill += nbytes
                self._read_head(self._request)
            else:
                self._read_body(self._body, nbytes)
        except httpx.RemoteProtocolError as error:
            self.fail(type(error), str(error))

    def _unasked(self) -> None:
        """Bytes that answer no request: whatever follows could be taken for the next request's response."""
        self._keep = False
        if self.when_unusable is not None:
            self.when_unusable(self)
        elif self._request is None:
            self.fail(httpx.RemoteProtocolError, "the server sent bytes before it was asked for any")

    def _read_head(self, request: RequestHead) -> None:
        while self._head is None:
            if self._inline[0] in _LINE_BREAKS:
                self._skip_line_breaks()
            end = head_end(self._inline, self._searched, self._fill)
            if self._interim_bytes + (end or self._fill) > self._limits.max_head:
                raise httpx.RemoteProtocolError(f"the response head exceeds {self._limits.max_head} bytes")
            if not end:
                self._await_rest_of_head()
                return
            head = parse_head(
                bytes(self._view[:end]), method=request.method, max_headers=self._limits.max_headers
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
        if self._waiter is not None and self._timeout_kind is httpx.ReadTimeout:
            self._timer.set(min(self._loop.time() + self._read_timeout, self._head_deadline))

    def _skip_line_breaks(self) -> None:
        """Drop empty lines before the status line, as RFC 9112 section 2.2 asks of a server."""
        rest = bytes(self._view[: self._fill]).lstrip(b"\r\n")
        self._interim_bytes += self._fill - len(rest)
        self._drop(self._fill - len(rest))

    def _drop(self, count: int) -> None:
        """Drop the first *count* bytes received."""
        rest = self._fill - count
        self._view[:rest] = self._view[count : self._fill]
        # What is at the front is looked at before the next byte has come.
        self._inline[rest] = 0
        self._fill, self._searched = rest, 0

    def _skip_interim(self, head: ResponseHead, end: int) -> None:
        # After a 101 the bytes are another protocol's, which nothing here reads (RFC 9110 section 7.8).
        if head.status == _SWITCHING_PROTOCOLS:
            raise httpx.RemoteProtocolError("the server switched protocols, which this transport does not")
        self._interims += 1
        self._interim_bytes += end
        if self._interims > _MAX_INTERIM:
            raise httpx.RemoteProtocolError(f"the server sent over {_MAX_INTERIM} interim answers")
        self._drop(end)
        if head.status == _CONTINUE:
            self._continued = True
            if self._timeout_kind is None:
                self._wake()

    def _begin_body(self, head: ResponseHead, end: int) -> None:
        self._body = BodyReader(
            head,
            self._view,
            end,
            self._fill,
            buffers=self._buffers,
            size=self._buffer_size,
            max_trailer=self._limits.max_head,
        )
        self._head = head
        self._fill = 0
        self._first_at = self._loop.time()
        self._wake()

    def _read_body(self, body: BodyReader, nbytes: int) -> None:
        fresh = not body.pending
        body.received(nbytes)
        if body.ready or body.complete:
            self._wake()
            if body.crowded and not body.complete and self._transport is not None:
                self._reading_paused = True
                self._transport.pause_reading()
        elif fresh and body.pending:
            # Framing alone is no progress, so it moves no deadline.
            self._first_at = self._loop.time()
            if self._waiter is not None:
                self._timer.set(self._first_at + _FLUSH_SECONDS)

    # Called by asyncio: the peer has closed, or the connection broke.

    def eof_received(self) -> None:
        """Take note that the peer has ended its side."""
        self._end(None, clean=self._tls is None or self._drain(self._tls))
        self.abort()

    def _drain(self, tls: ssl.SSLObject) -> bool:
        """Read what asyncio leaves in the TLS layer when the peer closes; return whether a close_notify came.

        asyncio.sslproto reads one buffer's worth and then shuts down, whatever else has been received.
        """
        try:
            while self._failure is None:
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
        """Drop all that refers back to this object, so that its buffer is freed with the socket."""
        self._end(exc, clean=False)
        self._timer.close()
        self._transport = self._tls = self.network_stream = None
        if not self.lost.done():
            self.lost.set_result(None)

    def _end(self, exc: Exception | None, *, clean: bool) -> None:
        self._closed = True
        if self.when_unusable is not None:
            self.when_unusable(self)
        elif self._body is not None and self._body.end(clean=clean):
            self._wake()
        elif self._is_unsent(exc):
            self.fail(UnsentError, "the server closed the connection before it received the request", exc)
        elif exc is not None and self._writing_paused:
            self.fail(httpx.WriteError, f"the connection broke while the request was sent: {exc}", exc)
        elif exc is not None:
            self.fail(httpx.ReadError, f"the connection broke while the answer was read: {exc}", exc)
        elif self.untouched:
            message = "the server closed the connection without sending an answer"
            self.fail(httpx.RemoteProtocolError, message)
        else:
            what = "head" if self._body is None else "body"
            self.fail(httpx.RemoteProtocolError, f"the server closed the connection before the {what}'s end")

    def _is_unsent(self, exc: Exception | None) -> bool:
        """Whether the peer closed before it had received any of the request.

        Its FIN acknowledges all that had come until then, and a server that has closed its side must act on
        nothing that comes later (RFC 9112 section 9.6).
        """
        # EPIPE is how Linux reports the reset that answers a write behind the peer's FIN.
        ended = exc is None or isinstance(exc, BrokenPipeError)
        return ended and self.untouched and self._acked is not None and self._acked == self._bytes_acked()

    def _bytes_acked(self) -> int | None:
        """Return how many bytes the peer's system has acknowledged; None where that cannot be known."""
        sock: Any = None if self.network_stream is None else self.network_stream.get_extra_info("socket")
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
            return int(_BYTES_ACKED.unpack(info)[0])
        except (AttributeError, OSError, struct.error):  # another system, an older one, or a closed socket
            return None
