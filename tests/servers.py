"""Real servers on free loopback ports, started for a test and stopped with it: Caddy, nginx, Hypercorn."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent
# A cold start of Caddy took 0.6 s on a busy machine with two cores.
START = 20.0


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
    _marks: int = field(default=0, repr=False)

    def url(self, path: str, *, tls: bool = False) -> str:
        port = self.tls_port if tls else self.port
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}/{path.lstrip('/')}"

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


def need(program: str) -> str:
    """Return the path of a server's program; without it skip the test, or fail it where CI must have it."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which(program, path=os.pathsep.join([scripts, os.environ.get("PATH", ""), "/usr/sbin"]))
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed, and CI runs every test", pytrace=False)
        pytest.skip(f"{program} is not installed")
    return found


@contextlib.contextmanager
def caddy(
    root: Path, authority: Path | None = None, *, handlers: list[dict[str, Any]] | None = None
) -> Iterator[Server]:
    """Caddy: ranges, ETags, HTTP/1.1 and, over TLS, HTTP/2. *handlers* come before its file server."""
    program = need("caddy")

    def command(server: Server, state: Path) -> list[str]:
        config = state / "caddy.json"
        config.write_text(json.dumps(_caddy_config(server, state, authority, handlers or [])))
        return [program, "run", "--config", str(config)]

    with _running("caddy", root, command, authority) as server:
        yield server


@contextlib.contextmanager
def nginx(
    root: Path, authority: Path | None = None, *, extra: str = "", http2: bool = False
) -> Iterator[Server]:
    """nginx with one worker; *extra* lines go into its server block, such as ``limit_rate 2m;``."""
    program = need("nginx")

    def command(server: Server, state: Path) -> list[str]:
        config = state / "nginx.conf"
        config.write_text(_nginx_config(server, state, authority, extra, " http2" if http2 else ""))
        return [program, "-e", str(state / "error.log"), "-p", str(state), "-c", str(config)]

    with _running("nginx", root, command, authority) as server:
        yield server


@contextlib.contextmanager
def hypercorn(root: Path, authority: Path | None = None) -> Iterator[Server]:
    """Hypercorn with a small application that sends whole files: HTTP/1.1 and, over TLS, HTTP/2."""
    need("hypercorn")

    def command(server: Server, state: Path) -> list[str]:
        words = ["-m", "hypercorn", "--graceful-timeout", "0", "--insecure-bind", f"127.0.0.1:{server.port}"]
        if authority is None:
            words[-2] = "--bind"
        else:
            certificate = [
                "--certfile",
                str(authority / "server.pem"),
                "--keyfile",
                str(authority / "server.key"),
            ]
            words += ["--bind", f"127.0.0.1:{server.tls_port}", *certificate]
        return [sys.executable, *words, "tests.servers:application"]

    with _running("hypercorn", root, command, authority) as server:
        yield server


@contextlib.contextmanager
def _running(
    name: str, root: Path, command: Callable[[Server, Path], list[str]], authority: Path | None
) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        state = Path(folder)
        server, process = _start(name, root, command, authority, state)
        try:
            yield server
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _start(
    name: str, root: Path, command: Callable[[Server, Path], list[str]], authority: Path | None, state: Path
) -> tuple[Server, subprocess.Popen[bytes]]:
    """Start on ports that are free now; another process may take one meanwhile, so try three times."""
    out = state / "out.log"
    for _ in range(3):
        port, tls_port = _free_ports()
        server = Server(name, root, port, tls_port if authority else 0, state / "access.log")
        server.log.touch()
        env = {**os.environ, "HOME": str(state), "PYTHONPATH": str(ROOT)}
        env |= {"SERVED_ROOT": str(root), "SERVED_LOG": str(server.log)}
        with out.open("wb") as sink:
            process = subprocess.Popen(command(server, state), stdout=sink, stderr=sink, env=env, cwd=state)
        if _ready(process, server):
            return server, process
        process.kill()
        process.wait(5)
    said = out.read_text(errors="replace") + _read(state / "error.log")
    raise AssertionError(f"{name} did not start:\n{said}")


