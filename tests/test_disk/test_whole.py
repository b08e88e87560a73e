"""A body that arrived whole: one step, no journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from fetchq._digests import Buffer
from fetchq._disk import Existing, Files, Finished
from fetchq._errors import ChecksumError

from .rig import (
    MTIME,
    claimed,
    journal,
    names,
    opened,
    put,
    refuse,
    resource,
    run,
    sha256,
)


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
