"""A complete part gets its name: what is checked, what is taken, what is kept."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fetchq._disk import Existing, FileRecord, Files, Finished, publish
from fetchq._errors import ChecksumError, DiskError, ExistsError, StoppedError
from fetchq._models import Resource, Span
from fetchq._settings import IfExists

from .rig import (
    OTHER,
    OURS,
    claimed,
    disk,
    names,
    no_check,
    opened,
    pattern,
    put,
    refuse,
    resource,
    resumed,
    run,
    sha256,
    write,
)


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


def test_a_long_verification_can_be_stopped(tmp_path: Path) -> None:
    body = pattern(1000)

    async def work() -> None:
        async with opened() as parts:
            part = await resumed(parts, tmp_path, body)
            with part.path.open("ab") as file:
                file.write(body[-1:])
            part.spans = (Span(0, 1000),)
            assert part._hasher is not None
            part._hasher.stop()
            with pytest.raises(StoppedError):
                await part.finish(size=1000, mtime=None, check=no_check)
        assert names(tmp_path) == {"a.iso.part", "a.iso.part.json"}

    run(work())


def test_a_part_with_a_hole_is_not_finished(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(10), [])
            await write(part, 0, [b"abc"])
            await write(part, 5, [b"defgh"])
            with pytest.raises(DiskError, match="holds 8 of 10 bytes"):
                await part.finish(size=10, mtime=None, check=no_check)
            await write(part, 3, [b"xx"])
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
            await write(part, 0, [b"abc"])
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
            await write(part, 0, [b"abc"])
            part.path.rename(tmp_path / "moved")
            part.path.write_bytes(b"xyz")
            with pytest.raises(DiskError, match="was moved or removed"):
                await part.finish(size=3, mtime=None, check=no_check)

    run(work())
    assert "a.iso" not in names(tmp_path)


def test_wrong_bytes_are_put_aside_and_the_part_starts_over(tmp_path: Path) -> None:
    (tmp_path / "a.iso.part.bad").write_bytes(b"older")

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), ["sha256"])
            await write(part, 0, [b"bad"])
            with pytest.raises(ChecksumError):
                await part.finish(size=3, mtime=None, check=refuse)
            assert names(tmp_path) == {"a.iso.part", "a.iso.part.json", "a.iso.part.bad"}
            assert await part.spoil() == tmp_path / "a.iso.part.bad"
            assert (tmp_path / "a.iso.part.bad").read_bytes() == b"bad"
            assert names(tmp_path) == {"a.iso.part", "a.iso.part.json", "a.iso.part.bad"}
            assert part.spans == ()
            async with opened() as others:
                with pytest.raises(DiskError, match="is being downloaded"):
                    await claimed(others, tmp_path)
            await part.begin(resource(3), ["sha256"])
            await write(part, 0, [b"abc"])
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
            await write(part, 0, [b"abc"])
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


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EXDEV, errno.EIO, errno.ENOTTY])
def test_without_hard_links_nothing_is_overwritten_either(tmp_path: Path, number: int) -> None:
    class Linkless(Files):
        def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
            raise OSError(number, "no links here")

    async def work() -> None:
        async with opened(files=Linkless()) as parts:
            for text, expected in ((b"abc", "a.iso"), (b"xyz", "a.2.iso")):
                part = await claimed(parts, tmp_path)
                await part.begin(resource(3), [])
                await write(part, 0, [text])
                if expected == "a.2.iso":
                    (tmp_path / "a.1.iso").write_bytes(b"theirs")
                finished = await part.finish(size=3, mtime=None, check=no_check)
                assert finished == Finished(tmp_path / expected, 3, {})

    run(work())
    assert (tmp_path / "a.1.iso").read_bytes() == b"theirs"
    assert names(tmp_path) == {"a.iso", "a.1.iso", "a.2.iso"}


def test_an_identical_file_from_before_the_run_is_not_kept_twice(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(b"abc")
    (tmp_path / "b.iso").write_bytes(b"xyz")

    async def download(name: str) -> Finished | Existing:
        async with opened() as parts:
            part = await claimed(parts, tmp_path, name)
            await part.begin(resource(3), [])
            await write(part, 0, [b"abc"])
            return await part.finish(size=3, mtime=None, check=no_check)

    async def at_once(name: str) -> Finished | Existing:
        async with opened() as parts:
            return await put(parts, tmp_path, b"abc", name)

    same = Existing(tmp_path / "a.iso", "identical file already there", 3)
    assert run(download("a.iso")) == same
    assert run(at_once("a.iso")) == same
    assert names(tmp_path) == {"a.iso", "b.iso"}
    assert run(download("b.iso")) == Finished(tmp_path / "b.1.iso", 3, {})


def test_a_longer_file_that_begins_alike_is_another(tmp_path: Path) -> None:
    size = publish.COMPARED
    (tmp_path / "a.iso").write_bytes(bytes(size) + b"more")

    async def work() -> Finished | Existing:
        async with opened() as parts:
            return await put(parts, tmp_path, bytes(size))

    assert isinstance(run(work()), Finished)
    assert names(tmp_path) == {"a.iso", "a.1.iso"}


SEEN = Resource("u", length=3, etag='"a"', last_modified="Mon, 01 Jan 2024 00:00:00 GMT")


@pytest.mark.parametrize(
    ("seen", "same"),
    [
        (SEEN, True),
        (replace(SEEN, length=None), True),
        (replace(SEEN, length=4), False),
        (replace(SEEN, etag='"b"'), False),
        (replace(SEEN, last_modified="Tue, 02 Jan 2024 00:00:00 GMT"), False),
        (replace(SEEN, etag=None), True),
        (replace(SEEN, etag=None, last_modified=None), False),
    ],
)
def test_a_record_is_of_what_the_server_has_by_length_and_each_validator(seen: Resource, same: bool) -> None:
    assert FileRecord("key", 3, 0, SEEN.etag, SEEN.last_modified).is_of(seen) is same


def test_a_file_is_unchanged_by_size_and_date(tmp_path: Path) -> None:
    path = tmp_path / "a.iso"
    path.write_bytes(b"abc")
    found = path.stat()
    for size, mtime_ns in ((3, found.st_mtime_ns), (4, found.st_mtime_ns), (3, found.st_mtime_ns + 1)):
        unchanged = (size, mtime_ns) == (3, found.st_mtime_ns)
        assert FileRecord("key", size, mtime_ns, None, None).is_unchanged(found) is unchanged


def test_an_identical_file_is_enough_whatever_the_clock_says(tmp_path: Path) -> None:
    """A file server's clock is a day ahead: the same command must not make a numbered file at each run."""
    (tmp_path / "a.iso").write_bytes(b"abc")

    async def work() -> None:
        async with opened(files=Ahead()) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), [])
            await write(part, 0, [b"abc"])
            await part.finish(size=3, mtime=None, check=no_check)
            # Which is this job's then, and no other's.
            await put(parts, tmp_path, b"abc", identity=OTHER)

    run(work())
    assert names(tmp_path) == {"a.iso", "a.1.iso"}


class Ahead(Files):
    """A file server whose clock is a day ahead of this machine's."""

    def stat(self, name: str | Path, dir_fd: int | None = None) -> os.stat_result | None:
        found = super().stat(name, dir_fd)
        return None if found is None else os.stat_result((*found[:9], found.st_ctime + 86400))


def test_identical_files_of_one_run_are_both_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            for identity in (OURS, OTHER):
                await put(parts, tmp_path, b"abc", identity=identity)

    run(work())
    assert names(tmp_path) == {"a.iso", "a.1.iso"}