def _ready(process: subprocess.Popen[bytes], server: Server) -> bool:
    """Wait until *process* itself listens on its ports: what answers there may be a server of another test."""
    deadline = time.monotonic() + START
    ports = {port for port in (server.port, server.tls_port) if port}
    while time.monotonic() < deadline and process.poll() is None:
        if ports <= _listening(process.pid):
            return True
        time.sleep(0.02)
    return False


def _listening(pid: int) -> set[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        sockets = psutil.Process(pid).net_connections("tcp")
        return {sock.laddr.port for sock in sockets if sock.status == psutil.CONN_LISTEN}
    return set()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _entry(line: str) -> Entry:
    """One line of a log: Caddy's own JSON, or ours."""
    told = json.loads(line)
    if "request" not in told:
        return Entry(**told)
    asked = told["request"]
    wanted = ", ".join(asked["headers"].get("Range", []))
    return Entry(asked["method"], asked["uri"], told["status"], told["size"], wanted, asked["proto"])


def _caddy_config(
    server: Server, state: Path, authority: Path | None, handlers: list[dict[str, Any]]
) -> dict[str, Any]:
    routes = [{"handle": [*handlers, {"handler": "file_server", "root": str(server.root)}]}]
    plain: dict[str, Any] = {
        "listen": [f"127.0.0.1:{server.port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1", "h2"],
        "routes": routes,
        "logs": {},
    }
    apps: dict[str, Any] = {"http": {"servers": {"plain": plain}}}
    if authority is not None:
        secure = {**plain, "listen": [f"127.0.0.1:{server.tls_port}"], "tls_connection_policies": [{}]}
        apps["http"]["servers"]["secure"] = secure
        files = {"certificate": str(authority / "server.pem"), "key": str(authority / "server.key")}
        apps["tls"] = {"certificates": {"load_files": [files]}}
    access = {
        "writer": {"output": "file", "filename": str(server.log), "roll": False},
        "encoder": {"format": "json"},
        "include": ["http.log.access"],
    }
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        "storage": {"module": "file_system", "root": str(state / "caddy")},
        "logging": {"logs": {"default": {"exclude": ["http.log.access"]}, "access": access}},
        "apps": apps,
    }


def _nginx_config(server: Server, state: Path, authority: Path | None, extra: str, http2: str) -> str:
    told = {"method": "$request_method", "target": "$request_uri", "range": "$http_range"}
    numbers = '"status":$status,"bytes":$body_bytes_sent,"protocol":"$server_protocol"'
    line = json.dumps(told, separators=(",", ":"))[:-1] + "," + numbers + "}"
    temporary = "\n".join(
        f"    {kind}_temp_path {state}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    secure = ""
    if authority is not None:
        secure = f"""
        listen 127.0.0.1:{server.tls_port} ssl{http2};
        ssl_certificate {authority}/server.pem;
        ssl_certificate_key {authority}/server.key;"""
    # Without this line root's nginx drops its rights, and may not read a test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
daemon off;
{user}
worker_processes 1;
pid {state}/nginx.pid;
error_log {state}/error.log warn;
events {{ worker_connections 1024; }}
http {{
{temporary}
    log_format lines escape=json '{line}';
    access_log {server.log} lines;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{server.port};{secure}
        root {server.root};
        {extra}
    }}
}}
"""


async def application(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """ASGI: GET gives a file of the folder in ``SERVED_ROOT``, in full; each request is logged."""
    if scope["type"] != "http":
        return
    data = _file(scope["path"])
    status = 404 if data is None else 200
    body = data or b""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for at in range(0, len(body), 65536):
        await send({"type": "http.response.body", "body": body[at : at + 65536], "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    wanted = next((value.decode() for name, value in scope["headers"] if name == b"range"), "")
    protocol = f"HTTP/{scope['http_version']}"
    _record(Entry(scope["method"], scope["path"], status, len(body), wanted, protocol))


def _file(path: str) -> bytes | None:
    target = Path(os.environ["SERVED_ROOT"], path.lstrip("/"))
    return target.read_bytes() if target.is_file() else None


def _record(entry: Entry) -> None:
    with Path(os.environ["SERVED_LOG"]).open("a") as log:
        log.write(json.dumps(vars(entry)) + "\n")
