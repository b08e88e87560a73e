"""What a queue costs by its length: a first run with ``--first``, else the repeat of one that is done.

For the repeat, store and files are written here, not by a run. The first run asks a server of this process, on
loopback, for empty files.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

from fetchq._models import Job
from fetchq._store import Store

from . import measure

MIB = 1 << 20
LINES = (10_000, 100_000, 1_000_000)
# Seconds after which a run is given up.
BOUND = 1200.0
_INSERT = """
INSERT INTO jobs (key, url, path, size, mtime_ns, digests, status, kind, error, finished_at)
VALUES (?, ?, ?, 0, ?, '{}', 'done', '', '', ?)
"""


def queue(folder: Path, origin: str, lines: int) -> list[str]:
    """Write a queue of so many lines; return its URLs."""
    urls = [f"{origin}/files/{number}.bin" for number in range(lines)]
    (folder / "queue.txt").write_text("\n".join(urls))
    return urls


def prepare(folder: Path, lines: int) -> None:
    """Write a queue of so many lines, their files, and a store that says that all are done."""
    out = folder / "out"
    out.mkdir()

    def row(at: int, url: str) -> tuple[str, str, str, int, float]:
        name = url.rpartition("/")[2]
        (out / name).touch()
        return Job(url).key, url, name, (out / name).stat().st_mtime_ns, float(at)

    # In the order of the keys, since the table is one tree by key.
    rows = sorted(row(at, url) for at, url in enumerate(queue(folder, "http://127.0.0.1:1", lines), 1))
    Store(out / ".fetchq.db").close()
    with closing(sqlite3.connect(out / ".fetchq.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany(_INSERT, rows)
        connection.execute("COMMIT")


class _Empty(asyncio.Protocol):
    """Answers every request with an empty file.

    :ivar first: time of the first request; 0 before it.
    """

    first = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        _Empty.first = _Empty.first or time.perf_counter()
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * len(heads))


@contextmanager
def serving() -> Iterator[str]:
    """Serve empty files in a thread; the origin is yielded."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(loop.create_server(_Empty, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        # Once the connections' ends, and what the server's closing has begun, are through.
        loop.call_soon_threadsafe(loop.call_later, 0.1, loop.stop)
        thread.join()
        loop.close()


def run(folder: Path, *words: str) -> measure.Run:
    """Run the queue in *folder*.

    :raises SystemExit: it failed.
    """
    argv = [sys.executable, "-m", "fetchq", "-q", "--no-config", "--no-env", "-i", "queue.txt", "-d", "out"]
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = measure.run([*argv, *words], cwd=folder, env=env, bound=BOUND)
    if done.code:
        raise SystemExit(f"exit {done.code}: {done.said}")
    return done


def first_run(lines: int) -> tuple[measure.Run, str]:
    """Run a new queue; return what it cost, and what is to be told besides."""
    with tempfile.TemporaryDirectory() as name, serving() as origin:
        folder = Path(name)
        queue(folder, origin, lines)
        _Empty.first, began = 0.0, time.perf_counter()
        done = run(folder)
        return done, f"first request after {_Empty.first - began:.2f} s"


def repeat(lines: int, *words: str) -> tuple[measure.Run, str]:
    """Run a queue again that is done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, lines)
        return run(folder, *words), ""


Work: TypeAlias = Callable[[int], tuple[measure.Run, str]]
AGAIN: dict[str, Work] = {"again": repeat, "again, --trust-store": lambda lines: repeat(lines, "--trust-store")}
FIRST: dict[str, Work] = {"first run": first_run}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rerun", description=__doc__)
    parser.add_argument("lines", type=int, nargs="*", default=LINES, metavar="N", help="lines of the queue")
    parser.add_argument("--first", action="store_true", help="measure first runs: minutes for a million lines")
    given = parser.parse_args(argv)
    works = FIRST if given.first else AGAIN
    print("| run | lines | wall | CPU | CPU a line | peak memory | |\n|---|---|---|---|---|---|---|")
    for lines in given.lines:
        for name, work in works.items():
            done, more = work(lines)
            print(
                f"| {name} | {lines:,} | {done.seconds:.2f} s | {done.cpu:.2f} s"
                f" | {done.cpu / lines * 1e6:.0f} us | {done.peak / MIB:.0f} MiB | {more} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
