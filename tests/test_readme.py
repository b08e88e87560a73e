"""What the README says is so: its recipes run as printed against a loopback origin, its tables are the code's.

A block's language says what it is: ``sh`` and ``python`` are run, a name behind the language makes it a file
that they find in their folder, and ``text`` without a name is to be looked at.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import fetchq
from fetchq import _errors, _events
from fetchq._cli import get
from fetchq._cli.config import defaults
from fetchq._queue_files import aria2, jsonl, read
from fetchq._report.record import record

from .conftest import RunFetchq, clean_env
from .origin import Origin, Request, basic_auth, generated
from .servers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MIB = 1 << 20

# Hosts of the README, all of them played by the one origin, which knows no TLS.
HOSTS = re.compile(r"https?://(?:[a-z]+\.)?example\.org(?::\d+)?")
# Every run reads this one, so it is there only for the recipe that speaks of it.
CONFIG = "fetchq.toml"


class Block(NamedTuple):
    language: str
    name: str
    text: str


def blocks(readme: str = README) -> list[Block]:
    fenced = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    return [Block(*found) for found in fenced]


def recipes(language: str) -> list[str]:
    return [block.text for block in blocks() if block.language == language]


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each table row, headings and rulers left out."""
    for above, line in pairwise(text.splitlines()):
        if line.startswith("|") and above.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- recipes


@dataclass(frozen=True)
class Site:
    """The files of the README's example.org."""

    origin: Origin
    files: Mapping[str, bytes]

    def here(self, text: str) -> str:
        return HOSTS.sub(f"http://127.0.0.1:{self.origin.port}", text)

    def asked(self, path: str) -> list[Request]:
        self.origin.settle()
        return self.origin.asked(path)


def archive() -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        entry = tarfile.TarInfo("docs/readme.txt")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    return raw.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    # Zeros, so that anybody can work out the checksum that the README prints.
    images = {"a.iso": bytes(MIB), "b.iso": generated(3 * MIB).data, "c.tar.gz": archive()}
    sums = "".join(f"{sha256(data)}  {name}\n" for name, data in images.items())
    files = {**images, "SHA256SUMS": sums.encode()}
    with Origin() as origin:
        for name, data in files.items():
            origin.serve(f"/{name}", data)
        origin.serve("/private/a.iso", images["a.iso"], basic_auth("alice", "secret"), repeat=True)
        origin.serve("/report", b"a,b\n1,2\n")
        yield Site(origin, files)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Kitchen:
    """A folder with the README's files, and ``fetchq`` on the path."""

    site: Site
    folder: Path
    env: Mapping[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        for path in self.folder.rglob("*"):
            assert ".part" not in path.name
            if path.name in self.site.files:
                assert path.read_bytes() == self.site.files[path.name], path
        return done


@pytest.fixture
def kitchen(site: Site, tmp_path: Path) -> Kitchen:
    folder, programs = tmp_path / "here", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    program = programs / "fetchq"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fetchq "$@"\n')
    program.chmod(0o755)
    for block in blocks():
        if block.name and block.name != CONFIG:
            (folder / block.name).write_text(site.here(block.text))
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return Kitchen(site, folder, clean_env({**home, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}))


def cook(kitchen: Kitchen, recipe: str) -> subprocess.CompletedProcess[str]:
    for program in ("jq", "tar", "gzip"):
        if re.search(rf"\b{program} ", recipe) and not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    return kitchen.run("bash", "-euo", "pipefail", "-c", kitchen.site.here(recipe))


def recipe_with(text: str) -> str:
    (found,) = (recipe for recipe in recipes("sh") if text in recipe)
    return found


# What these do to the server or to stdout has a test of its own below.
QUEUE, PROXY, REQUESTS, EVENTS, ENVIRONMENT = "-i - -d piped", "--proxy", "-X PUT", "jq -r", "FETCHQ_DIR"
PLAIN = [
    recipe
    for recipe in recipes("sh")
    if not any(mark in recipe for mark in (QUEUE, PROXY, REQUESTS, EVENTS, ENVIRONMENT))
]


@pytest.mark.parametrize("recipe", PLAIN, ids=lambda recipe: recipe.splitlines()[0][:60])
def test_a_recipe_of_the_shell_works_as_printed(kitchen: Kitchen, recipe: str) -> None:
    cook(kitchen, recipe)


@pytest.mark.parametrize("recipe", recipes("python"), ids=range(len(recipes("python"))))
def test_a_recipe_of_python_works_as_printed(kitchen: Kitchen, recipe: str) -> None:
    script = kitchen.folder / "recipe.py"
    script.write_text(kitchen.site.here(recipe))
    done = kitchen.run(sys.executable, "-W", "error", str(script))
    assert done.stderr == ""
    if "def watch" in recipe:  # a pattern that matches nothing would go unnoticed
        assert done.stdout.startswith(f"a.iso fresh {MIB}\n1 {MIB}\n")


def test_a_repeated_queue_asks_for_nothing(kitchen: Kitchen) -> None:
    cook(kitchen, recipe_with(QUEUE))
    assert len(kitchen.site.asked("/a.iso")) == 2, "once for the file, once for stdin"


def test_the_requests_are_those_that_were_meant(kitchen: Kitchen) -> None:
    cook(kitchen, recipe_with(REQUESTS))
    posted, form, put, page = kitchen.site.asked("/report")
    assert (posted.method, json.loads(posted.body)) == ("POST", {"since": 2024})
    assert (form.method, form.body) == ("POST", b"user=alice&kind=pdf")
    assert (put.method, put.body) == ("PUT", (kitchen.folder / "queue.txt").read_bytes())
    assert (page.method, page.query) == ("GET", {"page": "2"})


def test_the_proxy_is_asked_instead(kitchen: Kitchen) -> None:
    cook(kitchen, recipe_with(PROXY))
    assert all(request.target.startswith("http://") for request in kitchen.site.origin.requests)


def test_jq_finds_what_it_looks_for(kitchen: Kitchen) -> None:
    said = cook(kitchen, recipe_with(EVENTS)).stdout.splitlines()
    assert sorted(line.split("\t")[:2] for line in said) == [["done", "a.iso"], ["done", "b.iso"]]
    assert sha256(bytes(MIB)) in "".join(said)


def test_the_configuration_is_one(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    (config,) = (block.text for block in blocks() if block.name == CONFIG)
    (kitchen.folder / CONFIG).write_text(config)
    cook(kitchen, recipe_with(ENVIRONMENT))
    (request,) = kitchen.site.asked("/a.iso")
    assert request.headers["x-api-key"] == "KEY"
    assert (kitchen.folder / "images" / "a.iso").exists()
    monkeypatch.chdir(kitchen.folder)
    assert defaults(get, environ={"XDG_CONFIG_HOME": "/nowhere"})["jobs"] == 16


@pytest.mark.parametrize("name", [block.name for block in blocks() if block.name.startswith("queue.")])
def test_the_queue_files_are_read_without_a_warning(kitchen: Kitchen, name: str) -> None:
    warned: list[str] = []
    jobs = list(read(str(kitchen.folder / name), warn=warned.append))
    assert len(jobs) >= 2
    assert all(isinstance(job, fetchq.Job) for job in jobs)
    assert warned == []


# --- words


def test_every_option_is_one_of_the_help(run_fetchq: RunFetchq) -> None:
    known = "".join(run_fetchq(*command, "-h").stdout for command in ([], ["demo"], ["verify"], ["status"]))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README))
    assert len(named) > 20
    assert named - set(re.findall(r"--[a-z][a-z0-9-]+", known)) == set()


