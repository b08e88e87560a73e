"""The part: writing, digests, checkpoints, starting over."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._disk import Files, Finished, Part
from fetchq._disk.files import write_all
from fetchq._errors import DiskError, DiskFullError
from fetchq._models import Buffer, Span

from .rig import (
    MTIME,
    OURS,
    Clock,
    Roomy,
    claimed,
    disk,
    journal,
    names,
    no_check,
    opened,
    pattern,
    resource,
    resumed,
    run,
    sha256,
    write,
)


def held(part: Part) -> list[Span]:
    """What the part holds and its journal vouches for."""
    return list(part.spans) if part.journal is not None else []


def test_a_download_from_begin_to_finish(tmp_path: Path) -> None:
    body = pattern(3000)

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3000), ["sha256"])
            await write(part, 0, [body[:1000], bytearray(body[1000:1500]), memoryview(body)[1500:2000]])
            assert part.spans == (Span(0, 2000),)
            assert await part.read(Span(990, 1010)) == body[990:1010]
            assert await part.read(Span(1990, 2010)) == body[1990:2000]
            await write(part, 2000, [body[2000:]])
            finished = await part.finish(size=3000, mtime=MTIME, check=no_check)
            assert finished == Finished(tmp_path / "a.iso", 3000, sha256(body))
            await part.close()

    run(work())
    assert names(tmp_path) == {"a.iso"}
    assert (tmp_path / "a.iso").read_bytes() == body
    assert (tmp_path / "a.iso").stat().st_mtime == MTIME


@given(
    st.lists(st.integers(1, 9 << 10), min_size=1, max_size=12).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.permutations(range(len(sizes))))
    )
)
def test_the_digest_is_right_in_whatever_order_the_bytes_come(
    tmp_path_factory: pytest.TempPathFactory, order: tuple[list[int], list[int]]
) -> None:
    sizes, turns = order
    body = pattern(sum(sizes))
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    folder = tmp_path_factory.mktemp("order")

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, folder)
            await part.begin(resource(len(body)), ["sha256", "crc32"])
            writes = [(starts[turn], body[starts[turn] : starts[turn] + sizes[turn]]) for turn in turns]
            # Half of them side by side, as the connections of a split download write.
            half = len(writes) // 2
            await asyncio.gather(*(write(part, offset, [data]) for offset, data in writes[:half]))
            for offset, data in writes[half:]:
                await write(part, offset, [data])
            finished = await part.finish(size=len(body), mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            assert finished.digests["sha256"] == hashlib.sha256(body).hexdigest()

    run(work())
    assert (folder / "a.iso").read_bytes() == body


def test_the_digest_follows_the_prefix_also_after_a_hole_is_closed(tmp_path: Path) -> None:
    body = pattern(3000)

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3000), ["sha256"])
            assert part._hasher is not None
            await write(part, 1000, [body[1000:2000]])
            assert part._hasher.position == 0
            await write(part, 0, [body[:1000]])
            assert part._hasher.position == 2000
            await part.begin(resource(3000), ["sha256"])
            assert part._hasher.position == 2000
            await part.begin(resource(3000), ["md5"])
            assert part._hasher.position == 0

    run(work())


def test_bytes_that_are_written_again_are_hashed_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(6), ["sha256"])
            await write(part, 0, [b"abcdef"])
            await write(part, 2, [b"XY"])
            finished = await part.finish(size=6, mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            assert finished.digests == sha256(b"abXYef")

    run(work())


def test_a_resumed_part_is_hashed_from_its_first_byte(tmp_path: Path) -> None:
    body = pattern(5000)

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(5000), ["sha256"])
            await write(part, 0, [body[:3000]])
            await part.close()
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(5000), ["sha256"])
            await write(part, 3000, [body[3000:]])
            finished = await part.finish(size=5000, mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            assert finished.digests == sha256(body)

    run(work())


def test_a_part_that_shrinks_behind_our_back_is_noticed_while_it_is_hashed(tmp_path: Path) -> None:
    body = pattern(1000)

    async def work() -> None:
        async with opened() as parts:
            part = await resumed(parts, tmp_path, body)
            os.truncate(part.path, 10)
            part.spans = (Span(0, 1001),)
            with pytest.raises(DiskError, match="became shorter"):
                await write(part, 999, [body[-1:]])

    run(work())


def test_a_checkpoint_is_made_when_it_is_due(tmp_path: Path) -> None:
    clock = Clock()

    def noted() -> tuple[Span, ...]:
        found = journal(tmp_path)
        assert found is not None
        assert found.pid == os.getpid()
        return found.spans

    async def work() -> None:
        async with opened(clock=clock) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(100), [])
            assert noted() == ()
            await write(part, 0, [b"x" * 10])
            assert noted() == ()
            clock.now += 0.25
            await write(part, 10, [b"x" * 10])
            assert noted() == (Span(0, 20),)
            await write(part, 50, [b"x" * 10])
            assert noted() == (Span(0, 20),)
            await part.close()
            assert noted() == (Span(0, 20), Span(50, 60))
            assert names(tmp_path) == {"a.iso.part", "a.iso.part.json"}

    run(work())


def test_a_disk_that_fills_up_meanwhile_stops_the_run_before_it_is_full(tmp_path: Path) -> None:
    clock, files = Clock(), Roomy(1 << 30)

    async def work() -> None:
        async with opened(disk(min_free=1 << 20), clock=clock, files=files) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(None), [])
            files.free = 1 << 19
            clock.now += 1
            with pytest.raises(DiskFullError, match=r"512\.0 KiB are free .* 1\.0 MiB that --min-free"):
                await write(part, 0, [b"abc"])
        saved = journal(tmp_path)
        assert saved is not None
        assert saved.spans == (Span(0, 3),)

    run(work())


def test_starting_over_leaves_nothing_to_trust_at_any_moment(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(100), ["sha256"])
            await write(part, 0, [b"old" * 20])
            await part.close()
            part = await claimed(parts, tmp_path)
            assert held(part) == [Span(0, 60)]
            await part.reset()
            assert held(part) == []
            emptied = journal(tmp_path)
            assert emptied is not None
            assert (emptied.key, emptied.spans, emptied.etag) == (OURS.key, (), None)
            assert part.path.read_bytes() == b""
            with pytest.raises(RuntimeError, match="begin"):
                await write(part, 0, [b"new"])
            await part.begin(resource(3, '"v2"'), ["sha256"])
            await write(part, 0, [b"new"])
            finished = await part.finish(size=3, mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            assert finished.digests == sha256(b"new")

    run(work())


class Gate(Files):
    """A disk whose writes wait until they may go on."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
        if offset >= 100:
            self.reached.set()
            self.go_on.wait(10)
        return super().pwritev(fd, chunks, offset)


