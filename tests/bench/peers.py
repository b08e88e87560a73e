"""The programs measured, each with the flags that are best for it and fair to the others.

All are quiet, write into one directory, trust the same certificate authority, and keep to the work's
budget of connections. Where a work sets no budget, each runs as its manual would have one large file
fetched. One connection is faster than four for aria2c on loopback, so that is what it gets.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.bench.works import Work

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Errand:
    """What a program is told: a URL and its file, or lists of them in the forms that programs read."""

    work: Work
    url: str = "URL"
    file: str = "FILE"
    dir: str = "DIR"
    cacert: str = "CA"
    urls: str = "URLS"
    config: str = "CONFIG"
    pairs: str = "PAIRS"

    @property
    def queue(self) -> bool:
        return bool(self.work.jobs)

    @classmethod
    def prepare(cls, work: Work, base: str, directory: Path, cacert: Path, scratch: Path) -> Errand:
        """Write the lists for *work* into *scratch*, its URLs beginning with *base*."""
        targets = [(f"{base}{file.name}", str(directory / file.name)) for file in work.files]
        lists = {
            "urls": "".join(f"{url}\n" for url, _ in targets),
            "config": "".join(f'url="{url}"\noutput="{path}"\n' for url, path in targets),
            "pairs": "".join(f"{url} {path}\n" for url, path in targets),
        }
        for name, text in lists.items():
            (scratch / name).write_text(text)
        url, file = targets[0] if targets else ("", "")
        return cls(
            work, url, file, str(directory), str(cacert), **{name: str(scratch / name) for name in lists}
        )


@dataclass(frozen=True)
class Peer:
    """One program, and its words for an errand.

    :param needs: the executable, or the Python module, that must be installed.
    """

    name: str
    needs: str
    command: Callable[[Errand], list[str]]
    module: bool = False

    def installed(self) -> bool:
        if self.module:
            return importlib.util.find_spec(self.needs) is not None
        return shutil.which(self.needs) is not None

    def argv(self, errand: Errand) -> list[str]:
        """Return the words with the program's full path."""
        words = self.command(errand)
        return [sys.executable if words[0] == "python" else shutil.which(words[0]) or words[0], *words[1:]]

    def shown(self, work: Work) -> str:
        """Return the words as a reader would type them, names in capitals standing for paths."""
        return " ".join(self.command(Errand(work))).replace(f"{HERE}/", "")

    def version(self) -> str:
        """Return the release that is installed."""
        if self.name == "fetchq":
            return "this tree"
        if self.module:
            return version(self.needs)
        said = subprocess.run(
            [self.needs, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
        found = re.search(r"\d+(\.\d+)+", said)
        return found[0] if found else "?"


def fetchq(errand: Errand) -> list[str]:
    work = errand.work
    words = ["python", "-m", "fetchq"]
    if not work.files:
        return [*words, "--version"]
    words += ["-q", "-d", errand.dir, *_if(work.tls, "--cacert", errand.cacert)]
    if errand.queue:
        return [*words, "-j", str(work.jobs), "-i", errand.urls]
    return [*words, *_if(work.splits, "-x", str(work.splits)), errand.url]


def aria2c(errand: Errand, jobs: int = 0, splits: int = 0) -> list[str]:
    work = errand.work
    splits = splits or work.splits
    words = ["aria2c", "--no-conf", "-q", "--file-allocation=none", "-d", errand.dir]
    words += _if(work.tls, f"--ca-certificate={errand.cacert}")
    words += _if(splits, f"-x{splits}", f"-s{splits}", "-k1M")
    return [*words, *([f"-j{jobs or work.jobs}", "-i", errand.urls] if errand.queue else [errand.url])]


def aria2c_split(errand: Errand) -> list[str]:
    return aria2c(errand, jobs=4, splits=4)


def curl(errand: Errand) -> list[str]:
    work = errand.work
    words = ["curl", "-qsSf", *_if(work.tls, "--cacert", errand.cacert)]
    if errand.queue:
        return [
            *words,
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            str(work.jobs),
            "-K",
            errand.config,
        ]
    return [*words, "-o", errand.file, errand.url]


def wget(errand: Errand) -> list[str]:
    work = errand.work
    words = ["wget", "--no-config", "-q", *_if(work.tls, f"--ca-certificate={errand.cacert}")]
    return [
        *words,
        *(["-P", errand.dir, "-i", errand.urls] if errand.queue else ["-O", errand.file, errand.url]),
    ]


def wget2(errand: Errand) -> list[str]:
    work = errand.work
    words = ["wget2", "--no-config", "-q", *_if(work.tls, f"--ca-certificate={errand.cacert}")]
    words += _if(work.jobs, f"--max-threads={work.jobs}")
    return [*words, "-P", errand.dir, *(["-i", errand.urls] if errand.queue else [errand.url])]


def axel(errand: Errand) -> list[str]:
    work = errand.work
    words = ["axel", "-q", *_if(work.splits, "-n", str(work.splits))]
    # It compares the host with the certificate's common name only, which today's certificates leave empty.
    return [*words, *_if(work.tls, "--insecure"), "-o", errand.file, errand.url]


def parfive(errand: Errand) -> list[str]:
    work = errand.work
    splits = work.splits or (1 if errand.queue else 5)
    return ["python", f"{HERE}/peer_parfive.py", errand.pairs, str(work.jobs or 5), str(splits)]


def pypdl(errand: Errand) -> list[str]:
    work = errand.work
    segments = work.splits or (1 if errand.queue else 5)
    return ["python", f"{HERE}/peer_pypdl.py", errand.pairs, str(work.jobs or 1), str(segments)]


def tutorial(errand: Errand) -> list[str]:
    work = errand.work
    return ["python", f"{HERE}/peer_tutorial.py", errand.pairs, str(work.jobs or 1), errand.cacert]


def _if(wanted: object, *words: str) -> list[str]:
    return list(words) if wanted else []


PEERS = (
    Peer("fetchq", "fetchq", fetchq, module=True),
    Peer("aria2c", "aria2c", aria2c),
    Peer("aria2c -j4 -x4", "aria2c", aria2c_split),
    Peer("curl", "curl", curl),
    Peer("wget", "wget", wget),
    Peer("wget2", "wget2", wget2),
    Peer("axel", "axel", axel),
    Peer("parfive", "parfive", parfive, module=True),
    Peer("pypdl", "pypdl", pypdl, module=True),
    Peer("tutorial", "httpx", tutorial, module=True),
)
