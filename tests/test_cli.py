"""Words, environment and files -> settings and jobs; the help, and what --version costs."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import click
import pytest

from fetchq import Disk, Job, Result, Settings
from fetchq._cli import config as _config
from fetchq._cli import get, main, option_help, topics
from fetchq._cli import options as _options
from fetchq._cli import run as _run
from fetchq._settings import help_of
from fetchq._version import VERSION

from .conftest import RunFetchq, clean_env

URL = "https://host.example/a.iso"


@dataclass
class FakeDownloader:
    """Takes the place of the engine, and remembers what it was asked."""

    settings: Settings
    kept: dict[str, Any] = field(default_factory=dict)
    jobs: list[Any] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def run(self, jobs: Any) -> FakeResults:
        return FakeResults(self, jobs)

    def stop(self) -> None: ...


@dataclass
class FakeResults:
    engine: FakeDownloader
    items: Any

    async def batches(self) -> AsyncIterator[Result]:
        jobs = self.items
        items = [item async for item in jobs] if hasattr(jobs, "__aiter__") else list(jobs)
        self.engine.jobs.extend(items)
        for item in items:
            yield Result(item, "done") if isinstance(item, Job) else Result(Job(""), "failed", error=item)


class Engine:
    """What the last run was given."""

    last: FakeDownloader

    def __call__(self, settings: Settings, **kept: Any) -> FakeDownloader:
        self.last = FakeDownloader(settings, kept)
        return self.last

    @property
    def jobs(self) -> list[Any]:
        return self.last.jobs

    @property
    def job(self) -> Job:
        (job,) = self.last.jobs
        assert isinstance(job, Job)
        return job


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    """A fake engine, an empty folder to work in and an empty environment."""
    for name in set(clean_env()) ^ set(os.environ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    engine = Engine()
    monkeypatch.setattr(_run, "Downloader", engine)
    yield engine
    assert not list(folder.glob("*.part*"))


def settings(engine: Engine, *words: str) -> Settings:
    assert main([*words, URL]) == 0
    return engine.last.settings


# --- options


def test_without_options_everything_is_the_settings_own_default(engine: Engine) -> None:
    assert settings(engine) == Settings(disk=Disk(sha256=False))
    assert engine.job == Job(URL)
    assert engine.last.kept["store"] is None


@pytest.mark.parametrize(
    ("words", "seen"), [("", False), ("-v", False), ("--store s.db", True), ("--progress json", True)]
)
def test_a_digest_that_nobody_can_see_is_not_computed(engine: Engine, words: str, seen: bool) -> None:
    assert settings(engine, *words.split()).disk.sha256 is seen


@pytest.mark.parametrize(
    ("words", "group", "name", "value"),
    [
        ("-d out", "disk", "dir", Path("out")),
        ("-j 3", "queue", "jobs", 3),
        ("-x 2", "queue", "connections", 2),
        ("--per-host 2", "queue", "per_host", 2),
        ("-j 16", "queue", "per_host", None),
        ("-j 16 --per-host 4", "queue", "per_host", 4),
        ("--limit-rate 500k", "queue", "limit_rate", 500 * 1024),
        ("--retries inf", "retry", "retries", math.inf),
        ("--retries 0", "retry", "retries", 0),
        ("--backoff 0", "retry", "backoff", 0.0),
        ("--retry-on 429,503,520-524", "retry", "retry_on", frozenset({429, 503, *range(520, 525)})),
        ("--timeout 3", "network", "connect_timeout", 3.0),
        ("--timeout 3", "network", "pool_timeout", 3.0),
        ("--timeout none", "network", "read_timeout", None),
        ("--timeout 3 --read-timeout none", "network", "read_timeout", None),
        ("--timeout none --write-timeout 7", "network", "write_timeout", 7.0),
        ("--min-speed 0", "network", "min_speed", 0),
        ("-U me", "network", "user_agent", "me"),
        ("-e https://r/", "network", "referer", "https://r/"),
        ("-u bob:a:b", "network", "user", ("bob", "a:b")),
        ("-u bob:", "network", "user", ("bob", "")),
        ("-u h.example=bob:a=b", "network", "logins", (("h.example", "bob", "a=b"),)),
        ("-u localhost=a:1 -u [::1]=b:2", "network", "logins", (("localhost", "a", "1"), ("::1", "b", "2"))),
        ("-u h.example=a:1 -u bob:x.y=z", "network", "user", ("bob", "x.y=z")),
        ("-u cn=bob:pw", "network", "user", ("cn=bob", "pw")),
        ("--bearer t", "network", "bearer", "t"),
        ("--netrc", "network", "netrc", True),
        ("-b a=1;b=2 -b c=", "network", "cookies", (("a", "1"), ("b", "2"), ("c", ""))),
        ("--proxy http://p:1", "network", "proxy", "http://p:1"),
        ("--no-env", "network", "env", False),
        ("-k", "network", "insecure", True),
        ("--tls-min 1.3", "network", "tls_min", "1.3"),
        ("--tls-min 1.0", "network", "tls_min", "1.0"),
        ("--ca-native", "network", "ca_native", True),
        ("--http2", "network", "http2", True),
        ("--require-checksum", "disk", "require_checksum", True),
        ("--allow-unlisted", "disk", "allow_unlisted", True),
        ("--if-exists skip", "disk", "if_exists", "skip"),
        ("--max-size 1.5G", "disk", "max_size", 3 * 1024**3 // 2),
        ("--min-free 0", "disk", "min_free", 0),
        ("--fsync", "disk", "fsync", True),
        ("--fsync --no-fsync", "disk", "fsync", False),
        ("--no-xattr", "disk", "xattr", False),
        ("--no-remote-time", "disk", "remote_time", False),
        ("--no-remote-time -R", "disk", "remote_time", True),
    ],
)
def test_an_option_sets_its_field(engine: Engine, words: str, group: str, name: str, value: object) -> None:
    assert getattr(getattr(settings(engine, *words.split()), group), name) == value


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--dir=~/out"], "dir"),
        (["--store=~/s.db"], "store"),
        (["--log=~/log"], "log"),
        (["--cacert=~/x.pem"], "cacert"),
        (["--add-cacert=~/x.pem"], "add_cacert"),
        (["--config=~/x.toml"], "config"),
        (["--checksums=~/SUMS"], "checksums"),
        (["--input=~/q.txt"], "input"),
        (["--output=~/f"], "output"),
    ],
)
@pytest.mark.parametrize("source", ["words", "environment", "file"])
def test_a_tilde_is_the_home_folder(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], name: str, source: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for file in ("x.pem", "x.toml"):
        (home / file).touch()
    (home / "SUMS").write_text(f"{'ab' * 32}  a.iso\n")
    (home / "q.txt").write_text("https://h/1\n")
    seen: dict[str, Any] = {}

    def get(_: Sequence[str], given: Mapping[str, Any]) -> int:
        seen.update(given)
        return 0

    monkeypatch.setattr(_run, "get", get)
    option, _, value = words[0].partition("=")
    if source == "environment":
        monkeypatch.setenv(f"FETCHQ_{name}".upper(), value)
        words = []
    elif source == "file" and name != "config":
        text = f"['{value}']" if name in {"input", "add_cacert"} else f"'{value}'"
        (tmp_path / "config/fetchq").mkdir(parents=True)
        (tmp_path / "config/fetchq/config.toml").write_text(f"{option.strip('-')} = {text}\n")
        words = []
    assert main([*words, URL]) == 0
    found = seen[name][0] if isinstance(seen[name], tuple) else seen[name]
    assert str(found).startswith(str(home))
    assert Path(found).name == Path(value).name


def test_headers_repeat_and_may_be_empty(engine: Engine) -> None:
    chosen = settings(engine, "-H", "A: 1", "-H", "B:", "-H", "A: x: y")
    assert chosen.network.headers == (("A", "1"), ("B", ""), ("A", "x: y"))


@pytest.mark.parametrize("option", ["cacert", "cert", "key"])
def test_files_of_tls_must_be_there(engine: Engine, option: str) -> None:
    Path("x.pem").write_text("")
    assert getattr(settings(engine, f"--{option}", "x.pem").network, option) == Path("x.pem")
    assert main([f"--{option}", "none.pem", URL]) == 2


def test_authorities_are_added_one_by_one(engine: Engine) -> None:
    for name in ("x.pem", "y.pem"):
        Path(name).write_text("")
    chosen = settings(engine, "--add-cacert", "x.pem", "--add-cacert", "y.pem")
    assert chosen.network.add_cacert == (Path("x.pem"), Path("y.pem"))


def test_an_option_that_sets_a_field_shows_its_help(run_fetchq: RunFetchq) -> None:
    text = " ".join(run_fetchq("help", "options").stdout.split())
    setting = [option for option in _options.OPTIONS if option.group is not None]
    assert len(setting) >= 30
    for option in setting:
        assert option.group is None or help_of(option.group, option.field) in text, option.name


def test_every_option_of_the_contract_is_there() -> None:
    names = {name for option in _options.OPTIONS for name in option.shown}
    wanted = """-i --input -o --output -d --dir -j --jobs -x --connections --per-host --retries --backoff
        --patience --max-wait --retry-on --timeout --connect-timeout --read-timeout --write-timeout
        --pool-timeout --min-speed --follow -H
        --header
        -U --user-agent -e --referer -u --user --bearer --netrc -b --cookie -k --insecure --cacert --add-cacert
        --retry-unsafe --load-cookies --save-cookies --deadline
        --netrc-file --key-password --no-redirects --config --no-config --xattr --no-xattr
        --ca-native --cert --key
        --tls-min --proxy --no-env -X --request --data --json --form --param --base-url --http2 --checksum
        --report --update --store-secrets --trust-store
        --allow-outside --allow-duplicates --name-template --tree --expect-type --no-html
        --wait --host-patience --max-failures
        --checksums --require-checksum --allow-unlisted
        --limit-rate --if-exists --max-size --min-free --fsync --no-fsync --xattr --no-xattr --store --no-store
        -R --remote-time --no-remote-time --keep-alive --keep-alive-expiry --temp-dir
        --progress -q --quiet -v --verbose --log --dry-run --refresh --on-complete --on-error"""
    assert names == set(wanted.split())


# --- jobs


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["-o", "b.iso"], {"out": "b.iso"}),
        (["--checksum", "MD5:" + "AB" * 16], {"checksum": "md5:" + "ab" * 16}),
        (["--checksum", "AB" * 32 + "  a.iso"], {"checksum": "ab" * 32}),
        (["-X", "post"], {"method": "POST"}),
        (
            ["--data", "a=1"],
            {
                "method": "POST",
                "content": b"a=1",
                "headers": (("Content-Type", "application/x-www-form-urlencoded"),),
            },
        ),
        (["--data", "{}", "-H", "content-type: text/x", "-X", "PUT"], {"method": "PUT", "content": b"{}"}),
        (["--data", "", "-H", "Content-Type: a/b"], {"method": "POST", "content": b""}),
        (["--json", '{"a": [1]}'], {"method": "POST", "json": {"a": [1]}}),
        (["--form", "a=1", "--form", "a=2"], {"method": "POST", "form": (("a", "1"), ("a", "2"))}),
        (["--param", "a=1&"], {"params": (("a", "1&"),)}),
        (["--param", "a=1", "--json", "0"], {"params": (("a", "1"),), "method": "POST", "json": 0}),
    ],
)
def test_request_options_shape_the_job(engine: Engine, words: list[str], facts: dict[str, Any]) -> None:
    assert main([*words, URL]) == 0
    assert engine.job == Job(URL, **facts)


def test_a_body_comes_from_a_file_byte_for_byte(engine: Engine) -> None:
    Path("body").write_bytes(b"\x00\r\n\xff")
    assert main(["--data", "@body", URL]) == 0
    assert engine.job.content == b"\x00\r\n\xff"


def test_urls_come_before_queue_files_and_these_in_order(engine: Engine) -> None:
    Path("one.txt").write_text("https://h/1\n\nhttps://h/2\n")
    Path("two.jsonl").write_text('{"url": "https://h/3", "method": "PUT"}\n')
    assert main(["-i", "one.txt", "-i", "two.jsonl", "--json", "7", URL]) == 0
    assert [job.url for job in engine.jobs] == [URL, "https://h/1", "https://h/2", "https://h/3"]
    assert [job.json for job in engine.jobs] == [7, 7, 7, None], "a line that says more is left as it is"
    assert engine.last.kept["store"] == Path(".fetchq.db")


def test_the_store_is_where_it_is_asked_for(engine: Engine) -> None:
    Path("q.txt").write_text("https://h/1\n")
    assert main(["-i", "q.txt", "-d", "out"]) == 0
    assert engine.last.kept["store"] == Path("out/.fetchq.db")
    assert main(["-i", "q.txt", "--no-store"]) == 0
    assert engine.last.kept["store"] is None
    assert main(["--store", "s.db", URL]) == 0
    assert engine.last.kept["store"] == Path("s.db")


@pytest.mark.parametrize(
    "word",
    [
        *("example.com", "example.com/a.iso?x=1", "EXAMPLE.co.uk/a", "server.lan:8443/a", "localhost/a"),
        *("127.0.0.1/a", "[::1]/a", "[::1]:8443/a"),
    ],
)
def test_a_host_without_a_scheme_is_asked_over_https(engine: Engine, word: str) -> None:
    for words in ([word], ["-sSLO", word]):
        assert main(words) == 0
        assert engine.job.url == f"https://{word}"


def test_a_base_url_lets_words_be_relative(engine: Engine) -> None:
    assert main(["--base-url", "https://host/", "a.iso"]) == 0
    assert engine.job.url == "a.iso"
    assert engine.last.kept["base_url"] == "https://host/"


def test_a_manifest_goes_to_the_engine(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    Path("SHA256SUMS").write_text(f"{'ab' * 32}  a.iso\nsignature\n{'cd' * 32} *sub/b.iso\n")
    assert main(["--checksums", "SHA256SUMS", URL]) == 0
    assert engine.job.checksum is None
    found = engine.last.kept["manifest"].find("b.iso")
    assert (found.hex, found.algorithms) == ("cd" * 32, ("sha256",))
    assert (
        capsys.readouterr().err.count("warning  SHA256SUMS: line 2 holds no digest that is understood.\n") == 1
    )


def test_a_lone_digest_is_of_the_one_job(engine: Engine) -> None:
    Path("sum").write_text("ab" * 32)
    Path("q.txt").write_text("https://h/1\n")
    for words, known in (
        ([URL], True),
        ([URL, URL], False),
        (["-i", "q.txt"], False),
        ([URL, "-i", "q.txt"], False),
    ):
        assert main(["--checksums", "sum", *words]) == 0
        assert bool(engine.last.kept["manifest"].find("a.iso")) is known


def test_a_manifest_may_stand_in_environment_and_file(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("SUMS").write_text(f"{'ab' * 32}  a.iso\n")
    Path("fetchq.toml").write_text("checksums = 'SUMS'\nallow-unlisted = true\n")
    assert not settings(engine).disk.allow_unlisted, "a stranger's file does not weaken what was asked for"
    user = tmp_path / "config" / "fetchq" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("allow-unlisted = true\n")
    assert settings(engine).disk.allow_unlisted
    assert engine.last.kept["manifest"].source == "SUMS"
    monkeypatch.setenv("FETCHQ_REQUIRE_CHECKSUM", "1")
    monkeypatch.setenv("FETCHQ_ALLOW_UNLISTED", "0")
    monkeypatch.setenv("FETCHQ_CHECKSUMS", "other")
    Path("other").write_text(f"{'ab' * 32}  a.iso\n")
    assert settings(engine).disk.require_checksum
    assert engine.last.kept["manifest"].source == "other"


# --- environment and files


def test_command_line_wins_then_environment_then_nearer_file(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    user = tmp_path / "config" / "fetchq" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text(
        'jobs = 2\nconnections = 2\nretries = 2\nuser-agent = "user"\nnetrc = true\nheader = ["A: 1", "B: 2"]\n'
    )
    Path("fetchq.toml").write_text("jobs = 3\nconnections = 3\nretries = 3\n")
    monkeypatch.setenv("FETCHQ_JOBS", "4")
    monkeypatch.setenv("FETCHQ_CONNECTIONS", "4")
    chosen = settings(engine, "-j", "5")
    assert (chosen.queue.jobs, chosen.queue.connections, chosen.retry.retries) == (5, 4, 3)
    assert (chosen.network.user_agent, chosen.network.netrc) == ("user", True)
    assert chosen.network.headers == (("A", "1"), ("B", "2"))


def test_several_values_of_one_variable_stand_on_lines(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETCHQ_HEADER", "A: one two\nB: three")
    assert settings(engine).network.headers == (("A", "one two"), ("B", "three"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jobz = 3", "jobz is not an option"),
        ("jobs = 'many'", "jobs: "),
        ("jobs = 0", "jobs: "),
        ("jobs = [1]", "jobs must be a text or a number"),
        ("netrc = 1", "netrc must be true or false"),
        ("header = [1]", "header must be a list of texts"),
        ("jobs = ", "cannot be read"),
        ("[network]\njobs = 3", "network is not an option"),
        ("version = true", "version is not an option"),
    ],
)
def test_a_wrong_line_of_a_file_names_file_and_key(
    engine: Engine, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    Path("fetchq.toml").write_text(text)
    assert main([URL]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fetchq: fetchq.toml")
    assert told in said
    assert said.count("\n") == 1
    assert main(["-h"]) == 0, "help is there all the same"


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("insecure = true", "insecure"),
        ("proxy = 'http://p:1'", "proxy"),
        ("cacert = 'ca.pem'\ncert = 'c.pem'\nkey = 'k.pem'", "cacert, cert, key"),
        ("tls-min = '1.0'", "tls-min"),
        ("netrc = true", "netrc"),
        ("user = ['me:pw']", "user"),
        ("bearer = 'token'", "bearer"),
        ("log = 'log.txt'", "log"),
        ("store = 'store.db'", "store"),
        ("output = '/tmp/x'", "output"),
        ("dir = '/tmp'", "dir"),
        ("dir = '../up'", "dir"),
        ("dir = '~/bin'", "dir"),
        ("dir = 'link'", "dir"),
        ("dir = 'link/below'", "dir"),
        ("header = ['A: 1']\ncookie = ['a=1']\nreferer = 'https://r/'", "header, cookie, referer"),
        ("data = '@../secret'", "data"),
        ("json = '@../secret'", "json"),
        ("form = ['a=1']\nparam = ['a=1']\nrequest = 'PUT'", "form, param, request"),
        ("input = ['q.txt']", "input"),
        ("base-url = 'https://h/'", "base-url"),
        ("checksums = 'HTTPS://h/SUMS'", "checksums"),
        ("require-checksum = false", "require-checksum"),
        ("allow-outside = true", "allow-outside"),
        ("allow-unlisted = true", "allow-unlisted"),
        ("if-exists = 'overwrite'", "if-exists"),
        ("quiet = true", "quiet"),
        ("no-env = true", "no-env"),
        ("ca-native = true\nadd-cacert = 'ca.pem'", "ca-native, add-cacert"),
    ],
)
def test_a_file_of_the_folder_cannot_weaken_or_leak(
    engine: Engine, capsys: pytest.CaptureFixture[str], text: str, ignored: str
) -> None:
    plain = settings(engine)
    Path("fetchq.toml").write_text(f"{text}\njobs = 3\n")
    for file in ("ca.pem", "c.pem", "k.pem"):
        Path(file).touch()
    Path("link").symlink_to("..")
    capsys.readouterr()
    chosen = settings(engine, "-q")
    assert chosen == replace(plain, queue=replace(plain.queue, jobs=3))
    said = capsys.readouterr().err
    assert said.startswith(f"fetchq: ./fetchq.toml may not set {ignored}: ignored.")
    assert said.count("\n") == 1


def test_the_use_of_a_file_of_the_folder_is_announced(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("fetchq.toml").write_text("jobs = 3\ndir = 'below'\n")
    assert settings(engine).disk.dir == Path("below")
    assert capsys.readouterr().err == "fetchq: Using ./fetchq.toml of this folder; --no-config ignores it.\n"
    settings(engine, "-q")
    assert capsys.readouterr().err == ""


def test_a_new_option_is_not_for_the_file_of_the_folder() -> None:
    """Each is allowed by name, and each name is an option's."""
    assert {option.name for option in _options.OPTIONS} >= _config.ALLOWED