@pytest.mark.parametrize("after", ["close", "reset"])
def test_a_cancelled_write_ends_before_its_descriptor_is_closed_or_its_part_emptied(
    tmp_path: Path, after: str
) -> None:
    files = Gate()

    async def work() -> None:
        async with opened(files=files) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(200), [])
            writing = asyncio.ensure_future(write(part, 100, [b"x" * 100]))
            await asyncio.to_thread(files.reached.wait, 10)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            ending = asyncio.ensure_future(part.close() if after == "close" else part.reset())
            done, _ = await asyncio.wait([ending], timeout=0.05)
            assert not done
            files.go_on.set()
            await ending
            if after == "reset":
                assert (part.spans, part.path.read_bytes()) == ((), b"")
        if after == "close":
            saved = journal(tmp_path)
            assert saved is not None
            assert saved.spans == (Span(100, 200),)

    run(work())


def test_a_closed_part_refuses_to_be_written(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), [])
            await part.close()
            with pytest.raises(RuntimeError, match="closed"):
                await write(part, 0, [b"abc"])

    run(work())


class Stingy(Files):
    """A kernel that writes less than it was asked to."""

    def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
        return os.pwrite(fd, b"".join(chunks)[:3], offset)


@given(st.lists(st.binary(max_size=9), max_size=20))
def test_short_writes_are_continued(chunks: list[bytes]) -> None:
    fd = os.memfd_create("short")
    try:
        assert write_all(Stingy(), fd, chunks, 5) == sum(map(len, chunks))
        assert os.pread(fd, 1000, 5) == b"".join(chunks)
    finally:
        os.close(fd)


def test_more_buffers_than_the_kernel_takes_at_once() -> None:
    fd = os.memfd_create("many")
    try:
        chunks: list[Buffer] = [bytes([i % 251]) for i in range(5000)]
        assert write_all(Files(), fd, chunks, 0) == 5000
        assert os.pread(fd, 9999, 0) == b"".join(chunks)
    finally:
        os.close(fd)


def test_a_write_that_makes_no_progress_is_an_error() -> None:
    class Stuck(Files):
        def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
            return 0

    assert write_all(Stuck(), -1, [b""], 0) == 0
    with pytest.raises(OSError, match="no progress"):
        write_all(Stuck(), -1, [b"abc"], 0)
