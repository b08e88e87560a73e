"""A queue of 500 from a real server: good files come right, others are named, and again costs nothing."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from .conftest import RunFetchq
from .servers import Server

COUNT = 500
LARGEST = 200 * (1 << 20)


def publish(www: Path) -> dict[str, str]:
    """Put files of mixed sizes up to 200 MiB under *www*; give name to SHA-256."""
    chance = random.Random(500)
    names = {}
    for number in range(COUNT * 95 // 100):
        size = LARGEST if number == 7 else int(2 ** chance.uniform(0, 19))
        data = (
            chance.randbytes(min(size, 1 << 20)) * -(-size // (1 << 20))
            if size > 1 << 20
            else chance.randbytes(size)
        )
        name = f"f{number:03}.bin"
        (www / name).write_bytes(data)
        names[name] = hashlib.sha256(data).hexdigest()
    return names


@pytest.mark.server("caddy")
@pytest.mark.timeout(120)
def test_five_hundred_jobs_and_the_same_again(
    caddy: Server, www: Path, tmp_path: Path, run_fetchq: RunFetchq
) -> None:
    good = publish(www)
    bad = [f"missing{number}.bin" for number in range(COUNT - len(good))]
    queue = tmp_path / "urls.txt"
    names = [*good, *bad]
    random.Random(1).shuffle(names)
    queue.write_text("".join(caddy.url(f"/{name}") + "\n" for name in names))

    first = run_fetchq("-i", queue, "-d", "out", timeout=100)
    assert first.returncode == 8, first.stderr
    have = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").glob("*.bin")
    }
    assert have == good
    assert all(name in first.stderr for name in bad[:20])
    assert f"{len(bad)} failed" in first.stderr

    moved = caddy.body_bytes
    asked = len(caddy.entries())
    again = run_fetchq("-i", queue, "-d", "out", "--progress", "json", timeout=100)
    assert again.returncode == 8
    events = [json.loads(line) for line in again.stdout.splitlines()]
    ended = [event for event in events if event["event"] == "job_finished"]
    assert sum(event["status"] == "skipped" for event in ended) == len(good)
    assert len(caddy.entries()) - asked == len(bad), "done jobs ask the network nothing"
    assert caddy.body_bytes - moved < 1000 * len(bad), "nothing but error pages moved"
