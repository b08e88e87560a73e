"""Digests of a value without an algorithm: the usual one is computed, another only where that differs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from fetchq._digests import Checksum, algorithms, compare, hashing
from fetchq._disk import CompleteBody, Files, Finished
from fetchq._disk.hashing import has_digests
from fetchq._errors import ChecksumError

from .rig import OURS, claimed, opened, pattern, policy, resource, run, write

BODY = pattern(1000)
NAMES = ("sha256", "blake2s", "blake2b-256", "sha3-256")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The algorithms that were begun, in order."""
    begun: list[str] = []
    start = hashing._start

    def noting(name: str) -> object:
        begun.append(name)
        return start(name)

    monkeypatch.setattr(hashing, "_start", noting)
    return begun


def bare(name: str, data: bytes = BODY) -> Checksum:
    """A value without an algorithm, as a manifest has it."""
    return Checksum(hashlib.new(name.replace("-", "_"), data).hexdigest(), NAMES)


async def streamed(folder: Path, wanted: Checksum, found: list[Mapping[str, str]]) -> Finished:
    async with opened() as parts:
        part = await claimed(parts, folder)
        await part.begin(resource(1000), algorithms([wanted], likely=True))
        await write(part, 0, [BODY])
        done = await part.finish(size=1000, mtime=None, check=partial(compare, [wanted], name="a.iso"))
    assert isinstance(done, Finished)
    found.append(done.digests)
    return done


async def at_once(folder: Path, wanted: Checksum, found: list[Mapping[str, str]]) -> Finished:
    async with opened() as parts:
        likely = algorithms([wanted], likely=True)
        body = CompleteBody([BODY], likely, None, partial(compare, [wanted], name="a.iso"))
        done = await parts.put(folder, "a.iso", policy(parts, OURS), body)
    assert isinstance(done, Finished)
    found.append(done.digests)
    return done


@pytest.mark.parametrize("way", [streamed, at_once])
@pytest.mark.parametrize(
    ("name", "begun"),
    [("sha256", ["sha256"]), ("blake2s", ["sha256", "blake2s"]), ("sha3-256", [*NAMES])],
)
def test_the_usual_algorithm_comes_first_and_alone(
    tmp_path: Path, computed: list[str], way: object, name: str, begun: list[str]
) -> None:
    found: list[Mapping[str, str]] = []
    run((streamed if way is streamed else at_once)(tmp_path, bare(name), found))
    assert computed == begun
    assert found[0][name] == bare(name).hex
    assert (tmp_path / "a.iso").read_bytes() == BODY


@pytest.mark.parametrize("way", [streamed, at_once])
def test_a_value_that_no_algorithm_gives_is_refused(tmp_path: Path, computed: list[str], way: object) -> None:
    with pytest.raises(ChecksumError, match="sha256, blake2s, blake2b-256 or sha3-256 should be"):
        run((streamed if way is streamed else at_once)(tmp_path, bare("sha256", b"other"), []))
    assert computed == [*NAMES]
    assert not (tmp_path / "a.iso").exists()


@pytest.mark.parametrize(("name", "begun"), [("sha256", 1), ("sha3-256", 4)])
def test_a_file_that_is_there_is_hashed_as_often_as_it_needs(
    tmp_path: Path, computed: list[str], name: str, begun: int
) -> None:
    (tmp_path / "a.iso").write_bytes(BODY)
    assert has_digests(Files(), tmp_path / "a.iso", None, 1000, [bare(name)])
    assert len(computed) == begun
