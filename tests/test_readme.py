"""README and the topics of ``fetchq help``: recipes run as printed against a loopback origin; facts are true.

A block's language decides: ``sh`` and ``python`` are run, a name after the language makes it a file where they
run, and ``text`` without a name is only shown.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import pytest

import fetchq
from fetchq import _errors, _events
from fetchq._cli import get, topics
from fetchq._cli.config import Configuration
from fetchq._cli.options import OPTIONS, Option
from fetchq._disk import journal
from fetchq._queue_files import aria2, read
from fetchq._queue_files.fields import FIELDS
from fetchq._report.json_lines import KINDS, event_to_dict, json_fields

from . import fork_server
from .bench.peers import PEERS
from .bench.works import works
from .beside.programs import Verdict
from .conftest import RunFetchq, clean_env
from .faults_table.faults import FAULTS
from .faults_table.tools import TOOLS
from .origin import Origin, Request, basic_auth, generated, status
from .servers import ROOT

README, BENCH, FAULTS_TABLE, BESIDE = (
    (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for folder in (".", "tests/bench", "tests/faults_table", "tests/beside")
)
TOPICS = {name: topics.source(name) for name in topics.names()}
PAGES = {name: topics.page(name) for name in topics.names()}
TEXTS = "\n".join([README, *TOPICS.values()])
MIB = 1 << 20

# Hosts of the texts, all of them played by the one origin, which knows no TLS.
HOSTS = re.compile(r"https?://(?:[a-z]+\.)?example\.org(?::\d+)?")
# Every run reads this one, so it is there only for the recipe that speaks of it.
CONFIG = "fetchq.toml"


class Block(NamedTuple):
    language: str
    name: str
    text: str


def blocks(markdown: str = TEXTS) -> list[Block]:
    fenced = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    return [Block(*found) for found in fenced]


def recipes(language: str) -> list[str]:
    """The blocks of a language in README and topics; one that both have is run once."""
    return list(dict.fromkeys(block.text for block in blocks() if block.language == language))


def section(title: str, text: str = README) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of each table row, heading included, ruler left out."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def listed(text: str) -> list[str]:
    """The words in front of the colons of a bullet list."""
    return words(" ".join(re.findall(r"^- (`[^:]+`):", text, re.MULTILINE)))


# --- recipes


@dataclass(frozen=True)
class Site:
    """The files of the texts' example.org."""

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
    # Zeros, so that a reader can compute the checksum that the texts print.
    images = {"a.iso": bytes(MIB), "b.iso": generated(3 * MIB).data, "c.tar.gz": archive()}
    sums = "".join(f"{sha256(data)}  {name}\n" for name, data in images.items())
    files = {**images, "SHA256SUMS": sums.encode()}
    with Origin() as origin:
        for name, data in files.items():
            origin.serve(f"/{name}", data)
        origin.serve("/private/a.iso", images["a.iso"], basic_auth("alice", "secret"), repeat=True)
        origin.serve("/expired/b.iso", images["b.iso"], status(403), repeat=True)
        origin.serve("/report", b"a,b\n1,2\n")
        yield Site(origin, files)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Kitchen:
    """A folder with the files of the texts, and ``fetchq`` on the path."""

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
    program.write_text(f'#!/bin/sh\nexec {shlex.join(fork_server.command())} "$@"\n')
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
QUEUE, PROXY, REQUESTS, EVENTS, ENVIRONMENT = "-i - -d piped", "--proxy", "-X PUT", "@tsv", "FETCHQ_DIR"
PLAIN = [
    recipe
    for recipe in recipes("sh")
    if not any(mark in recipe for mark in (QUEUE, PROXY, REQUESTS, EVENTS, ENVIRONMENT))
]


@pytest.mark.parametrize("recipe", PLAIN, ids=lambda recipe: recipe.splitlines()[0][:60])
def test_a_recipe_of_the_shell_works_as_printed(kitchen: Kitchen, recipe: str) -> None:
    cook(kitchen, recipe)


@pytest.mark.parametrize(
    "recipe",
    recipes("python"),
    ids=range(len(recipes("python"))),
)
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
    assert request.headers["user-agent"] == "nightly images"
    assert (kitchen.folder / "images" / "a.iso").exists()
    monkeypatch.chdir(kitchen.folder)
    found = Configuration()
    found.read_all(get, {"XDG_CONFIG_HOME": "/nowhere"})
    assert (found.values["jobs"], found.warnings) == (16, [])


@pytest.mark.parametrize("name", [block.name for block in blocks() if block.name.startswith("queue.")])
def test_the_queue_files_are_read_without_a_warning(kitchen: Kitchen, name: str) -> None:
    warned: list[str] = []
    jobs = list(read(str(kitchen.folder / name), warn=warned.append))
    assert len(jobs) >= 2
    assert all(isinstance(job, fetchq.Job) for job in jobs)
    assert warned == []


