"""Bounds on time and connections, proxies, hooks and streams, with servers and proxies that others wrote."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import fetchq
from fetchq._settings import Network, Queue, Retry

from . import servers
from .conftest import RunFetchq, run
from .origin import black_hole
from .servers import Server
from .test_lifecycle import Refreshing

MIB = 1 << 20
DATA = random.Random("waits").randbytes(6 * MIB)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    servers.need_package("python_multipart")
    with servers.uvicorn(tmp_path_factory.mktemp("served"), app="forms") as server:
        yield server


def settings(**network: Any) -> fetchq.Settings:
    retry = Retry(retries=0, patience=0)
    return fetchq.Settings(network=Network(env=False, **network), retry=retry)


# --- time

LATE = "sent nothing within the time limit (--read-timeout)."
WHOLE = "not done within 0.5 s (--deadline)"


@pytest.mark.parametrize(
    ("words", "query", "told"),
    [
        (["--read-timeout", "0.5"], "before=5", LATE),
        (["--read-timeout", "0.5"], "between=5", LATE),
        (["--timeout", "0.5"], "before=5", LATE),
        (["--timeout", "0.5", "--read-timeout", "none"], "before=1", ""),
        (["--timeout", "none"], "before=1", ""),
        (["--read-timeout", "0.7"], "between=0.1", ""),
        (["--deadline", "0.5"], "before=5", WHOLE),
        (["--deadline", "0.5"], "between=0.3", WHOLE),
        (["--max-time", "0.5"], "before=5", WHOLE),
        (["--deadline", "0.5", "--timeout", "none"], "before=5", WHOLE),
        (["--connect-timeout", "0.5", "--write-timeout", "0.5", "--pool-timeout", "0.5"], "before=1", ""),
    ],
    ids=" ".join,
)
def test_each_bound_by_itself(
    app: Server, words: list[str], query: str, told: str, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    done = run_fetchq("--retries", "0", "--patience", "0", *words, "-o", "out", app.url(f"slow?{query}"))
    assert done.returncode == (4 if told else 0), done.stderr
    assert told in done.stderr
    assert (tmp_path / "out").exists() is not bool(told)


def test_each_job_of_a_queue_has_its_own(app: Server, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    lines = [
        f'{{"url": "{app.url("slow?before=1")}", "out": "late", "timeout": {{"read": 0.3}}}}',
        f'{{"url": "{app.url("slow?before=1&x")}", "out": "whole", "deadline": 0.3}}',
        f'{{"url": "{app.url("slow?before=1&y")}", "out": "good", "timeout": "none"}}',
    ]
    words = ["--no-store", "--retries", "0", "--patience", "0", "-i", "-"]
    done = run_fetchq(*words, input="\n".join(lines))
    assert done.returncode == 4
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["good"]


def test_no_connection_within_the_bound(run_fetchq: RunFetchq) -> None:
    with black_hole() as port:
        words = ["--retries", "0", "--patience", "0", "--connect-timeout", "0.3"]
        done = run_fetchq(*words, f"http://127.0.0.1:{port}/f.bin")
    assert done.returncode == 4
    assert "(--connect-timeout)" in done.stderr


# --- connections


def test_no_more_connections_than_a_server_allows(www: Path, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    """nginx answers 429 to a fourth at once: none of jobs and segments goes beyond --per-host."""
    for number in range(6):
        (www / f"{number}.bin").write_bytes(DATA)
    zone = "limit_conn few 3; limit_conn_status 429; limit_rate 3m;"
    with servers.nginx(www, extra=zone, around="limit_conn_zone $binary_remote_addr zone=few:1m;") as server:
        urls = [server.url(f"{number}.bin") for number in range(6)]
        done = run_fetchq("-j", "12", "--per-host", "3", "-d", tmp_path / "out", *urls)
        statuses = [entry.status for entry in server.entries()]
    assert done.returncode == 0, done.stderr
    assert set(statuses) <= {200, 206}
    assert {path.read_bytes() for path in (tmp_path / "out").iterdir()} == {DATA}


@pytest.mark.parametrize(("keep", "most"), [("keepalive_requests 1000;", 2), ("keepalive_requests 1;", 40)])
def test_connections_are_used_again_as_long_as_the_server_lets_them(
    www: Path, tmp_path: Path, run_fetchq: RunFetchq, keep: str, most: int
) -> None:
    for number in range(40):
        (www / f"{number}.bin").write_bytes(b"x" * 1000)
    counted = f"{keep} add_header X-Connection $connection always; keepalive_timeout 1s;"
    seen: set[str] = set()

    async def note(response: httpx.Response) -> None:
        seen.add(response.headers["x-connection"])

    with servers.nginx(www, extra=counted) as server:
        urls = [server.url(f"{number}.bin") for number in range(40)]

        async def main() -> None:
            how: dict[str, Any] = {"jobs": 2, "event_hooks": {"response": [note]}}
            async with fetchq.Downloader(settings(), dir=tmp_path / "out", **how) as downloader:
                assert all([result.ok async for result in downloader.run(urls)])

        run(main())
    assert (len(seen) <= most) if most == 2 else (len(seen) == most)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_that_nginx_has_closed_is_not_used(www: Path, tmp_path: Path, method: str) -> None:
    """Each request comes when the kept connection has just been closed, is being closed, or is about to be."""
    extra = "keepalive_timeout 1s; location /post { return 200 'hello'; }"
    with servers.nginx(www, extra=extra) as server:
        url = server.url("post")

        async def one(downloader: fetchq.Downloader, number: int) -> None:
            job = fetchq.Job(url, method=method, content=b"abc" if method == "POST" else None)
            for _ in range(3):
                assert await downloader.fetch_bytes(job) == b"hello"
                await asyncio.sleep(0.98 + number * 0.001)

        async def main() -> None:
            async with fetchq.Downloader(settings(), jobs=40) as downloader:
                await asyncio.gather(*(one(downloader, number) for number in range(40)))

        run(main())


# --- proxies


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_proxy_takes_its_password(
    www: Path, authority: Path, tmp_path: Path, run_fetchq: RunFetchq, secure: bool
) -> None:
    (www / "f.bin").write_bytes(DATA)
    with servers.nginx(www, authority) as server, servers.tinyproxy(password=True) as proxy:
        url = server.url("f.bin", tls=secure)
        words: list[str | Path] = ["--cacert", authority / "ca.pem", "-d", tmp_path / "out", url]
        given = f"http://me:secret@127.0.0.1:{proxy.port}"
        done = run_fetchq("--proxy", given, *words)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out/f.bin").read_bytes() == DATA
        done = run_fetchq(*words, "-o", "g.bin", env={"http_proxy": given, "https_proxy": given})
        assert done.returncode == 0, done.stderr
        assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("no_proxy", "through"),
    [
        ("", True),
        ("127.0.0.0/8", False),
        ("10.0.0.0/8,::1", True),
        ("*", False),
        ("127.0.0.1", False),
        (".example,127.0.0.1:1", True),
    ],
)
def test_who_is_reached_directly(
    www: Path, tmp_path: Path, run_fetchq: RunFetchq, no_proxy: str, through: bool
) -> None:
    (www / "f.bin").write_bytes(b"data")
    with servers.nginx(www, extra="add_header X-Via $http_via always;") as server, servers.squid() as proxy:
        env = {"http_proxy": proxy.url(""), "no_proxy": no_proxy}
        done = run_fetchq("-X", "HEAD", "-o", "-", server.url("f.bin"), env=env)
        assert done.returncode == 0, done.stderr
        assert ("squid" in done.stdout) is through
        done = run_fetchq("--no-env", "-X", "HEAD", "-o", "-", server.url("f.bin"), env=env)
        assert "squid" not in done.stdout


# --- tokens, hooks, streams


def test_a_token_is_renewed_within_a_queue(app: Server, tmp_path: Path) -> None:
    async def main() -> list[fetchq.Result]:
        auth = Refreshing(app.url("token"))
        async with fetchq.Downloader(settings(), dir=tmp_path, jobs=1, auth=auth) as downloader:
            return [result async for result in downloader.run(app.url(f"guarded/{n}") for n in range(9))]

    results = run(main())
    assert [result.error for result in results] == [None] * 9


def test_hooks_of_httpx_see_each_request(www: Path, tmp_path: Path) -> None:
    (www / "f.bin").write_bytes(DATA)
    told: list[str] = []

    async def request(each: httpx.Request) -> None:
        told.append(f"{each.method} {each.url.path}")
        each.headers["X-Trace"] = "7"

    async def response(each: httpx.Response) -> None:
        told.append(f"{each.status_code} {each.headers['x-seen']}")

    extra = "add_header X-Seen $http_x_trace always; location /old { return 302 /f.bin; }"
    with servers.nginx(www, extra=extra) as server:

        async def main() -> None:
            hooks: dict[str, Any] = {"request": [request], "response": [response]}
            async with fetchq.Downloader(settings(), dir=tmp_path, event_hooks=hooks) as downloader:
                await downloader.fetch(server.url("old"), "out.bin")

        run(main())
    assert told[:4] == ["GET /old", "302 7", "GET /f.bin", "200 7"]
    assert (tmp_path / "out.bin").read_bytes() == DATA


@pytest.mark.parametrize(
    "start", [servers.nginx, servers.caddy, servers.apache], ids=lambda start: start.__name__
)
def test_a_stream_outlives_its_server(start: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="www-") as name:
        root = Path(name)
        root.chmod(0o755)
        data = DATA * 6
        (root / "f.bin").write_bytes(data)
        # A date of this minute is no strong validator (RFC 9110 section 8.8.2.2), nor is Apache's tag then.
        os.utime(root / "f.bin", (1735689600, 1735689600))
        with start(root) as server:

            async def main() -> bytes:
                found = bytearray()
                waiting = fetchq.Settings(
                    network=Network(env=False), queue=Queue(limit_rate=24 * MIB), retry=Retry(backoff=0.1)
                )
                async with fetchq.stream(server.url("f.bin"), settings=waiting) as chunks:
                    async for chunk in chunks:
                        found += chunk
                        if len(found) > 2 * MIB and len(found) - len(chunk) <= 2 * MIB:
                            await asyncio.to_thread(server.kill)
                            await asyncio.to_thread(server.back)
                return bytes(found)

            assert run(main()) == data
