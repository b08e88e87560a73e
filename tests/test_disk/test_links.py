"""Symbolic links, second names, pipes and folders where a part, a journal or a file is expected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fetchq._disk import Files, Finished, Journal
from fetchq._disk.journal import save
from fetchq._errors import DiskError

from .rig import OURS, claimed, disk, names, no_check, opened, put, resource, run, write

SECRET = b"the user's own file"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that nothing may touch."""
    path = tmp_path / "victim"
    path.write_bytes(SECRET)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where downloads go, and an attacker may write."""
    path = tmp_path / "folder"
    path.mkdir()
    return path


async def download(folder: Path, policy: str = "rename") -> None:
    """Fetch a.iso the long way."""
    async with opened(disk(policy)) as parts:  # type: ignore[arg-type] # one of the policies
        part = await claimed(parts, folder)
        await part.begin(resource(3), [])
        await write(part, 0, [b"abc"])
        part._save()
        await part.finish(size=3, mtime=None, check=no_check)


async def at_once(folder: Path, policy: str = "rename") -> None:
    """Fetch a.iso in one go."""
    async with opened(disk(policy)) as parts:  # type: ignore[arg-type] # one of the policies
        assert isinstance(await put(parts, folder, b"abc"), Finished)


both = pytest.mark.parametrize("way", [download, at_once])


SIDES = pytest.mark.parametrize("name", ["a.iso.part", "a.iso.part.json", "a.iso.part.json.tmp"])


@both
@SIDES
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_nothing_is_written_through_symbolic_links(
    folder: Path, victim: Path, way: Callable[..., object], name: str, target: str
) -> None:
    (folder / name).symlink_to(victim.with_name(target))
    run(way(folder))  # type: ignore[arg-type] # a coroutine
    assert victim.read_bytes() == SECRET
    assert names(victim.parent) == {"folder", "victim"}
    assert (folder / "a.iso").read_bytes() == b"abc"
    assert names(folder) == {"a.iso", name}
    assert (folder / name).is_symlink()


@both
@SIDES
def test_second_names_of_the_users_files_are_not_written_to(
    folder: Path, victim: Path, way: Callable[..., object], name: str
) -> None:
    os.link(victim, folder / name)
    run(way(folder))  # type: ignore[arg-type] # a coroutine
    assert victim.read_bytes() == SECRET
    assert (folder / "a.iso").read_bytes() == b"abc"


@both
@pytest.mark.parametrize("target", ["victim", "nowhere"])
def test_a_final_name_that_is_a_symbolic_link_counts_as_taken(
    folder: Path, victim: Path, way: Callable[..., object], target: str
) -> None:
    (folder / "a.iso").symlink_to(victim.with_name(target))
    run(way(folder))  # type: ignore[arg-type] # a coroutine
    assert (folder / "a.1.iso").read_bytes() == b"abc"
    assert (folder / "a.iso").is_symlink()
    run(way(folder, "overwrite"))  # type: ignore[arg-type] # a coroutine
    assert not (folder / "a.iso").is_symlink()
    assert victim.read_bytes() == SECRET
    assert names(victim.parent) == {"folder", "victim"}


@both
@SIDES
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_fifo_or_folder_neither_hangs_nor_stops_a_download(
    folder: Path, way: Callable[..., object], name: str, make: Callable[[Path], None]
) -> None:
    make(folder / name)
    run(way(folder))  # type: ignore[arg-type] # a coroutine
    assert names(folder) == {"a.iso", name}
    assert not (folder / name).is_file()


@both
def test_a_part_of_ours_that_became_another_thing_is_an_error(folder: Path, way: Callable[..., object]) -> None:
    (folder / "a.iso.part").touch()
    at = os.open(folder, os.O_RDONLY)
    save(Files(), "a.iso.part.json", at, Journal.new(OURS), durable=False)
    os.close(at)
    (folder / "a.iso.part").unlink()
    for make, words in ((os.mkfifo, "not a regular file"), (os.mkdir, "a folder has its name")):
        make(folder / "a.iso.part")
        with pytest.raises(DiskError, match=words):
            run(way(folder))  # type: ignore[arg-type] # a coroutine
        (os.rmdir if make is os.mkdir else os.unlink)(folder / "a.iso.part")
    (folder / "a.iso.part").symlink_to("elsewhere")
    with pytest.raises(DiskError, match="symbolic link"):
        run(way(folder))  # type: ignore[arg-type] # a coroutine
    assert names(folder) == {"a.iso.part", "a.iso.part.json"}


def test_bad_bytes_replace_a_link_and_not_its_target(folder: Path, victim: Path) -> None:
    (folder / "a.iso.part.bad").symlink_to(victim)

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, folder)
            await part.begin(resource(3), [])
            await write(part, 0, [b"bad"])
            await part.spoil()

    run(work())
    assert victim.read_bytes() == SECRET
    assert (folder / "a.iso.part.bad").read_bytes() == b"bad"
