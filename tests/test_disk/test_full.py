"""Full, failing and vanished disks: one sentence, the right kind of error, and nothing lost."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchq._disk import Files, Finished, Part
from fetchq._disk.files import translate
from fetchq._errors import DiskError, DiskFullError

from .rig import (
    Failing,
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
    write,
)

BODY = pattern(1000)

FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "quota is used up"}
REFUSED = {
    errno.EFBIG: "ulimit -f",
    errno.EIO: "input/output error",
    errno.EROFS: "read-only",
    errno.EACCES: "permission denied",
    errno.ENOTDIR: "is a file",
    errno.EMFILE: "too many open files",
}


async def download(files: Files, folder: Path, *, fsync: bool = True) -> object:
    """Fetch a.iso in three writes, going on where an earlier attempt left off."""
    async with opened(disk(fsync=fsync), files=files) as parts:
        part = await claimed(parts, folder)
        try:
            for span in part.spans:
                assert await part.read(span) == BODY[span.start : span.stop]
            await part.begin(resource(1000), ["sha256"])
            for offset in (0, 600, 300):
                await write(part, offset, [BODY[offset : offset + 400]])
                part._saved_at = -1.0
            return await part.finish(size=1000, mtime=0.0, check=no_check)
        finally:
            await part.close()


CALLS = [
    ("open", 0),
    ("open", 1),
    ("open", 2),
    ("pwritev", 0),
    ("pwritev", 2),
    ("pwritev", 4),
    ("fdatasync", 0),
    ("fdatasync", 2),
    ("fsync", 1),
    ("fsync", 6),
    ("fsync", 7),
    ("replace", 0),
    ("lock", 0),
    ("stat", 0),
]


@pytest.mark.parametrize(("call", "after"), CALLS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failing_call_is_one_error_and_the_next_run_goes_on(
    tmp_path: Path, call: str, after: int, number: int
) -> None:
    files = Failing(call, number, after)
    with pytest.raises(DiskError) as caught:
        run(download(files, tmp_path))
    assert files.hit
    assert type(caught.value) is (DiskFullError if number == errno.ENOSPC else DiskError)
    assert isinstance(caught.value.__cause__, OSError)
    assert "a.iso" in str(caught.value)
    final = tmp_path / "a.iso"
    assert not final.exists() or final.read_bytes() == BODY
    final.unlink(missing_ok=True)
    assert run(download(Files(), tmp_path)) is not None
    assert final.read_bytes() == BODY
    assert names(tmp_path) == {"a.iso"}


UNNAMED = ["open_unnamed", "pwritev", "stat"]
NAMED = ["open", "pwritev", "stat", "lock"]


@pytest.mark.parametrize(
    ("unnamed", "call"), [*((True, call) for call in UNNAMED), *((False, call) for call in NAMED)]
)
def test_a_whole_body_on_a_failing_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnamed: bool, call: str
) -> None:
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE")

    async def work() -> None:
        files = Failing(call, errno.ENOSPC, 0)
        async with opened(files=files) as parts:
            with pytest.raises(DiskFullError, match=r"a\.iso.*no space is left"):
                await put(parts, tmp_path, BODY)
            assert not (tmp_path / "a.iso").exists()
            files.broken = False
            assert isinstance(await put(parts, tmp_path, BODY), Finished)
        assert names(tmp_path) == {"a.iso"}

    run(work())


@pytest.mark.parametrize(("number", "words"), [*FULL.items(), *REFUSED.items()])
def test_each_reason_has_words(number: int, words: str) -> None:
    error = translate(OSError(number, "x"), Path("dir/a\x1b[2J.iso.part"))
    assert isinstance(error, DiskFullError) == (number in FULL)
    assert words in str(error)
    assert "a?[2J.iso" in str(error)
    assert str(error).endswith(".")


def test_an_unknown_reason_is_the_systems_own() -> None:
    assert "text file busy" in str(translate(OSError(errno.ETXTBSY, "x"), Path("a")))
    assert "strange" in str(translate(OSError("strange"), Path("a")))


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, folder)
            await part.begin(resource(1000), [])
            await write(part, 0, [BODY])
            shutil.rmtree(folder)
            with pytest.raises(DiskError, match="moved or removed"):
                await part.finish(size=1000, mtime=None, check=no_check)
            part._saved_at = -1.0
            with pytest.raises(DiskError, match="the folder vanished"):
                await write(part, 1000, [b"x"])
            await part.close()

    run(work())


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def work() -> None:
        async with opened() as parts:
            with pytest.raises(DiskError, match="is a file"):
                await claimed(parts, tmp_path / "file")
            with pytest.raises(DiskError, match="is a file"):
                await claimed(parts, tmp_path / "file" / "below")

    run(work())


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def fill(part: Part) -> None:
    """Write a MiB in small steps."""
    for offset in range(0, 1 << 20, 10_000):
        await write(part, offset, [pattern(10_000, offset)])


def test_a_disk_that_is_really_full(tiny: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tiny)
            await part.begin(resource(None), [])
            with pytest.raises(DiskFullError, match="no space is left"):
                await fill(part)
            written = part.spans[0].stop
            assert 100_000 < written <= 256 << 10
            assert await part.read(part.spans[0]) == b"".join(
                pattern(10_000, offset) for offset in range(0, written, 10_000)
            )
            await part.close()
            with pytest.raises(DiskFullError, match=r"no space is left|needs 1\.0 MiB more"):
                await put(parts, tiny, bytes(1 << 20), "b.iso")

    run(work())
    assert names(tiny) <= {"a.iso.part", "a.iso.part.json", "a.iso.part.json.tmp"}
    assert journal(tiny) is not None


def test_a_real_file_size_limit(tmp_path: Path) -> None:
    program = """
import asyncio, resource, sys
from pathlib import Path
from fetchq._errors import DiskError
from tests.test_disk.rig import claimed, opened, resource as facts, write

async def work():
    async with opened() as parts:
        part = await claimed(parts, Path(sys.argv[1]))
        await part.begin(facts(None), [])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        await write(part, 0, [bytes(4000)])
        try:
            await write(part, 4000, [bytes(4000)])
        except DiskError as error:
            print(type(error).__name__, error)

asyncio.run(work())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert "ulimit -f" in done.stdout
    assert done.stdout.startswith("DiskError "), "a smaller file may fit"
    saved = journal(tmp_path)
    assert saved is not None
    assert saved.spans[0].stop == 4000
