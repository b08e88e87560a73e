"""Death at each system call, with and without loss of power, and a file under its final name is never wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from fetchq._disk import CompleteBody, Existing, Files, Part, Parts, Unproven
from fetchq._models import Resource
from fetchq._settings import Disk, IfExists

from .rig import MTIME, OURS, abandon, disk, names, no_check, opened, pattern, policy, resource, write
from .unsafe import DiedError, Unsafe

OLD, NEW = pattern(300, 1), pattern(260, 2)
THEIRS = b"another program's"
VERSIONS = {'"old"': OLD, '"new"': NEW}


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder where making a thousand files takes no time."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


class Server(NamedTuple):
    """What the scripts download from: with *dated*, a finished file can be told by its size and date."""

    dated: bool

    def facts(self, body: bytes, etag: str) -> Resource:
        told = resource(len(body), etag)
        return told if self.dated else replace(told, last_modified=None)

    def mtime(self) -> float | None:
        return MTIME if self.dated else None

    def same_as(self, body: bytes) -> Callable[[os.stat_result], bool]:
        return lambda found: self.dated and found.st_size == len(body) and found.st_mtime == MTIME


async def part_of(claiming: Awaitable[Part | Existing | Unproven]) -> Part | Existing:
    """Take a file of the right size and date for the download, as if its bytes had been compared."""
    found = await claiming
    return Existing(found.path, "compared", found.size) if isinstance(found, Unproven) else found


async def claim(parts: Parts, folder: Path, server: Server, body: bytes) -> Part | Existing:
    """Lock the part as a transfer does: an earlier run's is looked for before the server is asked."""
    found = await parts.peek(folder, "a.iso", OURS)
    if found is not None:
        return await part_of(parts.claim(folder, found, policy(parts, seen=None)))
    return await part_of(parts.claim(folder, "a.iso", policy(parts, same=server.same_as(body))))


async def fetch(parts: Parts, folder: Path, server: Server, body: bytes, etag: str) -> None:
    """Download *body* as a transfer does: go on where the server still has what the part holds."""
    part = await claim(parts, folder, server, body)
    if isinstance(part, Existing):
        return
    believe(part.path, part.journal.etag if part.journal else None, [(s.start, s.stop) for s in part.spans])
    if part.spans and (part.journal is None or part.journal.etag != etag):
        await part.reset()
    await part.begin(server.facts(body, etag), ["sha256"])
    for offset in (150, 0, 50, 100, 200, 250):
        await write(part, offset, [body[offset : offset + 50]])
    await part.finish(size=len(body), mtime=server.mtime(), check=no_check)


async def at_once(parts: Parts, folder: Path, server: Server, body: bytes, name: str = "a.iso") -> None:
    """Get *body* in one piece."""
    complete = CompleteBody([body], [], server.mtime(), no_check)
    await parts.put(folder, name, policy(parts, same=server.same_as(body)), complete)


def believe(path: Path, etag: str | None, spans: list[tuple[int, int]]) -> None:
    """Check that what a journal vouches for is what was written for that version."""
    text = path.read_bytes()
    for start, stop in spans:
        assert text[start:stop] == VERSIONS[etag or ""][start:stop], (etag, start, stop)


async def begun(parts: Parts, folder: Path, server: Server, body: bytes, etag: str) -> Part:
    """A part of which nothing was known."""
    part = await claim(parts, folder, server, body)
    assert isinstance(part, Part)
    await part.begin(server.facts(body, etag), ["sha256"])
    return part


async def both_versions(parts: Parts, folder: Path, server: Server) -> None:
    """Break off within the old version; start over with the new one."""
    part = await begun(parts, folder, server, OLD, '"old"')
    await write(part, 0, [OLD[:200]])
    await write(part, 250, [OLD[250:]])
    await part.close()
    await fetch(parts, folder, server, NEW, '"new"')


async def one_version(parts: Parts, folder: Path, server: Server) -> None:
    """Fetch, break off, go on."""
    part = await begun(parts, folder, server, NEW, '"new"')
    await write(part, 100, [NEW[100:]])
    await part.close()
    await fetch(parts, folder, server, NEW, '"new"')


async def spoiled(parts: Parts, folder: Path, server: Server) -> None:
    """Fetch wrong bytes, put them aside, fetch the right ones."""
    part = await begun(parts, folder, server, OLD, '"old"')
    await write(part, 0, [OLD])
    await part.spoil()
    await part.begin(server.facts(NEW, '"new"'), ["sha256"])
    await write(part, 0, [NEW])
    await part.finish(size=260, mtime=server.mtime(), check=no_check)


async def all_at_once(parts: Parts, folder: Path, server: Server) -> None:
    """Break off a long way through the old version; get the new one in one piece."""
    part = await begun(parts, folder, server, OLD, '"old"')
    await write(part, 0, [OLD[:280]])
    await part.close()
    await at_once(parts, folder, server, NEW)


async def small(parts: Parts, folder: Path, server: Server) -> None:
    """Get the old version in one piece under other names, and the new one."""
    for letter in "bcdefg":
        await at_once(parts, folder, server, OLD, f"{letter}.iso")
    await at_once(parts, folder, server, NEW)


async def overtaken(parts: Parts, folder: Path, server: Server) -> None:
    """Fetch, while somebody else makes a file of that name."""
    part = await begun(parts, folder, server, NEW, '"new"')
    await write(part, 0, [NEW])
    (folder / "a.iso").write_bytes(OLD)
    await part.finish(size=260, mtime=server.mtime(), check=no_check)