# --- the texts


def test_the_readme_is_short_and_begins_with_what_a_newcomer_wants() -> None:
    lines = README.splitlines()
    assert len(lines) <= 230
    assert "```python" in lines[:40]


def test_a_file_that_is_printed_twice_is_the_same_in_both_places() -> None:
    named = {(block.name, block.text) for block in blocks() if block.name}
    assert len(named) == len({name for name, _ in named})


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        pytest.param(README, ".", id="README"),
        pytest.param(BENCH, "tests/bench", id="bench"),
        pytest.param(FAULTS_TABLE, "tests/faults_table", id="faults"),
        pytest.param(BESIDE, "tests/beside", id="beside"),
    ],
)
def test_links_lead_somewhere(text: str, folder: str) -> None:
    assert [link for link in re.findall(r"\]\(([^)]+)\)", text) if not (ROOT / folder / link).exists()] == []


# Fields that say which file is meant and where it goes, which no httpx client has.
OF_FILES = {"url", "urls", "dir", "if_exists", "checksum", "size"}


def test_the_table_of_what_an_httpx_client_can_do_is_whole_and_true() -> None:
    heading, *table = rows(section("What an httpx client can do"))
    assert heading == ["subject", "options", "queue fields", "Python"]
    options, queue_fields, names = ([word for row in table for word in words(row[at])] for at in (1, 2, 3))
    shown = {name: option for option in OPTIONS for name in option.shown}
    assert {shown[name].name for name in options} >= {
        option.name for option in OPTIONS if option.heading in {"Network", "Request", "Authentication", "TLS"}
    }
    assert {*queue_fields} == FIELDS.keys() - OF_FILES
    for name in names:
        thing, _, part = name.rstrip("=)").replace("(", ".").partition(".")
        public = getattr(fetchq, thing)
        assert thing in fetchq.__all__
        parameters = inspect.signature(public).parameters if "(" in name else {}
        assert part in parameters if "(" in name else not part or hasattr(public, part), name
    assert len(options) == len(set(options))


def test_the_readme_lists_all_topics() -> None:
    listed = section("Where to read more").partition("Markdown:")[2].partition(".")[0]
    assert words(listed) == topics.names()


@pytest.mark.parametrize("name", topics.names())
def test_a_page_is_complete_and_fits_a_terminal(name: str) -> None:
    lines = PAGES[name].splitlines()
    assert lines[0] == topics.title(name)
    assert not re.search(r"{{|```|^#", PAGES[name], re.MULTILINE)
    assert [line for line in lines if len(line) > 80 or line.endswith("-")] == []


@pytest.mark.parametrize("name", topics.names())
def test_a_topic_refers_to_topics_that_exist(name: str) -> None:
    assert set(re.findall(r"fetchq help ([a-z][\w-]*)", README + TOPICS[name])) <= set(topics.names())


# --- facts


def test_every_option_is_one_of_the_help(run_fetchq: RunFetchq) -> None:
    commands = [[], ["demo"], ["verify"], ["status"], ["list"], ["forget"]]
    known = "".join(run_fetchq(*command, "-h").stdout for command in commands)
    known += PAGES["options"] + PAGES["coming-from"]
    shown = re.sub(r"`[^`]*(shasum|--NAME)[^`]*`", "", TEXTS)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", shown))
    assert len(named) > 20
    assert named - set(re.findall(r"--[a-z][a-z0-9-]+", known)) == set()


def test_every_option_has_its_key_and_variable() -> None:
    told = dict(re.findall(r"^  ([a-z0-9-]+) = .*(FETCHQ_\w+)$", PAGES["config"], re.MULTILINE))
    assert told == {
        str(option.name).replace("_", "-"): f"FETCHQ_{option.name}".upper()
        for option in get.params
        if isinstance(option, Option)
    }


def test_the_exit_codes_are_those_of_the_errors() -> None:
    errors = {name: getattr(_errors, name) for name in _errors.__all__}
    told = re.findall(r"^ +(\d+) +(\w+Error) ", PAGES["exit-codes"], re.MULTILINE)
    assert {name: int(code) for code, name in told} == {name: error.exit_code for name, error in errors.items()}
    codes = {error.exit_code for error in errors.values()}
    assert {*map(int, re.findall(r"\d+", section("Exit codes")))} - {0, 141, 143} == codes


