"""Death at each system call, with and without loss of power, and a file under its final name is never wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from fetchq._disk import Existing, Parts
from fetchq._settings import Disk

from .rig import OURS, abandon, disk, names, no_check, opened, pattern, resource
from .unsafe import DiedError, Unsafe

OLD, NEW = pattern(300, 1), pattern(260, 2)
VERSIONS = {'"old"': OLD, '"new"': NEW}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where making a thousand files takes no time."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


def same_as(body: bytes) -> Callable[[os.stat_result], bool]:
    """Recognise a finished file as a transfer does: by its size and its date."""
    return lambda found: found.st_size == len(body) and found.st_mtime == 5.0


async def fetch(parts: Parts, folder: Path, body: bytes, etag: str) -> None:
    """Download *body* as a transfer does: go on where the server still has what the part holds."""
    part = await parts.claim(folder, "a.iso", OURS, same=same_as(body))
    if isinstance(part, Existing):
        return
    believe(part.path, part.journal.etag if part.journal else None, [(s.start, s.stop) for s in part.spans])
    if part.spans and (part.journal is None or part.journal.etag != etag):
        await part.reset()
    await part.begin(resource(len(body), etag), ["sha256"])
    for offset in (150, 0, 50, 100, 200, 250):
        await part.write(offset, [body[offset : offset + 50]])
    await part.finish(size=len(body), mtime=5.0, check=no_check)


def believe(path: Path, etag: str | None, spans: list[tuple[int, int]]) -> None:
    """Check that what a journal vouches for is what was written for that version."""
    text = path.read_bytes()
    for start, stop in spans:
        assert text[start:stop] == VERSIONS[etag or ""][start:stop], (etag, start, stop)


async def both_versions(parts: Parts, folder: Path) -> None:
    """Break off within the old version; start over with the new one."""
    part = await parts.claim(folder, "a.iso", OURS, same=same_as(OLD))
    assert not isinstance(part, Existing)
    await part.begin(resource(300, '"old"'), ["sha256"])
    await part.write(0, [OLD[:200]])
    await part.write(250, [OLD[250:]])
    await part.close()
    await fetch(parts, folder, NEW, '"new"')


async def one_version(parts: Parts, folder: Path) -> None:
    """Fetch, break off, go on."""
    part = await parts.claim(folder, "a.iso", OURS, same=same_as(NEW))
    assert not isinstance(part, Existing)
    await part.begin(resource(260, '"new"'), ["sha256"])
    await part.write(100, [NEW[100:]])
    await part.close()
    await fetch(parts, folder, NEW, '"new"')


async def spoiled(parts: Parts, folder: Path) -> None:
    """Fetch wrong bytes, put them aside, fetch the right ones."""
    part = await parts.claim(folder, "a.iso", OURS, same=same_as(NEW))
    assert not isinstance(part, Existing)
    await part.begin(resource(300, '"old"'), ["sha256"])
    await part.write(0, [OLD])
    await part.spoil()
    await part.begin(resource(260, '"new"'), ["sha256"])
    await part.write(0, [NEW])
    await part.finish(size=260, mtime=5.0, check=no_check)


async def all_at_once(parts: Parts, folder: Path) -> None:
    """Break off a long way through the old version; get the new one in one piece."""
    part = await parts.claim(folder, "a.iso", OURS, same=same_as(NEW))
    assert not isinstance(part, Existing)
    await part.begin(resource(300, '"old"'), ["sha256"])
    await part.write(0, [OLD[:280]])
    await part.close()
    await parts.put(
        folder, "a.iso", OURS, same=same_as(NEW), chunks=[NEW], algorithms=[], mtime=5.0, check=no_check
    )


async def small(parts: Parts, folder: Path) -> None:
    """Get the old version in one piece under other names, and the new one."""
    for name, body in [*((f"{letter}.iso", OLD) for letter in "bcdefg"), ("a.iso", NEW)]:
        await parts.put(
            folder, name, OURS, same=same_as(body), chunks=[body], algorithms=[], mtime=5.0, check=no_check
        )


Script = Callable[[Parts, Path], Awaitable[None]]
SCRIPTS: list[Script] = [one_version, both_versions, spoiled, all_at_once, small]


async def until_death(script: Script, folder: Path, settings: Disk, files: Unsafe) -> bool:
    """Run *script*; True when it came to its end. The dead leave their locks to the kernel."""
    async with opened(settings, files=files) as parts:
        try:
            await script(parts, folder)
        except DiedError:
            for part in list(parts._around.open):
                abandon(part)  # type: ignore[arg-type] # there is no pipe here
            return False
        return True


async def afterwards(folder: Path, settings: Disk, *, tidy: bool) -> None:
    """What is there can be believed, and the next run ends right."""
    check_finals(folder)
    async with opened(settings) as parts:
        await fetch(parts, folder, NEW, '"new"')
    check_finals(folder)
    finals = {name for name in names(folder) if name.endswith(".iso")}
    assert any((folder / name).read_bytes() == NEW for name in finals)
    if tidy:
        left = {name for name in names(folder) if name.startswith("a.")}
        assert left <= {"a.iso", "a.1.iso", "a.iso.part.bad"}


def check_finals(folder: Path) -> None:
    for path in folder.glob("*.iso"):
        assert path.read_bytes() in (OLD, NEW)


@pytest.mark.parametrize("policy", ["rename", "overwrite"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_killed_at_any_call(memory: Path, script: Script, policy: str) -> None:
    settings = replace(disk(policy), checkpoint=0.0)  # type: ignore[arg-type] # one of the policies

    async def work() -> int:
        for calls in range(1000):
            folder = memory / str(calls)
            folder.mkdir()
            ended = await until_death(script, folder, settings, Unsafe(folder, calls))
            await afterwards(folder, settings, tidy=True)
            if ended:
                return calls
        raise AssertionError("the script never ends")

    assert asyncio.run(work()) > 15


@pytest.mark.parametrize("policy", ["rename", "overwrite"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_power_lost_at_any_call(memory: Path, script: Script, policy: str) -> None:
    settings = replace(disk(policy, fsync=True), checkpoint=0.0)  # type: ignore[arg-type] # one of the policies

    async def work() -> int:
        for calls in range(1000):
            for seed in range(3):
                folder = memory / f"{calls}-{seed}"
                folder.mkdir()
                files = Unsafe(folder, calls)
                ended = await until_death(script, folder, settings, files)
                files.power_loss(Random(1000 * calls + seed))
                if ended:
                    assert (folder / "a.iso").read_bytes() == NEW
                # Syncing is over; the rest may be quick.
                await afterwards(folder, replace(settings, fsync=False), tidy=False)
            if ended:
                return calls
        raise AssertionError("the script never ends")

    assert asyncio.run(work()) > 15


def test_the_fake_does_lose_what_was_not_synced(memory: Path) -> None:
    """Without ``fsync`` the same loss of power is noticed, or the tests above show nothing."""
    settings = replace(disk(), checkpoint=0.0)

    async def survives(seed: int) -> bool:
        folder = memory / str(seed)
        folder.mkdir()
        files = Unsafe(folder, 1000)
        assert await until_death(one_version, folder, settings, files)
        files.power_loss(Random(seed))
        try:
            await afterwards(folder, settings, tidy=False)
        except AssertionError:
            return False
        return True

    async def work() -> list[bool]:
        return [await survives(seed) for seed in range(20)]

    assert not all(asyncio.run(work()))
