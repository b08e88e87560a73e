"""One server for one scenario and one program: it plays the scenario, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from .oddities import RESUMES
from .scenario import Scenario

USER, PASSWORD = "me", "s3cret:x"
IDLE = 15.0


@dataclass(frozen=True)
class Asked:
    """A request, as far as programs may differ in it; ports are left out, since each has another."""

    host: str
    target: str
    cookies: frozenset[str]
    authorization: str
    range: str


@dataclass
class Site:
    """A scenario that is being played."""

    scenario: Scenario
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    hop: int = 0
    ended: bool = False
    has_cut: bool = False
    # What the last answer's body stands for, as it was sent and as it is meant.
    right: set[bytes] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dir/{self.scenario.name}"

    def answer(self, head: bytes) -> tuple[bytes, bool]:
        """Return the answer's bytes, and whether the connection ends with them."""
        request = _parsed(head)
        self.asked.append(request)
        if self.ended and request.target == self.asked[0].target:
            # From the start again, as a second run and a second attempt do.
            self.hop, self.ended = 0, False
        if self.hop < len(self.scenario.hops):
            self.hop += 1
            return self._redirect(self.hop - 1), False
        if not self._admitted(request):
            told = [f"WWW-Authenticate: {challenge}" for challenge in self.scenario.challenges]
            return self._plain("401 Unauthorized", told), False
        self.ended = True
        if request.range and self.scenario.cut:
            return self._range(request)
        return self._file(request)

    def _redirect(self, number: int) -> bytes:
        hop = self.scenario.hops[number]
        places = {"HOST": "127.0.0.1", "THERE": "http://localhost", "HERE": "http://127.0.0.1"}
        location = re.sub("HOST|THERE|HERE", lambda found: f"{places[found[0]]}:{self.port}", hop.location)
        return self._plain(f"{hop.status} Moved", [f"Location: {location}", *hop.fields])

    def _plain(self, status: str, lines: list[str], body: bytes = b"") -> bytes:
        return self._head(f"HTTP/1.1 {status}", [*lines, f"Content-Length: {len(body)}"]) + body

    def _head(self, first: str, lines: list[str]) -> bytes:
        end = self.scenario.line_end
        interim = "".join(f"{each}\r\n\r\n" for each in self.scenario.interim)
        return (interim + end.join([first, *lines]) + end + end).encode("latin-1")

    def _admitted(self, request: Asked) -> bool:
        if not self.scenario.challenges:
            return True
        scheme, _, rest = request.authorization.partition(" ")
        told = " ".join(self.scenario.challenges)
        if scheme.lower() == "basic":
            wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            return re.search(r"\bbasic\b", told, re.IGNORECASE) is not None and rest.strip() == wanted
        return scheme.lower() == "digest" and _digest_is_right(rest, told)

    def _content(self, request: Asked) -> bytes:
        """Return what this place stands for: another has another content."""
        return bytes(Random(f"{request.host}{request.target}").choices(b"abcdefgh \n", k=self.scenario.size))

    def _file(self, request: Asked) -> tuple[bytes, bool]:
        scenario = self.scenario
        content = self._content(request)
        body = _coded(content, scenario.coding)
        self.right = {content, body}
        lines = self._labels()
        closes = scenario.framing == "close" or scenario.version == "HTTP/1.0"
        if scenario.framing == "length":
            lines.append(f"Content-Length: {len(body)}")
        elif scenario.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        if closes:
            lines.append("Connection: close")
        head = self._head(f"{scenario.version} {scenario.status}", [*lines, *scenario.fields])
        # Nobody can tell that a body which ends with its connection was cut off.
        if scenario.cut and not self.has_cut and scenario.framing != "close":
            self.has_cut = True
            return head + self._framed(body)[: scenario.cut], True
        return head + self._framed(body), closes

    def _labels(self) -> list[str]:
        scenario = self.scenario
        told = scenario.label if scenario.label is not None else scenario.coding.removeprefix("bare ")
        return [f"Content-Encoding: {told}"] if told or scenario.label is not None else []

    def _framed(self, body: bytes) -> bytes:
        scenario = self.scenario
        if scenario.framing != "chunked":
            return body
        pieces = [body[at : at + scenario.chunk] for at in range(0, len(body), scenario.chunk)]
        chunks = [f"{len(piece):x}{scenario.extension}\r\n".encode() + piece + b"\r\n" for piece in pieces]
        trailer = f"{scenario.trailer}\r\n" if scenario.trailer else ""
        return b"".join(chunks) + f"0\r\n{trailer}\r\n".encode("latin-1")

    def _range(self, request: Asked) -> tuple[bytes, bool]:
        scenario = self.scenario
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range)
        status, told = RESUMES[scenario.resume]
        whole = scenario.resume in {"whole", "whole under 206"}
        if not found or scenario.coding or int(found[1]) >= scenario.size:
            return self._file(request) if whole else (self._plain("416 Beyond", []), False)
        content = self._content(request)
        self.right = {content}
        first, last = (0 if whole else int(found[1])), min(int(found[2] or scenario.size), scenario.size - 1)
        facts = {"first": first, "last": last, "size": scenario.size, "more": scenario.size + 5}
        lines = [f"Content-Range: {told.format(**facts)}"] if told else []
        body = content[first : last + 1] if status in {200, 206} else b"no"
        if scenario.resume == "whole":
            body = content
        if status == 304:
            return self._head("HTTP/1.1 304 X", [*scenario.fields]), False
        return self._plain(f"{status} X", [*lines, *scenario.fields], body), False


