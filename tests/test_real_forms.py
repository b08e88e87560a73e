"""Forms, redirects and cookies against a real application: Starlette with python-multipart, on two servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import fetchq
from fetchq._settings import Network, Retry

from . import servers
from .conftest import RunFetchq, run, running
from .servers import Server

MIB = 1 << 20
BIG = random.Random("big").randbytes(3 * MIB)


@pytest.fixture(scope="module", params=[servers.uvicorn, servers.hypercorn], ids=["uvicorn", "hypercorn"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    servers.need_package("python_multipart")
    with request.param(tmp_path_factory.mktemp("served"), app="forms") as server:
        yield server


def fetched(job: fetchq.Job, folder: Path, *, unsafe: bool = False) -> Any:
    """Fetch *job* from Python; return the JSON that it brings."""
    settings = fetchq.Settings(network=Network(env=False), retry=Retry(backoff=0, retry_unsafe=unsafe))
    path = fetchq.download(job, str(folder / uuid.uuid4().hex), settings=settings).path
    assert path
    return json.loads(path.read_bytes())


def file_part(name: str, shown: str, kind: str, data: bytes) -> dict[str, object]:
    found = {"file": shown, "type": kind, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {"name": name, **found}


# --- forms

ODD = 'näme "q" %22; 日本.bin'


def test_each_door_sends_one_form(app: Server, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    (tmp_path / ODD).write_bytes(BIG)
    (tmp_path / "empty.csv").write_bytes(b"")
    fields = [{"name": "a&b", "value": "ü=1\n2"}, {"name": "none", "value": ""}]
    parts = [
        *fields,
        # Its name as browsers write it: the quotes as %22 (WHATWG HTML, section 4.10.22.8).
        file_part("up", ODD.replace('"', "%22"), "text/x-odd", BIG),
        file_part("up", "empty.csv", "text/csv", b""),
    ]
    url = app.url("up")
    form = ["--form", "a&b=ü=1\n2", "--form", "none=", "--form", f"up=@{ODD};type=text/x-odd"]
    done = run_fetchq(*form, "--form", "up=@empty.csv", "-o", "line.json", url)
    assert done.returncode == 0, done.stderr
    line = {
        "url": url,
        "out": "queue.json",
        "form": {"a&b": "ü=1\n2", "none": ""},
        "files": {"up": [{"path": ODD, "type": "text/x-odd"}, "empty.csv"]},
    }
    done = run_fetchq("--no-store", "-i", "-", input=json.dumps(line))
    assert done.returncode == 0, done.stderr
    files = [
        ("up", fetchq.FormFile(tmp_path / ODD, type="text/x-odd")),
        ("up", fetchq.FormFile(tmp_path / "empty.csv")),
    ]
    job = fetchq.Job(url, method="POST", form={"a&b": "ü=1\n2", "none": ""}, files=files)
    expected = {"method": "POST", "parts": parts}
    assert fetched(job, tmp_path) == expected
    assert json.loads((tmp_path / "line.json").read_bytes()) == expected
    assert json.loads((tmp_path / "queue.json").read_bytes()) == expected


def test_a_form_without_files(app: Server, run_fetchq: RunFetchq) -> None:
    done = run_fetchq(
        "-X", "PUT", "--form", "a&b=ü=1\n2", "--form", "c=", "--form", "c=2", "-o", "-", app.url("up")
    )
    assert done.returncode == 0, done.stderr
    values = [("a&b", "ü=1\n2"), ("c", ""), ("c", "2")]
    parts = [{"name": name, "value": value} for name, value in values]
    assert json.loads(done.stdout) == {"method": "PUT", "parts": parts}


@pytest.mark.parametrize("path", ["moved/307?to=/up", "moved/308?to=/up", "busy/{}"])
def test_a_form_is_read_from_disk_again(app: Server, path: str, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(BIG)
    expected = {
        "method": "POST",
        "parts": [{"name": "k", "value": "v"}, file_part("f", "big.bin", "application/octet-stream", BIG)],
    }
    url = app.url(path.format(uuid.uuid4().hex))
    words = ["--retry-unsafe", "--backoff", "0", "--form", "k=v", "--form", "f=@big.bin", "-o", "-", url]
    done = run_fetchq(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    job = fetchq.Job(
        app.url(path.format(uuid.uuid4().hex)),
        method="POST",
        form={"k": "v"},
        files=[("f", fetchq.FormFile(tmp_path / "big.bin"))],
    )
    assert fetched(job, tmp_path, unsafe=True) == expected


def test_a_post_is_not_sent_again_unasked(app: Server, run_fetchq: RunFetchq) -> None:
    url = app.url(f"busy/{uuid.uuid4().hex}")
    done = run_fetchq("--backoff", "0", "--data", "x", "-o", "-", url)
    assert done.returncode == 8
    assert "--retry-unsafe" in done.stderr


def test_a_large_file_is_never_in_memory(app: Server, tmp_path: Path) -> None:
    size = 300 * MIB
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(size)
    most = 0
    with running("--form", "f=@large.bin", "-o", "answer.json", app.url("up"), cwd=tmp_path) as command:
        process = psutil.Process(command.pid)
        while command.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess, subprocess.TimeoutExpired):
                most = max(most, process.memory_info().rss)
                command.wait(0.05)
        assert command.returncode == 0
    (part,) = json.loads((tmp_path / "answer.json").read_bytes())["parts"]
    assert part["size"] == size
    assert 0 < most < 150 * MIB


# --- methods and redirects


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_which_method_a_redirect_leaves(app: Server, code: int, method: str, tmp_path: Path) -> None:
    """RFC 9110 section 15.4: a POST becomes a GET behind 301 and 302; all but HEAD do so behind 303."""
    has_body = method in {"POST", "PUT", "PATCH"}
    job = fetchq.Job(
        app.url(f"moved/{code}?to=/echo%3Fx%3D1"), method=method, content=b"body" if has_body else None
    )
    settings = fetchq.Settings(network=Network(env=False))
    result = fetchq.download(job, str(tmp_path / "answer"), settings=settings)
    kept = method in {"GET", "HEAD"} or code in {307, 308} or (code in {301, 302} and method != "POST")
    assert dict(result.headers)["x-asked"] == (method if kept else "GET")
    if method != "HEAD":
        told = json.loads((tmp_path / "answer").read_bytes())
        assert (told["method"], told["query"]) == (method if kept else "GET", "x=1")
        assert told["body"] == ("body" if has_body and kept else "")


def test_a_redirect_that_is_not_followed_is_shown(app: Server, run_fetchq: RunFetchq) -> None:
    done = run_fetchq("--no-redirects", app.url("moved/302?to=/echo"))
    assert done.returncode == 8
    assert "302" in done.stderr
    assert "/echo" in done.stderr


def test_a_loop_is_an_error(app: Server, run_fetchq: RunFetchq) -> None:
    done = run_fetchq(app.url("moved/307?to=/again"))
    assert done.returncode == 7
    assert "redirects" in done.stderr


def test_the_head_of_a_file(app: Server, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    done = run_fetchq("-X", "HEAD", "-o", "-", app.url("echo"))
    assert done.returncode == 0, done.stderr
    assert "x-asked: HEAD\n" in done.stdout
    done = run_fetchq("-X", "HEAD", app.url("echo"))
    assert done.returncode == 0, done.stderr
    assert "x-asked: HEAD" in (tmp_path / "echo.head").read_text()


# --- cookies


def test_a_login_is_kept_in_a_file_that_curl_reads_too(
    app: Server, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    jar = ["--load-cookies", "jar", "--save-cookies", "jar"]
    (tmp_path / "jar").touch()
    for visit in (1, 2):
        done = run_fetchq(*jar, "-o", f"welcome{visit}", app.url("login"))
        assert done.returncode == 0, done.stderr
    done = run_fetchq("--load-cookies", "jar", "-o", "-", app.url("private"))
    assert done.returncode == 0, done.stderr
    expected = {"session": 'a "quoted, value"', "lasting": "yes", "visits": "2"}
    assert json.loads(done.stdout) == expected
    curl = servers.need("curl")
    with os.popen(f"{curl} -s -b {tmp_path}/jar {app.url('private')}") as answer:
        assert json.loads(answer.read()) == expected
    assert run_fetchq(*jar, "-o", "bye", app.url("logout")).returncode == 0
    assert run_fetchq("--load-cookies", "jar", "-o", "-", app.url("private")).returncode == 8


def test_a_file_of_curl_is_read(app: Server, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    curl = servers.need("curl")
    with os.popen(f"{curl} -s -c {tmp_path}/jar {app.url('login')}") as answer:
        assert answer.read() == "welcome"
    done = run_fetchq("--load-cookies", "jar", "-o", "-", app.url("private"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["session"] == 'a "quoted, value"'


@pytest.mark.parametrize("door", ["line", "python"])
def test_the_jobs_of_a_run_share_no_cookie_unless_a_jar_is_asked_for(
    app: Server, door: str, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    urls = [app.url("login"), app.url("private")]
    if door == "line":
        assert run_fetchq("-j", "1", *urls).returncode == 8
        assert run_fetchq("-j", "1", "--save-cookies", "jar", *urls).returncode == 0
        return

    async def main(network: Network) -> dict[str, bool]:
        settings = fetchq.Settings(network=network)
        async with fetchq.Downloader(settings, dir=tmp_path, jobs=1) as downloader:
            return {result.job.url: result.ok async for result in downloader.run(urls)}

    assert run(main(Network(env=False))) == dict(zip(urls, (True, False), strict=True))
    assert run(main(Network(env=False, save_cookies=tmp_path / "jar"))) == dict.fromkeys(urls, True)


def test_a_callers_client_keeps_its_jar(app: Server) -> None:
    async def main() -> bytes:
        async with httpx.AsyncClient(trust_env=False) as client, fetchq.Downloader(client=client) as downloader:
            await downloader.fetch_bytes(app.url("login"))
            return await downloader.fetch_bytes(app.url("private"))

    assert json.loads(run(main()))["lasting"] == "yes"
