"""``python tests/bench/peer_parfive.py LIST CONNECTIONS SPLITS``: LIST holds a URL and a path on each line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(lines: list[str], connections: int, splits: int) -> None:
    parfive = importlib.import_module("parfive")
    downloader = parfive.Downloader(max_conn=connections, max_splits=splits, progress=False)
    for line in lines:
        url, path = line.split()
        downloader.enqueue_file(url, path=str(Path(path).parent), filename=Path(path).name)
    results = downloader.download()
    if results.errors:
        sys.exit(str(results.errors[:3]))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text().splitlines(), int(sys.argv[2]), int(sys.argv[3]))
