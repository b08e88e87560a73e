"""Short work on a quick disk stays in the loop's own thread; a slow disk is left to the others."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiofiles.os
import pytest

from fetchq._disk import Files
from fetchq._disk.parts import SHORT
from fetchq._disk.threads import REST_SECONDS, SLOW_SECONDS, SMOOTH, Threads
from fetchq._models import Buffer
from fetchq._settings import Disk

from .rig import Clock, claimed, disk, names, opened, put, resource, run, write


def test_a_disk_counts_as_slow_once_it_usually_is_and_is_tried_again_later() -> None:
    clock = Clock()
    threads = Threads(1, clock)

    def call(seconds: float) -> None:
        clock.now += seconds

    for _ in range(10 * SMOOTH):
        threads._timed(partial(call, SLOW_SECONDS / 2))
    assert threads.is_quick()
    threads._timed(partial(call, SLOW_SECONDS * SMOOTH / 3))  # interrupted once
    assert threads.is_quick()
    for _ in range(SMOOTH):
        threads._timed(partial(call, SLOW_SECONDS * 2))
    assert not threads.is_quick()
    clock.now += REST_SECONDS
    assert threads.is_quick()
    threads._timed(partial(call, SLOW_SECONDS / 2))
    assert threads.is_quick()


def test_calls_that_wait_for_the_interpreter_now_and_then_do_not_make_a_disk_slow() -> None:
    clock = Clock()
    threads = Threads(1, clock)

    def call(seconds: float) -> None:
        clock.now += seconds

    for _ in range(20):
        threads._timed(partial(call, 0.05))
        for _ in range(SMOOTH // 2):
            threads._timed(partial(call, SLOW_SECONDS / 10))
        assert threads.is_quick()


def test_one_call_that_hangs_is_enough() -> None:
    clock = Clock()
    threads = Threads(1, clock)

    def hang() -> None:
        clock.now += 0.2
        raise OSError("and fails")

    with pytest.raises(OSError, match="fails"):
        threads._timed(hang)
    assert not threads.is_quick()


class Told(Files):
    """A file system of the type *kind*, whose every write takes *seconds* by the test's clock."""

    def __init__(self, kind: str | None, clock: Clock, seconds: float = 0.0) -> None:
        self.asked = 0
        self._kind = kind
        self._clock = clock
        self._seconds = seconds

    def file_system(self, fd: int) -> str | None:
        self.asked += 1
        return self._kind

    def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
        self._clock.now += self._seconds
        return super().pwritev(fd, chunks, offset)


@pytest.mark.parametrize(
    ("kind", "size", "settings", "seconds", "here"),
    [
        ("ext4", SHORT, disk(), 0.0, [False, True, True]),
        ("ext4", SHORT + 1, disk(), 0.0, [False, False, False]),
        ("ext4", 10, disk(fsync=True), 0.0, [False, False, False]),
        ("ext4", 10, disk(), 0.1, [False, True, False]),
        *((kind, 10, disk(), 0.0, [False, True, True]) for kind in ("tmpfs", "overlay", "xfs", "btrfs", "zfs")),
        *(
            (kind, 10, disk(), 0.0, [False, False, False])
            for kind in ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "fuseblk", "9p", "ceph", "vfat", None)
        ),
    ],
)
def test_where_a_whole_body_is_brought_to_disk(
    tmp_path: Path, kind: str | None, size: int, settings: Disk, seconds: float, here: list[bool]
) -> None:
    clock = Clock()
    files = Told(kind, clock, seconds)
    seen: list[bool] = []

    def note(digests: Mapping[str, str]) -> None:
        seen.append(threading.current_thread() is threading.main_thread())

    async def work() -> None:
        async with opened(settings, clock=clock, files=files) as parts:
            for name in "abc":
                await put(parts, tmp_path, b"x" * size, name, check=note)
            # Another folder of the same device.
            await put(parts, tmp_path / "folder", b"x" * size, "a", check=note)
            await put(parts, tmp_path / "folder", b"x" * size, "b", check=note)

    run(work())
    assert seen == [*here, False, here[-1]]
    assert names(tmp_path) == {"a", "b", "c", "folder"}
    assert files.asked == 1, "once for each device"


def types() -> Iterator[tuple[Path, str]]:
    """Real folders, and the types that findmnt(8) tells."""
    for path in ("/", "/tmp", "/dev/shm", "/proc", "/sys", "/run", str(Path.home())):
        command = ["findmnt", "--noheadings", "--output=FSTYPE", "--target", path]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        if told and Path(path).is_dir():
            yield Path(path), told[-1]


def file_system(path: Path) -> str | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return Files().file_system(fd)
    finally:
        os.close(fd)


