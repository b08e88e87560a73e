"""Each byte of a body is stored once, however it is coded and framed, and however it arrives."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._http import Response
from fetchq._transfer.decoder import LEAST_BOMB, PIECE, Decoder

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


# --- codings


@pytest.mark.parametrize(("size", "bomb"), [(LEAST_BOMB, False), (LEAST_BOMB + PIECE, True)])
def test_a_body_that_grows_out_of_all_proportion_is_stopped(size: int, bomb: bool) -> None:
    decoder, coded = Decoder("gzip", 10 * LEAST_BOMB), gzip.compress(bytes(size), 1)
    decoded = 0
    with pytest.raises(fetchq.TooLargeError) if bomb else nullcontext():
        for piece in decoder.feed(coded):
            assert len(piece) <= PIECE
            decoded += len(piece)
    assert decoded == LEAST_BOMB


def compressors(coding: str) -> Callable[[bytes], bytes]:
    if coding == "br":
        return pytest.importorskip("brotli", "1.2").compress  # type: ignore[no-any-return] # it has no types
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return pytest.importorskip(name).compress  # type: ignore[no-any-return] # of one of two modules


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_what_is_coded_by_another_library_is_decoded(coding: str, size: int) -> None:
    data = LARGE.data[:100_000] + bytes(3 * PIECE)
    coded = compressors(coding)(data)
    decoder = Decoder(coding, LEAST_BOMB)
    pieces: list[bytes] = []
    for at in range(0, len(coded), size):
        pieces += decoder.feed(coded[at : at + size])
    decoder.finish()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 2 * PIECE


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_what_another_library_finds_damaged_is_refused(coding: str) -> None:
    coded = compressors(coding)(LARGE.data[:100_000])
    decoder = Decoder(coding, LEAST_BOMB)
    assert any(decoder.feed(coded[:-5]))
    with pytest.raises(fetchq.ProtocolError, match="too early"):
        decoder.finish()
    with pytest.raises(fetchq.ProtocolError, match="damaged"):
        list(Decoder(coding, LEAST_BOMB).feed(LARGE.data[:1000]))


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
