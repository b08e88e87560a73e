"""A server on loopback that injects faults into the answers for its files.

It is installed with the package, so it stays small. The tests have another one, ``tests/origin``, with many
more faults, which is not installed.
"""

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

__all__ = ["DemoFile", "DemoServer", "Fault"]

# Bytes; a request of fetchq has a few hundred.
MAX_HEAD = 16 * 1024
# Writes per second of a body that is sent at its file's rate, so that a progress bar moves smoothly.
WRITES_PER_SECOND = 20
# Seconds of a silent connection. Longer than the client's read timeout; bounds the end of the thread.
SILENCE = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of one answer; without arguments the answer is correct.

    :param status: an error status, with ``retry_after`` seconds if given.
    :param location: path of a redirect.
    :param after: body bytes before the connection is closed; or ``reset``, or kept open but ``silent``.
    :param whole: ignore the request's Range.
    :param align: start a 206 at a multiple of this many bytes.
    :param garbled: send zero bytes of the right length.
    :param changed: replace the file by a new version, from this answer on.
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
class DemoFile:
    """A file of the server and the faults of its answers.

    :param behaviour: the faults in words, for the table.
    :param faults: one for each request; later requests are answered correctly.
    :param rate: bytes per second on each connection.
    :param chunked: send the body in chunks, without Content-Length.
    """

    name: str
    size: int
    behaviour: str
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

    def next_fault(self) -> Fault:
        """Count a request and return its fault."""
        self.requests += 1
        fault = self.faults[self.requests - 1] if self.requests <= len(self.faults) else Fault()
        if fault.changed:
            self.version += 1
            self.data = self._bytes()
        return fault


class DemoServer:
    """A context manager that serves *files* from a thread with its own event loop."""

    def __init__(self, files: Sequence[DemoFile]) -> None:
        self._files = {f"/{file.name}": file for file in files}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="demo-origin", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Abort all connections and end the thread."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, file: DemoFile) -> str:
        """Return the URL of *file*."""
        return f"http://127.0.0.1:{self.port}/{file.name}"

    async def _close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio calls this as a task
        self._tasks.add(task)
        try:
            while await self._answer(reader, writer):
                pass
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client closed the connection, or the demo ends
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection can be used for another."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ", 2)[1].split("?")[0]
        file = self._files.get(path)
        fault = file.next_fault() if file else Fault(status=404)
        if file is None or fault.status:
            wait = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after is not None else ""
            where = f"Location: {fault.location}\r\n" if fault.location else ""
            answer = f"HTTP/1.1 {fault.status} Sorry\r\n{wait}{where}Content-Length: 0\r\n\r\n"
            writer.write(answer.encode())
            await writer.drain()
            return True
        start, stop, answer = _answer_head(file, fault, head)
        writer.write(answer.encode())
        end = stop if fault.after is None else min(stop, start + fault.after)
        for chunk in _body(file, fault, start, end):
            writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk) if file.chunked else chunk)
            await writer.drain()
            await asyncio.sleep(len(chunk) / file.rate)
        if fault.after is not None:
            await _interrupt(fault, reader, writer)
            return False
        writer.write(b"0\r\n\r\n" if file.chunked else b"")
        return True


def _answer_head(file: DemoFile, fault: Fault, head: str) -> tuple[int, int, str]:
    """Return first byte, end and head of a 200, or of a 206 for a Range whose If-Range matches."""
    etag = f'"v{file.version}"'
    requested = re.search(r"\r\nrange: *bytes=(\d+)-(\d*)\r\n", head, re.IGNORECASE)
    condition = re.search(r"\r\nif-range: *(.*?)\r\n", head, re.IGNORECASE)
    fields = [f"ETag: {etag}", "Accept-Ranges: none" if fault.whole else "Accept-Ranges: bytes"]
    start, stop, status = 0, file.size, "200 OK"
    if requested and not fault.whole and (condition is None or condition[1] == etag):
        start = int(requested[1]) // fault.align * fault.align
        stop = min(int(requested[2]) + 1, file.size) if requested[2] else file.size
        status = "206 Partial Content"
        fields.append(f"Content-Range: bytes {start}-{stop - 1}/{file.size}")
    fields.append("Transfer-Encoding: chunked" if file.chunked else f"Content-Length: {stop - start}")
    return start, stop, "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""])


def _body(file: DemoFile, fault: Fault, start: int, stop: int) -> Iterator[bytes]:
    data = bytes(file.size) if fault.garbled else file.data
    step = file.rate // WRITES_PER_SECOND
    for at in range(start, stop, step):
        yield data[at : min(at + step, stop)]


async def _interrupt(fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if fault.silent:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                await reader.read()
    elif fault.reset:
        # SO_LINGER with 0 seconds: closing sends RST instead of FIN (socket(7)).
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
