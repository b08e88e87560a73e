"""Each byte of a body is stored once, however it is coded and framed, and however it arrives."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
from pathlib import Path

import pytest

import fetchq

from ..conftest import run

# One piece that comes with its head, one beyond a connection's own buffer, and one beyond a large buffer.
SIZES = (0, 6, 60_000, 3_000_000)
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


def head(body: bytes, coding: str, framing: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Last-Modified: {DATE}"]
    if coding == "gzip":
        lines.append("Content-Encoding: gzip")
    lines += {
        "length": [f"Content-Length: {len(body)}"],
        "chunked": ["Transfer-Encoding: chunked"],
        "close": ["Connection: close"],
    }[framing]
    return "\r\n".join([*lines, "", ""]).encode()


def framed(body: bytes, framing: str, cut: int) -> list[bytes]:
    """The body as it goes over the wire, in two pieces cut at *cut*."""
    pieces = [body[:cut], body[cut:]]
    if framing == "chunked":
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"" for piece in pieces]
        pieces[1] += b"0\r\n\r\n"
    return pieces


async def fetched(folder: Path, plan: list[list[bytes]]) -> fetchq.Result:
    """Download from a server that writes the *plan*: what stands in one list goes out at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for pieces in plan:
            writer.write(b"".join(pieces))
            await writer.drain()
            # A turn of the client, so that it meets the pieces one by one.
            await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()
    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/f.bin"
        result = await fetchq.adownload(url, dir=folder)
        await closed.wait()
        return result


@pytest.mark.parametrize("arrival", ["with the head", "apart", "in two pieces"])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_is_stored_once(tmp_path: Path, size: int, coding: str, framing: str, arrival: str) -> None:
    data = random.Random(size).randbytes(size)
    body = gzip.compress(data, mtime=0) if coding == "gzip" else data
    start, (first, second) = head(body, coding, framing), framed(body, framing, len(body) // 3)
    plan = {
        "with the head": [[start, first, second]],
        "apart": [[start], [first, second]],
        "in two pieces": [[start, first], [second]],
    }[arrival]

    result = run(fetched(tmp_path, plan))

    assert (tmp_path / "f.bin").read_bytes() == data
    assert (result.size, result.sha256) == (size, hashlib.sha256(data).hexdigest())
