"""An application that shares one Downloader among its handlers; SERVED_ROOT is where its files go."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import AsyncIterator
from typing import TypedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import fetchq


class State(TypedDict):
    downloader: fetchq.Downloader


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[State]:
    async with fetchq.Downloader(dir=os.environ["SERVED_ROOT"], jobs=2) as downloader:
        yield {"downloader": downloader}


async def fetch(request: Request) -> Response:
    downloader: fetchq.Downloader = request.state.downloader
    result = await downloader.fetch(request.query_params["url"], uuid.uuid4().hex)
    return PlainTextResponse(str(result.size))


def plain(request: Request) -> Response:
    # Starlette runs a handler that is not async in a thread.
    downloader: fetchq.Downloader = request.state.downloader
    return PlainTextResponse(str(downloader.fetch_sync(request.query_params["url"], io.BytesIO()).size))


async def stream(request: Request) -> Response:
    downloader: fetchq.Downloader = request.state.downloader

    async def chunks() -> AsyncIterator[bytes]:
        async with downloader.stream(request.query_params["url"]) as received:
            async for chunk in received:
                yield chunk

    return StreamingResponse(chunks())


application = Starlette(
    routes=[Route("/fetch", fetch), Route("/plain", plain), Route("/stream", stream)], lifespan=lifespan
)