async def again(parts: Parts, folder: Path, server: Server) -> None:
    """Fetch what is there already under its own name, but with another date."""
    (folder / "a.iso").write_bytes(NEW)
    await fetch(parts, folder, server, NEW, '"new"')


async def beside_another_program(parts: Parts, folder: Path, server: Server) -> None:
    """Break off and go on, where another program has a file of the part's name."""
    (folder / "a.iso.part").write_bytes(THEIRS)
    await both_versions(parts, folder, server)


Script = Callable[[Parts, Path, Server], Awaitable[None]]
SCRIPTS: list[Script] = [one_version, both_versions, spoiled, all_at_once, small, beside_another_program]


async def until_death(script: Script, folder: Path, server: Server, settings: Disk, files: Unsafe) -> bool:
    """Run *script*; True when it came to its end. The dead leave their locks to the kernel."""
    async with opened(settings, files=files) as parts:
        try:
            await script(parts, folder, server)
        except DiedError:
            for part in list(parts._context.open):
                abandon(part)  # type: ignore[arg-type] # there is no pipe here
            return False
        return True


async def afterwards(
    folder: Path,
    server: Server,
    settings: Disk,
    *,
    tidy: bool,
    whole: bool = False,
    files: Files | None = None,
) -> None:
    """What is there can be believed, and the next run ends right; *whole*: what it gets comes in one piece."""
    check_finals(folder)
    async with opened(settings, files=files) as parts:
        if whole and not await parts.peek(folder, "a.iso", OURS):
            await at_once(parts, folder, server, NEW)
        else:
            await fetch(parts, folder, server, NEW, '"new"')
    check_finals(folder)
    finals = {name for name in names(folder) if name.endswith(".iso")}
    assert any((folder / name).read_bytes() == NEW for name in finals) or settings.if_exists == "skip"
    if tidy:
        left = {name for name in names(folder) if name.startswith("a.")}
        if (folder / "a.iso.part").exists() and (folder / "a.iso.part").read_bytes() == THEIRS:
            left.remove("a.iso.part")
        # Skipped is what another file has the name of, however much of it is there.
        skipped = {"a.iso.part", "a.iso.part.json"} if settings.if_exists == "skip" else set()
        assert left - {"a.iso", "a.1.iso", "a.iso.part.bad"} in (set(), skipped)


def untouched(folder: Path) -> bool:
    """Whether the other program still has its file."""
    return (folder / "a.iso.part").read_bytes() == THEIRS


def check_finals(folder: Path) -> None:
    for path in folder.glob("*.iso"):
        assert path.read_bytes() in (OLD, NEW)


@pytest.mark.usefixtures("in_loop")
@pytest.mark.parametrize("server", [Server(dated=True), Server(dated=False)], ids=["dated", "undated"])
@pytest.mark.parametrize(
    ("script", "policy"),
    [
        *((script, policy) for script in SCRIPTS for policy in ("rename", "overwrite")),
        *((script, "rename") for script in (again, overtaken)),
        (overtaken, "skip"),
    ],
)
def test_killed_at_any_call(memory: Path, script: Script, policy: IfExists, server: Server) -> None:
    settings = replace(disk(policy), checkpoint=0.0)

    async def work() -> int:
        for calls in range(1000):
            for whole in (False, True):
                folder = memory / f"{calls}-{whole}"
                folder.mkdir()
                ended = await until_death(script, folder, server, settings, Unsafe(folder, calls))
                await afterwards(folder, server, settings, tidy=True, whole=whole)
                assert script is not beside_another_program or untouched(folder)
            if ended:
                return calls
        raise AssertionError("the script never ends")

    assert asyncio.run(work()) > 10


@pytest.mark.usefixtures("in_loop")
@pytest.mark.parametrize("policy", ["rename", "overwrite"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_power_lost_at_any_call(memory: Path, script: Script, policy: IfExists) -> None:
    settings = replace(disk(policy, fsync=True), checkpoint=0.0)
    server = Server(dated=True)

    async def work() -> int:
        for calls in range(1000):
            for seed in range(3):
                folder = memory / f"{calls}-{seed}"
                folder.mkdir()
                files = Unsafe(folder, calls)
                ended = await until_death(script, folder, server, settings, files)
                files.power_loss(Random(1000 * calls + seed))
                if ended:
                    assert (folder / "a.iso").read_bytes() == NEW
                # Syncing is over; the rest may be quick.
                await afterwards(folder, server, replace(settings, fsync=False), tidy=False)
            if ended:
                return calls
        raise AssertionError("the script never ends")

    assert asyncio.run(work()) > 15


def test_the_fake_does_lose_what_was_not_synced(memory: Path) -> None:
    """Without ``fsync`` the same loss of power is noticed, or the tests above show nothing."""
    settings = replace(disk(), checkpoint=0.0)
    server = Server(dated=True)

    async def survives(seed: int) -> bool:
        folder = memory / str(seed)
        folder.mkdir()
        files = Unsafe(folder, 1000)
        assert await until_death(one_version, folder, server, settings, files)
        files.power_loss(Random(seed))
        try:
            await afterwards(folder, server, settings, tidy=False)
        except AssertionError:
            return False
        return True

    async def work() -> list[bool]:
        return [await survives(seed) for seed in range(20)]

    assert not all(asyncio.run(work()))
