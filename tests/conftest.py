"""What every test may ask for: servers, a certificate, the command as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import ssl
import subprocess
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import hypothesis
import pytest
import trustme

from fetchq import _errors
from fetchq._http.http11.connection import Connection
from fetchq._store.database import Database

from . import fork_server, servers
from .origin import Origin

T = TypeVar("T")
Event = dict[str, Any]

# No deadline: the machine that runs the tests is shared, and slow is no failure.
hypothesis.settings.register_profile("default", max_examples=50, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("long", max_examples=5000, deadline=None)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "default")
)


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: while one waits for a server or a clock, the other works."""
    return 2 * (os.cpu_count() or 1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.server("nginx")``: skip by name where it is missing, fail where CI must have it."""
    for mark in item.iter_markers("server"):
        for program in mark.args:
            servers.need(program)


@pytest.fixture(scope="session", autouse=True)
def fork_server_ended() -> Iterator[None]:
    yield
    fork_server.end()


@pytest.fixture(autouse=True)
def options_named() -> Iterator[None]:
    """Errors name the options of the command line; to Python programs, which :mod:`tests.test_arguments` is
    about, they name arguments instead."""
    with _errors.options_named():
        yield


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine to its end in a loop of its own."""
    return asyncio.run(work, debug=False)


class RunFetchq(Protocol):
    """``run_fetchq("-d", folder, url)``: the command, to its end."""

    def __call__(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 30.0,
    ) -> subprocess.CompletedProcess[str]: ...


def clean_env(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what would steer fetchq, and with this source tree in front.

    Compiled files may be written: to compile fetchq takes a process as long as all else of its start.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FETCHQ_")
        and not name.lower().endswith(("_proxy", "_ca_bundle"))
        and name not in {"NO_COLOR", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONDONTWRITEBYTECODE"}
    }
    return {**kept, "PYTHONPATH": str(servers.ROOT), **(more or {})}


@contextmanager
def running(
    *words: str | Path,
    cwd: Path,
    before: Sequence[str] = (),
    command: Sequence[str] = fork_server.PYTHON_M,
) -> Iterator[subprocess.Popen[str]]:
    """``fetchq`` as a process that is still at work; killed if it does not end by itself.

    *before* are the words of a command that starts it in its turn.
    """
    process = subprocess.Popen(
        [*before, *command, *map(str, words)],
        cwd=cwd,
        env=clean_env({"HOME": str(cwd), "XDG_CONFIG_HOME": str(cwd / "config")}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Command:
    """The command at work; its events are read as they happen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        assert process.stderr
        self.process = process
        self._out, self._err = process.stdout, process.stderr
        self._last: Event = {}

    def until(self, kind: str, reached: Callable[[Event], bool] = lambda _: True) -> Event:
        """Read on until an event of that *kind* comes."""
        for line in self._out:
            self._last = json.loads(line)
            if self._last["event"] == kind and reached(self._last):
                return self._last
        raise AssertionError(f"no such {kind}: {self._last} {self._err.read()}")

    def ended(self, code: int) -> None:
        self._last = [self._last, *map(json.loads, self._out)][-1]
        said = self._err.read()
        assert self.process.wait() == code, (said, self._last)


@contextmanager
def fetching(*words: str) -> Iterator[Command]:
    """``fetchq`` at work, as a command whose events can be waited for."""
    with (
        TemporaryDirectory(prefix="home-") as home,
        running("--progress", "json", *words, cwd=Path(home), command=fork_server.command()) as process,
    ):
        yield Command(process)


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds, for a bounded time."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.fixture
def run_fetchq(tmp_path: Path) -> RunFetchq:
    """``fetchq`` in *cwd* (the test's folder), with a home of its own and bounded time."""

    def call(
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 30.0,
    ) -> subprocess.CompletedProcess[str]:
        where = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), **(env or {})}
        return subprocess.run(
            [*fork_server.command(), *map(str, args)],
            cwd=cwd or tmp_path,
            env=clean_env(where),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A raw origin that misbehaves as it is told to."""
    with Origin() as started:
        yield started


@pytest.fixture
def secure(authority: Path) -> Iterator[Origin]:
    """Another one, over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    with Origin(context) as started:
        yield started


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``ca.pem`` and, signed by it for localhost, ``server.pem`` and ``server.key``."""
    folder = tmp_path_factory.mktemp("authority")
    ca = trustme.CA()
    leaf = ca.issue_cert("localhost", "127.0.0.1", "::1")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf.private_key_pem.write_to_path(folder / "server.key")
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)
    return folder


@pytest.fixture
def www(tmp_path: Path) -> Path:
    """The folder that ``caddy``, ``nginx`` and ``hypercorn`` serve."""
    folder = tmp_path / "www"
    folder.mkdir()
    return folder


@pytest.fixture
def caddy(www: Path, authority: Path) -> Iterator[servers.Server]:
    with servers.caddy(www, authority) as server:
        yield server


@pytest.fixture
def nginx(www: Path, authority: Path) -> Iterator[servers.Server]:
    with servers.nginx(www, authority) as server:
        yield server


@pytest.fixture
def hypercorn(www: Path, authority: Path) -> Iterator[servers.Server]:
    with servers.hypercorn(www, authority) as server:
        yield server


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Connection]]:
    """Each HTTP/1.1 connection that the test makes; they are not kept."""
    made: list[weakref.ref[Connection]] = []

    class Noted(Connection):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words)
            made.append(weakref.ref(self))

    monkeypatch.setattr("fetchq._http.http11.pool.Connection", Noted)
    return made


def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list to which each later look-up in a store adds the keys that it asks for."""
    asked: list[list[str]] = []
    reader = Database.reader

    def note(statement: str) -> None:
        if " WHERE key IN " in statement:
            asked.append(re.findall(r"'([^']+)'", statement.partition(" WHERE key IN ")[2].partition(")")[0]))

    def traced(self: Database) -> sqlite3.Connection:
        connection = reader(self)
        connection.set_trace_callback(note)
        return connection

    monkeypatch.setattr(Database, "reader", traced)
    return asked