def test_the_exit_codes_are_those_of_the_errors() -> None:
    told = {name: cells[0] for cells in rows(section("Exit codes")) for name in words(cells[2])}
    errors = {name: getattr(_errors, name) for name in _errors.__all__}
    assert told.pop("StoppedError") == f"{errors.pop('StoppedError').exit_code}, 143"
    assert told == {name: str(error.exit_code) for name, error in errors.items()}


def test_every_event_and_field_is_told() -> None:
    job = fetchq.Job("https://example.org/a.iso")
    error = fetchq.NetworkError("no answer")
    events: list[fetchq.Event] = [
        fetchq.RunStarted(1, "."),
        fetchq.JobStarted(1, None, job.url, ""),
        fetchq.Planned(1, "a.iso", "fresh", "", 0, 1, resumable=True),
        fetchq.Progressed(1, 1, 1, 1),
        fetchq.AttemptFailed(1, "a.iso", error, 1, 0.5),
        fetchq.Warned(0, "look"),
        fetchq.JobFinished(1, "a.iso", fetchq.Result(job, "failed", error=error)),
        fetchq.RunFinished(1, 0, 0, 0, 0, 1, 1, 0.1, stopped=False),
    ]
    assert {type(event).__name__ for event in events} == set(_events.__all__) - {"Event", "Observer"}
    records = [record(event) for event in events]
    table, explained = section("JSON events").split("| field | meaning |")
    told = {words(cells[0])[0]: words(cells[2]) for cells in rows(table)}
    assert told == {item.pop("event"): list(item) for item in records}
    meant = {name for cells in rows("| field | meaning |" + explained) for name in words(cells[0])}
    assert meant == {name for item in records for name in item}
    failure = words(next(cells[1] for cells in rows(explained) if cells[0] == "`error`"))
    assert failure == list(records[4]["error"])


def test_every_field_of_the_queue_formats_is_told() -> None:
    text = section("Queue files")
    lists, objects = text.index("As `aria2c"), text.index("JSON Lines:")
    options = {*aria2._FIELDS, *aria2._HEADERS}
    assert options <= set(words(text[lists:objects]))
    assert set(jsonl._FIELDS) <= set(words(text[objects:]))


def test_every_public_name_is_mentioned() -> None:
    public = set(fetchq.__all__) - {"__version__"}
    assert {name for name in public if not re.search(rf"\b{name}\b", README)} == set()


def test_the_settings_that_the_guarantees_name_are_the_defaults() -> None:
    network = fetchq.Network()
    bound = section("Guarantees")
    assert f"connect {network.connect_timeout:g} s" in bound
    assert {network.read_timeout, network.write_timeout, network.pool_timeout} == {30.0}
    assert f"at least {network.min_speed:g} B/s over {network.min_speed_window:g} s" in bound
    assert fetchq.Disk().checkpoint == 0.1
    assert "ten times a second" in bound


def test_every_group_of_settings_is_in_the_recipe() -> None:
    assert all(
        f"fetchq.{type(getattr(fetchq.Settings(), item.name)).__name__}(" in README
        for item in fields(fetchq.Settings)
    )
