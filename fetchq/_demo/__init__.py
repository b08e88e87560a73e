"""``fetchq demo``: a queue of files from an origin that does everything wrong, fetched right all the same.

No network is needed: the origin is a thread of this process, on a free port of 127.0.0.1.
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
from .._report import TICK, Reporter
from .._settings import MIB, Disk, Network, ProgressKind, Queue, Retry, Settings
from .account import Account, right, table
from .server import DemoServer, Fault, Offer

__all__ = ["demo"]

# Five files at a time show queueing as well as overlap; patience is short, so that ten seconds are enough.
JOBS = 5
NETWORK = Network(connect_timeout=2.0, read_timeout=1.0, env=False)
RETRY = Retry(backoff=0.2, backoff_max=1.0)


def offers() -> list[Offer]:
    """Give a dozen files, each with a trouble of its own."""
    cut, early = Fault(after=2 * MIB), Fault(after=2 * MIB + 99)
    whole = Fault(whole=True)
    return [
        Offer("healthy.bin", 6 * MIB, "serves it well"),
        Offer("dropped.bin", 8 * MIB, "closes twice", [cut, cut]),
        Offer("reset.bin", 5 * MIB, "resets", [Fault(after=MIB, reset=True)]),
        Offer("stalled.bin", 6 * MIB, "falls silent half-way", [Fault(after=3 * MIB, silent=True)]),
        Offer(
            "busy.bin", 4 * MIB, "is busy: 503, twice", [Fault(status=503, retry_after=1), Fault(status=503)]
        ),
        Offer("ranges.bin", 4 * MIB, "closes, has no ranges", [Fault(after=2 * MIB, whole=True), *[whole] * 4]),
        Offer("changed.bin", 4 * MIB, "has a new version", [cut, Fault(changed=True)]),
        Offer("moved.bin", 3 * MIB, "redirects", [Fault(status=302, location="/moved.bin?signed=1")]),
        Offer("aligned.bin", 4 * MIB, "closes, starts early", [early, Fault(align=MIB)]),
        Offer("chunked.bin", 3 * MIB, "closes, has no length", [Fault(after=MIB)], chunked=True),
        Offer("garbled.bin", 3 * MIB, "sends wrong bytes", [Fault(garbled=True)]),
        Offer("slow.bin", 9 * MIB, "1 MB/s a connection", rate=1_000_000),
    ]


def demo(keep: Path | None = None, progress: ProgressKind = "auto") -> int:
    """Fetch a dozen files from a throwaway origin that misbehaves, and say what was survived.

    :param keep: directory that gets the files; without it they are removed.
    :param progress: what is shown meanwhile, as ``--progress`` has it.
    :return: exit code: 0 when every file is what the origin meant, 1 when one is not, 130 after Ctrl-C.
    :raises UsageError: *keep* cannot be a directory.
    """
    audience = Reporter(progress, stderr=sys.stderr, stdout=sys.stdout, slots=JOBS, fleeting=True)
    offered, account = offers(), Account()
    with ExitStack() as stack:
        if keep:
            _make(keep)
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fetchq-demo-")))
        origin = stack.enter_context(DemoServer(offered))
        jobs = [_job(origin, offer) for offer in offered]
        try:
            asyncio.run(_fetch(jobs, directory, audience, account))
        except KeyboardInterrupt:
            audience.say("The demo was stopped.")
            return 130
        audience.say("")
        for line in table(offered, account):
            audience.say(line)
        good = sum(right(offer, account.results.get(offer.name)) for offer in offered)
        audience.say(f"{good} of {len(offered)} files are what the origin meant, by SHA-256.")
        if keep:
            audience.say(f"They are in {keep}.")
        return 0 if good == len(offered) else 1


def _make(keep: Path) -> None:
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The directory {printable(str(keep))} cannot be made: {error.strerror}.") from error


def _job(origin: DemoServer, offer: Offer) -> Job:
    """Only a digest can tell wrong bytes of the right length."""
    garbled = any(fault.garbled for fault in offer.faults)
    checksum = f"sha256:{hashlib.sha256(offer.data).hexdigest()}" if garbled else None
    return Job(origin.url(offer), offer.name, id=offer.name, checksum=checksum)


async def _fetch(jobs: Sequence[Job], directory: Path, audience: Reporter, account: Account) -> None:
    """Run the queue through the engine as any other, drawing meanwhile."""
    settings = Settings(network=NETWORK, retry=RETRY, disk=Disk(dir=directory), queue=Queue(jobs=JOBS))
    drawing = asyncio.create_task(_draw(audience))
    try:
        async with Downloader(settings, observers=[audience, account]) as downloader:
            async for _ in downloader.run(jobs):
                pass  # the account is an observer, and has it already
    finally:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            await drawing
        audience.close()


async def _draw(audience: Reporter) -> None:
    while True:
        audience.tick()
        await asyncio.sleep(TICK)
