"""Standard output in a part's place."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from fetchq._disk import Finished, PipeClosedError, Sink
from fetchq._errors import ChangedError, DiskError, StoppedError
from fetchq._models import Span

from .rig import no_check, opened, pattern, resource, run, write

BODY = pattern(300_000)


class Reader(threading.Thread):
    """Reads a pipe to its end."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self.got = b""

    def run(self) -> None:
        while piece := os.read(self.fd, 10_000):
            self.got += piece


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """A pipe: the descriptor to read from, the stream to write to."""
    reading, writing = os.pipe()
    with open(writing, "wb") as stream:
        yield reading, stream
    os.close(reading)


async def stream_out(sink: Sink) -> Finished:
    await sink.begin(resource(len(BODY)), ["sha256"])
    await write(sink, 0, [BODY[:100_000], memoryview(BODY)[100_000:200_000]])
    await sink.begin(resource(len(BODY)), ["sha256"])
    assert sink.spans == (Span(0, 200_000),)
    assert not sink.restartable
    await write(sink, 200_000, [bytearray(BODY[200_000:])])
    finished = await sink.finish(size=len(BODY), mtime=1.0, check=no_check)
    assert isinstance(finished, Finished)
    return finished


def test_bytes_reach_the_reader_and_their_digest_is_known(pipe: tuple[int, BinaryIO]) -> None:
    reading, stream = pipe
    reader = Reader(reading)
    reader.start()

    async def work() -> Finished:
        async with opened() as parts:
            return await stream_out(parts.pipe(stream))

    finished = run(work())
    stream.close()
    reader.join()
    assert reader.got == BODY
    assert finished == Finished(Path("-"), len(BODY), {"sha256": hashlib.sha256(BODY).hexdigest()})


def test_a_file_and_memory_will_do_as_well(tmp_path: Path) -> None:
    async def work(stream: BinaryIO) -> None:
        async with opened() as parts:
            await stream_out(parts.pipe(stream))

    memory = io.BytesIO()
    run(work(memory))
    assert memory.getvalue() == BODY
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        run(work(file))
    assert (tmp_path / "out").read_bytes() == b"before " + BODY


def test_a_socket_will_do_as_well() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("wb") as stream:
        reader = Reader(theirs.fileno())
        reader.start()

        async def work() -> None:
            async with opened() as parts:
                await stream_out(parts.pipe(stream))

        run(work())
        ours.shutdown(socket.SHUT_WR)
        reader.join()
    assert reader.got == BODY


def test_nothing_is_written_twice_or_out_of_turn() -> None:
    memory = io.BytesIO()

    async def work() -> None:
        async with opened() as parts:
            sink = parts.pipe(memory)
            await sink.begin(resource(9), [])
            await sink.reset()
            assert sink.restartable
            await write(sink, 0, [b"abc"])
            for offset in (0, 2, 4):
                with pytest.raises(ChangedError) as caught:
                    await write(sink, offset, [b"xyz"])
                assert not caught.value.transient
            for refused in (sink.reset, sink.spoil):
                with pytest.raises(ChangedError, match="changed on the server after 3 bytes") as caught:
                    await refused()
                assert not caught.value.transient
            with pytest.raises(DiskError, match="got 3 of 9"):
                await sink.finish(size=9, mtime=None, check=no_check)

    run(work())
    assert memory.getvalue() == b"abc"


def test_the_last_bytes_can_be_compared() -> None:
    async def work() -> None:
        async with opened() as parts:
            sink = parts.pipe(io.BytesIO())
            for start in range(0, len(BODY), 5000):
                await write(sink, start, [BODY[start : start + 5000]])
            end = len(BODY)
            assert await sink.read(Span(end - 16_384, end)) == BODY[-16_384:]
            assert await sink.read(Span(end - 100, end - 50)) == BODY[-100:-50]
            with pytest.raises(ChangedError):
                await sink.read(Span(end - 16_385, end))

    run(work())


def test_a_reader_that_ends_is_told_apart(pipe: tuple[int, BinaryIO]) -> None:
    reading, stream = pipe
    mute = os.open(os.devnull, os.O_RDONLY)
    os.dup2(mute, reading)
    os.close(mute)

    async def work() -> None:
        async with opened() as parts:
            sink = parts.pipe(stream)
            await sink.begin(resource(len(BODY)), [])
            with pytest.raises(PipeClosedError) as caught:
                await write(sink, 0, [BODY])
            assert isinstance(caught.value.__cause__, BrokenPipeError)
            assert not caught.value.transient

    run(work())


def test_a_reader_that_does_not_read_cannot_hold_up_the_end(pipe: tuple[int, BinaryIO]) -> None:
    reading, stream = pipe

    async def work() -> int:
        async with opened() as parts:
            sink = parts.pipe(stream)
            await sink.begin(resource(len(BODY)), ["sha256"])
            writing = asyncio.ensure_future(write(sink, 0, [BODY]))
            done, _ = await asyncio.wait([writing], timeout=0.05)
            assert not done
            await sink.close()
            with pytest.raises(StoppedError, match="Stopped after"):
                await writing
            return sink.spans[0].stop

    out = run(work())
    assert 4096 <= out < len(BODY)
    assert os.read(reading, 1 << 20) == BODY[:out]


def test_a_cancelled_write_ends_with_the_run(pipe: tuple[int, BinaryIO]) -> None:
    async def work() -> None:
        async with opened() as parts:
            writing = asyncio.ensure_future(write(parts.pipe(pipe[1]), 0, [BODY]))
            await asyncio.wait([writing], timeout=0.05)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing

    run(asyncio.wait_for(work(), 10))