def _parsed(head: bytes) -> Asked:
    lines = head.decode("latin-1").split("\r\n")
    told = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
    }
    cookies = frozenset(filter(None, (each.strip() for each in told.get("cookie", "").split(";"))))
    host = told.get("host", "").rpartition(":")[0]
    return Asked(host, lines[0].split(" ")[1], cookies, told.get("authorization", ""), told.get("range", ""))


def _coded(content: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(content, mtime=0)
    if coding:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15 if coding == "bare deflate" else 15)
        return deflate.compress(content) + deflate.flush()
    return content


def _digest_is_right(told: str, challenges: str) -> bool:
    """Check an answer to a challenge as RFC 7616 section 3.4.1 computes it."""
    found = re.findall(r'(\w+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,]+))', told)
    facts = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain for name, quoted, plain in found
    }
    if f'nonce="{facts.get("nonce")}"' not in challenges.replace("NONCE", "nonce"):
        return False
    algorithm = facts.get("algorithm", "MD5").upper()
    maker = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}.get(algorithm.removesuffix("-SESS"))
    if maker is None or algorithm not in f"{challenges.upper()} MD5":
        return False

    def digest(*words: str) -> str:
        return maker(":".join(words).encode()).hexdigest()

    one = digest(facts.get("username", ""), facts.get("realm", ""), PASSWORD)
    if algorithm.endswith("-SESS"):
        one = digest(one, facts.get("nonce", ""), facts.get("cnonce", ""))
    two = digest("GET", facts.get("uri", ""))
    middle = [facts.get("nonce", "")]
    if "qop" in facts:
        middle += [facts.get("nc", ""), facts.get("cnonce", ""), facts["qop"]]
    return facts.get("username") == USER and facts.get("response") == digest(one, *middle, two)


@asynccontextmanager
async def playing(scenario: Scenario) -> AsyncIterator[Site]:
    """Play *scenario* on a free port."""
    site = Site(scenario)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            await _converse(site, reader, writer)
        writer.close()
        tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    site.port = listener.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _converse(site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE)
        data, closes = site.answer(head)
        step = site.scenario.pieces or len(data)
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await writer.drain()
            if step < len(data):
                await asyncio.sleep(0.0005)
        if closes:
            return
