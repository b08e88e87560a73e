"""Many small files over HTTP/2 beside the same over HTTP/1.1: ``python -m tests.bench.http2``.

Both over TLS from the same server, as whole processes, in interleaved rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.web import Web

FILES = 1000
SIZE = 10_240


def measured(rounds: int, files: int = FILES) -> dict[str, float]:
    """Return the median seconds over HTTP/1.1 and over HTTP/2."""
    spent: dict[str, list[float]] = {"http1.1": [], "http2": []}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "www")
        root.mkdir()
        for number in range(files):
            (root / f"{number}.bin").write_bytes(os.urandom(SIZE))
        with Web(root, Path(scratch)) as web:
            queue = Path(scratch, "queue.txt")
            queue.write_text("".join(f"{web.secure(f'{number}.bin')}\n" for number in range(files)))
            for number in range(rounds):
                for protocol in sorted(spent, reverse=bool(number % 2)):
                    spent[protocol].append(_seconds(protocol, queue, web.cacert, files))
    return {protocol: statistics.median(each) for protocol, each in spent.items()}


def _seconds(protocol: str, queue: Path, cacert: Path, files: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        words = ["-q", "-j", "16", "--no-env", "--no-config", "--no-store", "--cacert", str(cacert)]
        words += ["--http2"] if protocol == "http2" else []
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "fetchq", *words, "-d", folder, "-i", str(queue)], check=True, timeout=120
        )
        seconds = time.perf_counter() - began
        if len(list(Path(folder).iterdir())) != files:
            raise SystemExit(f"{protocol}: files are missing")
    return seconds


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.http2", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=FILES)
    given = parser.parse_args(argv)
    found = measured(given.rounds, given.files)
    one, two = found["http1.1"], found["http2"]
    print("| files of 10 KiB | HTTP/1.1 | HTTP/2 | ratio |\n|---|---|---|---|")
    print(f"| {given.files} | {one:.2f} s | {two:.2f} s | {two / one:.2f} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
