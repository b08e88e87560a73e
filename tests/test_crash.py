"""SIGKILL at any instant, then the same command again: it ends right, and little travels twice.

``KILLS=200 pytest tests/test_crash.py`` kills more often than the suite has time for.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from . import fork_server
from .conftest import clean_env
from .origin import Behaviour, Origin, drop, generated, reset, stall, throttle, well

MIB = 1 << 20
FILE = generated(12 * MIB)
KILLS = int(os.environ.get("KILLS", "12"))
RATE = 6e6
# "Wed, 01 Jan 2025 00:00:00 GMT", the date of the origin's resources.
DATE = 1735689600

FAST = ["--backoff", "0.01", "--read-timeout", "1", "--retries", "20", "--progress", "none", "-q"]

# When to kill, in seconds after the start, of which the fork takes the first 0.02.
MOMENTS = {"plain": (0.02, 0.2), "slow": (0.02, 1.0), "flaky": (0.02, 1.0)}

ORIGINS: dict[str, list[Behaviour | tuple[Behaviour, ...]]] = {
    "plain": [well],
    "slow": [throttle(RATE)],
    "flaky": [
        behaviour
        for _ in range(500)
        for behaviour in [
            (throttle(RATE), drop(after=3 * MIB)),
            (throttle(RATE), reset(after=MIB)),
            (throttle(RATE), stall(after=2 * MIB)),
        ]
    ],
}


def start(folder: Path, url: str, *more: str) -> subprocess.Popen[bytes]:
    command = [*fork_server.command(), *FAST, *more, "-d", str(folder), url]
    return subprocess.Popen(command, env=clean_env({"HOME": str(folder)}), stderr=subprocess.DEVNULL)


def killed(folder: Path, url: str, seconds: float, *more: str) -> bool:
    """Run the command for *seconds*, then kill it; False when it was done before."""
    process = start(folder, url, *more)
    try:
        return process.wait(seconds) != 0
    except subprocess.TimeoutExpired:
        fork_server.kill(process)
        return True


@pytest.mark.timeout(60 + 10 * KILLS)
@pytest.mark.parametrize("kind", ORIGINS)
def test_killed_at_random_moments_it_ends_right(kind: str, origin: Origin, tmp_path: Path) -> None:
    chance = random.Random(f"moments/{kind}")
    kills, rounds = 0, 0
    while kills < KILLS // 3:
        rounds += 1
        folder = tmp_path / str(rounds)
        folder.mkdir()
        url = origin.serve(f"/{rounds}/f.bin", FILE, *ORIGINS[kind], repeat=True)
        # Some moments fall before the first byte, and some after the last.
        while killed(folder, url, chance.uniform(*MOMENTS[kind])) and kills < KILLS // 3:
            kills += 1
            final = folder / "f.bin"
            assert not final.exists() or final.read_bytes() == FILE.data
        assert start(folder, url).wait(60) == 0
        assert (folder / "f.bin").read_bytes() == FILE.data
        assert [path.name for path in folder.iterdir()] == ["f.bin"]
    assert kills >= KILLS // 3


@pytest.mark.timeout(60 + 5 * KILLS)
def test_less_than_a_tenth_travels_twice(origin: Origin, tmp_path: Path) -> None:
    chance = random.Random("twice")
    for number in range(KILLS // 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        url = origin.serve(f"/{number}/f.bin", FILE, throttle(RATE), repeat=True)
        # One connection: what a split connection had under way when it was cut short is no matter of the kill.
        killed(folder, url, chance.uniform(0.5, 2.0), "-x1")
        assert start(folder, url, "-x1").wait(60) == 0
        assert (folder / "f.bin").read_bytes() == FILE.data
    origin.settle()
    assert origin.sent < 1.1 * FILE.size * (KILLS // 3)


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("tidied", ["nothing", "the part"])
def test_killed_between_naming_and_tidying_up_it_is_done(
    origin: Origin, tmp_path: Path, tidied: str, dated: bool
) -> None:
    file = FILE if dated else generated(12 * MIB, last_modified=None)
    url = origin.serve("/f.bin", file, drop(after=3 * MIB))
    # One connection: others would be asked for on a busy machine, and bring what the first one does not.
    assert start(tmp_path, url, "-x1", "--retries", "0").wait(60) == 4
    asked = len(origin.requests)
    part = tmp_path / "f.bin.part"
    part.write_bytes(file.data)
    if dated:
        os.utime(part, (DATE, DATE))
    os.link(part, tmp_path / "f.bin")
    if tidied == "the part":
        part.unlink()
    assert start(tmp_path, url).wait(60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["f.bin"]
    known = dated or tidied == "nothing"
    assert (len(origin.requests) == asked) is known, "what is known to be done is not asked for again"
