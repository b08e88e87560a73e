"""Real proxies: killed and back in the middle of seven downloads, and what they refuse."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from . import servers
from .conftest import Command, RunFetchq, fetching
from .servers import Server

MIB = 1 << 20
FILES = {f"f{number}.bin": random.Random(number).randbytes(2 * MIB) for number in range(7)}
# Each file takes its server a second, however much the proxy could buffer.
PACE = "limit_rate 2m;"


@contextmanager
def balanced() -> Iterator[Server]:
    """HAProxy in front of another proxy: it speaks no CONNECT of its own."""
    with servers.tinyproxy() as proxy, servers.haproxy(proxy.port, mode="tcp") as balancer:
        yield balancer


PROXIES: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "squid": servers.squid,
    "tinyproxy": servers.tinyproxy,
    "haproxy": balanced,
    "proxy.py": servers.proxy_py,
    "microsocks": servers.microsocks,
}


def finished(command: Command) -> list[float]:
    """Return when each of the files was finished."""
    return [command.until("job_finished")["time"] for _ in FILES]


@pytest.mark.server("nginx")
@pytest.mark.parametrize("name", PROXIES)
def test_killed_and_back_under_seven_downloads(name: str, www: Path, authority: Path, tmp_path: Path) -> None:
    for file, data in FILES.items():
        (www / file).write_bytes(data)
    out = tmp_path / "out"
    with PROXIES[name]() as proxy, servers.nginx(www, authority, extra=PACE) as server:
        scheme = "socks5" if name == "microsocks" else "http"
        words = ["--proxy", f"{scheme}://127.0.0.1:{proxy.port}", "--cacert", str(authority / "ca.pem")]
        urls = [server.url(file, tls=True) for file in FILES]
        with fetching(*words, "-d", str(out), *urls) as command:
            command.until("progressed", lambda event: bool(event["have"] > MIB // 4))
            proxy.kill()
            try:
                command.until("attempt_failed")
            finally:
                proxy.back()
            failed = command.until("attempt_failed")["time"]
            ends = finished(command)
            command.ended(0)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == FILES
    # Well below the read timeout of 30 s: no connection waits for a proxy that is gone.
    assert max(ends) - failed < 20


REFUSED = [
    pytest.param(servers.squid, {"refused": "localhost"}, "", id="squid, host"),
    pytest.param(servers.tinyproxy, {"refused": "localhost"}, "", id="tinyproxy, host"),
    pytest.param(servers.squid, {"password": True}, "", id="squid, no password"),
    pytest.param(servers.tinyproxy, {"password": True}, "", id="tinyproxy, no password"),
    pytest.param(servers.squid, {"password": True}, "me:wrong@", id="squid, wrong password"),
    pytest.param(servers.tinyproxy, {"password": True}, "me:wrong@", id="tinyproxy, wrong password"),
]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("start", "rules", "login"), REFUSED)
def test_what_a_proxy_refuses_is_said(
    start: Callable[..., AbstractContextManager[Server]],
    rules: dict[str, object],
    login: str,
    scheme: str,
    run_fetchq: RunFetchq,
) -> None:
    with start(**rules) as proxy:
        # Refused before anybody looks for this server.
        url = f"{scheme}://localhost:9/f.bin"
        done = run_fetchq("-q", "--proxy", f"http://{login}127.0.0.1:{proxy.port}", url)
    name = f"127.0.0.1:{proxy.port}"
    if "refused" in rules and scheme == "https":
        code, words = 4, f"The proxy {name} refuses localhost:9 (403)."
    elif "refused" in rules:
        code, words = 8, f"localhost:9 through the proxy {name} answered 403 (forbidden)."
    elif not login:
        code, words = 6, f"The proxy {name} wants a user and password: give them as --proxy"
    elif start is servers.tinyproxy and scheme == "http":
        # It answers 401, as a server would whose own password is wrong.
        code, words = 6, f"localhost:9 through the proxy {name} answered 401"
    else:
        code, words = 6, f"The proxy {name} refused these credentials"
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "wrong" not in done.stderr
