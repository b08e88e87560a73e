"""Real proxies: squid, tinyproxy, HAProxy, proxy.py and microsocks."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from .process import Server, need, need_package, running, written

NOTHING = Path(os.devnull)


@contextlib.contextmanager
def squid(*, refused: str = "", password: bool = False) -> Iterator[Server]:
    """squid without a cache; it refuses the host *refused*, or everybody who has no password."""
    program = need("squid")

    def command(server: Server, state: Path) -> list[str]:
        config = written(state / "squid.conf", _squid_config(server, state, refused, password))
        # Killed, it leaves its shared memory behind, and then does not start again under the same name.
        start = f'rm -f /dev/shm/{_service(server)}-*; exec "$@"'
        return ["sh", "-c", start, "sh", program, "-n", _service(server), "-N", "-f", config, "-d", "1"]

    with running("squid", NOTHING, command) as server:
        try:
            yield server
        finally:
            server.kill()
            for left in Path("/dev/shm").glob(f"{_service(server)}-*"):
                left.unlink()


def _service(server: Server) -> str:
    return f"squid{server.port}"


def _squid_config(server: Server, state: Path, refused: str, password: bool) -> str:
    rules = ["http_access allow all"]
    if refused:
        rules = [f"acl refused dstdomain {refused}", "http_access deny refused", *rules]
    if password:
        # Nobody's password is right: what counts is how the answer is told.
        scheme = "auth_param basic program /bin/cat"
        rules = [scheme, "acl known proxy_auth REQUIRED", "http_access deny !known", *rules]
    lines = "\n".join(rules)
    return f"""
http_port 127.0.0.1:{server.port}
pid_filename none
pinger_enable off
cache deny all
cache_mem 8 MB
access_log none
cache_log /dev/null
coredump_dir {state}
shutdown_lifetime 0 seconds
netdb_filename none
{lines}
"""


def tinyproxy(*, refused: str = "", password: bool = False) -> AbstractContextManager[Server]:
    """tinyproxy; it refuses the host *refused*, or everybody who has no password."""
    program = need("tinyproxy")

    def command(server: Server, state: Path) -> list[str]:
        (state / "refused").write_text(f"{refused}\n")
        lines = [f"Port {server.port}", "Listen 127.0.0.1", f'LogFile "{state}/error.log"', "LogLevel Warning"]
        lines += [f'Filter "{state}/refused"', "FilterType fnmatch"] if refused else []
        lines += ["BasicAuth me secret"] if password else []
        config = written(state / "tinyproxy.conf", "\n".join([*lines, "Timeout 600", ""]))
        return [program, "-d", "-c", config]

    return running("tinyproxy", NOTHING, command)


def haproxy(backend: int, *, mode: str = "http") -> AbstractContextManager[Server]:
    """HAProxy in front of the port *backend*: a server's, or with *mode* ``tcp`` another proxy's."""
    program = need("haproxy")

    def command(server: Server, state: Path) -> list[str]:
        config = written(state / "haproxy.cfg", _haproxy_config(server, backend, mode))
        return [program, "-db", "-f", config]

    return running("haproxy", NOTHING, command)


def _haproxy_config(server: Server, backend: int, mode: str) -> str:
    return f"""
global
    maxconn 200
defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    retries 0
listen origin
    bind 127.0.0.1:{server.port}
    {"http-request set-uri %[pathq]" if mode == "http" else ""}
    server only 127.0.0.1:{backend}
"""


def proxy_py() -> AbstractContextManager[Server]:
    """proxy.py."""
    need_package("proxy")

    def command(server: Server, state: Path) -> Sequence[str]:
        words = ["--hostname", "127.0.0.1", "--port", str(server.port), "--num-workers", "1"]
        return [sys.executable, "-m", "proxy", *words, "--data-dir", str(state), "--log-level", "e"]

    return running("proxy.py", NOTHING, command)


def microsocks() -> AbstractContextManager[Server]:
    """microsocks, which speaks SOCKS 5."""
    program = need("microsocks")
    return running(
        "microsocks", NOTHING, lambda server, _: [program, "-i", "127.0.0.1", "-p", str(server.port)]
    )
