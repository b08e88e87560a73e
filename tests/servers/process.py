"""A server program in the foreground, with a folder and free loopback ports of its own; ended by its id."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

ROOT = Path(__file__).parents[2]
APPS = Path(__file__).parent / "apps"
# A cold start of Caddy took 0.6 s on a busy machine with two cores.
START = 20.0
# Below what kernels give to connections, of which one might have a killed server's port when it comes back.
_PORTS = (10_000, 32_768)
# Not the tests' own, which begins anew for each of them and is the same in each worker.
_CHANCE = random.SystemRandom()


@dataclass(frozen=True)
class Entry:
    """A line of an access log; ``bytes`` counts what was sent of the body."""

    method: str
    target: str
    status: int
    bytes: int
    range: str = ""
    protocol: str = ""


@dataclass
class Server:
    """A server that runs over the folder ``root``; ``tls_port`` is 0 without a certificate."""

    name: str
    root: Path
    port: int
    tls_port: int
    log: Path
    _process: _Process | None = field(default=None, repr=False)
    _marks: int = field(default=0, repr=False)

    def url(self, path: str, *, tls: bool = False) -> str:
        port = self.tls_port if tls else self.port
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}/{path.lstrip('/')}"

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, for the processes that it started too."""
        assert self._process
        self._process.kill()

    def back(self) -> None:
        """Start it again on the same ports."""
        assert self._process
        assert self._process.start(), self._process.said()

    def entries(self) -> list[Entry]:
        """Everything that was asked so far, in order.

        A log is written after its answer, so one more request marks the end and is waited for.
        """
        self._marks += 1
        mark = f"/--mark-{self._marks}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START)
        connection.request("GET", mark)
        connection.getresponse().read()
        connection.close()
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            found = [_entry(line) for line in self.log.read_text().splitlines()]
            if any(entry.target == mark for entry in found):
                return [entry for entry in found if not entry.target.startswith("/--mark-")]
            time.sleep(0.01)
        raise AssertionError(f"{self.name} wrote no access log")

    @property
    def body_bytes(self) -> int:
        """Body bytes of all files that were sent."""
        return sum(entry.bytes for entry in self.entries() if entry.status < 300)


Command = Callable[[Server, Path], Sequence[str]]


def need(program: str) -> str:
    """Return the path of a server's program; without it skip the test, or fail it where CI must have it."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(
        program, path=os.pathsep.join([scripts, os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/openssh"])
    )
    if found is None:
        _missing(program)
    return found


def need_package(name: str) -> None:
    """Like :func:`need`, for a server that is a Python package without a program of its own."""
    if find_spec(name) is None:
        _missing(name)


def _missing(name: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed, and CI runs every test", pytrace=False)
    pytest.skip(f"{name} is not installed")


def written(path: Path, text: str) -> str:
    """Write a configuration, and return its path."""
    path.write_text(text)
    return str(path)


@contextlib.contextmanager
def running(name: str, root: Path, command: Command, authority: Path | None = None) -> Iterator[Server]:
    """Run what *command* returns for a server's ports and a folder of its own, until the block ends."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        # Some servers give up root's rights, and still read here.
        Path(folder).chmod(0o755)
        server, process = _started(name, root, command, authority, Path(folder))
        try:
            yield server
        finally:
            process.stop()


def _started(
    name: str, root: Path, command: Command, authority: Path | None, state: Path
) -> tuple[Server, _Process]:
    """Start on ports that are free now; another process may take one meanwhile, so try three times."""
    for _ in range(3):
        port, tls_port = free_ports()
        server = Server(name, root, port, tls_port if authority else 0, state / "access.log")
        server.log.touch()
        env = {**os.environ, "HOME": str(state), "PYTHONPATH": os.pathsep.join([str(APPS), str(ROOT)])}
        env |= {"SERVED_ROOT": str(root), "SERVED_LOG": str(server.log)}
        ports = {port for port in (server.port, server.tls_port) if port}
        server._process = process = _Process(command(server, state), ports, state, env)
        if process.start():
            return server, process
    raise AssertionError(f"{name} did not start:\n{process.said()}")


class _Process:
    """The program itself; it can be started more than once."""

    def __init__(self, argv: Sequence[str], ports: set[int], state: Path, env: Mapping[str, str]) -> None:
        self._argv = argv
        self._ports = ports
        self._state = state
        self._env = env
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Whether it listens on its ports now; if not, it is ended."""
        with (self._state / "out.log").open("wb") as sink:
            self._running = process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=self._env, cwd=self._state
            )
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and process.poll() is None:
            if self._ports <= _listening(process.pid):
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def said(self) -> str:
        logs = (self._state / "out.log", self._state / "error.log")
        return "".join(path.read_text(errors="replace") for path in logs if path.exists())

    def kill(self) -> None:
        """Kill it and what it has started: the workers of nginx and Apache outlive a killed parent."""
        if self._running is None:
            return
        for process in _family(self._running.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._running.wait(5)
        self._running = None

    def stop(self) -> None:
        if self._running is None:
            return
        self._running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._running.wait(5)
        self.kill()


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and those below it, itself first, so that it starts no new ones."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def _listening(pid: int) -> set[int]:
    """Return the ports of *pid* and its children: what else answers there may be a server of another test."""
    ports: set[int] = set()
    for process in _family(pid):
        # One that is ending lets only root look.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            sockets = process.net_connections("tcp")
            ports |= {sock.laddr.port for sock in sockets if sock.status == psutil.CONN_LISTEN}
    return ports


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        return _bound(one), _bound(two)


def _bound(sock: socket.socket) -> int:
    while True:
        port = _CHANCE.randrange(*_PORTS)
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def _entry(line: str) -> Entry:
    """One line of a log: Caddy's own JSON, or ours."""
    told = json.loads(line)
    if "request" not in told:
        return Entry(**told)
    asked = told["request"]
    wanted = ", ".join(asked["headers"].get("Range", []))
    return Entry(asked["method"], asked["uri"], told["status"], told["size"], wanted, asked["proto"])
