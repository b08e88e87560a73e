"""The library inside other programs: a notebook's kernel, and a web application's handler."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import nbformat
from nbclient import NotebookClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import fetchq

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
