"""A source that is not HTTP: all that a transfer asks of one is the Fetcher protocol."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import fetchq
from fetchq._connections import Budget
from fetchq._disk import Parts
from fetchq._hosts import Hosts
from fetchq._models import Again
from fetchq._transfer import RangeRefusals, RunContext, Transfer, Warnings

from ..conftest import run
from ..origin import generated

FILE = generated(4_000_000)
CHUNK = 50_000


@dataclass
class MemoryReply:
    """A slice of the file; its body breaks off after *most* bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    most: int
    url: str = "memory:f.bin"
    host: str = "the archive"
    hint: str = ""
    hops: int = 0
    version: str = "memory"
    skipped: bytes = b""
    secrets: Sequence[str] = ()
    head: bytes = b""
    received: int = 0
    closed: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), CHUNK):
            chunk = self.body[start : start + CHUNK]
            if self.received + len(chunk) > self.most:
                raise fetchq.NetworkError("The memory is full of holes.")
            self.received += len(chunk)
            yield chunk
            await asyncio.sleep(0.001)

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class MemoryFetcher:
    """Answers for one file, ranges included; reply number n breaks off after ``breaks[n]`` bytes."""

    breaks: Sequence[int] = ()
    asked: list[str] = field(default_factory=list)
    replies: list[MemoryReply] = field(default_factory=list)

    def check(self, job: fetchq.Job) -> None:
        if not job.url.startswith("memory:"):
            raise fetchq.UsageError("Only memory: is kept here.")

    def host_of(self, job: fetchq.Job, url: str | None = None) -> str:
        return "memory"

    async def open(
        self,
        job: fetchq.Job,
        *,
        url: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        buffer: int | None = None,
        given: Sequence[tuple[str, str]] = (),
    ) -> MemoryReply:
        wanted = dict(headers).get("Range", "")
        self.asked.append(wanted)
        told = {"etag": '"1"', "accept-ranges": "bytes", "content-length": str(FILE.size)}
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        start, stop = (0, FILE.size) if not found else (int(found[1]), int(found[2] or FILE.size - 1) + 1)
        if found:
            told |= {"content-range": f"bytes {start}-{stop - 1}/{FILE.size}"}
            told |= {"content-length": str(stop - start)}
        number = len(self.replies)
        most = self.breaks[number] if number < len(self.breaks) else FILE.size
        reply = MemoryReply(206 if found else 200, told, FILE.data[start:stop], most)
        self.replies.append(reply)
        return reply


async def transferred(job: fetchq.Job, folder: Path, fetcher: MemoryFetcher, connections: int) -> fetchq.Result:
    """Run *job* to its end, however many attempts that takes."""
    settings = fetchq.Settings(
        disk=fetchq.Disk(dir=folder), queue=fetchq.Queue(connections=connections), retry=fetchq.Retry(backoff=0)
    )
    parts = Parts(settings.disk, threads=4)
    context = RunContext(
        fetcher=fetcher,
        parts=parts,
        settings=settings,
        budget=Budget(8, 8),
        hosts=Hosts(),
        bucket=None,
        owned=lambda path, key, url: None,
        observe=lambda event: None,
        warnings=Warnings(lambda event: None),
        refusals=RangeRefusals(),
        pipe=lambda: parts.pipe(io.BytesIO()),
        clock=asyncio.get_running_loop().time,
        now=lambda: 0.0,
        sleep=asyncio.sleep,
        random=lambda: 0.0,
    )
    transfer = Transfer(job, 1, context)
    try:
        outcome = await transfer.run(lambda: None)
        while isinstance(outcome, Again):
            outcome = await transfer.run(lambda: None)
        return outcome
    finally:
        await parts.aclose()


@pytest.mark.parametrize(
    ("breaks", "connections", "asked"),
    [
        ([], 1, [""]),
        ([1_000_000], 1, ["", f"bytes={1_000_000 - 16 * 1024}-"]),
        ([], 3, ["", "bytes=1333334-2666666", "bytes=2666667-"]),
    ],
    ids=["in one stream", "broken off", "in segments"],
)
def test_another_source_serves_a_whole_job(
    breaks: Sequence[int], connections: int, asked: list[str], tmp_path: Path
) -> None:
    fetcher = MemoryFetcher(breaks)
    result = run(transferred(fetchq.Job("memory:f.bin", "f.bin"), tmp_path, fetcher, connections))
    assert result.unwrap().sha256 == FILE.sha256
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert sorted(fetcher.asked) == asked
    assert result.attempts == len(asked)
    assert all(reply.closed for reply in fetcher.replies)


def test_what_a_source_refuses_is_the_jobs_error(tmp_path: Path) -> None:
    result = run(transferred(fetchq.Job("http://127.0.0.1/x"), tmp_path, MemoryFetcher(), 1))
    assert isinstance(result.error, fetchq.UsageError)
