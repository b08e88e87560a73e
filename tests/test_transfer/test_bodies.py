"""Each byte of a body is stored once, however it is coded and framed, and however it arrives."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import fetchq
from fetchq._disk import Sink
from fetchq._http import Response
from fetchq._transfer.body import Body, TrimmedBody
from fetchq._transfer.context import Reply, RunContext
from fetchq._transfer.pump import Pump
from fetchq._transfer.segments import SegmentQueue

from ..conftest import run
from ..origin import Behaviour, Origin, Resource, drop, early_start, generated, gzip_anyway, throttle

# One piece that comes with its head, one beyond a connection's own buffer, and one beyond a large buffer.
SIZES = (0, 6, 60_000, 3_000_000)
LARGE, CUT = generated(3_000_000), 1_234_567
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


# --- a body loop that is broken on purpose


Loop = Callable[[AsyncIterator[Any]], AsyncIterator[Any]]


async def first_chunk_twice(chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
    first = await anext(chunks)
    for chunk in (first, first):
        yield chunk
    async for chunk in chunks:
        yield chunk


async def first_chunk_lost(chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
    await anext(chunks)
    async for chunk in chunks:
        yield chunk


@dataclass(frozen=True)
class Way:
    """A way that a body takes, and the number of the reply whose body is broken."""

    script: Sequence[Behaviour | tuple[Behaviour, ...]] = ()
    resource: Resource = LARGE
    reply: int = 1
    out: str = "f.bin"
    repeat: bool = False
    connections: int = 1


WAYS = {
    "put in one piece": Way(resource=generated(10_000)),
    "streamed": Way(),
    "a slice": Way([drop(after=CUT)], reply=2),
    "a slice with a lead that is skipped": Way([drop(after=CUT), early_start(65_536)], reply=2),
    "a slice that is compared": Way([drop(after=CUT)], replace(LARGE, etag=None, last_modified=None), 2),
    "decoded": Way([gzip_anyway()]),
    "a pipe": Way(out="-"),
    "a segment": Way([throttle(2e6)], reply=2, repeat=True, connections=3),
}


@pytest.mark.parametrize("loop", [first_chunk_twice, first_chunk_lost])
@pytest.mark.parametrize("name", WAYS)
def test_a_body_loop_that_miscounts_makes_no_file(
    name: str, loop: Loop, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = WAYS[name]
    url = origin.serve("/f.bin", way.resource, *way.script, repeat=way.repeat)
    replies = count(1)
    honest = Response.chunks
    with monkeypatch.context() as patch:
        patch.setattr(
            Response,
            "chunks",
            lambda reply: loop(honest(reply)) if next(replies) == way.reply else honest(reply),
        )
        result, out = fetched_by(way, url, tmp_path)
    assert type(result.error) is fetchq.IntegrityError
    assert not (tmp_path / "f.bin").exists()
    assert way.resource.data.startswith(out)
    part = tmp_path / "f.bin.part"
    if part.exists() and way.connections == 1:
        assert way.resource.data.startswith(part.read_bytes()), "found out before it was written"

    result, out = fetched_by(way, url, tmp_path)
    assert result.unwrap().sha256 == way.resource.sha256
    assert (out if way.out == "-" else (tmp_path / "f.bin").read_bytes()) == way.resource.data


def fetched_by(way: Way, url: str, folder: Path) -> tuple[fetchq.Result, bytes]:
    settings = fetchq.Settings(
        network=fetchq.Network(env=False),
        retry=fetchq.Retry(retries=3, backoff=0.0),
        disk=fetchq.Disk(buffer=65_536),
        queue=fetchq.Queue(connections=way.connections),
    )

    async def main() -> fetchq.Result:
        async with fetchq.Downloader(settings, dir=folder, stdout=stdout) as downloader:
            (result,) = [result async for result in downloader.run([fetchq.Job(url, way.out)])]
            return result

    stdout = BytesIO()
    return run(main()), stdout.getvalue()


# --- by hand


class Chunked:
    """A reply whose body comes in chunks of *size* bytes, the *lost* last ones never."""

    def __init__(self, data: bytes, size: int, lost: int = 0) -> None:
        self.received = 0
        self._lost = lost
        self._pieces = [data[at : at + size] for at in range(0, len(data), size)]

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.received += len(piece)
            yield piece
        self.received += self._lost

    async def aclose(self) -> None:
        pass


def body_of(data: bytes, size: int, lost: int = 0) -> Body:
    return Body(cast("Reply", Chunked(data, size, lost)))


def test_a_chunk_that_is_used_twice_is_not_written() -> None:
    async def main() -> None:
        body = body_of(b"abcdef", 3)
        chunk = await anext(body)
        body.use(len(chunk))
        with pytest.raises(fetchq.IntegrityError, match="3 bytes were received and 4 used"):
            body.use(1)

    run(main())


def test_a_last_chunk_that_is_lost_is_missed() -> None:
    async def main() -> None:
        body = body_of(b"abc", 3, lost=2)
        body.use(len(await anext(body)))
        with pytest.raises(fetchq.IntegrityError, match="5 bytes were received and 3 used"):
            await anext(body)

    run(main())


BEFORE, KNOWN = 100, 60


async def trimmed(sent: bytes, size: int) -> bytes:
    data = bytes(range(200))
    rest = b""
    body = TrimmedBody(body_of(sent, size), BEFORE, data[BEFORE - KNOWN : BEFORE])
    async for chunk in body:
        body.use(len(chunk))
        rest += chunk
    return rest


@pytest.mark.parametrize("size", [1, 7, 64, 200])
def test_each_byte_that_is_known_is_compared(size: int) -> None:
    data = bytes(range(200))
    assert run(trimmed(data, size)) == data[BEFORE:]
    for at in range(len(data)):
        sent = bytearray(data)
        sent[at] ^= 1
        changed = BEFORE - KNOWN <= at < BEFORE
        with pytest.raises(fetchq.ChangedError) if changed else nullcontext():
            assert run(trimmed(bytes(sent), size)) == sent[BEFORE:]


class Swallowing:
    """A sink that takes bytes, and says so only of the *written* first batches."""

    def __init__(self, written: int) -> None:
        self._written = written

    async def write_all(self, batches: deque[tuple[int, list[bytes]]], wrote: Callable[[int], None]) -> None:
        while batches:
            _, chunks = batches.popleft()
            if self._written:
                self._written -= 1
                wrote(sum(map(len, chunks)))


async def pumped(sent: bytes, wanted: int, written: int) -> int:
    """Pump a body of *sent* bytes into a segment of *wanted* ones; return what reached the disk."""
    reached = [0]

    def wrote(size: int) -> None:
        reached[0] += size

    context = SimpleNamespace(settings=fetchq.Settings(), clock=lambda: 0.0, pace=lambda size: asyncio.sleep(0))
    segment = SegmentQueue(wanted, lambda: (), context.clock).start(0, wanted)
    sink = cast("Sink", Swallowing(written))
    await Pump(body_of(sent, 4), sink, segment, cast("RunContext", context), wrote).run()
    return reached[0]


def test_a_segment_takes_its_bytes_and_no_more() -> None:
    assert run(pumped(bytes(8), 8, written=9)) == 8
    assert run(pumped(bytes(12), 6, written=9)) == 6
    with pytest.raises(fetchq.NetworkError, match="closed 2 bytes too early"):
        run(pumped(bytes(8), 10, written=9))


def test_bytes_that_do_not_reach_the_disk_are_missed() -> None:
    with pytest.raises(fetchq.IntegrityError, match="8 bytes were received and not written"):
        run(pumped(bytes(8), 8, written=0))