@pytest.mark.skipif(shutil.which("findmnt") is None, reason="findmnt tells what is right")
def test_the_type_of_a_file_system_is_what_the_system_says() -> None:
    found = {path: file_system(path) for path, _ in types()}
    assert found == dict(types())
    assert found


@pytest.mark.parametrize(
    ("kind", "options"),
    [("tmpfs", "size=1m"), ("overlay", "lowerdir={0}/a,upperdir={0}/b,workdir={0}/c"), ("bind", "bind")],
)
def test_the_type_of_a_file_system_that_has_just_been_mounted(tmp_path: Path, kind: str, options: str) -> None:
    for name in ("a", "b", "c", "a space"):
        (tmp_path / name).mkdir()
    target = tmp_path / "a space"
    source = str(tmp_path / "a") if kind == "bind" else kind
    more = [] if kind == "bind" else ["-t", kind]
    mount = ["mount", *more, "-o", options.format(tmp_path), source, str(target)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip(f"mounting {kind} needs root")
    try:
        assert file_system(target) == (file_system(tmp_path) if kind == "bind" else kind)
    finally:
        subprocess.run(["umount", str(target)], check=True)


def test_a_type_that_is_not_told_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise PermissionError(path)

    for read in (fail, lambda path: b"", lambda path: b"mnt_id:\t7\n"):
        monkeypatch.setattr(Path, "read_bytes", read)
        assert Files().file_system(0) is None


@pytest.mark.parametrize("way", ["part", "pipe", "complete"])
def test_bodies_reach_disk_and_pipe_through_aiofiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    within = threading.local()
    seen: list[bool] = []

    def call(function: Callable[..., object], *args: object) -> object:
        within.aiofiles = True
        try:
            return function(*args)
        finally:
            within.aiofiles = False

    class Watchful(Told):
        def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
            seen.append(getattr(within, "aiofiles", False))
            return super().pwritev(fd, chunks, offset)

    class Stream(io.BytesIO):
        def write(self, data: Any) -> int:
            seen.append(getattr(within, "aiofiles", False))
            return super().write(data)

    async def work() -> None:
        async with opened(files=Watchful("nfs", Clock())) as parts:
            if way == "part":
                part = await claimed(parts, tmp_path)
                await part.begin(resource(3), [])
                await write(part, 0, [b"abc"])
            elif way == "pipe":
                await write(parts.pipe(Stream()), 0, [b"abc"])
            else:
                await put(parts, tmp_path, b"abc")

    monkeypatch.setattr("fetchq._disk.threads._in_thread", lambda: aiofiles.os.wrap(call))
    run(work())
    assert seen
    assert all(seen)


def test_short_calls_are_made_together_after_the_requests_and_before_their_callers_go_on() -> None:
    order: list[str] = []

    async def work() -> None:
        threads = Threads(1, Clock())

        async def feed(name: str) -> None:
            order.append(f"sent {name}")

        async def fetch(name: str) -> None:
            feeding.append(asyncio.create_task(feed(name)))
            await threads.run_short(order.append, f"wrote {name}")
            order.append(f"next {name}")

        feeding: list[asyncio.Task[None]] = []
        await asyncio.gather(fetch("a"), fetch("b"), fetch("c"))
        await threads.aclose()

    run(work())
    assert order == [f"{what} {name}" for what in ("sent", "wrote", "next") for name in "abc"]


def test_a_short_call_that_fails_raises_where_it_was_asked_for() -> None:
    made: list[str] = []

    def fail() -> None:
        raise OSError("no")

    async def work() -> None:
        threads = Threads(1, Clock())
        results = await asyncio.gather(
            threads.run_short(fail), threads.run_short(made.append, "other"), return_exceptions=True
        )
        assert [type(result) for result in results] == [OSError, type(None)]
        await threads.aclose()

    run(work())
    assert made == ["other"]


def test_a_short_call_that_nobody_waits_for_any_more_is_not_made() -> None:
    made: list[str] = []

    async def work() -> None:
        threads = Threads(1, Clock())
        call = asyncio.create_task(threads.run_short(made.append, "given up"))
        await asyncio.sleep(0)
        call.cancel()
        await threads.run_short(made.append, "wanted")
        await threads.aclose()

    run(work())
    assert made == ["wanted"]


def test_the_first_slow_call_sends_those_behind_it_to_threads() -> None:
    clock = Clock()
    here: list[bool] = []

    def hang() -> None:
        here.append(threading.current_thread() is threading.main_thread())
        clock.now += 0.2

    async def work() -> None:
        threads = Threads(1, clock)
        await asyncio.gather(*(threads.run_short(hang) for _ in range(4)))
        await threads.aclose()

    run(work())
    assert here == [True, False, False, False]
