"""The room on a disk: what is free, what is to stay free, and what other downloads are yet to fill."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from fetchq._disk import Files, Finished, Identity
from fetchq._disk.room import Reserved, Room, require_free, room_of
from fetchq._errors import DiskFullError
from fetchq._settings import MIB, Disk

from .rig import OTHER, Roomy, claimed, no_check, opened, pattern, policy, put, resource, run, write

GIB = 1024 * MIB
THIRD = Identity("http://elsewhere.test/third")


@pytest.mark.parametrize(
    ("blocks", "min_free", "kept"),
    [
        (1 << 40, None, 64 * MIB),
        (GIB, None, GIB // 100),
        (1 << 40, 0, 0),
        (GIB, 5 * MIB, 5 * MIB),
    ],
)
def test_what_is_to_stay_free(blocks: int, min_free: int | None, kept: int) -> None:
    assert room_of(Roomy(1000, blocks), Path(), Disk(min_free=min_free)) == Room(1000, kept)


def test_a_file_system_that_reports_no_size_is_not_full(tmp_path: Path) -> None:
    """FUSE answers statvfs(2) with zeros where its program does not (libfuse, fuse_lib_statfs)."""
    files = Roomy(0, blocks=0)
    assert room_of(files, tmp_path, Disk()) is None
    require_free(files, tmp_path, tmp_path / "a.iso", Disk())

    async def work() -> None:
        async with opened(Disk(), files=files) as parts:
            assert isinstance(await put(parts, tmp_path, b"abc"), Finished)

    run(work())


@pytest.mark.parametrize(
    ("free", "min_free", "said"),
    [
        (0, 0, r"no space is left"),
        (MIB - 1, MIB, r"only 1\.0 MiB are free .* 1\.0 MiB that --min-free"),
        (MIB, MIB, ""),
        (1, 0, ""),
    ],
)
def test_a_disk_is_full_below_what_is_to_stay_free(tmp_path: Path, free: int, min_free: int, said: str) -> None:
    settings = Disk(min_free=min_free)
    if not said:
        require_free(Roomy(free), tmp_path, tmp_path / "a.iso", settings)
        return
    with pytest.raises(DiskFullError, match=said):
        require_free(Roomy(free), tmp_path, tmp_path / "a.iso", settings)


def test_a_file_may_fill_all_that_need_not_stay_free(tmp_path: Path) -> None:
    reserved = Reserved(Roomy(MIB + 5000), Disk(min_free=MIB))
    with (tmp_path / "a.iso").open("wb") as file:
        reserved.require(file.fileno(), tmp_path / "a.iso", 5000)
        with pytest.raises(DiskFullError, match="needs 4"):
            reserved.require(file.fileno(), tmp_path / "a.iso", 5001)


class Sized(Files):
    """A disk of *total* bytes, of which files take up what is in them."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder = folder
        self.total = total

    def statvfs(self, at: int | Path) -> os.statvfs_result:
        taken = sum(os.stat(path).st_blocks * 512 for path in self.folder.iterdir())
        free = max(0, self.total - taken)
        found = list(os.statvfs(at))
        found[1], found[2], found[3], found[4] = 1, self.total, free, free
        return os.statvfs_result(found)


LARGE = 300 << 10
# For journals, and what a file system adds.
SMALL = 64 << 10


def test_files_that_are_being_written_have_their_room_to_themselves(tmp_path: Path) -> None:
    body = pattern(1000) * (LARGE // 1000)

    async def work() -> None:
        async with opened(files=Sized(tmp_path, len(body) + SMALL)) as parts:
            first = await claimed(parts, tmp_path, "first.iso")
            second = await claimed(parts, tmp_path, "second.iso", OTHER)
            await first.begin(resource(len(body)), [])
            with pytest.raises(
                DiskFullError, match=r"second\.iso needs .* of it for other downloads, of which"
            ):
                await second.begin(resource(len(body)), [])
            with pytest.raises(DiskFullError, match="for other downloads"):
                await parts.claim(tmp_path, "third.iso", policy(parts, THIRD), length=2 * SMALL)
            with pytest.raises(DiskFullError, match="for other downloads"):
                await put(parts, tmp_path, bytes(2 * SMALL), "fourth.iso", THIRD)
            await second.begin(resource(4096), [])
            await write(second, 0, [bytes(4096)])
            # What is written is not counted twice.
            await write(first, 0, [body[: LARGE // 2]])
            await first.begin(resource(len(body)), [])
            await write(first, LARGE // 2, [body[LARGE // 2 :]])
            finished = await first.finish(size=len(body), mtime=None, check=no_check)
            assert isinstance(finished, Finished)
            await second.close()

    run(work())
    assert (tmp_path / "first.iso").read_bytes() == body


@pytest.mark.parametrize("end", ["close", "spoil", "finish"])
def test_room_is_free_again_when_its_file_has_ended(tmp_path: Path, end: str) -> None:
    async def work() -> None:
        async with opened(files=Sized(tmp_path, LARGE + SMALL)) as parts:
            first = await claimed(parts, tmp_path, "first.iso")
            # Before the first is closed, whose descriptor could otherwise be the second's.
            second = await claimed(parts, tmp_path, "second.iso", OTHER)
            await first.begin(resource(LARGE), [])
            if end == "close":
                await first.close()
            elif end == "spoil":
                await first.spoil()
            else:
                await first.begin(resource(3), [])
                await write(first, 0, [b"abc"])
                await first.finish(size=3, mtime=None, check=no_check)
            await second.begin(resource(LARGE), [])
            await first.close()
            await second.close()

    run(work())


def test_another_disk_has_its_own_room(tmp_path: Path) -> None:
    if os.stat("/dev/shm").st_dev == os.stat(tmp_path).st_dev:
        pytest.skip("there is one file system here")

    async def work(elsewhere: Path) -> None:
        async with opened(files=Sized(tmp_path, LARGE + SMALL)) as parts:
            first = await claimed(parts, tmp_path, "first.iso")
            await first.begin(resource(LARGE), [])
            second = await claimed(parts, elsewhere, "second.iso", OTHER)
            await second.begin(resource(LARGE), [])
            await first.close()
            await second.close()

    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        run(work(Path(elsewhere)))
