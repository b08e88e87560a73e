"""The part: writing, digests, checkpoints, starting over, finishing."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._digests import Buffer
from fetchq._disk import Existing, Files, Finished, Part
from fetchq._disk._files import write_all
from fetchq._errors import ChecksumError, DiskError, DiskFullError, ExistsError
from fetchq._models import Span
from fetchq._settings import IfExists

from .rig import (
    MTIME,
    Clock,
    claimed,
    disk,
    journal,
    names,
    no_check,
    opened,
    pattern,
    put,
    resource,
    run,
)


def held(part: Part) -> list[Span]:
    """What the part holds and its journal vouches for."""
    return list(part.spans) if part.journal is not None else []


def sha256(data: bytes) -> dict[str, str]:
    return {"sha256": hashlib.sha256(data).hexdigest()}


def test_a_download_from_begin_to_finish(tmp_path: Path) -> None:
    body = pattern(3000)

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3000), ["sha256"])
            await part.write(0, [body[:1000], bytearray(body[1000:1500]), memoryview(body)[1500:2000]])
            assert part.spans == (Span(0, 2000),)
            assert await part.read(Span(990, 1010)) == body[990:1010]
            assert await part.read(Span(1990, 2010)) == body[1990:2000]
            await part.write(2000, [body[2000:]])
            finished = await part.finish(size=3000, mtime=MTIME, check=no_check)
            assert finished == Finished(tmp_path / "a.iso", 3000, sha256(body))
            await part.close()

    run(work())
    assert names(tmp_path) == {"a.iso"}
    assert (tmp_path / "a.iso").read_bytes() == body
    assert (tmp_path / "a.iso").stat().st_mtime == MTIME


def test_an_empty_resource_is_an_empty_file(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(0), ["sha256"])
            finished = await part.finish(size=0, mtime=None, check=no_check)
            assert finished == Finished(tmp_path / "a.iso", 0, sha256(b""))
            assert await put(parts, tmp_path, b"", "b.iso") == Finished(tmp_path / "b.iso", 0, sha256(b""))

    run(work())
    assert names(tmp_path) == {"a.iso", "b.iso"}


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
            await asyncio.gather(*(part.write(offset, [data]) for offset, data in writes[:half]))
            for offset, data in writes[half:]:
                await part.write(offset, [data])
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
            assert part._prefix is not None
            await part.write(1000, [body[1000:2000]])
            assert part._prefix.position == 0
            await part.write(0, [body[:1000]])
            assert part._prefix.position == 2000
            await part.begin(resource(3000), ["sha256"])
            assert part._prefix.position == 2000
            await part.begin(resource(3000), ["md5"])
            assert part._prefix.position == 0

    run(work())


def test_bytes_that_are_written_again_are_hashed_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(6), ["sha256"])
            await part.write(0, [b"abcdef"])
            await part.write(2, [b"XY"])
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
            await part.write(0, [body[:3000]])
            await part.close()
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(5000), ["sha256"])
            await part.write(3000, [body[3000:]])
            finished = await part.finish(size=5000, mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            assert finished.digests == sha256(body)

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
            await part.write(0, [b"x" * 10])
            assert noted() == ()
            clock.now += 0.25
            await part.write(10, [b"x" * 10])
            assert noted() == (Span(0, 20),)
            await part.write(50, [b"x" * 10])
            assert noted() == (Span(0, 20),)
            await part.close()
            assert noted() == (Span(0, 20), Span(50, 60))
            assert names(tmp_path) == {"a.iso.part", "a.iso.part.json"}

    run(work())


class Filling(Files):
    """A disk that something else fills."""

    left = 1 << 30

    def free(self, fd: int) -> int:
        return self.left


def test_a_disk_that_fills_up_meanwhile_stops_the_run_before_it_is_full(tmp_path: Path) -> None:
    clock, files = Clock(), Filling()

    async def work() -> None:
        async with opened(disk(min_free=1 << 20), clock=clock, files=files) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(None), [])
            files.left = 1 << 19
            clock.now += 1
            with pytest.raises(DiskFullError, match=r"512\.0 KiB are free .* 1\.0 MiB that --min-free"):
                await part.write(0, [b"abc"])
        saved = journal(tmp_path)
        assert saved is not None
        assert saved.spans == (Span(0, 3),)

    run(work())


def test_starting_over_leaves_nothing_to_trust_at_any_moment(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(100), ["sha256"])
            await part.write(0, [b"old" * 20])
            await part.close()
            part = await claimed(parts, tmp_path)
            assert held(part) == [Span(0, 60)]
            await part.reset()
            assert held(part) == []
            assert journal(tmp_path) is None
            assert part.path.read_bytes() == b""
            with pytest.raises(ValueError, match="begin"):
                await part.write(0, [b"new"])
            await part.begin(resource(3, '"v2"'), ["sha256"])
            await part.write(0, [b"new"])
            finished = await part.finish(size=3, mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            assert finished.digests == sha256(b"new")

    run(work())


def test_a_part_with_a_hole_is_not_finished(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(10), [])
            await part.write(0, [b"abc"])
            await part.write(5, [b"defgh"])
            with pytest.raises(DiskError, match="holds 8 of 10 bytes"):
                await part.finish(size=10, mtime=None, check=no_check)
            await part.write(3, [b"xx"])
            os.truncate(part.path, 7)
            with pytest.raises(DiskError, match="holds 7 of 10 bytes"):
                await part.finish(size=10, mtime=None, check=no_check)

    run(work())
    assert "a.iso" not in names(tmp_path)


def test_bytes_behind_the_end_are_cut_off(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(None), ["sha256"])
            await part.write(0, [b"abc"])
            with part.path.open("ab") as stray:
                stray.write(b"garbage")
            await part.finish(size=3, mtime=None, check=no_check)

    run(work())
    assert (tmp_path / "a.iso").read_bytes() == b"abc"


def test_a_part_that_was_exchanged_by_hand_is_not_finished(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), [])
            await part.write(0, [b"abc"])
            part.path.rename(tmp_path / "moved")
            part.path.write_bytes(b"xyz")
            with pytest.raises(DiskError, match="was moved or removed"):
                await part.finish(size=3, mtime=None, check=no_check)

    run(work())
    assert "a.iso" not in names(tmp_path)


def refuse(digests: Mapping[str, str]) -> None:
    raise ChecksumError("wrong bytes")


def test_wrong_bytes_are_put_aside_and_the_part_starts_over(tmp_path: Path) -> None:
    (tmp_path / "a.iso.part.bad").write_bytes(b"older")

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), ["sha256"])
            await part.write(0, [b"bad"])
            with pytest.raises(ChecksumError):
                await part.finish(size=3, mtime=None, check=refuse)
            assert names(tmp_path) == {"a.iso.part", "a.iso.part.json", "a.iso.part.bad"}
            assert await part.spoil() == tmp_path / "a.iso.part.bad"
            assert (tmp_path / "a.iso.part.bad").read_bytes() == b"bad"
            assert names(tmp_path) == {"a.iso.part", "a.iso.part.bad"}
            assert part.spans == ()
            async with opened() as others:
                with pytest.raises(DiskError, match="is being downloaded"):
                    await claimed(others, tmp_path)
            await part.begin(resource(3), ["sha256"])
            await part.write(0, [b"abc"])
            await part.finish(size=3, mtime=None, check=no_check)

    run(work())
    assert (tmp_path / "a.iso").read_bytes() == b"abc"
    assert names(tmp_path) == {"a.iso", "a.iso.part.bad"}


@pytest.mark.parametrize("policy", ["rename", "skip", "error", "overwrite"])
def test_a_name_that_is_taken_while_the_bytes_come(tmp_path: Path, policy: IfExists) -> None:
    async def work() -> object:
        async with opened(disk(policy)) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), [])
            await part.write(0, [b"abc"])
            (tmp_path / "a.iso").write_bytes(b"theirs!")
            try:
                return await part.finish(size=3, mtime=None, check=no_check)
            except ExistsError:
                return "refused"

    ended = run(work())
    text = (tmp_path / "a.iso").read_bytes()
    if policy == "rename":
        assert ended == Finished(tmp_path / "a.1.iso", 3, {})
        assert (tmp_path / "a.1.iso").read_bytes() == b"abc"
        assert names(tmp_path) == {"a.iso", "a.1.iso"}
    elif policy == "skip":
        assert ended == Existing(tmp_path / "a.iso", "exists", 3)
        assert names(tmp_path) == {"a.iso"}
    elif policy == "error":
        assert ended == "refused"
        assert names(tmp_path) == {"a.iso", "a.iso.part", "a.iso.part.json"}
    assert text == (b"abc" if policy == "overwrite" else b"theirs!")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_hard_links_nothing_is_overwritten_either(tmp_path: Path, number: int) -> None:
    class Linkless(Files):
        def link(self, source: str, target: str, dir_fd: int) -> None:
            raise OSError(number, "no links here")

    async def work() -> None:
        async with opened(files=Linkless()) as parts:
            for expected in ("a.iso", "a.1.iso"):
                part = await claimed(parts, tmp_path)
                await part.begin(resource(3), [])
                await part.write(0, [b"abc"])
                if expected != "a.iso":
                    continue
                assert await part.finish(size=3, mtime=None, check=no_check) == Finished(
                    tmp_path / expected, 3, {}
                )
            (tmp_path / "a.1.iso").write_bytes(b"theirs")
            assert await part.finish(size=3, mtime=None, check=no_check) == Finished(
                tmp_path / "a.2.iso", 3, {}
            )

    run(work())
    assert (tmp_path / "a.1.iso").read_bytes() == b"theirs"
    assert names(tmp_path) == {"a.iso", "a.1.iso", "a.2.iso"}


def later() -> float:
    """A run that begins after everything that the test has made."""
    return time.time() + 10


def test_an_identical_file_from_before_the_run_is_not_kept_twice(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(b"abc")
    (tmp_path / "b.iso").write_bytes(b"xyz")

    async def download(name: str) -> Finished | Existing:
        async with opened(now=later) as parts:
            part = await claimed(parts, tmp_path, name)
            await part.begin(resource(3), [])
            await part.write(0, [b"abc"])
            return await part.finish(size=3, mtime=None, check=no_check)

    async def at_once(name: str) -> Finished | Existing:
        async with opened(now=later) as parts:
            return await put(parts, tmp_path, b"abc", name)

    same = Existing(tmp_path / "a.iso", "identical file already there", 3)
    assert run(download("a.iso")) == same
    assert run(at_once("a.iso")) == same
    assert names(tmp_path) == {"a.iso", "b.iso"}
    assert run(download("b.iso")) == Finished(tmp_path / "b.1.iso", 3, {})


def test_identical_files_of_one_run_are_both_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            for _ in range(2):
                await put(parts, tmp_path, b"abc")

    run(work())
    assert names(tmp_path) == {"a.iso", "a.1.iso"}


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
            writing = asyncio.ensure_future(part.write(100, [b"x" * 100]))
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
            with pytest.raises(ValueError, match="closed"):
                await part.write(0, [b"abc"])

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


# --- a body that arrived whole


def test_a_whole_body_needs_no_journal_and_leaves_none(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            assert await put(parts, tmp_path, [b"ab", b"cd"]) == Finished(
                tmp_path / "a.iso", 4, sha256(b"abcd")
            )

    run(work())
    assert names(tmp_path) == {"a.iso"}
    assert (tmp_path / "a.iso").stat().st_mtime == MTIME


def test_a_whole_body_replaces_our_longer_part(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(1000), [])
            await part.write(0, [b"x" * 500])
            await part.close()
            await put(parts, tmp_path, b"abcd")

    run(work())
    assert names(tmp_path) == {"a.iso"}
    assert (tmp_path / "a.iso").read_bytes() == b"abcd"


def test_an_older_journal_is_gone_before_a_whole_body_is_written(tmp_path: Path) -> None:
    async def leave() -> str:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(1000), [])
            await part.write(0, [b"x" * 500])
            await part.close()
        return (tmp_path / "a.iso.part.json").read_text()

    text = run(leave())
    (tmp_path / "a.iso.part").unlink()
    assert text

    class Watchful(Files):
        def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
            assert journal(tmp_path) is None
            return super().pwritev(fd, chunks, offset)

    async def work() -> None:
        async with opened(files=Watchful()) as parts:
            await put(parts, tmp_path, b"abcd")

    run(work())
    assert names(tmp_path) == {"a.iso"}


def test_a_whole_body_of_wrong_bytes_is_put_aside(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            with pytest.raises(ChecksumError):
                await put(parts, tmp_path, b"bad", check=refuse)
            assert names(tmp_path) == {"a.iso.part.bad"}
            await put(parts, tmp_path, b"abc")

    run(work())
    assert names(tmp_path) == {"a.iso.part.bad", "a.iso"}


def test_a_whole_body_respects_what_exists(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(b"theirs")

    async def work() -> None:
        async with opened() as parts:
            found = await put(parts, tmp_path, b"abc", same=lambda found: found.st_size == 6)
            assert found == Existing(tmp_path / "a.iso", "already complete", 6)
            assert await put(parts, tmp_path, b"abc") == Finished(tmp_path / "a.1.iso", 3, sha256(b"abc"))

    run(work())


def test_many_whole_bodies_at_once_under_one_name(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            kept = await asyncio.gather(*(put(parts, tmp_path, b"%d" % i) for i in range(40)))
        found = {k.path.read_bytes() for k in kept if isinstance(k, Finished)}
        assert found == {b"%d" % i for i in range(40)}

    run(work())
    assert len(names(tmp_path)) == 40
