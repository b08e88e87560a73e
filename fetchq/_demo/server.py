"""A throwaway origin on loopback that treats each file badly in a way of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Self

__all__ = ["DemoServer", "Fault", "Offer"]

# A request of ours is a few hundred bytes.
MAX_HEAD = 16 * 1024
# Steps a second in which a paced body goes out: smooth in a progress bar.
STEPS = 20
# Nobody listens that long to a silent origin; then the thread must not be what is waited for.
SILENCE = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What one request meets instead of good service.

    :param status: an error status, with ``retry_after`` seconds where given.
    :param location: a redirect to this path.
    :param after: body bytes until the connection is closed, or ``reset``, or falls ``silent``.
    :param whole: the Range is ignored.
    :param align: a 206 starts at a multiple of this many bytes.
    :param garbled: right length, wrong bytes.
    :param changed: from this request on there is a new version.
    """

    status: int = 0
    retry_after: int | None = None
    location: str = ""
    after: int | None = None
    reset: bool = False
    silent: bool = False
    whole: bool = False
    align: int = 1
    garbled: bool = False
    changed: bool = False


@dataclass(slots=True)
class Offer:
    """A file of the origin, with what will happen to it.

    :param trouble: what the origin does, in words.
    :param faults: one for each request; later ones are served well.
    :param rate: bytes a second on each connection.
    :param chunked: the length is not told.
    """

    name: str
    size: int
    trouble: str
    faults: Sequence[Fault] = ()
    rate: int = 3_000_000
    chunked: bool = False
    version: int = 1
    requests: int = 0
    data: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        self.data = self._bytes()

    def _bytes(self) -> bytes:
        return Random(f"{self.name} {self.version}").randbytes(self.size)  # noqa: S311 - file contents, not secrets

    def fault(self) -> Fault:
        """Give what the next request meets."""
        self.requests += 1
        fault = self.faults[self.requests - 1] if self.requests <= len(self.faults) else Fault()
        if fault.changed:
            self.version += 1
            self.data = self._bytes()
        return fault


class DemoServer:
    """Serves *offers* from a thread and an event loop of its own, for as long as the block lasts."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self._offers = {f"/{offer.name}": offer for offer in offers}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-origin", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        self._thread.start()
        starting = asyncio.start_server(self._welcome, "127.0.0.1", 0, limit=MAX_HEAD)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Break off whatever goes on."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, offer: Offer) -> str:
        """Give where *offer* is to be had."""
        return f"http://127.0.0.1:{self.port}/{offer.name}"

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio calls this as a task
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the peer went away, or the demo is over: nothing that anybody waits to hear
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request, and tell whether the connection is still good."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1].split("?")[0]
        offer = self._offers.get(path)
        fault = offer.fault() if offer else Fault(status=404)
        if offer is None or fault.status:
            wait = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after is not None else ""
            where = f"Location: {fault.location}\r\n" if fault.location else ""
            said = f"HTTP/1.1 {fault.status} Sorry\r\n{wait}{where}Content-Length: 0\r\n\r\n"
            writer.write(said.encode())
            await writer.drain()
            return True
        start, stop, answer = _choose(offer, fault, head)
        writer.write(answer.encode())
        end = stop if fault.after is None else min(stop, start + fault.after)
        for chunk in _body(offer, fault, start, end):
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if offer.chunked else chunk)
            await writer.drain()
            await asyncio.sleep(len(chunk) / offer.rate)
        if fault.after is not None:
            await _break_off(fault, reader, writer)
            return False
        writer.write(b"0\r\n\r\n" if offer.chunked else b"")
        return True


def _choose(offer: Offer, fault: Fault, head: str) -> tuple[int, int, str]:
    """Decide between 200 and 206: first byte, end, and the head of the answer."""
    etag = f'"v{offer.version}"'
    asked = re.search(r"\r\nrange: *bytes=(\d+)-(\d*)\r\n", head, re.IGNORECASE)
    condition = re.search(r"\r\nif-range: *(.*?)\r\n", head, re.IGNORECASE)
    facts = [f"ETag: {etag}", "Accept-Ranges: none" if fault.whole else "Accept-Ranges: bytes"]
    start, stop, status = 0, offer.size, "200 OK"
    if asked and not fault.whole and (condition is None or condition[1] == etag):
        start = int(asked[1]) // fault.align * fault.align
        stop = min(int(asked[2]) + 1, offer.size) if asked[2] else offer.size
        status = "206 Partial Content"
        facts.append(f"Content-Range: bytes {start}-{stop - 1}/{offer.size}")
    facts.append("Transfer-Encoding: chunked" if offer.chunked else f"Content-Length: {stop - start}")
    return start, stop, "\r\n".join([f"HTTP/1.1 {status}", *facts, "", ""])


def _body(offer: Offer, fault: Fault, start: int, stop: int) -> Iterator[bytes]:
    data = bytes(offer.size) if fault.garbled else offer.data
    step = offer.rate // STEPS
    for at in range(start, stop, step):
        yield data[at : min(at + step, stop)]


async def _break_off(fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if fault.silent:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                await reader.read()
    elif fault.reset:
        # Lingering for zero seconds makes the kernel answer with RST.
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
