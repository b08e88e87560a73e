"""A body that arrived whole: one step, no journal."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from fetchq._disk import CompleteBody, Existing, Files, Finished
from fetchq._disk.files import UnnamedError
from fetchq._errors import ChecksumError
from fetchq._models import Buffer, Span

from .rig import (
    MTIME,
    claimed,
    journal,
    names,
    no_check,
    opened,
    put,
    refuse,
    resource,
    run,
    sha256,
    write,
)


@pytest.fixture(params=["unnamed", "named"], autouse=True)
def unnamed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the system has files without a name."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE")
    return bool(request.param == "unnamed")


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
            await write(part, 0, [b"x" * 500])
            await part.close()
            await put(parts, tmp_path, b"abcd")

    run(work())
    assert names(tmp_path) == {"a.iso"}
    assert (tmp_path / "a.iso").read_bytes() == b"abcd"


@pytest.mark.parametrize("gone", [True, False])
def test_an_older_journal_vouches_for_nothing_when_a_whole_body_is_written(tmp_path: Path, gone: bool) -> None:
    async def leave() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(1000), [])
            await write(part, 0, [b"x" * 500])
            await part.close()

    run(leave())
    if gone:
        (tmp_path / "a.iso.part").unlink()
    trusted: list[tuple[Span, ...]] = []

    class Watchful(Files):
        def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
            found = journal(tmp_path)
            trusted.append(() if found is None else found.spans)
            return super().pwritev(fd, chunks, offset)

    async def work() -> None:
        async with opened(files=Watchful()) as parts:
            await put(parts, tmp_path, b"abcd")

    run(work())
    # The write that replaces the journal still sees the old one; the body's does not.
    assert trusted[-1] == ()
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
            found = await put(parts, tmp_path, b"theirs", same=lambda found: found.st_size == 6)
            assert found == Existing(tmp_path / "a.iso", "already complete", 6)
        async with opened() as parts:
            other = await put(parts, tmp_path, b"no one", same=lambda found: found.st_size == 6)
            assert other == Finished(tmp_path / "a.1.iso", 6, sha256(b"no one"))
            assert await put(parts, tmp_path, b"abc") == Finished(tmp_path / "a.2.iso", 3, sha256(b"abc"))

    run(work())


def test_many_whole_bodies_at_once_under_one_name(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            kept = await asyncio.gather(*(put(parts, tmp_path, b"%d" % i) for i in range(40)))
        found = {k.path.read_bytes() for k in kept if isinstance(k, Finished)}
        assert found == {b"%d" % i for i in range(40)}

    run(work())
    assert len(names(tmp_path)) == 40


def test_a_body_without_a_name_is_seen_by_nobody(tmp_path: Path, unnamed: bool) -> None:
    seen: list[set[str]] = []

    class Watchful(Files):
        def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
            seen.append(names(tmp_path))
            return super().pwritev(fd, chunks, offset)

    async def work() -> None:
        async with opened(files=Watchful()) as parts:
            await put(parts, tmp_path, b"abcd")

    run(work())
    # Without such files a journal is written first, under its own name, so that the part is ours.
    assert seen == ([set()] if unnamed else [{"a.iso.part.json"}, {"a.iso.part", "a.iso.part.json"}])
    assert (tmp_path / "a.iso").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("call", ["open_unnamed", "link_unnamed"])
def test_where_there_are_no_files_without_a_name_a_part_does(tmp_path: Path, call: str) -> None:
    asked: list[str] = []

    def refuse_name(*_: object) -> int:
        asked.append(call)
        raise UnnamedError

    async def work() -> None:
        files = Files()
        setattr(files, call, refuse_name)
        async with opened(files=files) as parts:
            for name in ("a.iso", "b.iso"):
                assert await put(parts, tmp_path, b"abcd", name) == Finished(
                    tmp_path / name, 4, sha256(b"abcd")
                )

    run(work())
    assert names(tmp_path) == {"a.iso", "b.iso"}
    # Once for a body, and once for the journal of each part.
    assert len(asked) <= 3


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EOPNOTSUPP, UnnamedError), (errno.EISDIR, UnnamedError), (errno.ENOSPC, OSError)],
)
def test_what_the_system_says_of_files_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool, number: int, kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, "no")

    if not unnamed:
        return
    folder = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(os, "open", fail)
    try:
        with pytest.raises(kind):
            Files().open_unnamed(folder)
    finally:
        os.close(folder)


def test_a_name_that_was_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    class Slow(Files):
        def touch(self, fd: int, mtime: float) -> None:
            super().touch(fd, mtime)
            (tmp_path / "a.iso").write_bytes(b"theirs")

    async def work() -> None:
        async with opened(files=Slow()) as parts:
            assert await put(parts, tmp_path, b"abcd") == Finished(tmp_path / "a.1.iso", 4, sha256(b"abcd"))

    run(work())
    assert (tmp_path / "a.iso").read_bytes() == b"theirs"
    assert names(tmp_path) == {"a.iso", "a.1.iso"}


@pytest.mark.parametrize(
    ("text", "same"), [(b"abcdef", True), (b"abcdeX", False), (b"abcde", False), (b"abcdefg", False)], ids=repr
)
def test_a_body_at_hand_is_compared_to_its_end(tmp_path: Path, text: bytes, same: bool) -> None:
    body = CompleteBody([b"abc", b"def"], [], None, no_check)
    (tmp_path / "a.iso").write_bytes(text)
    with (tmp_path / "a.iso").open("rb") as file:
        assert body.holds(Files(), file.fileno()) is same
