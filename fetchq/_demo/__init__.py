"""``fetchq demo``: downloads a queue of files from a server that injects faults, and verifies them.

No network is needed: the server is a thread of this process, on a free port of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from .._api import Downloader
from .._errors import UsageError
from .._models import Job
from .._naming import printable
from .._report import TICK, Reporter, ReportOptions, ReportStreams
from .._settings import MIB, Disk, Network, ProgressKind, Queue, Retry, Settings
from .recorder import Recorder, is_intact, table
from .server import DemoFile, DemoServer, Fault

__all__ = ["demo"]

# Fewer jobs than files, to show queueing; timeouts and backoff are short, so that ten seconds are enough.
JOBS = 5
NETWORK = Network(connect_timeout=2.0, read_timeout=1.0, env=False)
RETRY = Retry(backoff=0.2, backoff_max=1.0)


def demo_files() -> list[DemoFile]:
    """Return a dozen files, each with a different fault."""
    cut, early = Fault(after=2 * MIB), Fault(after=2 * MIB + 99)
    no_ranges = [Fault(after=2 * MIB, whole=True), *[Fault(whole=True)] * 4]
    return [
        DemoFile("healthy.bin", 6 * MIB, "serves it well"),
        DemoFile("dropped.bin", 8 * MIB, "cut twice", [cut, cut]),
        DemoFile("reset.bin", 5 * MIB, "reset", [Fault(after=MIB, reset=True)]),
        DemoFile("stalled.bin", 6 * MIB, "falls silent", [Fault(after=3 * MIB, silent=True)]),
        DemoFile("busy.bin", 4 * MIB, "503, twice", [Fault(status=503, retry_after=1), Fault(status=503)]),
        DemoFile("ranges.bin", 4 * MIB, "cut, no ranges", no_ranges),
        DemoFile("changed.bin", 4 * MIB, "new version", [cut, Fault(changed=True)]),
        DemoFile("moved.bin", 3 * MIB, "moved", [Fault(status=302, location="/moved.bin?signed=1")]),
        DemoFile("aligned.bin", 4 * MIB, "cut, overlaps", [early, Fault(align=MIB)]),
        DemoFile("chunked.bin", 3 * MIB, "cut, no length", [Fault(after=MIB)], chunked=True),
        DemoFile("garbled.bin", 3 * MIB, "wrong bytes", [Fault(garbled=True)]),
        DemoFile("slow.bin", 9 * MIB, "slow, steady", rate=1_000_000),
    ]


def demo(keep: Path | None = None, progress: ProgressKind = "auto") -> int:
    """Download a dozen files from a faulty server on loopback and show a table of the results.

    :param keep: directory for the files; without it they go to a temporary directory, which is removed.
    :param progress: display, as for ``--progress``.
    :return: exit code: 0 if every file is intact, 1 if one is not, 130 after Ctrl-C.
    :raises UsageError: *keep* cannot be created.
    """
    options = ReportOptions(progress=progress, slots=JOBS, resumable=False)
    reporter = Reporter(options, ReportStreams(stderr=sys.stderr, stdout=sys.stdout))
    files, recorder = demo_files(), Recorder()
    with ExitStack() as stack:
        if keep:
            _make_directory(keep)
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fetchq-demo-")))
        server = stack.enter_context(DemoServer(files))
        jobs = [_job(server, file) for file in files]
        try:
            asyncio.run(_download(jobs, directory, reporter, recorder))
        except KeyboardInterrupt:
            reporter.write_line("The demo was stopped.")
            return 130
        reporter.write_line("")
        for line in table(files, recorder):
            reporter.write_line(line)
        intact = sum(is_intact(file, recorder.results.get(file.name)) for file in files)
        reporter.write_line(f"{intact} of {len(files)} files are what the origin meant, by SHA-256.")
        if keep:
            reporter.write_line(f"They are in {keep}.")
        return 0 if intact == len(files) else 1


def _make_directory(keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The directory {printable(str(keep))} cannot be made: {error.strerror}.") from error


def _job(server: DemoServer, file: DemoFile) -> Job:
    """Return the job of *file*, with a checksum if only that reveals its fault."""
    garbled = any(fault.garbled for fault in file.faults)
    checksum = f"sha256:{hashlib.sha256(file.data).hexdigest()}" if garbled else None
    return Job(server.url(file), file.name, id=file.name, checksum=checksum)


async def _download(jobs: Sequence[Job], directory: Path, reporter: Reporter, recorder: Recorder) -> None:
    settings = Settings(network=NETWORK, retry=RETRY, disk=Disk(dir=directory), queue=Queue(jobs=JOBS))
    drawing = asyncio.create_task(_draw(reporter))
    try:
        async with Downloader(settings, observers=[reporter, recorder]) as downloader:
            async for _ in downloader.run(jobs):
                pass  # the recorder has the results
    finally:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            await drawing
        reporter.close()


async def _draw(reporter: Reporter) -> None:
    while True:
        reporter.tick()
        await asyncio.sleep(TICK)
