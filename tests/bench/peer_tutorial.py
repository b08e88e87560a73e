"""The loop that tutorials show: httpx, ``aiter_bytes``, one aiofiles write for each chunk.

``python tests/bench/peer_tutorial.py LIST CONNECTIONS CAFILE``: LIST holds a URL and a path on each line.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import aiofiles
import httpx


async def fetch(client: httpx.AsyncClient, url: str, path: str) -> None:
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        async with aiofiles.open(path, "wb") as output:
            async for chunk in response.aiter_bytes():
                await output.write(chunk)


async def main(lines: list[str], connections: int, cafile: str) -> None:
    at_once = asyncio.Semaphore(connections)
    context = ssl.create_default_context(cafile=cafile)
    async with httpx.AsyncClient(verify=context, timeout=60) as client:

        async def bounded(line: str) -> None:
            async with at_once:
                await fetch(client, *line.split())

        await asyncio.gather(*map(bounded, lines))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_text().splitlines(), int(sys.argv[2]), sys.argv[3]))
