"""What is downloaded: each work, how it is served, and what is hoped for."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class File:
    """One file that the server offers."""

    name: str
    size: int

    def write(self, root: Path) -> str:
        """Fill the file under *root* with bytes that no other file has, and give their sha256."""
        digest = hashlib.sha256()
        with (root / self.name).open("wb") as output:
            for start in range(0, self.size, 4 * MIB):
                seed = f"{self.name} {start}".encode()
                block = hashlib.shake_128(seed).digest(min(4 * MIB, self.size - start))
                digest.update(block)
                output.write(block)
        return digest.hexdigest()


@dataclass(frozen=True)
class Pace:
    """A server that is far away: seconds to its first byte, bytes a second of each connection."""

    latency: float = 0.0
    rate: float = math.inf


@dataclass(frozen=True)
class Work:
    """Files to fetch from one server, under one budget of connections.

    :param peers: who competes: a program with one connection in all has no part in waiting.
    :param jobs: connections in all; 0 leaves every tool at its default for one file.
    :param splits: connections for one file; 0 leaves every tool at its default.
    :param pace: None for the web server at full speed.
    :param rounds: at most so many, for works whose time the pace decides and not the machine.
    :param goals: least ratio of a tool's wall time to fetchq's.
    :param wall: most seconds for fetchq.
    :param cpu: most CPU seconds of fetchq for each file.
    :param over: most of fetchq's wall time over :meth:`bound`.
    """

    name: str
    title: str
    files: tuple[File, ...]
    peers: tuple[str, ...] = ("fetchq",)
    jobs: int = 0
    splits: int = 0
    tls: bool = False
    pace: Pace | None = None
    rounds: int = 99
    goals: Mapping[str, float] = field(default_factory=dict)
    wall: float = math.inf
    cpu: float = math.inf
    over: float = math.inf

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def bound(self) -> float | None:
        """Seconds that the paced server makes the work last when all connections are busy to the end."""
        if self.pace is None:
            return None
        connections = self.splits or self.jobs
        answers = math.ceil(len(self.files) / connections)
        # The first answer of a connection waits for its handshake too.
        waiting = (answers + 1) * self.pace.latency
        sending = self.total / (connections * self.pace.rate)
        return max(waiting, sending)

    def shuffled(self, seed: int) -> Work:
        """Return the same files in another order, so that no order is lucky for long."""
        return replace(self, files=tuple(random.Random(seed).sample(self.files, len(self.files))))


def many(prefix: str, count: int, size: int) -> tuple[File, ...]:
    return tuple(File(f"{prefix}-{number:05}.bin", size) for number in range(count))


def log_normal(count: int, largest: int) -> tuple[File, ...]:
    """Sizes as file systems have them, up to *largest*: the quantiles of sigma 1.5, so no draw is lucky."""
    normal = NormalDist(sigma=1.5)
    quantiles = [math.exp(normal.inv_cdf((number + 0.5) / count)) for number in range(count)]
    scale = largest / max(quantiles)
    return tuple(File(f"mixed-{number:03}.bin", round(size * scale)) for number, size in enumerate(quantiles))


ALL = ("fetchq", "aria2c", "curl", "wget", "wget2", "axel", "parfive", "pypdl", "tutorial")
QUEUES = ("fetchq", "aria2c", "curl", "wget", "wget2", "parfive", "pypdl", "tutorial")
WAITING = ("fetchq", "aria2c", "curl", "wget2", "parfive")
SPLITTING = ("fetchq", "aria2c", "axel", "parfive", "pypdl")


def works(*, large: int = 512 * MIB, smoke: bool = False) -> tuple[Work, ...]:
    """Return all works: *large* bytes for the single file; for a *smoke* run everything is tiny."""
    return (
        *full_speed(2 * MIB if smoke else large, 20 if smoke else 3000),
        *paced(small=smoke),
        *whole_process(),
    )


def full_speed(large: int, count: int) -> tuple[Work, ...]:
    size = f"{large / MIB:,.0f} MiB"
    one = (File("large.bin", large),)
    return (
        Work(
            "http",
            f"one {size} file, http",
            one,
            ALL,
            goals={"aria2c": 1.3, "curl": 0.9, "wget": 1.5, "pypdl": 2.5, "parfive": 5, "tutorial": 2.5},
        ),
        Work(
            "https",
            f"one {size} file, https",
            one,
            ALL,
            tls=True,
            goals={"aria2c": 1.2, "curl": 1.0, "wget": 1.0},
        ),
        Work(
            "many",
            f"{count:,} files of 10 KiB, 16 connections",
            many("small", count, 10 * KIB),
            QUEUES,
            jobs=16,
            goals={"parfive": 2.5, "pypdl": 8, "wget": 0.9, "aria2c": 0.5},
            cpu=350e-6,
        ),
    )


def paced(*, small: bool) -> tuple[Work, ...]:
    count, mixed, largest, slow = (8, 6, 256 * KIB, 256 * KIB) if small else (600, 150, 24 * MIB, 32 * MIB)
    return (
        Work(
            "latency",
            f"{count} files of 10 KiB at 100 ms latency, 16 connections",
            many("small", count, 10 * KIB),
            WAITING,
            jobs=16,
            pace=Pace(latency=0.1),
            rounds=3,
            goals={"curl": 1.0, "aria2c": 1.0},
            over=1.05,
        ),
        Work(
            "mixed",
            f"{mixed} files, log-normal sizes up to {largest / MIB:g} MiB, 2 MB/s per connection, "
            "50 ms latency, 16 connections",
            log_normal(mixed, largest),
            (*WAITING, "aria2c -j4 -x4"),
            jobs=16,
            pace=Pace(latency=0.05, rate=2e6),
            rounds=3,
            goals={"aria2c": 1.8, "curl": 1.8, "wget2": 1.8},
            over=1.15,
        ),
        Work(
            "split",
            f"one {slow / MIB:g} MiB file at 2 MB/s per connection, 8 connections",
            (File("slow.bin", slow),),
            SPLITTING,
            splits=8,
            pace=Pace(rate=2e6),
            rounds=3,
            goals={"aria2c": 1.0, "axel": 1.0},
        ),
    )


def whole_process() -> tuple[Work, ...]:
    return (
        Work("small", "one 10 KiB file, the whole process", many("small", 1, 10 * KIB), ALL, wall=0.2),
        Work("version", "`fetchq --version`", (), wall=0.1),
    )
