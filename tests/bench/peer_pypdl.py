"""``python tests/bench/peer_pypdl.py LIST CONNECTIONS SEGMENTS``: LIST holds a URL and a path on each line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(lines: list[str], connections: int, segments: int) -> None:
    pypdl = importlib.import_module("pypdl")
    tasks = [dict(zip(("url", "file_path"), line.split(), strict=True)) for line in lines]
    downloader = pypdl.Pypdl(max_concurrent=connections)
    downloader.start(tasks=tasks, segments=segments, multisegment=segments > 1, display=False, block=True)
    if len(downloader.success) != len(tasks):
        sys.exit(f"{len(tasks) - len(downloader.success)} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text().splitlines(), int(sys.argv[2]), int(sys.argv[3]))
