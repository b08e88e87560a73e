"""A JSON service as a queue: paths and queries, POST and DELETE, a base URL and a bearer token."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import fetchq

from . import servers
from .conftest import RunFetchq, run

QUEUE = Path(__file__).parent.parent / "fixtures" / "queues" / "users.jsonl"
ANSWERS = {
    "read.json": {"id": 42, "asked": {"fields": "name,mail", "deep": "true"}},
    "page.json": {"id": 7, "asked": {"page": "2", "size": "10"}},
    "created.json": {"created": {"name": "Ada", "tags": ["math", "code"]}, "type": "application/json"},
    "deleted.json": {"deleted": 7},
}
AUTHENTICATION = 6


@pytest.fixture
def service(www: Path) -> Iterator[str]:
    with servers.hypercorn(www, app="users") as server:
        yield server.url("api/")


def answers(folder: Path) -> dict[str, object]:
    return {path.name: json.loads(path.read_bytes() or "null") for path in folder.iterdir() if path.suffix}


def test_a_queue_of_requests_is_one_command(service: str, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    shutil.copy(QUEUE, tmp_path / "users.jsonl")
    words = ["--base-url", service, "--bearer", "s3cret", "-d", "out", "--no-store", "-i", "users.jsonl"]
    done = run_fetchq(*words)
    assert done.returncode == 0, done.stderr
    assert answers(tmp_path / "out") == {**ANSWERS, "gone.txt": None}
    assert "s3cret" not in done.stdout + done.stderr


def test_without_the_token_each_request_is_refused(service: str, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    done = run_fetchq("--base-url", service, "-d", "out", "--no-store", "-i", QUEUE)
    assert done.returncode == AUTHENTICATION
    assert not list((tmp_path / "out").glob("*"))


def test_the_same_from_python(service: str, tmp_path: Path) -> None:
    jobs = [
        fetchq.Job("users/42", "read.json", params={"fields": "name,mail", "deep": True}),
        fetchq.Job("users/7?page=2", "page.json", params={"size": 10}),
        fetchq.Job("users", "created.json", method="POST", json={"name": "Ada", "tags": ["math", "code"]}),
        fetchq.Job("users/7", "deleted.json", method="DELETE"),
    ]
    settings = fetchq.Settings(network=fetchq.Network(bearer="s3cret"))

    async def work() -> bytes:
        async with fetchq.Downloader(settings, dir=tmp_path / "out", base_url=service) as downloader:
            async for result in downloader.run(jobs):
                result.unwrap()
            return await downloader.fetch_bytes(jobs[0])

    assert json.loads(run(work())) == ANSWERS["read.json"]
    assert answers(tmp_path / "out") == ANSWERS
