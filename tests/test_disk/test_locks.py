"""One target for two: processes, with real children and signals, or jobs of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fetchq._disk import Files, Finished
from fetchq._errors import LockedError
from fetchq._models import Span

from .rig import (
    abandon,
    claimed,
    disk,
    names,
    never,
    no_check,
    opened,
    policy,
    put,
    resource,
    run,
    write,
)

# Claims a.iso, writes ten bytes, notes them, says so, and holds on until it is told to end.
CHILD = """
import asyncio, sys
from pathlib import Path
from tests.test_disk.rig import claimed, no_check, opened, resource, write

async def work():
    async with opened() as parts:
        part = await claimed(parts, Path(sys.argv[1]))
        await part.begin(resource(20), [])
        await write(part, 0, [b"0123456789"])
        part._save()
        await write(part, 10, [b"not noted"])
        print("ready", flush=True)
        if sys.stdin.readline() == "finish\\n":
            await write(part, 10, [b"0123456789"])
            await part.finish(size=20, mtime=None, check=no_check)
            print("finished", flush=True)

asyncio.run(work())
"""


@contextmanager
def child(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the part of a.iso."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_the_second_process_hears_of_the_first_and_a_dead_owner_is_no_obstacle(tmp_path: Path) -> None:
    async def work(process: subprocess.Popen[str]) -> None:
        async with opened() as parts:
            for attempt in (claimed(parts, tmp_path), put(parts, tmp_path, b"abc")):
                with pytest.raises(LockedError, match=f"by process {process.pid};") as caught:
                    await attempt
                assert caught.value.pid == process.pid
            process.kill()
            process.wait()
            part = await claimed(parts, tmp_path)
            assert part.spans == (Span(0, 10),)
            await part.begin(resource(20), [])
            await write(part, 10, [b"abcdefghij"])
            await part.finish(size=20, mtime=None, check=no_check)

    with child(tmp_path) as process:
        run(work(process))
    assert (tmp_path / "a.iso").read_bytes() == b"0123456789abcdefghij"
    assert names(tmp_path) == {"a.iso"}


def test_a_dead_writer_of_the_journal_is_not_taken_for_the_owner(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as mine, opened() as yours:
            part = await claimed(mine, tmp_path)
            assert part.spans == (Span(0, 10),)
            with pytest.raises(LockedError, match="by another process;") as caught:
                await claimed(yours, tmp_path)
            assert caught.value.pid is None

    with child(tmp_path) as process:
        process.kill()
        process.wait()
        run(work())


def test_what_the_first_has_finished_is_not_fetched_by_the_second(tmp_path: Path) -> None:
    async def work(process: subprocess.Popen[str]) -> None:
        async with opened(disk("skip")) as parts:
            with pytest.raises(LockedError):
                await parts.claim(tmp_path, "a.iso", policy(parts, same=never))
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("finish\n")
            process.stdin.flush()
            assert process.stdout.readline() == "finished\n"
            found = await parts.claim(tmp_path, "a.iso", policy(parts, seen=resource(20)))
            # The record on the file, of the first one's making, says so.
            assert getattr(found, "reason", "") == "already complete"

    with child(tmp_path) as process:
        run(work(process))


def test_many_processes_race_for_one_name_and_each_file_is_whole(tmp_path: Path) -> None:
    racer = """
import asyncio, sys
from pathlib import Path
from fetchq._errors import LockedError
from tests.test_disk.rig import opened, put

async def work():
    async with opened() as parts:
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(30):
            try:
                await put(parts, Path(sys.argv[1]), sys.argv[2].encode() * 1000)
            except LockedError:
                pass

