"""Random queues of few names, sizes and dates, interrupted and run again: no URL's bytes are ever lost.

``QUEUES=300 pytest tests/test_random_queues.py`` tries more of them than the suite has time for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import fork_server
from .conftest import clean_env
from .origin import Behaviour, Origin, drop, status, throttle, well
from .origin.resource import Generated, Resource

QUEUES = int(os.environ.get("QUEUES", "15"))
# Every file of one deploy has one date, and with nginx's kind of entity tag, made of date and size, one tag.
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
# Runs until exit 0; each failing step of a plan costs one at most.
MOST_RUNS = 30

STEPS: dict[str, Behaviour] = {"503": status(503), "404": status(404), "drop": drop(after=40)}


@dataclass(frozen=True)
class Item:
    """One URL of a queue: its folder on the server makes it unique, its name does not."""

    name: str
    size: int
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A queue, how the server tags its files, and when its runs are interrupted: signal and requests seen."""

    items: tuple[Item, ...]
    tags: str
    options: tuple[str, ...]
    interrupts: tuple[tuple[signal.Signals, int], ...]

    @property
    def forgets(self) -> bool:
        return {"--no-store", "--no-xattr"} <= set(self.options)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = draw(
        st.lists(st.sampled_from(["x.sum", "X.sum", "data.bin", "index"]), min_size=1, max_size=3, unique=True)
    )
    sizes = draw(st.lists(st.sampled_from([65, 3000, 200_000]), min_size=1, max_size=2, unique=True))
    items = st.builds(
        Item,
        st.sampled_from(names),
        st.sampled_from(sizes),
        st.lists(st.sampled_from(sorted(STEPS)), max_size=2).map(tuple),
    )
    # With a store and records on the files, with one of them, and with neither.
    options = st.sets(st.sampled_from(["--no-store", "--no-xattr", "--if-exists=overwrite"])).map(tuple)
    moments = st.tuples(st.sampled_from([signal.SIGKILL, signal.SIGINT]), st.integers(1, 12))
    return Plan(
        draw(st.lists(items, min_size=4, max_size=14).map(tuple)),
        draw(st.sampled_from(["none", "equal", "own"])),
        draw(options),
        draw(st.lists(moments, max_size=3).map(tuple)),
    )


def offered(origin: Origin, plan: Plan) -> dict[str, bytes]:
    """Serve the plan's files, and return the bytes of each URL."""
    files = {}
    for number, item in enumerate(plan.items):
        content = Generated(item.size, seed=number)
        tag = {"none": None, "equal": f'"{item.size:x}"', "own": f'"{number}"'}[plan.tags]
        resource = Resource(content, etag=tag, last_modified=DATE)
        steps = [*(STEPS[step] for step in item.steps), throttle(2e6) if item.size > 100_000 else well]
        url = origin.serve(f"/{number}/{item.name}", resource, *steps)
        files[url] = content.read(0, item.size)
    return files


def command(folder: Path, plan: Plan) -> list[str]:
    options = ["--retries", "1", "--backoff", "0", "--progress", "json", "-j", "4", "-d", str(folder / "out")]
    return [*fork_server.command(), "-i", str(folder / "list"), *options, *plan.options]


def interrupted(words: list[str], folder: Path, origin: Origin, stop: signal.Signals, after: int) -> None:
    """Run the queue, and send *stop* once the server has seen *after* more requests."""
    before = len(origin.requests)
    process = subprocess.Popen(
        words, env=clean_env({"HOME": str(folder)}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(origin.requests) < before + after:
        time.sleep(0.001)
    process.send_signal(fork_server.KILL if stop is signal.SIGKILL else stop)
    process.wait(30)


def finished(words: list[str], folder: Path) -> dict[str, Path]:
    """Run the queue until it exits with 0, and return the path that its last report gives for each URL."""
    for _ in range(MOST_RUNS):
        run = subprocess.run(
            words, env=clean_env({"HOME": str(folder)}), capture_output=True, text=True, check=False, timeout=60
        )
        if run.returncode == 0:
            events = [json.loads(line) for line in run.stdout.splitlines()]
            return {e["url"]: Path(e["path"]) for e in events if e["event"] == "job_finished"}
    raise AssertionError(f"still exit {run.returncode} after {MOST_RUNS} runs: {run.stderr[-2000:]}")


@pytest.mark.timeout(60 + 20 * QUEUES)
@settings(
    max_examples=QUEUES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
@given(plans())
def test_the_bytes_of_every_url_end_under_the_name_that_is_reported(plan: Plan) -> None:
    with Origin() as origin, tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        files = offered(origin, plan)
        (folder / "list").write_text("".join(f"{url}\n" for url in files))
        words = command(folder, plan)
        for stop, after in plan.interrupts:
            interrupted(words, folder, origin, stop, after)

        told = finished(words, folder)

        assert told.keys() == files.keys()
        assert {url: path.read_bytes() == files[url] for url, path in told.items()} == dict.fromkeys(
            files, True
        )
        assert len({*told.values()}) == len(files)
        # A kill within the look whether the folder tells upper from lower case leaves the file of that look.
        ours = (".fetchq.db", ".fetchq-case-")
        left = {path.name for path in (folder / "out").iterdir() if not path.name.startswith(ours)}
        spare = left - {path.name for path in told.values()}
        # With nothing on record, a file of a killed run is like the user's: a copy of its bytes may be left.
        assert not spare or plan.forgets
