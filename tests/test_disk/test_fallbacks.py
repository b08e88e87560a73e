"""File systems that lack a call: the download is finished all the same, and a warning says so once."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from fetchq._disk import CompleteBody, Files, Finished
from fetchq._errors import DiskError
from fetchq._models import Span

from .rig import (
    OTHER,
    OURS,
    Failing,
    claimed,
    disk,
    names,
    no_check,
    opened,
    pattern,
    policy,
    put,
    resource,
    run,
    write,
)

BODY = pattern(1000)


class Lack(NamedTuple):
    """A call that a file system refuses, the errors that it gives, and the one warning that follows."""

    call: str
    numbers: tuple[int, ...]
    warning: str = ""


REFUSED = (errno.EPERM, errno.EACCES)
ANY = (errno.EXDEV, errno.EIO, errno.ENOTTY, errno.ENOSPC, errno.EMLINK, *REFUSED)
NO_LOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES)
LACKS = [
    Lack("touch", (*REFUSED, errno.EINVAL), "modification times"),
    Lack("fsync", (errno.EINVAL, errno.ENOSYS), "no fsync"),
    Lack("fdatasync", (errno.EINVAL, errno.ENOSYS), "no fsync"),
    Lack("link", ANY),
    Lack("lock", NO_LOCK, "no locks"),
    Lack("statvfs", (errno.ENOSYS, errno.EPERM)),
    Lack("set_attribute", (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSPC)),
    Lack("attribute", (errno.EOPNOTSUPP, errno.ENODATA)),
]
ROWS = [(lack.call, number, lack.warning) for lack in LACKS for number in lack.numbers]


async def streamed(files: Files, folder: Path, warned: list[str]) -> None:
    """Fetch two files in several writes, with a checkpoint after each, and with --fsync."""
    async with opened(disk(fsync=True), files=files, warn=warned.append) as parts:
        for name in ("a.iso", "b.iso"):
            part = await claimed(parts, folder, name)
            await part.begin(resource(1000), ["sha256"])
            for offset in (0, 600, 300):
                await write(part, offset, [BODY[offset : offset + 400]])
                part._saved_at = -1.0
            finished = await part.finish(size=1000, mtime=0.0, check=no_check)
            assert isinstance(finished, Finished)


async def at_once(files: Files, folder: Path, warned: list[str]) -> None:
    """Get two files in one piece each."""
    async with opened(disk(fsync=True), files=files, warn=warned.append) as parts:
        for name in ("a.iso", "b.iso"):
            assert isinstance(await put(parts, folder, BODY, name), Finished)


@pytest.mark.parametrize("download", [streamed, at_once])
@pytest.mark.parametrize(("call", "number", "warning"), ROWS)
def test_a_call_that_is_lacking_fails_no_download(
    tmp_path: Path, call: str, number: int, warning: str, download: object
) -> None:
    files, warned = Failing(call, number, 0), list[str]()
    run((streamed if download is streamed else at_once)(files, tmp_path, warned))
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"a.iso": BODY, "b.iso": BODY}
    assert len(warned) == (files.hit and bool(warning))
    assert all(warning in text for text in warned)


@pytest.mark.parametrize("number", [*ANY, errno.ENOENT])
def test_a_file_without_a_name_that_gets_none_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    run(at_once(Files(), tmp_path, []))
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"a.iso": BODY, "b.iso": BODY}


def test_what_cannot_be_removed_in_the_end_is_left_to_the_next_run(tmp_path: Path) -> None:
    files = Failing("unlink", errno.EIO, 0)
    run(at_once(files, tmp_path / "small", []))

    async def work() -> None:
        async with opened(files=files) as parts:
            part = await claimed(parts, tmp_path)
            await part.begin(resource(3), [])
            await write(part, 0, [b"abc"])
            await part.finish(size=3, mtime=None, check=no_check)
            assert (tmp_path / "a.iso").read_bytes() == b"abc"

    run(work())


class NoRenameOver(Files):
    """sshfs to a server whose SFTP has no posix-rename."""

    def __init__(self, number: int) -> None:
        self.number = number

    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        if self.stat(target, dir_fd) is not None:
            raise OSError(self.number, "the target exists")
        super().replace(source, target, dir_fd, source_fd)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EEXIST, errno.EOPNOTSUPP])
def test_where_nothing_can_be_renamed_over_it_is_removed_first(tmp_path: Path, number: int) -> None:
    (tmp_path / "b.iso").write_bytes(b"old")

    async def work() -> None:
        async with opened(disk("overwrite"), files=NoRenameOver(number)) as parts:
            for name in ("a.iso", "b.iso"):
                part = await claimed(parts, tmp_path, name)
                await part.begin(resource(1000), ["sha256"])
                for offset in (0, 500):
                    await write(part, offset, [BODY[offset : offset + 500]])
                    part._saved_at = -1.0
                await part.finish(size=1000, mtime=None, check=no_check)

    run(work())
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == {"a.iso": BODY, "b.iso": BODY}


class Refusing(NoRenameOver):
    """It refuses more: to rename *call* times, counted from 1, whatever is there."""

    def __init__(self, number: int, *calls: int) -> None:
        super().__init__(number)
        self.calls = calls
        self.made = 0

    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        self.made += 1
        if self.made in self.calls:
            raise OSError(self.number, "refused")
        super().replace(source, target, dir_fd, source_fd)


async def overwrite(files: Files, folder: Path) -> None:
    """Put a new b.iso in the place of the old one."""
    async with opened(disk("overwrite"), files=Files()) as parts:
        part = await claimed(parts, folder, "b.iso")
        await part.begin(resource(3), [])
        await write(part, 0, [b"abc"])
        part._entry = part._entry._replace(files=files)
        part._locked.entry = part._entry
        await part.finish(size=3, mtime=None, check=no_check)


# The first call is the rename over the old file, the second moves that aside, the third gives the name, and the
# fourth moves the old one back.
@pytest.mark.parametrize("calls", [(2,), (3,), (2, 3)])
@pytest.mark.parametrize("taken", [[], ["b.iso.old1", "b.iso.old2"]])
def test_a_rename_that_is_refused_for_another_reason_loses_neither_file(
    tmp_path: Path, calls: tuple[int, ...], taken: list[str]
) -> None:
    for name in ("b.iso", *taken):
        (tmp_path / name).write_bytes(b"old")
    with pytest.raises(DiskError, match="permission denied"):
        run(overwrite(Refusing(errno.EPERM, *calls), tmp_path))
    assert all((tmp_path / name).read_bytes() == b"old" for name in ("b.iso", *taken))
    assert (tmp_path / "b.iso.part").read_bytes() == b"abc"
    assert names(tmp_path) == {"b.iso", "b.iso.part", "b.iso.part.json", *taken}


def test_where_no_rename_gives_the_old_file_its_name_back_it_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "b.iso").write_bytes(b"old")
    with pytest.raises(DiskError, match="permission denied"):
        run(overwrite(Refusing(errno.EPERM, 3, 4), tmp_path))
    assert (tmp_path / "b.iso.old1").read_bytes() == b"old"
    assert (tmp_path / "b.iso.part").read_bytes() == b"abc"


def test_an_old_file_that_cannot_be_removed_stays_beside_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "b.iso").write_bytes(b"old")
    files = Refusing(errno.EPERM)
    real = files.unlink

    def unlink(name: str, dir_fd: int) -> None:
        if name.startswith("b.iso.old"):
            raise OSError(errno.EPERM, "refused")
        real(name, dir_fd)

    files.unlink = unlink  # type: ignore[method-assign] # as Failing does
    run(overwrite(files, tmp_path))
    assert (tmp_path / "b.iso").read_bytes() == b"abc"
    assert (tmp_path / "b.iso.old1").read_bytes() == b"old"


@pytest.mark.parametrize("raises", [False, True])
def test_access_that_a_sandbox_refuses_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: bool
) -> None:
    """seccomp of an older Docker answers faccessat2(2) with EPERM, whatever is there."""

    def access(*_: object, **__: object) -> bool:
        if raises:
            raise PermissionError(errno.EPERM, "seccomp")
        return False

    monkeypatch.setattr(os, "access", access)
    run(streamed(Files(), tmp_path, []))
    assert names(tmp_path) == {"a.iso", "b.iso"}


class Short(Files):
    """An encrypting file system, which leaves fewer bytes for a name."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def statvfs(self, at: int | Path) -> os.statvfs_result:
        return os.statvfs_result((*os.statvfs(at)[:9], self.limit))

    def _check(self, name: str | Path) -> None:
        if len(os.fsencode(Path(name).name)) > self.limit:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))

    def open(self, name: str | Path, flags: int, dir_fd: int | None = None) -> int:
        self._check(name)
        return super().open(name, flags, dir_fd)

    def stat(self, name: str | Path, dir_fd: int | None = None) -> os.stat_result | None:
        self._check(name)
        return super().stat(name, dir_fd)

    def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        self._check(target)
        super().link(source, target, dir_fd, source_fd)

    def link_unnamed(self, fd: int, name: str, dir_fd: int) -> None:
        self._check(name)
        super().link_unnamed(fd, name, dir_fd)

    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        self._check(target)
        super().replace(source, target, dir_fd, source_fd)


