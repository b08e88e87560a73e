"""The real servers start, serve what they are given, tell what they did, and stop."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest

from . import servers
from .conftest import RunFetchq, clean_env, run
from .origin import generated
from .servers import Entry, Server, process

DATA = generated(300_000, seed=3).data


@pytest.fixture(params=["caddy", "nginx", "hypercorn"])
def server(request: pytest.FixtureRequest) -> Server:
    started: Server = request.getfixturevalue(request.param)
    (started.root / "f.bin").write_bytes(DATA)
    return started


@pytest.fixture
def client(authority: Path) -> httpx.Client:
    context = ssl.create_default_context(cafile=authority / "ca.pem")
    return httpx.Client(verify=context, trust_env=False, http2=True, headers={"Accept-Encoding": "identity"})


def test_files_over_http_and_https_and_what_the_log_says(server: Server, client: httpx.Client) -> None:
    with client:
        assert client.get(server.url("/f.bin")).content == DATA
        assert client.get(server.url("f.bin", tls=True)).content == DATA
        assert client.get(server.url("/missing")).status_code == 404
    entries = server.entries()
    assert [(entry.method, entry.target, entry.status) for entry in entries] == [
        ("GET", "/f.bin", 200),
        ("GET", "/f.bin", 200),
        ("GET", "/missing", 404),
    ]
    assert [entry.bytes for entry in entries[:2]] == [len(DATA)] * 2
    assert server.body_bytes == 2 * len(DATA)


@pytest.mark.parametrize("name", ["caddy", "nginx"])
def test_ranges_and_validators(name: str, client: httpx.Client, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    (server.root / "f.bin").write_bytes(DATA)
    with client:
        whole = client.head(server.url("/f.bin"))
        assert whole.headers["accept-ranges"] == "bytes"
        tag = whole.headers["etag"]
        part = client.get(server.url("/f.bin"), headers={"Range": "bytes=1000-1999", "If-Range": tag})
    assert (part.status_code, part.content) == (206, DATA[1000:2000])
    assert server.entries()[-1] == Entry("GET", "/f.bin", 206, 1000, "bytes=1000-1999", "HTTP/1.1")


@pytest.mark.parametrize("name", ["caddy", "hypercorn"])
def test_http2(name: str, client: httpx.Client, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    (server.root / "f.bin").write_bytes(DATA)
    with client:
        answer = client.get(server.url("/f.bin", tls=True))
    assert (answer.http_version, answer.content) == ("HTTP/2", DATA)


Start = Callable[[Path], AbstractContextManager[Server]]


@pytest.mark.parametrize("start", [servers.caddy, servers.nginx, servers.hypercorn])
def test_without_a_certificate_there_is_no_tls_port_and_after_the_block_no_server(
    start: Start, www: Path, client: httpx.Client
) -> None:
    (www / "f").write_bytes(b"abc")
    with client:
        with start(www) as server:
            assert server.tls_port == 0
            assert client.get(server.url("/f")).content == b"abc"
        with pytest.raises(httpx.ConnectError):
            client.get(server.url("/f"))


def test_extra_configuration(www: Path, client: httpx.Client) -> None:
    answer = {"handler": "static_response", "status_code": "418"}
    with client:
        with servers.nginx(www, extra="location /tea { return 418; }") as server:
            assert client.get(server.url("/tea")).status_code == 418
        with servers.caddy(www, handlers=[answer]) as server:
            assert client.get(server.url("/tea")).status_code == 418


@pytest.mark.parametrize("name", ["caddy", "nginx", "hypercorn"])
def test_a_port_that_another_process_took_meanwhile_is_not_used(
    www: Path, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    servers.need(name)
    free_ports = process.free_ports
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([(taken.getsockname()[1], 0), free_ports()])
        monkeypatch.setattr(process, "free_ports", lambda: next(ports))
        (www / "f.bin").write_bytes(DATA)
        with getattr(servers, name)(www) as server, client:
            assert server.port != taken.getsockname()[1]
            assert client.get(server.url("/f.bin")).content == DATA


def test_a_server_that_cannot_start_says_why(www: Path) -> None:
    with (
        pytest.raises(AssertionError, match="no_such_directive"),
        servers.nginx(www, extra="no_such_directive;"),
    ):
        pass


@pytest.mark.parametrize("need", [servers.need, process.need_package])
def test_a_missing_server_is_skipped_by_name_but_fails_in_ci(
    need: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "false")
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not installed"):
        need("no-such-server")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-server is not installed"):
        need("no-such-server")


def test_the_marker_asks_for_the_program(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(servers, "need", asked.append)
    request.node.add_marker(pytest.mark.server("caddy", "nginx"))
    request.node.ihook.pytest_runtest_setup(item=request.node)
    assert asked == ["caddy", "nginx"]


def test_a_command_gets_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FETCHQ_JOBS", "https_proxy", "HTTP_PROXY", "NO_PROXY", "NO_COLOR"):
        monkeypatch.setenv(name, "x")
    env = clean_env({"FETCHQ_DIR": "y"})
    assert not {"FETCHQ_JOBS", "https_proxy", "HTTP_PROXY", "NO_PROXY", "NO_COLOR"} & set(env)
    assert env["FETCHQ_DIR"] == "y"


def test_a_command_is_bounded(run_fetchq: RunFetchq) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_fetchq("--version", timeout=0.001)


def test_run_gives_what_the_coroutine_gives() -> None:
    async def work() -> int:
        return 7

    assert run(work()) == 7
