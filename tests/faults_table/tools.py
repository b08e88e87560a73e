"""The programs that are compared, each with its best flags for resuming, retrying and giving up."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NAME = "a.bin"


@dataclass(frozen=True)
class Tool:
    """One program.

    :param flags: what it is called with; it gives up on silence after 3 s, and tries six times.
    :param target: how it is told the directory, and the name where it has to be.
    :param checksum: how it is told a SHA-256, if it can be.
    :param sidecar: the file beside the target that says how far it is, if it keeps one.
    """

    name: str
    flags: tuple[str, ...]
    target: Callable[[Path], tuple[str, ...]]
    checksum: str | None = None
    sidecar: str | None = None

    def installed(self) -> bool:
        return self.name == "fetchq" or shutil.which(self.name) is not None

    def argv(self, url: str, directory: Path, sha256: str = "") -> list[str]:
        program = [sys.executable, "-m", "fetchq"] if self.name == "fetchq" else [self.name]
        known = [self.checksum.format(sha256)] if self.checksum and sha256 else []
        return [*program, *self.flags, *known, *self.target(directory), url]

    def shown(self) -> str:
        return f"{self.name} {' '.join([*self.flags, *self.target(Path('DIR'))])} URL"

    def version(self) -> str:
        """Return the release that is installed."""
        if self.name == "fetchq":
            return "this tree"
        said = subprocess.run([self.name, "--version"], capture_output=True, text=True, timeout=10, check=False)
        found = re.search(r"\d+(\.\d+)+", said.stdout)
        return found[0] if found else "?"


def into(directory: Path) -> tuple[str, ...]:
    return ("-d", str(directory))


def prefix(directory: Path) -> tuple[str, ...]:
    return ("-P", str(directory))


def output(directory: Path) -> tuple[str, ...]:
    return ("-o", str(directory / NAME))


TOOLS = (
    Tool(
        "fetchq",
        ("-q", "--connect-timeout", "3", "--read-timeout", "3", "--min-speed", "1k"),
        into,
        checksum="--checksum=sha256:{}",
        sidecar=f"{NAME}.part.json",
    ),
    Tool(
        "aria2c",
        (
            *("--no-conf", "-q", "-c", "--max-tries=6", "--retry-wait=1", "--timeout=3", "--connect-timeout=3"),
            *("--file-allocation=none", "--auto-save-interval=1"),
        ),
        into,
        checksum="--checksum=sha-256={}",
        sidecar=f"{NAME}.aria2",
    ),
    Tool(
        "curl",
        (
            *("-qsSfL", "-C", "-", "--retry", "5", "--retry-all-errors", "--retry-delay", "1"),
            *("--connect-timeout", "3", "--speed-limit", "1000", "--speed-time", "3"),
        ),
        output,
    ),
    Tool(
        "wget",
        (
            *("--no-config", "-q", "-c", "--tries=6", "--waitretry=1", "--timeout=3"),
            "--retry-on-http-error=429,500,502,503,504",
        ),
        prefix,
    ),
    Tool("wget2", ("--no-config", "-q", "-c", "--tries=6", "--waitretry=1", "--timeout=3"), prefix),
    Tool("axel", ("-q", "-T", "3"), output, sidecar=f"{NAME}.st"),
)
