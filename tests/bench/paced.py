"""An origin that is far away: ``python tests/bench/paced.py ROOT LATENCY RATE`` prints its port and serves.

Every answer comes LATENCY seconds after its request, the first one of a connection twice that (its
handshake would have taken a round trip), and no connection carries more than RATE bytes a second. nginx's
own ``limit_rate`` gives every request a second's worth at once, so that splitting would be paid twice; a
delaying proxy would cost more than the clients it serves. This takes a few per cent of a core.
"""

from __future__ import annotations

import asyncio
import re
import sys
from email.utils import formatdate
from pathlib import Path

# Twenty steps a second: fine enough to be smooth, coarse enough to cost nothing.
STEP = 0.05
MOST = 256 * 1024


class Origin:
    """Serves the files under a folder, each connection at its own pace."""

    def __init__(self, root: Path, latency: float, rate: float) -> None:
        self.latency = latency
        self.rate = rate
        self.step = int(min(MOST, max(1.0, rate * STEP)))
        self.root = root
        self.bodies: dict[str, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(self.latency)
            while await self.answer(await reader.readuntil(b"\r\n\r\n"), writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, head: bytes, writer: asyncio.StreamWriter) -> bool:
        loop = asyncio.get_running_loop()
        due = loop.time() + self.latency
        method, target, _ = head.decode("latin-1").split(" ", 2)
        body = self.body(target.lstrip("/"))
        status, start, stop = self.span(head, len(body))
        await asyncio.sleep(due - loop.time())
        writer.write(self.head(status, start, stop, len(body)))
        if method != "HEAD":
            await self.send(memoryview(body)[start:stop], writer)
        return b"connection: close" not in head.lower()

    async def send(self, body: memoryview, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for start in range(0, len(body), self.step):
            block = body[start : start + self.step]
            # The last byte of a block is sent when it is due, as a wire would.
            await asyncio.sleep(started + (start + len(block)) / self.rate - loop.time())
            writer.write(block)
            await writer.drain()

    def body(self, name: str) -> bytes:
        """Return a file's bytes; none for one that is not there."""
        path = self.root / name
        if name not in self.bodies and path.is_file():
            self.bodies[name] = path.read_bytes()
        return self.bodies.get(name, b"")

    @staticmethod
    def span(head: bytes, size: int) -> tuple[str, int, int]:
        asked = re.search(rb"\r\nrange: *bytes=(\d+)-(\d*)\r\n", head, re.IGNORECASE)
        if not size:
            return "404 Not Found", 0, 0
        if not asked:
            return "200 OK", 0, size
        start, stop = int(asked[1]), min(size, int(asked[2] or size) + 1)
        return ("206 Partial Content", start, stop) if start < stop else ("416 Range Not Satisfiable", 0, 0)

    @staticmethod
    def head(status: str, start: int, stop: int, size: int) -> bytes:
        lines = [
            f"HTTP/1.1 {status}",
            f"Content-Length: {stop - start}",
            "Content-Type: application/octet-stream",
            "Accept-Ranges: bytes",
            f'ETag: "{size:x}"',
            f"Last-Modified: {formatdate(1e9, usegmt=True)}",
        ]
        if status.startswith("206"):
            lines.append(f"Content-Range: bytes {start}-{stop - 1}/{size}")
        return "\r\n".join([*lines, "", ""]).encode()


async def main(root: Path, latency: float, rate: float) -> None:
    server = await asyncio.start_server(Origin(root, latency, rate).serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