LONG = "n" * 200 + ".tar.gz"


@pytest.mark.parametrize("limit", [60, 143, 175])
@pytest.mark.parametrize("name", [LONG, "\u00fc" * 100 + ".iso"])
def test_a_servers_name_is_cut_to_what_the_folder_takes(tmp_path: Path, limit: int, name: str) -> None:
    # Without any journal in the folder no part is looked for.
    (tmp_path / "x.part.json").touch()

    async def work() -> None:
        async with opened(disk(fsync=True), files=Short(limit)) as parts:
            part = await claimed(parts, tmp_path, name)
            await part.begin(resource(1000), [])
            await write(part, 0, [BODY[:500]])
            await part.close()
            found = await parts.peek(tmp_path, name, OURS)
            assert found is not None
            part = await claimed(parts, tmp_path, found)
            assert part.spans == (Span(0, 500),)
            await part.close()
        async with opened(files=Short(limit)) as parts:
            part = await claimed(parts, tmp_path, name)
            assert part.spans == (Span(0, 500),)
            await part.begin(resource(1000), [])
            await write(part, 500, [BODY[500:]])
            await part.finish(size=1000, mtime=None, check=no_check)
            assert isinstance(await put(parts, tmp_path, b"other", name, OTHER), Finished)

    run(work())
    (tmp_path / "x.part.json").unlink()
    first, second = sorted(names(tmp_path), key=len)
    suffix = name[name.index(".") :]
    assert first.endswith(suffix)
    assert second == f"{first.removesuffix(suffix)}.1{suffix}"
    assert limit - 30 < len(first.encode()) <= limit - 24


def test_a_users_name_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    said = r"nnn.* cannot be written: the name is too long for the file system\.$"

    async def work() -> None:
        async with opened(files=Short(143)) as parts:
            named = policy(parts, named=True)
            with pytest.raises(DiskError, match=said):
                await parts.claim(tmp_path, LONG, named)
            with pytest.raises(DiskError, match=said):
                await parts.put(tmp_path, LONG, named, CompleteBody([BODY], [], None, no_check))

    run(work())
    assert names(tmp_path) == set()
