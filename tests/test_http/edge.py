"""The edge to the network as the tests hold it: opened, asked, and closed again."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx

from fetchq._http import HttpClient, Response
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import Seen, answer, serving


def runs(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


@asynccontextmanager
async def opened(network: Network | None = None, **options: Any) -> AsyncIterator[HttpClient]:
    client = HttpClient(network or Network(env=False), connections=4, **options)
    try:
        yield client
    finally:
        await client.aclose()


async def body_of(reply: Response) -> bytes:
    try:
        return b"".join([bytes(chunk) async for chunk in reply.chunks()])
    finally:
        await reply.aclose()


async def asked(job: Job, network: Network | None = None, **options: Any) -> Seen:
    """Send *job*, its URL relative to a server that answers anything, and give the request as it arrived."""
    async with serving(lambda _: answer(200, b"body")) as server, opened(network, **options) as client:
        placed = Job(
            job.url.replace("{host}", server.host),
            method=job.method,
            params=job.params,
            headers=job.headers,
            content=job.content,
            json=job.json,
            form=job.form,
        )
        client.check(placed)
        assert await body_of(await client.open(placed)) == b"body"
        return server.seen[0]


def mocked(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(handler), **options)
