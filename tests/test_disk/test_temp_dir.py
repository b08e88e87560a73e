"""Parts in a folder of their own, which may be on another disk than the files that they become."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fetchq._disk import Files, Finished
from fetchq._disk.lock import OpenedPart, open_part
from fetchq._errors import DiskError, DiskFullError, LockedError
from fetchq._settings import Disk, IfExists

from .rig import OTHER, OURS, Failing, claimed, disk, names, no_check, opened, pattern, resource, run, write
from .test_syscalls import (
    NEW,
    OLD,
    SCRIPTS,
    Script,
    Server,
    afterwards,
    again,
    overtaken,
    until_death,
)
from .unsafe import Unsafe

BODY = pattern(3_000_000)


class Apart(Files):
    """Two folders count as two file systems."""

    def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        _require_same(dir_fd, source_fd)
        super().link(source, target, dir_fd, source_fd)

    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        _require_same(dir_fd, source_fd)
        super().replace(source, target, dir_fd, source_fd)


class UnsafeApart(Unsafe, Apart):
    """The same, where the process dies."""


def _require_same(dir_fd: int, source_fd: int | None) -> None:
    if source_fd is not None and not os.path.samestat(os.fstat(dir_fd), os.fstat(source_fd)):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder where making a thousand files takes no time."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


def apart(base: Path, settings: Disk | None = None) -> tuple[Path, Path, Disk]:
    """Folders for files and for parts, and settings that say so."""
    folder, temp = base / "files", base / "parts"
    folder.mkdir()
    return folder, temp, replace(settings or disk(), temp_dir=temp)


async def finished(folder: Path, settings: Disk, files: Files, body: bytes = BODY) -> Finished:
    async with opened(settings, files=files) as parts:
        part = await claimed(parts, folder)
        await part.begin(resource(len(body)), [])
        await write(part, 0, [body])
        done = await part.finish(size=len(body), mtime=1e9, check=no_check)
        assert isinstance(done, Finished)
        return done


@pytest.mark.parametrize("files", [Files, Apart])
def test_the_part_is_apart_and_becomes_the_file(base: Path, files: type[Files]) -> None:
    folder, temp, settings = apart(base)

    async def main() -> None:
        async with opened(settings, files=files()) as parts:
            part = await claimed(parts, folder)
            await part.begin(resource(len(BODY)), [])
            await write(part, 0, [BODY])
            assert names(folder) == set()
            assert part.path.parent == temp
            inode = part.path.stat().st_ino
            await part.finish(size=len(BODY), mtime=1e9, check=no_check)
            assert ((folder / "a.iso").stat().st_ino == inode) is (files is Files)

    run(main())
    assert (folder / "a.iso").read_bytes() == BODY
    assert (folder / "a.iso").stat().st_mtime == 1e9
    assert names(folder) == {"a.iso"}
    assert names(temp) == set()


def test_files_of_one_name_do_not_meet(base: Path) -> None:
    _, temp, settings = apart(base)

    async def main() -> None:
        async with opened(settings, files=Apart()) as parts:
            claims = [await claimed(parts, base / name, "b.iso") for name in ("one", "two")]
            for number, part in enumerate(claims):
                await part.begin(resource(100), [])
                await write(part, 0, [pattern(100, number)])
            assert len(names(temp)) == 4
            for part in claims:
                await part.finish(size=100, mtime=None, check=no_check)

    run(main())
    assert [(base / name / "b.iso").read_bytes() for name in ("one", "two")] == [
        pattern(100, 0),
        pattern(100, 1),
    ]


def test_a_folder_of_parts_that_is_the_files_own_changes_nothing(base: Path) -> None:
    (base / "link").symlink_to(base)
    settings = replace(disk(), temp_dir=base / "link")

    async def main() -> None:
        async with opened(settings) as parts:
            await (await claimed(parts, base)).begin(resource(5), [])
            assert {"a.iso.part", "a.iso.part.json"} <= names(base)

    run(main())


@pytest.mark.parametrize("name", ["x" * 251 + ".iso", "ü" * 120 + ".iso"])
def test_a_long_name_has_a_part_as_well(base: Path, name: str) -> None:
    folder, temp, settings = apart(base)

    async def main() -> None:
        async with opened(settings, files=Apart()) as parts:
            part = await claimed(parts, folder, name)
            await part.begin(resource(5), [])
            assert max(len(os.fsencode(each)) for each in names(temp)) < 143
            await write(part, 0, [b"12345"])
            await part.finish(size=5, mtime=None, check=no_check)

    run(main())
    assert len(names(folder)) == 1


@pytest.mark.parametrize(
    ("call", "number", "kind"),
    [
        ("pwritev", errno.ENOSPC, DiskFullError),
        ("pwritev", errno.EIO, DiskError),
        ("open", errno.EROFS, DiskError),
    ],
)
def test_a_copy_that_fails_keeps_the_part(base: Path, call: str, number: int, kind: type[DiskError]) -> None:
    folder, temp, settings = apart(base)

    class Broken(Failing, Apart):
        """Fails as soon as the copy is made."""

    async def main() -> None:
        files = Broken(call, number, 10**9)
        async with opened(settings, files=files) as parts:
            part = await claimed(parts, folder)
            await part.begin(resource(len(BODY)), [])
            await write(part, 0, [BODY])
            setattr(files, call, _fails_in(folder, getattr(Apart(), call), number))
            with pytest.raises(kind, match=r"All bytes are kept in .*parts/a\.iso.*part") as caught:
                await part.finish(size=len(BODY), mtime=None, check=no_check)
            assert str(folder / "a.iso") in str(caught.value)
            assert {name for name in names(folder) if not name.endswith(".json")} == set()
        assert len(names(temp)) == 2
        async with opened(settings, files=Apart()) as parts:
            part = await claimed(parts, folder)
            assert [(span.start, span.stop) for span in part.spans] == [(0, len(BODY))]
            await part.begin(resource(len(BODY)), [])
            await part.finish(size=len(BODY), mtime=None, check=no_check)
        assert names(folder) == {"a.iso"}
        assert names(temp) == set()

    run(main())


def _fails_in(folder: Path, real: Any, number: int) -> Any:
    """Make a call fail for all but journals in *folder*."""

    def call(first: int | str, *more: Any) -> Any:
        at = first if isinstance(first, int) else more[1]
        path = "" if at is None else f"{os.readlink(f'/proc/self/fd/{at}')}/{first}"
        if path.startswith(f"{folder}/") and ".json" not in path:
            raise OSError(number, os.strerror(number))
        return real(first, *more)

    return call


def test_what_a_kill_left_of_another_downloads_copy_is_taken_over_and_goes(base: Path) -> None:
    folder, _, settings = apart(base)

    async def main() -> None:
        async with opened(settings, files=Apart()) as parts:
            part = await claimed(parts, folder)
            left = open_part(part._entry.landing(), OTHER, take_over=False)
            assert isinstance(left, OpenedPart)
            os.write(left.fd, b"x" * 200)
            os.close(left.fd)
            await part.begin(resource(5), [])
            await write(part, 0, [b"12345"])
            await part.finish(size=5, mtime=None, check=no_check)

    run(main())
    assert names(folder) == {"a.iso"}
    assert (folder / "a.iso").read_bytes() == b"12345"


def test_a_copy_that_another_process_makes_is_not_disturbed(base: Path) -> None:
    """Two runs with folders for parts of their own may finish one target at the same time."""
    folder, temp, settings = apart(base)

    async def main() -> None:
        async with opened(settings, files=Apart()) as parts:
            part = await claimed(parts, folder)
            theirs = open_part(part._entry.landing(), OURS, take_over=False)
            assert isinstance(theirs, OpenedPart)
            await part.begin(resource(5), [])
            await write(part, 0, [b"12345"])
            with pytest.raises(
                LockedError, match=r"is being downloaded by .* All bytes are kept in "
            ) as caught:
                await part.finish(size=5, mtime=None, check=no_check)
            assert caught.value.pid == os.getpid()
            os.close(theirs.fd)
            await part.finish(size=5, mtime=None, check=no_check)

    run(main())
    assert names(folder) == {"a.iso"}
    assert names(temp) == set()


def test_a_copy_ends_when_the_run_does(base: Path) -> None:
    folder, temp, settings = apart(base)
    copying: list[int] = []
    part: Any = None

    class Stopped(Apart):
        def preadv(self, fd: int, buffers: Any, offset: int) -> int:
            if names(folder):
                copying.append(offset)
                part._locked.stopping = True  # as Part.close() does
            return super().preadv(fd, buffers, offset)

    async def main() -> None:
        nonlocal part
        async with opened(settings, files=Stopped()) as parts:
            part = await claimed(parts, folder)
            await part.begin(resource(len(BODY)), [])
            await write(part, 0, [BODY])
            with pytest.raises(DiskError):
                await part.finish(size=len(BODY), mtime=None, check=no_check)

    run(main())
    assert copying == [0]
    assert names(folder) == set()
    assert len(names(temp)) == 2


def test_with_fsync_the_copy_is_on_the_disk_before_the_part_goes(base: Path) -> None:
    folder, _, settings = apart(base, disk(fsync=True))
    done: list[tuple[str, str]] = []

    class Noted(Apart):
        def fsync(self, fd: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            done.append(("sync", path.name if path.suffix != ".tmp" else "journal"))
            super().fsync(fd)

        def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
            super().link(source, target, dir_fd, source_fd)
            done.append(("link", target))

        def unlink(self, name: str, dir_fd: int) -> None:
            done.append(("unlink", Path(os.readlink(f"/proc/self/fd/{dir_fd}")).name))
            super().unlink(name, dir_fd)

    run(finished(folder, settings, Noted()))
    named = done.index(("link", "a.iso"))
    assert done[named - 1][0] == "sync"
    assert done[named - 1][1].endswith(".part")
    assert done[named + 1] == ("sync", "files")
    assert ("unlink", "parts") in done[named + 2 :]
    assert ("unlink", "parts") not in done[:named]


@pytest.mark.usefixtures("in_loop")
@pytest.mark.parametrize("server", [Server(dated=True), Server(dated=False)], ids=["dated", "undated"])
@pytest.mark.parametrize(
    ("script", "policy"),
    [
        *((script, policy) for script in SCRIPTS[:4] for policy in ("rename", "overwrite")),
        *((script, "rename") for script in (again, overtaken)),
        (overtaken, "skip"),
    ],
)
@pytest.mark.parametrize("files", [Unsafe, UnsafeApart])
def test_killed_at_any_call(
    base: Path, script: Script, policy: IfExists, server: Server, files: type[Unsafe]
) -> None:
    async def work() -> int:
        for calls in range(1000):
            place = base / f"{calls}"
            place.mkdir()
            folder, temp, settings = apart(place, replace(disk(policy), checkpoint=0.0))
            ended = await until_death(script, folder, server, settings, files(folder, calls))
            for path in folder.glob("*.iso"):
                assert path.read_bytes() in (OLD, NEW)
            await afterwards(
                folder, server, settings, tidy=True, files=Apart() if files is UnsafeApart else Files()
            )
            left = {name for name in names(temp) if not name.endswith(".bad")}
            assert left == set() or policy == "skip"
            if ended:
                return calls
        raise AssertionError("the script never ends")

    assert asyncio.run(work()) > 10