asyncio.run(work())
"""
    root = Path(__file__).parents[2]
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", racer, str(tmp_path), letter],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for letter in "xyz"
    ]
    try:
        for process in racers:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in racers:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.wait(30) for process in racers] == [0, 0, 0]
    finally:
        for process in racers:
            process.kill()
            process.communicate()
    contents = [path.read_bytes() for path in tmp_path.iterdir()]
    assert contents
    assert all(text in {b"x" * 1000, b"y" * 1000, b"z" * 1000} for text in contents)
    assert not any(name.endswith(".part") for name in names(tmp_path))


def test_a_small_body_keeps_off_a_part_that_another_run_has_only_just_begun(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as theirs, opened() as ours:
            part = await claimed(theirs, tmp_path)
            with pytest.raises(LockedError):
                await put(ours, tmp_path, b"abc")
            await part.close()
            assert isinstance(await put(ours, tmp_path, b"abc"), Finished)

    run(work())
    assert names(tmp_path) == {"a.iso"}


class Appearing(Files):
    """Another program makes the file *path* between a look at its name and the lock of its part."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lock(self, fd: int) -> bool:
        self.path.write_bytes(b"theirs")
        return super().lock(fd)


@pytest.mark.parametrize(
    ("begun", "spans", "left"),
    [
        (b"0123456789", (Span(0, 10),), {"a.iso", "a.iso.part", "a.iso.part.json"}),
        (b"", (), {"a.iso", "a.1.iso.part", "a.1.iso.part.json"}),
    ],
    ids=["begun", "new"],
)
def test_a_file_that_gets_the_name_before_the_lock_costs_no_byte(
    tmp_path: Path, begun: bytes, spans: tuple[Span, ...], left: set[str]
) -> None:
    async def work() -> None:
        if begun:
            async with opened() as parts:
                part = await claimed(parts, tmp_path)
                await part.begin(resource(20), [])
                await write(part, 0, [begun])
        async with opened(files=Appearing(tmp_path / "a.iso")) as parts:
            part = await claimed(parts, tmp_path)
            assert part.spans == spans
            assert names(tmp_path) == left

    run(work())
    assert (tmp_path / "a.iso").read_bytes() == b"theirs"


def test_the_second_of_two_in_one_process_hears_of_the_first(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as mine, opened() as yours:
            part = await claimed(mine, tmp_path)
            await part.begin(resource(3), [])
            await write(part, 0, [b"abc"])
            part._save()
            with pytest.raises(LockedError, match="is being downloaded by this process;") as caught:
                await claimed(yours, tmp_path)
            assert caught.value.pid == os.getpid()
            with pytest.raises(LockedError):
                await put(yours, tmp_path, b"abc")
            abandon(part)
            assert (await claimed(yours, tmp_path)).spans == (Span(0, 3),)

    run(work())


class Slow(Files):
    """A file layer in which one call waits until it may go on."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def lock(self, fd: int) -> bool:
        self.reached.set()
        self.go_on.wait(10)
        return super().lock(fd)


def test_a_claim_whose_caller_has_gone_is_given_back(tmp_path: Path) -> None:
    import asyncio

    files = Slow()

    async def work() -> None:
        async with opened(files=files) as parts:
            claiming = asyncio.ensure_future(claimed(parts, tmp_path))
            await asyncio.to_thread(files.reached.wait, 10)
            claiming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claiming
            files.go_on.set()
            again = await put(parts, tmp_path, b"abc")
            # Whichever thread came first: the name is either free again, or was free all along.
            assert isinstance(again, Finished)
        assert not {name for name in names(tmp_path) if name.endswith(".part")}

    run(work())


class Restless(Files):
    """A disk on which the part goes, or is exchanged, each time that it has been opened, *times* times."""

    def __init__(self, times: int, *, exchanged: bool) -> None:
        self.times = times
        self.exchanged = exchanged

    def lock(self, fd: int) -> bool:
        if self.times:
            self.times -= 1
            target = os.readlink(f"/proc/self/fd/{fd}")
            os.unlink(target)
            if self.exchanged:
                Path(target).touch()
        return super().lock(fd)


@pytest.mark.parametrize("exchanged", [False, True])
def test_a_part_that_vanished_while_it_was_locked_is_opened_again(tmp_path: Path, exchanged: bool) -> None:
    async def work() -> None:
        async with opened(files=Restless(3, exchanged=exchanged)) as parts:
            part = await claimed(parts, tmp_path)
            assert os.path.samestat(os.fstat(part._locked.fd), os.stat(part.path))
        async with opened(files=Restless(1000, exchanged=exchanged)) as parts:
            with pytest.raises(LockedError):
                await claimed(parts, tmp_path)

    run(work())
