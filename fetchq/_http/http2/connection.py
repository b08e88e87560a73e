"""One HTTP/2 connection: frames to and from the h2 library, flow control, and the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import httpx

from ..http11.connection import HeadLimits, NetworkStream
from ..http11.parser import Fields
from ..http11.timer import Timer
from .stream import Http2Stream

__all__ = ["Http2Connection"]

# Bytes that a server may send on a stream before they are read: the most memory that a response takes. On a
# path of 100 ms it allows 10 MB/s for each file.
_STREAM_WINDOW = 1 << 20
# Never the limit: it is opened again as soon as bytes arrive, whether or not they are read, so that a body
# which is read slowly, or given up, does not hold up the others.
_CONNECTION_WINDOW = 1 << 24
_INITIAL_WINDOW = 65_535  # RFC 9113 section 6.9.2
_FRAME_HEADER = 9
# What asyncio may hold for a server that asks and does not read: answers to its PING and SETTINGS frames.
_MOST_UNSENT = 1 << 20


class Http2Connection(asyncio.Protocol):
    """A connection that serves any number of requests at once.

    :param expiry: seconds without a request after which it is closed.
    :param when_closing: called once, when it takes no more requests.
    :ivar used: a request has been sent on it.
    :ivar lost: done once the socket is closed.
    """

    def __init__(
        self, limits: HeadLimits, expiry: float, when_closing: Callable[[Http2Connection], None]
    ) -> None:
        self._limits = limits
        self._expiry = expiry
        self._when_closing = when_closing
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(self._loop, self._close)
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self._handlers: dict[type, Callable[[Any], None]] = {
            h2.events.ResponseReceived: self._response,
            h2.events.DataReceived: self._data,
            h2.events.StreamEnded: self._ended,
            h2.events.StreamReset: self._reset,
            h2.events.ConnectionTerminated: self._terminated,
            h2.events.RemoteSettingsChanged: self._settings,
            h2.events.WindowUpdated: self._window,
        }
        self._transport: asyncio.Transport | None = None
        self._frames = bytearray()
        self._streams: dict[int, Http2Stream] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._unacknowledged = 0
        self._paused = False
        self._closing = False
        self.network_stream: NetworkStream | None = None
        self.used = False
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # Requests.

    async def reserve(self, timeout: float | None) -> bool:
        """Wait until the server accepts one more stream; return whether the connection can still be used.

        :param timeout: seconds.
        :raises httpx.PoolTimeout: it took longer.
        """
        while not self._closing and len(self._streams) >= self._h2.remote_settings.max_concurrent_streams:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout(timeout):
                    await waiter
            except TimeoutError as error:
                raise httpx.PoolTimeout("no stream became free within the time allowed") from error
        return not self._closing

    def send_head(self, head: Fields, *, end: bool, read_timeout: float | None) -> Http2Stream:
        """Send a request's head; return its stream.

        :param end: the request has no body.
        """
        self.used = True
        self._timer.set(float("inf"))
        number = self._h2.get_next_available_stream_id()
        self._h2.send_headers(number, head, end_stream=end)
        stream = self._streams[number] = Http2Stream(self, number, read_timeout)
        self._flush()
        return stream

    async def send_body(self, stream: Http2Stream, body: AsyncIterable[bytes], timeout: float | None) -> None:
        """Send a request's body; a response that comes before its end ends the sending.

        :param timeout: seconds for each wait until the server takes more.
        """
        async for part in body:
            left = memoryview(part)
            while left and not stream.answered:
                room = 0 if self._paused else self._h2.local_flow_control_window(stream.number)
                if not room:
                    await stream.wait(timeout, httpx.WriteTimeout)
                    continue
                size = min(room, self._h2.max_outbound_frame_size)
                self._h2.send_data(stream.number, bytes(left[:size]))
                left = left[size:]
                self._flush()
        if not stream.answered:
            self._h2.end_stream(stream.number)
            self._flush()

    def open_window(self, stream: Http2Stream, size: int) -> None:
        """Let the server send *size* more bytes on *stream*."""
        if size and stream.number in self._streams:
            self._h2.increment_flow_control_window(size, stream.number)
            self._flush()

    def leave(self, stream: Http2Stream) -> None:
        """Reset *stream* unless it has ended, and forget it."""
        if self._streams.pop(stream.number, None) is None:
            return
        if not stream.ended and self._transport is not None:
            self._try(lambda: self._h2.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL))
            self._flush()
        self._left()

    def _left(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break
        if not self._streams:
            if self._closing:
                self._close()
            else:
                self._timer.set(self._loop.time() + self._expiry)

    # The end.

    def abort(self) -> None:
        """Close at once; every request on it fails."""
        self._fail_all(lambda: httpx.ReadError("the connection was closed during the exchange"))
        self._close()

    def _close(self) -> None:
        self._take_no_more()
        self._timer.close()
        if self._transport is not None:
            self._try(self._h2.close_connection)
            self._flush()
            # Not close(), which waits for a peer that may be dead to answer TLS's close_notify.
            if self._transport is not None:
                self._transport.abort()

    def _take_no_more(self) -> None:
        if not self._closing:
            self._closing = True
            self._when_closing(self)
            while self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)

    def _fail_all(self, failure: Callable[[], httpx.TransportError]) -> None:
        for stream in self._streams.values():
            stream.fail(failure)

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport, and send the connection preface."""
        self._transport = cast("asyncio.Transport", transport)
        self.network_stream = NetworkStream(transport)
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                codes.ENABLE_PUSH: 0,
                codes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
                codes.MAX_HEADER_LIST_SIZE: self._limits.max_head,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - _INITIAL_WINDOW)
        self._timer.set(self._loop.time() + self._expiry)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand h2 one frame at a time."""
        # In one piece, a GOAWAY would close h2's state and take the frames behind it with it.
        self._frames += data
        try:
            while (size := self._frame_size()) <= len(self._frames):
                frame = bytes(self._frames[:size])
                del self._frames[:size]
                for event in self._h2.receive_data(frame):
                    self._received(event)
        except h2.exceptions.DenialOfServiceError:
            most = self._limits.max_head
            self._broken(lambda: httpx.RemoteProtocolError(f"the response head exceeds {most} bytes"))
        except h2.exceptions.InvalidBodyLengthError as error:
            # RFC 9113 section 8.1.1; a body that is too short broke off, as one of HTTP/1.1 does.
            short = error.actual_length < error.expected_length
            words = (
                "the server closed the stream early" if short else "the body is longer than it was announced"
            )
            self._broken(lambda: httpx.RemoteProtocolError(words))
        except (h2.exceptions.ProtocolError, httpx.RemoteProtocolError) as error:
            words = str(error)
            self._broken(lambda: httpx.RemoteProtocolError(f"the answer is not proper HTTP/2: {words}"))
        else:
            if self._unacknowledged >= _CONNECTION_WINDOW // 4:
                self._h2.increment_flow_control_window(self._unacknowledged)
                self._unacknowledged = 0
            self._flush()

    def _frame_size(self) -> int:
        """Return the bytes of the next frame; of its header as long as that is not there."""
        if len(self._frames) < _FRAME_HEADER:
            return _FRAME_HEADER
        length = int.from_bytes(self._frames[:3])
        if length > self._h2.max_inbound_frame_size:
            raise httpx.RemoteProtocolError("a frame is larger than allowed")
        return _FRAME_HEADER + length

    def _broken(self, failure: Callable[[], httpx.TransportError]) -> None:
        self._fail_all(failure)
        self._close()

    def pause_writing(self) -> None:
        """Hold back request bodies."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with request bodies."""
        self._paused = False
        self._wake_all()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every stream that has not ended."""
        self._take_no_more()
        self._timer.close()
        self._transport = self.network_stream = None
        if exc is None:
            self._fail_all(
                lambda: httpx.RemoteProtocolError("the server closed the connection before the answer's end")
            )
        else:
            words = str(exc)
            self._fail_all(lambda: httpx.ReadError(f"the connection broke while the answer was read: {words}"))
        if not self.lost.done():
            self.lost.set_result(None)

    # What h2 understood.

    def _received(self, event: h2.events.Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _response(self, event: h2.events.ResponseReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if len(event.headers) > self._limits.max_headers:
            stream.fail(lambda: httpx.RemoteProtocolError("the response head has too many fields"))
        else:
            stream.receive_head(event.headers)

    def _data(self, event: h2.events.DataReceived) -> None:
        size = event.flow_controlled_length
        self._unacknowledged += size
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.receive_data(event.data, size)

    def _ended(self, event: h2.events.StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.end()

    def _reset(self, event: h2.events.StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            code = event.error_code
            stream.refused = code == h2.errors.ErrorCodes.REFUSED_STREAM
            stream.fail(lambda: httpx.RemoteProtocolError(f"the server reset the stream, error {code!s}"))

    def _terminated(self, event: h2.events.ConnectionTerminated) -> None:
        """GOAWAY (RFC 9113 section 6.8): streams up to the last that was named still get their answers."""
        # h2 takes it for the end at once.
        self._h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        self._take_no_more()
        last, code = event.last_stream_id or 0, event.error_code
        for stream in self._streams.values():
            if stream.number > last:
                stream.refused = True
                stream.fail(
                    lambda: httpx.RemoteProtocolError(f"the server closed the connection, error {code!s}")
                )
        if not self._streams:
            self._close()

    def _settings(self, event: h2.events.RemoteSettingsChanged) -> None:  # noqa: ARG002 - one signature for all
        self._left()
        self._wake_all()

    def _window(self, event: h2.events.WindowUpdated) -> None:
        if event.stream_id:
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.wake()
        else:
            self._wake_all()

    def _wake_all(self) -> None:
        for stream in self._streams.values():
            stream.wake()

    # Writing.

    def _flush(self) -> None:
        if self._transport is None:
            return
        data = self._h2.data_to_send()
        if data:
            self._transport.write(data)
        if self._transport.get_write_buffer_size() > _MOST_UNSENT:
            self._transport.abort()

    def _try(self, send: Callable[[], object]) -> None:
        """Send what a connection that has ended meanwhile may refuse."""
        with suppress(h2.exceptions.ProtocolError):
            send()
