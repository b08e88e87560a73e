"""What a line of a queue file asks for is what the server sees and the disk gets: each field, end to end."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchq._api import Downloader
from fetchq._errors import TimedOutError
from fetchq._models import Job, Result
from fetchq._queue_files import read
from fetchq._settings import Retry, Settings

from .conftest import run
from .raw_server import Respond, Seen, Server, answer, serving

BODY = b"the bytes"
SHA256 = "0" * 64


async def fetched(folder: Path, text: str, *, jobs: int = 1) -> list[Result]:
    queue = folder / "queue"
    queue.write_text(text)
    settings = Settings(retry=Retry(retries=2, backoff=0.0))
    async with Downloader(settings, dir=folder / "out", jobs=jobs) as downloader:
        items = read(str(queue), warn=lambda _: None)
        return [result async for result in downloader.run(items)]


def outcome(
    folder: Path, line: dict[str, Any], respond: Respond = lambda _: answer(200, BODY)
) -> tuple[Result, Server]:
    """Run a queue of one JSON line, whose ``url`` is taken from the server that answers."""

    async def work() -> tuple[Result, Server]:
        async with serving(respond) as server:
            filled = json.dumps(line).replace("SERVER", server.url)
            [result] = await fetched(folder, filled + "\n")
            return result, server

    return run(work())


URL = "SERVER/a.bin?sig=%2f"


@pytest.mark.parametrize(
    ("fields", "start", "body", "kind"),
    [
        ({}, "GET /a.bin?sig=%2f ", b"", None),
        ({"method": "delete"}, "DELETE /a.bin?sig=%2f ", b"", None),
        ({"params": {"p": [1, "a b"]}}, "GET /a.bin?sig=%2f&p=1&p=a%20b ", b"", None),
        ({"method": "PUT", "json": {"n": [1]}}, "PUT ", b'{"n":[1]}', "application/json"),
        ({"method": "POST", "data": "as it is"}, "POST ", b"as it is", None),
        ({"method": "POST", "form": {"a": "b c"}}, "POST ", b"a=b+c", "application/x-www-form-urlencoded"),
    ],
)
def test_the_request_of_a_line(
    tmp_path: Path, fields: dict[str, Any], start: str, body: bytes, kind: str | None
) -> None:
    result, server = outcome(tmp_path, {"url": URL, "headers": {"X-Key": "k"}, "id": 7, **fields})
    assert result.unwrap().job.id == "7"
    [seen] = server.seen
    assert seen.line.startswith(start)
    assert (seen.body, seen.get("content-type"), seen.get("x-key")) == (body, kind, "k")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"size": 8}, "has 9 bytes, not the 8"),
        ({"checksum": f"sha256:{SHA256}"}, "sha256"),
        ({"out": "../a"}, "outside"),
        ({"dir": "/"}, "outside"),
        ({"proxy": "gopher://p"}, "The proxy's URL in the job cannot be used"),
    ],
)
def test_a_line_that_cannot_be_met(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    result, _ = outcome(tmp_path, {"url": URL, **fields})
    assert says in str(result.error)
    assert not list(tmp_path.glob("**/a.bin"))


def test_the_place_of_a_line(tmp_path: Path) -> None:
    result, _ = outcome(tmp_path, {"url": URL, "out": "b.bin", "dir": "deep/er", "size": len(BODY)})
    assert result.unwrap().path == tmp_path / "out/deep/er/b.bin"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("overwrite", {"b.bin": BODY}),
        ("rename", {"b.bin": b"mine", "b.1.bin": BODY}),
        ("skip", {"b.bin": b"mine"}),
        ("error", {"b.bin": b"mine"}),
    ],
)
def test_a_line_says_what_becomes_of_a_file_that_is_there(
    tmp_path: Path, word: str, found: dict[str, bytes]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.bin").write_bytes(b"mine")
    result, _ = outcome(tmp_path, {"url": URL, "out": "b.bin", "if_exists": word})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == found
    assert result.ok is (word != "error")


@pytest.mark.parametrize(("retries", "least"), [(0, 1), (3, 4)])
def test_the_attempts_of_a_line(tmp_path: Path, retries: int, least: int) -> None:
    result, server = outcome(tmp_path, {"url": URL, "retries": retries}, lambda _: answer(503))
    assert "503" in str(result.error)
    assert least <= len(server.seen) == result.attempts <= retries + 1


def test_the_timeout_of_a_line(tmp_path: Path) -> None:
    silent = b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n"
    result, _ = outcome(tmp_path, {"url": URL, "retries": 0, "timeout": 0.05}, lambda _: silent)
    assert isinstance(result.error, TimedOutError)
    assert result.elapsed < 10


def test_the_mirrors_of_a_line(tmp_path: Path) -> None:
    def respond(seen: Seen) -> bytes:
        return answer(404) if seen.target == "/gone" else answer(200, BODY)

    line = {"urls": ["ftp://SERVER/a", "SERVER/gone", "SERVER/a.bin"], "out": "a.bin"}
    result, server = outcome(tmp_path, line, respond)
    assert result.unwrap().size == len(BODY)
    assert [seen.target for seen in server.seen] == ["/gone", "/a.bin"]


def test_the_proxy_of_a_line_is_asked_and_of_no_other(tmp_path: Path) -> None:
    async def work() -> tuple[list[str], list[str]]:
        async with (
            serving(lambda _: answer(200, BODY)) as proxy,
            serving(lambda _: answer(200, BODY)) as server,
        ):
            text = f"{server.url}/a\n all-proxy={proxy.url}\n{server.url}/b\n"
            assert all(result.ok for result in await fetched(tmp_path, text))
            return [seen.line for seen in proxy.seen], [seen.line for seen in server.seen]

    [asked], [direct] = run(work())
    assert asked.startswith("GET http://127.0.0.1:")
    assert direct == "GET /b HTTP/1.1"


def test_the_order_of_lines_is_their_priority(tmp_path: Path) -> None:
    async def work() -> list[str]:
        async with serving(lambda _: answer(200, BODY)) as server:
            lines = [{"url": f"{server.url}/{number}", "priority": number % 3} for number in range(6)]
            await fetched(tmp_path, "\n".join(map(json.dumps, lines)))
            return [seen.target for seen in server.seen]

    assert run(work()) == ["/2", "/5", "/1", "/4", "/0", "/3"]


def test_user_and_referer_of_an_aria2_list(tmp_path: Path) -> None:
    async def work() -> list[Seen]:
        async with serving(lambda _: answer(200, BODY)) as home, serving(lambda _: answer(404)) as first:
            text = f"{first.url}/a\t{home.url}/a\n http-user=me\n http-passwd=p:w@\n referer=*\n"
            assert all(result.ok for result in await fetched(tmp_path, text))
            return [*first.seen, *home.seen]

    at_first, at_mirror = run(work())
    assert at_first.get("authorization") == "Basic " + b64encode(b"me:p:w@").decode()
    assert str(at_first.get("referer")).endswith("/a")
    assert "me" not in str(at_first.get("referer"))
    assert at_mirror.get("authorization") is at_mirror.get("referer") is None


def test_more_proxies_than_a_run_holds_pools_for_fail_their_jobs(tmp_path: Path) -> None:
    async def work() -> list[Result]:
        async with serving(lambda _: answer(200, BODY)) as proxy:
            lines = [
                {"url": f"http://h.invalid/{number}", "proxy": proxy.url.replace("//", f"//u{number}@")}
                for number in range(70)
            ]
            return await fetched(tmp_path, "\n".join(map(json.dumps, lines)))

    results = run(work())
    assert [str(result.error) for result in results if result.error] == [
        "The jobs of this run name more than 64 proxies."
    ] * 6


def test_a_job_with_a_proxy_does_not_go_round_it_with_the_callers_client(tmp_path: Path) -> None:
    async def work() -> str:
        async with (
            serving(lambda _: answer(200, BODY)) as server,
            httpx.AsyncClient() as client,
            Downloader(dir=tmp_path, client=client) as downloader,
        ):
            [result] = [each async for each in downloader.run([Job(server.url, proxy="http://p")])]
            assert not server.seen
            return str(result.error)

    assert "your own httpx client exclude each other" in run(work())
