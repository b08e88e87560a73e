"""An HTTP/2 server on the h2 library that misbehaves as it is told to, one request at a time."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, WindowUpdated
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

FRAME = 16_000


class Exchange:
    """A request, and what can be answered to it."""

    def __init__(self, wire: Wire, stream: int, headers: dict[str, str]) -> None:
        self.wire, self.h2, self.stream, self.headers = wire, wire.h2, stream, headers
        first, _, last = self.headers.get("range", "bytes=0-").partition("=")[2].partition("-")
        self.start = int(first)
        self.stop = int(last) + 1 if last else len(wire.origin.body)

    @property
    def body(self) -> bytes:
        """The bytes that were asked for."""
        return self.wire.origin.body[self.start : self.stop]

    async def head(self) -> None:
        total = len(self.wire.origin.body)
        partial = "range" in self.headers
        fields = [
            (":status", "206" if partial else "200"),
            ("content-length", str(len(self.body))),
            ("etag", '"v1"'),
            ("accept-ranges", "bytes"),
        ]
        if partial:
            fields.append(("content-range", f"bytes {self.start}-{self.stop - 1}/{total}"))
        self.h2.send_headers(self.stream, fields)
        await self.wire.flush()

    async def data(self, data: bytes, *, end: bool = False, padding: int | None = None) -> None:
        """Send *data* as the windows allow."""
        while data:
            room = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size, FRAME)
            room -= 0 if padding is None else padding + 1
            if room <= 0:
                await self.wire.changed.wait()
                self.wire.changed.clear()
                continue
            self.h2.send_data(
                self.stream, data[:room], end_stream=end and room >= len(data), pad_length=padding
            )
            data = data[room:]
            await self.wire.flush()


Settings = dict[SettingCodes | int, int]
Behaviour = Callable[[Exchange], Awaitable[None]]


class Wire:
    """One connection."""

    def __init__(self, origin: Http2Origin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.origin, self.reader, self.writer = origin, reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.changed = asyncio.Event()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        """Send *data* past the library."""
        await self.flush()
        self.writer.write(data)

    async def cut(self) -> None:
        await self.flush()
        self.writer.transport.abort()

    async def run(self) -> None:
        self.h2.local_settings.update(self.origin.settings)
        self.h2.initiate_connection()
        await self.flush()
        async with asyncio.TaskGroup() as group:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.changed.set()
                    if isinstance(event, RequestReceived):
                        group.create_task(self._answer(event))
                    elif isinstance(event, DataReceived) and not self.origin.settings:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, WindowUpdated):
                        self.origin.updates += 1
                await self.flush()
            self.changed.set()
            raise ConnectionResetError

    async def _answer(self, event: RequestReceived) -> None:
        assert event.stream_id is not None
        pairs = ((str(name), str(value)) for name, value in event.headers or ())
        exchange = Exchange(self, event.stream_id, dict(pairs))
        self.origin.asked.append(exchange.headers.get("range"))
        behave = self.origin.behaviours.popleft() if self.origin.behaviours else well
        with suppress(ProtocolError, ConnectionError):
            await behave(exchange)


class Http2Origin:
    """Serves one body under every path; the first requests meet *behaviours*, the others are answered well."""

    def __init__(
        self, body: bytes, *behaviours: Behaviour, settings: dict[SettingCodes | int, int] | None
    ) -> None:
        self.body = body
        self.behaviours = deque(behaviours)
        self.settings = settings or {}
        self.asked: list[str | None] = []
        self.connections = self.updates = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await Wire(self, reader, writer).run()
        except* (OSError, ProtocolError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    authority: Path, body: bytes, *behaviours: Behaviour, settings: Settings | None = None
) -> AsyncIterator[Http2Origin]:
    """Run the server with the certificate of *authority*."""
    origin = Http2Origin(body, *behaviours, settings=settings)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(authority / "server.pem", authority / "server.key")
    tls.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=tls)
    origin.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/file"
    try:
        yield origin
    finally:
        server.close()


async def well(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.data(exchange.body, end=True)


async def _half(exchange: Exchange) -> None:
    await exchange.head()
    await exchange.data(exchange.body[: len(exchange.body) // 2])


def resets(code: ErrorCodes | int) -> Behaviour:
    """RST_STREAM in the middle of the body."""

    async def behave(exchange: Exchange) -> None:
        await _half(exchange)
        exchange.h2.reset_stream(exchange.stream, code)
        await exchange.wire.flush()

    return behave


def refuses(code: ErrorCodes | int) -> Behaviour:
    """RST_STREAM in place of a head."""

    async def behave(exchange: Exchange) -> None:
        exchange.h2.reset_stream(exchange.stream, code)
        await exchange.wire.flush()

    return behave


async def goes_away(exchange: Exchange) -> None:
    """GOAWAY in the middle of the body, and the connection ends."""
    await _half(exchange)
    exchange.h2.close_connection(last_stream_id=exchange.stream)
    await exchange.wire.cut()


async def bows_out(exchange: Exchange) -> None:
    """GOAWAY in the middle of the body, which is sent to its end all the same (RFC 9113 section 6.8)."""
    await exchange.head()
    half = len(exchange.body) // 2
    await exchange.data(exchange.body[:half])
    await exchange.wire.send(GoAwayFrame(0, last_stream_id=exchange.stream).serialize())
    await exchange.data(exchange.body[half:], end=True)


async def swells(exchange: Exchange) -> None:
    """The head of the largest frame there is in the middle of the body, and nothing more."""
    await _half(exchange)
    await exchange.wire.send(b"\xff\xff\xff\x00\x00" + exchange.stream.to_bytes(4))


async def cuts(exchange: Exchange) -> None:
    """The connection ends in the middle of the body, without a word."""
    await _half(exchange)
    await exchange.wire.cut()


async def vanishes(exchange: Exchange) -> None:
    """The connection ends before the answer begins."""
    await exchange.wire.cut()


async def changes_settings(exchange: Exchange) -> None:
    """SETTINGS in the middle of the body: other tables, frames and windows."""
    await _half(exchange)
    for value in (20_000, 100_000, 65_535):
        exchange.h2.update_settings(
            {SettingCodes.INITIAL_WINDOW_SIZE: value, SettingCodes.HEADER_TABLE_SIZE: value}
        )
        await exchange.wire.flush()
    await exchange.data(exchange.body[len(exchange.body) // 2 :], end=True)


async def trails(exchange: Exchange) -> None:
    """Trailers behind the body."""
    await exchange.head()
    await exchange.data(exchange.body)
    exchange.h2.send_headers(exchange.stream, [("x-checksum", "none")], end_stream=True)
    await exchange.wire.flush()


async def informs(exchange: Exchange) -> None:
    """103 (RFC 8297), several times, before the head."""
    for _ in range(3):
        exchange.h2.send_headers(exchange.stream, [(":status", "103"), ("link", "</style.css>; rel=preload")])
    await well(exchange)


async def pads(exchange: Exchange) -> None:
    """Padding in every frame, which counts for the windows (RFC 9113 section 6.1)."""
    await exchange.head()
    await exchange.data(exchange.body, end=True, padding=255)


async def ends_early(exchange: Exchange) -> None:
    """END_STREAM before Content-Length is reached (RFC 9113 section 8.1.1)."""
    await exchange.head()
    exchange.h2.streams[exchange.stream]._expected_content_length = None
    await exchange.data(exchange.body[: len(exchange.body) // 2], end=True)


async def pauses(exchange: Exchange) -> None:
    """Nothing more in the middle of the body, while the connection stays."""
    await _half(exchange)