def test_a_named_file_is_trusted_and_no_config_reads_none(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("fetchq.toml").write_text("jobs = 3\ninsecure = true\n")
    Path("other.toml").write_text("retries = 2\n")
    chosen = settings(engine, "--config", "fetchq.toml")
    assert (chosen.queue.jobs, chosen.network.insecure) == (3, True)
    chosen = settings(engine, "--config", "other.toml")
    assert (chosen.queue.jobs, chosen.retry.retries) == (8, 2)
    assert settings(engine, "--no-config").queue.jobs == 8
    monkeypatch.setenv("FETCHQ_NO_CONFIG", "1")
    assert settings(engine).queue.jobs == 8
    assert capsys.readouterr().err == ""
    assert main(["--config", "other.toml", "--no-config", URL]) == 2
    assert "give one of them" in capsys.readouterr().err
    monkeypatch.delenv("FETCHQ_NO_CONFIG")
    assert main(["--config", "missing.toml", URL]) == 2


def test_a_wrong_secret_in_a_file_is_not_repeated(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    Path("fetchq.toml").write_text("header = ['hunter2']\n")
    assert main([URL]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_a_home_that_is_closed_or_unknown_holds_no_file(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "home", unknown)
        assert settings(engine) == Settings(disk=Disk(sha256=False))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", closed)
        found = _config.Configuration()
        found.read_all(get, os.environ)
        assert found.values == {}


# --- help and version


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["get", "-h"], ["-h", "-j", "3"]])
def test_the_help_of_the_program_is_that_of_get_and_fits_on_a_screen(
    run_fetchq: RunFetchq, words: list[str]
) -> None:
    done = run_fetchq(*words, env={"COLUMNS": "80"})
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    for heading in (*_options.HEADINGS, "Commands", "Examples", "More"):
        assert f"{heading}:" in lines
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 60, "-h shows what most people use: leave brief= out of an option, or of two"


def test_every_option_declares_its_group_and_is_in_the_whole_table(run_fetchq: RunFetchq) -> None:
    table = run_fetchq("help", "options").stdout
    assert "[default: 408,425,429,500,502-504,520-524]" in " ".join(table.split())
    for option in get.params:
        if isinstance(option, click.Option) and option.name != "version" and not option.hidden:
            assert isinstance(option, _options.Option), option.name
            assert option.heading in _options.HEADINGS, option.name
            section = table.partition(f"\n{option.heading}:\n")[2].partition("\n\n")[0]
            assert re.search(rf"^  {re.escape(option.usage)}(  |$)", section, re.MULTILINE), option.name
            assert option.help, option.name


def test_a_default_has_its_reason() -> None:
    bare = [
        option.name for option in _options.OPTIONS if option.group and option.default_text and not option.reason
    ]
    assert bare == [], "give the field's _setting a why="


@pytest.mark.parametrize("name", ["--retry-on", "-d", "--no-fsync", "--header", "--jobs=3"])
def test_an_option_has_a_page_of_its_own(run_fetchq: RunFetchq, name: str) -> None:
    option = option_help.find(name.partition("=")[0], get.params)
    assert option is not None
    done = run_fetchq("help", name)
    assert done.returncode == 0
    page = " ".join(done.stdout.split())
    for word in (option.usage, str(option.help), option.heading, option.reason, option.default_text):
        assert word in page
    assert f"Environment: FETCHQ_{option.name}".lower() in page.lower()
    assert re.search(rf"fetchq.toml: {option.key} = .", page)
    assert ("not in a folder's own file" in page) is (option.name not in _config.ALLOWED)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_an_option_that_is_none_has_no_page(run_fetchq: RunFetchq) -> None:
    done = run_fetchq("help", "--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fetchq: There is no option --nonsense: fetchq help options lists them all.\n"


@pytest.mark.parametrize(
    "command", ["demo", "verify", "status", "list", "retry", "forget", "completion", "help"]
)
def test_each_command_has_a_help_of_its_own(run_fetchq: RunFetchq, command: str) -> None:
    done = run_fetchq(command, "-h")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: fetchq {command}")
    assert run_fetchq("help", command).stdout == done.stdout


def test_help_shows_the_program_topics_and_commands(run_fetchq: RunFetchq) -> None:
    program = run_fetchq("-h").stdout
    assert run_fetchq("help", "get").stdout == program
    contents = run_fetchq("help").stdout
    listed = re.findall(r"^  ([\w-]+)  ", contents, re.MULTILINE)
    assert listed == [
        *topics.names(),
        "get",
        "demo",
        "verify",
        "status",
        "list",
        "retry",
        "forget",
        "completion",
        "help",
    ]
    for name in topics.names():
        assert run_fetchq("help", name).stdout == f"{topics.page(name)}\n"


def test_the_version_costs_no_heavy_import() -> None:
    heavy = {"httpx", "asyncio", "tqdm", "aiofiles", "sqlite3", "ssl", "fetchq._api", "tomllib", "wcwidth"}
    script = (
        "import sys; from fetchq._cli import main; code = main(['--version']);"
        f"print(sorted({heavy!r} & set(sys.modules)), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean_env(), capture_output=True, text=True, check=True
    )
    assert done.stdout == f"fetchq {VERSION}\n[] 0\n"


def test_a_bug_is_no_mistake_of_the_user(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_run, "Downloader", broken)
    with pytest.raises(ZeroDivisionError):
        main([URL])


def test_an_aborted_prompt_is_an_interruption(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise click.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", interrupted)
    assert main(["-u", "bob", URL]) == 130