def test_every_event_and_field_is_told() -> None:
    job = fetchq.Job("https://example.org/a.iso")
    error = fetchq.NetworkError("no answer")
    events: list[fetchq.Event] = [
        fetchq.RunStarted(1, "."),
        fetchq.JobStarted(1, None, job.url, ""),
        fetchq.Planned(1, "a.iso", "fresh", "", 0, 1, resumable=True),
        fetchq.Progressed(1, 1, 1, 1),
        fetchq.AttemptFailed(1, "a.iso", error, 1, 0.5),
        fetchq.Waiting(1, "example.org", error, 30.0, 1_704_110_400.0),
        fetchq.QueueWaiting(1),
        fetchq.Warned(0, "look"),
        fetchq.JobFinished(1, "a.iso", fetchq.Result(job, "failed", error=error)),
        fetchq.RunFinished(1, 0, 0, 0, 0, 1, 1, 0.1, stopped=False),
    ]
    others = {"Event", "Observer", "SkippedJobs", "SkippingObserver"}
    assert {type(event).__name__ for event in events} == set(_events.__all__) - others
    for event in events:
        item = event_to_dict(event)
        assert item.pop("event") == KINDS[type(event)]
        assert list(item) == json_fields(type(event))
    page = " ".join(PAGES["events"].split())
    for kind, word in KINDS.items():
        assert re.search(rf" {word} [A-Z][^\[]*\[{', '.join(json_fields(kind))}\]", page), word
    meanings = section("Meanings of the fields", TOPICS["events"])
    own = {name for kind in KINDS for name in kind._fields} - {"result"}
    assert set(listed(meanings)) == own
    failure = re.search(r"`error`: null, or an object with ([^;]*);", " ".join(meanings.split()))
    assert failure
    assert words(failure[1]) == list(event_to_dict(events[4])["error"])
    for name in set(json_fields(fetchq.JobFinished)) - set(fetchq.JobFinished._fields):
        assert re.search(
            rf"^  {name} +\w", PAGES["events"].partition("Fields of job_finished:")[2], re.MULTILINE
        )


def test_every_field_of_the_queue_formats_is_told() -> None:
    topic = TOPICS["queue-files"]
    assert {*aria2._FIELDS, *aria2._HEADERS, *aria2._TOGETHER} <= set(
        words(section("As aria2c -i reads it", topic))
    )
    assert set(FIELDS) <= set(words(section("JSON Lines", topic)))


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Fields of Job", [item.name for item in fields(fetchq.Job)]),
        ("Fields of Result", [item.name for item in fields(fetchq.Result) if item.name != "job"]),
        (
            "Fields of the settings",
            [
                item.name
                for group in fields(fetchq.Settings)
                for item in fields(type(getattr(fetchq.Settings(), group.name)))
            ],
        ),
    ],
)
def test_every_field_of_the_python_values_is_told(heading: str, names: list[str]) -> None:
    found = re.search(rf"^{heading}:\n(.*?)(?=^Fields of|\Z)", PAGES["python"], re.MULTILINE | re.DOTALL)
    assert found
    assert re.findall(r"^  (\w+) +[^\[\s]", found[1], re.MULTILINE) == names


def test_every_public_name_is_mentioned() -> None:
    texts = "\n".join([README, *PAGES.values()])
    public = set(fetchq.__all__) - {"__version__"}
    assert {name for name in public if not re.search(rf"\b{name}\b", texts)} == set()


def test_the_files_on_disk_have_their_names() -> None:
    suffixes = {name.removeprefix("NAME") for name in words(TOPICS["files"]) if name.startswith("NAME.")}
    part = journal.part_of("")
    assert suffixes == {part, journal.part_of("", 1), journal.journal_of(""), f"{part}.bad"}


# --- the tables of others


def test_the_figures_of_the_readme_are_those_of_the_benchmarks() -> None:
    heading, *figures = rows(section("Results", BENCH))
    known = {(row[0], name): cell for row in figures for name, cell in zip(heading, row, strict=True)}
    heading, *figures = rows(section("Speed"))
    assert [row[0] for row in figures] == [work.title for work in works()]
    assert {
        (row[0], name): cell for row in figures for name, cell in zip(heading, row, strict=True)
    }.items() <= known.items()


def test_the_programs_are_called_as_printed() -> None:
    calls = {
        (peer.name, f"`{peer.shown(work)}`") for peer in PEERS for work in works() if peer.name in work.peers
    }
    assert {(row[0], row[1]) for row in rows(section("How each program is called", BENCH))[1:]} == calls
    assert {work.name for work in works()} == {row[0] for row in rows(section("Works", BENCH))[1:]}
    assert {tool.shown() for tool in TOOLS} == {
        word for word in words(section("How each program is called", FAULTS_TABLE)) if " URL" in word
    }


def test_the_faults_are_those_of_the_table() -> None:
    titles = [row[0].removesuffix(" †") for row in rows(section("Results", FAULTS_TABLE))]
    assert [title for title in titles[1:] if not title.startswith("**") and title != "---"] == [
        fault.title for fault in FAULTS
    ]


def test_the_verdicts_of_the_comparison_are_explained() -> None:
    assert dict(re.findall(r"^\| ([A-Z]+) \| (.*) \|$", BESIDE, re.MULTILINE)) == {
        verdict.name: verdict.value for verdict in Verdict
    }
