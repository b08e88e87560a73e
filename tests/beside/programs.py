"""The three programs on one scenario, and the verdict on how fetchq differs."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ..conftest import clean_env
from .scenario import Scenario
from .site import PASSWORD, USER, Asked, playing

NAMES = ("curl", "wget", "fetchq")
# Each is told to give up within ten seconds; a machine with ten times the work that it can do takes the rest.
BOUND = 45.0


class Verdict(Enum):
    """How fetchq did beside the others; only the last two are no fault of fetchq's."""

    CRASH = "a traceback, or no end within the bound"
    CORRUPT = "success, and the file is not what the server meant"
    ELSEWHERE = "success, from a place that neither of the others asked, while these agree"
    COOKIES = "at the file, cookies that neither of the others sent, or none of those that both sent"
    REFUSED = "curl and wget both get the right file, fetchq does not"
    LENIENT = "fetchq gets the right file, curl and wget both fail"
    AGREE = "no difference that counts"


BAD = (Verdict.CRASH, Verdict.CORRUPT, Verdict.ELSEWHERE, Verdict.COOKIES, Verdict.REFUSED)


@dataclass(frozen=True)
class Seen:
    """How one program ended. ``code`` is None if it did not; ``right`` are the contents that count as right."""

    code: int | None
    body: bytes | None
    words: str = ""
    right: frozenset[bytes] = frozenset()
    asked: tuple[Asked, ...] = ()

    @property
    def good(self) -> bool:
        return self.code == 0 and (self.body or b"") in self.right

    @property
    def place(self) -> tuple[str, str] | None:
        return (self.asked[-1].host, self.asked[-1].target) if self.asked else None

    @property
    def cookies(self) -> frozenset[str]:
        return self.asked[-1].cookies if self.asked else frozenset()


def judge(seen: Mapping[str, Seen]) -> Verdict:
    curl, wget, ours = (seen[name] for name in NAMES)
    if ours.code is None or "Traceback (most recent call last)" in ours.words:
        return Verdict.CRASH
    both = curl.good and wget.good
    if ours.code != 0:
        return Verdict.REFUSED if both else Verdict.AGREE
    if not ours.good:
        return Verdict.CORRUPT
    if both and ours.place not in (curl.place, wget.place) and curl.place == wget.place:
        return Verdict.ELSEWHERE
    if both and _cookies_differ(curl.cookies, wget.cookies, ours.cookies):
        return Verdict.COOKIES
    return Verdict.AGREE if curl.good or wget.good else Verdict.LENIENT


def _cookies_differ(curl: frozenset[str], wget: frozenset[str], ours: frozenset[str]) -> bool:
    return bool(ours - (curl | wget) or (curl & wget) - ours)


async def meet(scenario: Scenario) -> dict[str, Seen]:
    """Run every program against *scenario*, each with a server and a folder of its own."""
    found = await asyncio.gather(*(_meet(name, scenario) for name in NAMES))
    return dict(zip(NAMES, found, strict=True))


async def _meet(name: str, scenario: Scenario) -> Seen:
    with tempfile.TemporaryDirectory(prefix="beside-") as folder:
        async with playing(scenario) as site:
            argv = _argv(name, scenario, folder, site.url)
            code, words = await _run(argv, folder)
            if scenario.cut and code is not None:
                code, words = await _run(argv, folder)
            return Seen(code, _saved(folder), words, frozenset(site.right), tuple(site.asked))


def _saved(folder: str) -> bytes | None:
    path = Path(folder, "out")
    return path.read_bytes() if path.exists() else None


def _argv(name: str, scenario: Scenario, folder: str, url: str) -> list[str]:
    login = f"{USER}:{PASSWORD}" if scenario.challenges else ""
    resumes = bool(scenario.cut)
    if name == "curl":
        more = [*(["--anyauth", "-u", login] if login else []), *(["-C", "-"] if resumes else [])]
        # An empty file of cookies switches them on.
        return ["curl", "-q", "-sSfL", "-b", "/dev/null", "--max-time", "8", *more, "-o", f"{folder}/out", url]
    if name == "wget":
        more = [f"--user={USER}", f"--password={PASSWORD}"] if login else []
        more += ["-c"] if resumes else []
        return ["wget", "--no-config", "-q", "-t1", "-T5", "--no-hsts", *more, "-O", f"{folder}/out", url]
    more = ["-u", login] if login else []
    tried = ["-q", "--retries", "0", "--read-timeout", "5"]
    return [sys.executable, "-m", "fetchq", *tried, *more, "-d", folder, "-o", "out", url]


async def _run(argv: list[str], folder: str) -> tuple[int | None, str]:
    nothing, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=nothing,
        stdout=nothing,
        stderr=pipe,
        env={**clean_env(), "HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull},
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), BOUND)
    except TimeoutError:
        process.kill()
        await process.wait()
        return None, f"no end within {BOUND:g} s"
    return process.returncode, said.decode("utf-8", "replace").strip()
