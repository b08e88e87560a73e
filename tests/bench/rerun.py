"""What a queue costs that is repeated when all of it is done: seconds and peak memory, by the number of lines.

The store is written here, not by a run. No files are made, so ``--trust-store`` is given: without it there is a
stat more for each line.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from fetchq._models import Job
from fetchq._store import Store

from . import measure

MIB = 1 << 20
LINES = (10_000, 100_000, 1_000_000)
# Seconds after which a run is given up.
BOUND = 300.0
_INSERT = """
INSERT INTO jobs (key, url, path, size, mtime_ns, digests, status, kind, error, finished_at)
VALUES (?, ?, ?, 0, 0, '{}', 'done', '', '', ?)
"""


def prepared(folder: Path, lines: int) -> Path:
    """Write a queue of so many lines, and a store that says that all are done; return the queue."""
    queue, store = folder / "queue.txt", folder / "out" / ".fetchq.db"
    urls = [f"http://127.0.0.1:1/files/{number}.bin" for number in range(lines)]
    queue.write_text("\n".join(urls))
    Store(store).close()
    # In the order of the keys, since the table is one tree by key.
    rows = sorted((Job(url).key, url, url.rpartition("/")[2], float(at)) for at, url in enumerate(urls, 1))
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany(_INSERT, rows)
        connection.execute("COMMIT")
    return queue


def measured(lines: int) -> measure.Run:
    """Run the queue again that is done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(folder, lines)
        words = ["-q", "--no-config", "-i", "queue.txt", "-d", "out", "--trust-store"]
        argv = [sys.executable, "-m", "fetchq", *words]
        return measure.run(argv, cwd=folder, env={**os.environ, "PYTHONPATH": os.getcwd()}, bound=BOUND)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rerun", description=__doc__)
    parser.add_argument("lines", type=int, nargs="*", default=LINES, metavar="N", help="lines of the queue")
    print("| lines, all done | wall | CPU | CPU a line | peak memory |\n|---|---|---|---|---|")
    for lines in parser.parse_args(argv).lines:
        run = measured(lines)
        if run.code:
            raise SystemExit(f"{lines} lines: exit {run.code}: {run.said}")
        print(
            f"| {lines:,} | {run.seconds:.2f} s | {run.cpu:.2f} s | {run.cpu / lines * 1e6:.0f} us"
            f" | {run.peak / MIB:.0f} MiB |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
