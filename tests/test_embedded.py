"""The library inside other programs: a notebook's kernel, and a web application's handler."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx
import nbformat
from nbclient import NotebookClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import fetchq

from . import servers
from .conftest import clean_env, run
from .origin import Origin, generated, status

FILE = generated(2_000_000)


CELLS = [
    """
import fetchq
result = await fetchq.adownload(URL, dir="data")
print(result.size)
""",
    """
try:
    fetchq.download(URL)
except fetchq.UsageError as error:
    print(error)
""",
    """
async with fetchq.Downloader(dir="data") as downloader:
    async for result in downloader.run([fetchq.Job(URL, "b.bin")]):
        print(result.status)
""",
    """
try:
    with fetchq.Downloader() as blocking:
        pass
except fetchq.UsageError as error:
    print(error)
""",
    """
import threading
shared = fetchq.Downloader(dir="data")
async for result in shared.run([URL, fetchq.Job(URL, "c.bin")]):
    break
async for result in shared.run([fetchq.Job(URL, "c.bin")]):
    print(result.ok)
await shared.aclose()
print([thread.name for thread in threading.enumerate() if "fetchq" in thread.name])
""",
]


def test_a_notebook_awaits_and_is_told_so(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", FILE)
    cells = [
        {"cell_type": "code", "id": f"cell{number}", "metadata": {}, "source": source, "outputs": []}
        for number, source in enumerate([f"URL = {url!r}", *CELLS])
    ]
    told = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    notebook = nbformat.from_dict(told)  # type: ignore[no-untyped-call] # it has no types
    NotebookClient(notebook, timeout=50, kernel_name="python3").execute(env=clean_env(), cwd=str(tmp_path))
    said = ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells[1:]]
    assert said[0] == f"{FILE.size}\n"
    assert "use `await fetchq.adownload(...)`" in said[1]
    assert said[2] == "done\n"
    assert "use `async with fetchq.Downloader(...)`" in said[3]
    assert said[4] == "True\n[]\n"
    assert (tmp_path / "data/a.bin").read_bytes() == FILE.data


def test_a_handler_of_an_application_downloads(origin: Origin, tmp_path: Path) -> None:
    good = [origin.serve(f"/{number}", FILE) for number in range(4)]
    gone = origin.serve("/gone", FILE, status(404))

    async def handler(request: Request) -> JSONResponse:
        try:
            result = await fetchq.adownload(request.query_params["url"], dir=tmp_path)
        except fetchq.StatusError as error:
            return JSONResponse({"error": str(error)}, error.status)
        return JSONResponse({"size": result.size})

    async def work() -> list[tuple[int, dict[str, object]]]:
        transport = httpx.ASGITransport(Starlette(routes=[Route("/", handler)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            # Several requests at once share the loop.
            answers = await asyncio.gather(*(client.get("/", params={"url": url}) for url in [*good, gone]))
        return [(answer.status_code, answer.json()) for answer in answers]

    *done, refused = run(work())
    assert done == [(200, {"size": FILE.size})] * 4
    assert refused == (404, {"error": f"127.0.0.1:{origin.port} answered 404 (not found)."})
    assert len(list(tmp_path.iterdir())) == 4


def test_an_application_shares_one_downloader(origin: Origin, www: Path) -> None:
    """Opened by the lifespan, used by async handlers, by a plain one in a thread, and as a proxy's stream."""
    url = origin.serve("/a", FILE)
    with servers.hypercorn(www, app="downloads") as server:

        async def work() -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=server.url("/"), timeout=30) as client:
                paths = ["fetch", "plain", "stream"] * 4
                return await asyncio.gather(*(client.get(path, params={"url": url}) for path in paths))

        answers = run(work())
    assert [answer.status_code for answer in answers] == [200] * 12
    assert {answer.text for answer in answers if answer.url.path != "/stream"} == {str(FILE.size)}
    assert all(answer.content == FILE.data for answer in answers if answer.url.path == "/stream")
    # Two connections are what the application allows its Downloader, whatever is asked at once.
    assert origin.peak <= 2


def test_processes_of_a_pool_download(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{number}", FILE) for number in range(4)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        sizes = list(pool.map(downloaded, urls, [tmp_path] * 4))
    assert sizes == [FILE.size] * 4


def downloaded(url: str, folder: Path) -> int:
    with fetchq.Downloader(dir=folder) as downloader:
        return downloader.fetch_sync(url).size
