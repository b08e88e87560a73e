"""Lines too long for memory: what is moved out of it comes back in its turn, and hides no other host."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._api.intake import QueuedJob
from fetchq._api.packing import pack, unpack
from fetchq._connections import Budget
from fetchq._disk import Overflow
from fetchq._errors import DiskError
from fetchq._models import Again
from fetchq._scheduler import ScheduledJob, ScheduledRun, Scheduler, Spill
from fetchq._scheduler.scheduler import MOST_REFUSED
from fetchq._scheduler.spill import MOST_MOVED, PIECE, SHORT, surplus
from fetchq._settings import Queue
from fetchq._transfer import ALONE, Placement

from .clock import SkippingLoop, VirtualLoop
from .origin import Origin, generated, status
from .simulated import GONE, World, queue

# --- whose line is shortened


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ({}, None),
        ({"a": SHORT}, None),
        ({"a": SHORT + 1}, ("a", (SHORT + 1) // 2)),
        ({"a": 100, "b": 900, "c": 200}, ("b", 450)),
        ({"a": 20_000}, ("a", MOST_MOVED)),
        (dict.fromkeys(map(str, range(20_000)), 1), None),
    ],
)
def test_the_longest_line_is_shortened_by_half(lines: dict[str, int], found: tuple[str, int] | None) -> None:
    assert surplus({host: range(length) for host, length in lines.items()}) == found


# --- bytes outside memory


@pytest.mark.parametrize("held", [0, 300, 1 << 20])
def test_what_is_put_aside_comes_back(held: int) -> None:
    overflow = Overflow(held=held)
    chance = random.Random(3)
    for _ in range(3):
        there = {overflow.put(data): data for data in (chance.randbytes(100) for _ in range(20))}
        for piece in chance.sample(list(there), 20):
            assert overflow.take(piece) == there[piece]
    overflow.close()


def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The files that are made from now on."""
    files: list[Any] = []
    make = tempfile.TemporaryFile

    def noted(*args: Any, **how: Any) -> Any:
        files.append(make(*args, **how))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", noted)
    return files


def test_the_file_is_the_owners_nameless_and_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(monkeypatch)
    overflow = Overflow(tmp_path, held=0)
    secret = b"https://host/file?signature=5tr0ng"
    pieces = [overflow.put(secret), overflow.put(secret)]
    assert list(tmp_path.iterdir()) == []
    assert stat.S_IMODE(os.fstat(files[0].fileno()).st_mode) & 0o077 == 0
    length = os.fstat(files[0].fileno()).st_size
    written = os.pread(files[0].fileno(), length, 0)
    # Equal bytes look different each time.
    assert written[: length // 2] != written[length // 2 :]
    assert b"host" not in written
    assert b"x\x01" not in {written[:2], written[length // 2 :][:2]}  # nor as zlib would write it
    assert [overflow.take(piece) for piece in pieces] == [secret, secret]
    # What nobody needs any more takes no room.
    assert os.fstat(files[0].fileno()).st_size == 0
    overflow.close()


def test_short_lines_make_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(monkeypatch)
    overflow = Overflow(held=100)
    pieces = [overflow.put(bytes(50)) for _ in range(4)]
    assert not files
    # What is taken makes room again.
    for _ in range(20):
        assert overflow.take(pieces.pop()) == bytes(50)
        pieces.append(overflow.put(bytes(50)))
    assert not files


@pytest.mark.parametrize("how", [{"folder": Path("/nowhere/at/all")}, {"written": 10}])
def test_what_cannot_be_put_aside_is_told(how: dict[str, Any]) -> None:
    with pytest.raises(DiskError):
        Overflow(held=0, **how).put(os.urandom(100))


def test_what_was_put_aside_before_the_disk_was_full_comes_back() -> None:
    """The limit of a file's size fails as a full disk does: a part of the bytes is written, then none."""
    resource = pytest.importorskip("resource", reason="no limits of resources on this system")
    overflow, chance = Overflow(held=0), random.Random(3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        there = {overflow.put(data): data for data in (chance.randbytes(3000) for _ in range(3))}
        with pytest.raises(DiskError):
            overflow.put(chance.randbytes(3000))
        assert [overflow.take(piece) for piece in there] == list(there.values())
        # With all of it taken back there is room again.
        assert overflow.take(overflow.put(b"more")) == b"more"
        overflow.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "damage", [lambda file: file.truncate(5), lambda file: os.pwrite(file.fileno(), b"x", 0)]
)
def test_what_cannot_be_read_is_told(damage: Callable[[Any], object], monkeypatch: pytest.MonkeyPatch) -> None:
    files = opened(monkeypatch)
    overflow = Overflow(held=0)
    piece = overflow.put(os.urandom(100))
    damage(files[0])
    with pytest.raises(DiskError, match="cannot be read"):
        overflow.take(piece)
    overflow.close()


# --- jobs as bytes

URL = "https://host/a/b.iso"


@pytest.mark.parametrize(
    "job",
    [
        fetchq.Job(URL),
        fetchq.Job(URL, "\udcff.bin", dir="~/x", id="7", source="list:3", priority=-2),
        fetchq.Job(URL, mirrors=[URL + "2"], headers={"A": "b"}, cookies={"C": "d"}, user=("u", "p"), size=5),
        fetchq.Job(
            URL, json={"a": [1, 2.5, None]}, bearer="t", retries=float("inf"), deadline=3, redirects=False
        ),
        fetchq.Job(URL, content=b"\0\1", timeout={"read": 3.0}, checksum="sha256:" + "0" * 64),
    ],
)
@pytest.mark.parametrize("placement", [ALONE, Placement(Path("a/b"), "c", 3, 1)])
@pytest.mark.parametrize("equal", ["key", "", "another"])
def test_a_job_is_the_same_after_it_was_bytes(job: fetchq.Job, placement: Placement, equal: str) -> None:
    queued = QueuedJob(job, "key", equal, placement)
    data = pack(queued)
    assert data is not None
    back = unpack(data)
    assert back == queued
    assert isinstance(back, QueuedJob)
    assert vars(back.job) == vars(job)
    assert {name: type(value) for name, value in vars(back.job).items()} == {
        name: type(value) for name, value in vars(job).items()
    }


class OwnJob(fetchq.Job):
    pass


@pytest.mark.parametrize(
    "queued",
    [
        fetchq.FetchError("line 3 is no URL"),
        QueuedJob(fetchq.Job(URL, files={"a": "b.txt"}), "key", "key", ALONE),
        QueuedJob(fetchq.Job(URL, json=io.BytesIO()), "key", "key", ALONE),
        QueuedJob(fetchq.Job(URL, tls=fetchq.TLSOptions(insecure=True)), "key", "key", ALONE),
        QueuedJob(OwnJob(URL), "key", "key", ALONE),
    ],
)
def test_what_is_more_than_plain_values_stays_in_memory(queued: QueuedJob | fetchq.FetchError) -> None:
    assert pack(queued) is None


# --- lines on a virtual clock


def packed(job: str) -> bytes | None:
    return None if job.endswith("!") else job.encode()


def spill(aside: Any = None) -> Spill[str]:
    return Spill(aside or Overflow(held=0), packed, lambda data: data.decode())


SMALL = Queue(lookahead=100)


class Reading:
    """A run over simulated hosts, and how far its queue is read ahead."""

    def __init__(
        self, world: World, jobs: Iterator[str], aside: Any = None, *, fetch: Any = None, pause: float = 0.0001
    ) -> None:
        self.most = 0
        self.read = 0
        self._jobs, self._pause = jobs, pause
        self.run: ScheduledRun[str, Any] = world.scheduler.run(
            self.counted(), fetch or world.fetch, spill=spill(aside)
        )

    async def counted(self) -> AsyncIterator[str]:
        for job in self._jobs:
            await asyncio.sleep(self._pause)
            self.read += 1
            self.most = max(self.most, self.run.count)
            yield job


def simulated(main: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


@pytest.mark.parametrize("kind", "cdhs")
def test_a_line_of_any_length_hides_no_other_host(kind: str) -> None:
    """With all that are read in memory, the first good file would come after minutes or hours, or never."""

    async def main() -> None:
        world = World(8, SMALL)
        reading = Reading(world, iter(queue((kind, 5000), ("f", 300), (kind, 5000))))
        while sum(job[0] == "f" for job in world.ended) < 300:
            await reading.run.next()
        assert world.clock() < 3
        # While good ones can start, no more is read.
        assert reading.read < 5000 + 300 + 2 * 100
        assert reading.most <= 100 + PIECE
        # None is forgotten: all that were read are done, or left.
        assert reading.run.left == reading.read - len(world.ended)
        await reading.run.cancel()

    simulated(main)


@pytest.mark.parametrize(
    ("lines", "pause"),
    [
        # A host that closes when the memory for lines is full.
        ([("e", 2000), ("f", 300)], 0.0001),
        # A slow one that comes in sight when the list was already read as far as memory allows.
        ([("f0", 300), ("c", 1000), ("s", 2000), ("f", 300)], 0.0001),
        # A list that takes longer to read than the second in which hosts leave connections at any rate.
        ([("s", 2000), ("f", 300)], 0.001),
    ],
)
def test_a_host_that_comes_late_finds_connections(lines: list[tuple[str, int]], pause: float) -> None:
    async def main() -> None:
        world = World(8, SMALL)
        reading = Reading(world, iter(queue(*lines)), pause=pause)
        while sum(job.startswith("f:") for job in world.ended) < 300:
            await reading.run.next()
        assert world.clock() < 6
        await reading.run.cancel()

    simulated(main)


def test_hosts_leave_connections_while_lines_come_quickly() -> None:
    """All of these fit into memory: on a busy machine they take longer than a second to read."""

    async def main() -> None:
        world = World(8)

        def read() -> Iterator[str]:
            for line in queue(("s", 10_000), ("f", 300)):
                loop.advance(0.00015)
                yield line

        loop: Any = asyncio.get_running_loop()
        run = world.scheduler.run(read(), world.fetch)
        while sum(job[0] == "f" for job in world.ended) < 300:
            await run.next()
        assert world.clock() < 6
        await run.cancel()

    simulated(main)


def test_while_a_host_can_be_asked_nothing_is_moved() -> None:
    async def main() -> None:
        world = World(8, SMALL)
        reading = Reading(world, iter(queue(("f", 5000))))
        for _ in range(500):
            await reading.run.next()
        assert reading.read <= 500 + 100 + 2 * 8
        await reading.run.cancel()

    simulated(main)


def test_all_jobs_of_a_dead_host_fail_and_only_so_many_at_once() -> None:
    async def main() -> None:
        world = World(8, SMALL)
        reading = Reading(world, iter(queue(("d", 3000), ("f", 300))))
        results = []
        while (result := await reading.run.next()) is not None:
            results.append(result.partition(":")[0])
        assert MOST_REFUSED <= world.running_at_once <= 8 + MOST_REFUSED
        assert {word: results.count(word) for word in set(results)} == {"failed d": 3000, "done f": 300}

    simulated(main)


def test_jobs_that_can_be_done_go_before_those_that_are_given_up() -> None:
    async def main() -> None:
        world = World(8, SMALL)
        while not world.hosts.is_dead("d"):
            await asyncio.sleep(20.0)
            world.hosts.failed("d", GONE, began=world.clock(), now=world.clock(), held=0)
        started: list[str] = []

        async def fetch(item: ScheduledJob[str]) -> str | Again:
            started.append(item.host)
            return await world.fetch(item)

        run = world.scheduler.run(iter(queue(("d", 4), ("f", 4))), fetch)
        while await run.next() is not None:
            pass
        assert started == ["f"] * 4 + ["d"] * 4

    simulated(main)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_is_that_of_a_run_with_all_jobs_in_memory(seed: int) -> None:
    """Priorities come in any order, and some jobs cannot be moved."""

    def order(lookahead: int) -> list[str]:
        chance = random.Random(seed)
        jobs = [
            f"a:{chance.choice([0, 0, 0, 1, 2])}:{n}{'!' if chance.random() < 0.03 else ''}"
            for n in range(2000)
        ]
        started: list[str] = []
        gate = asyncio.Event()

        async def fetch(item: ScheduledJob[str]) -> str:
            await gate.wait()
            started.append(item.job)
            return item.job

        async def main() -> None:
            scheduler: Scheduler[str] = Scheduler(
                lambda job: (job[0], int(job[2])),
                Budget(2, 1),
                Queue(lookahead=lookahead),
                clock=asyncio.get_running_loop().time,
            )

            def read() -> Iterator[str]:
                yield from jobs
                gate.set()

            run: ScheduledRun[str, str] = scheduler.run(read(), fetch, spill=spill())
            while await run.next() is not None:
                pass

        simulated(main)
        # The first was started before anything else was read.
        return started[1:]

    assert order(400) == order(100_000)


def test_a_job_that_was_tried_stays_in_memory() -> None:
    """What its attempt has left, as the lock of its part, belongs to it."""

    async def main() -> None:
        world = World(8, SMALL)
        tried: set[str] = set()

        async def fetch(item: ScheduledJob[str]) -> str | Again:
            assert (item.again is not None) == (item.job in tried)
            tried.add(item.job)
            return await world.fetch(item)

        # Probes are spread over the line, which goes on growing.
        reading = Reading(world, iter(queue(("d", 2000))), fetch=fetch, pause=0.02)
        while await reading.run.next() is not None:
            pass
        assert world.asked["d"] > 8

    simulated(main)


def test_nothing_is_read_on_for_while_too_many_jobs_wait() -> None:
    async def main() -> None:
        world = World(8, Queue(lookahead=100, waiting=4))

        async def fetch(_: ScheduledJob[str]) -> Again:
            await asyncio.sleep(0.01)
            return Again(1000.0, None)

        reading = Reading(world, iter(queue(("f", 1000))), fetch=fetch)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20.0):
                await reading.run.next()
        assert reading.read <= 100 + 4 + 2 * 8
        await reading.run.cancel()

    simulated(main)


class Failing:
    """Where bytes go that cannot be put aside, or not be had back."""

    def __init__(self, *, puts: bool) -> None:
        self._puts = puts
        self.puts = 0

    def put(self, data: bytes, /) -> bytes:
        self.puts += 1
        if not self._puts:
            raise DiskError("full")
        return data

    def take(self, piece: bytes, /) -> bytes:
        raise DiskError("gone")

    def close(self) -> None:
        pass


def test_with_a_full_disk_all_jobs_stay_and_are_done() -> None:
    async def main() -> None:
        world, aside = World(8, SMALL), Failing(puts=False)
        reading = Reading(world, iter(queue(("d", 500), ("f", 30))), aside)
        results = []
        while (result := await reading.run.next()) is not None:
            results.append(result.partition(":")[0])
        assert {word: results.count(word) for word in set(results)} == {"failed d": 500, "done f": 30}
        # It is not tried again and again without a reason.
        assert aside.puts <= 4

    simulated(main)


def test_jobs_that_cannot_be_had_back_end_the_run_with_an_error() -> None:
    async def main() -> None:
        reading = Reading(World(8, SMALL), iter(queue(("d", 2000))), Failing(puts=True))
        while await reading.run.next() is not None:
            pass

    with pytest.raises(DiskError, match="gone"):
        simulated(main)


def test_many_hosts_with_a_job_each_are_read_as_far_as_memory_allows() -> None:
    async def main() -> None:
        world = World(8, SMALL)
        reading = Reading(world, iter([f"h{n}:0" for n in range(5000)]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20.0):
                await reading.run.next()
        assert 100 <= reading.read <= 100 + 8 + 64 + 8
        await reading.run.cancel()

    simulated(main)


# --- whole runs


FILE = generated(2000)


@pytest.mark.parametrize("is_async", [True, False])
def test_good_files_come_though_a_closed_host_has_more_jobs_than_memory(
    origin: Origin, tmp_path: Path, *, is_async: bool
) -> None:
    origin.serve("/no", FILE, status(429, retry_after=600), repeat=True)
    settings = fetchq.Settings(queue=SMALL)
    events: list[fetchq.Event] = []

    async def from_somewhere(urls: list[str]) -> AsyncIterator[str]:
        for url in urls:
            yield url

    async def work(urls: list[str]) -> list[fetchq.Result]:
        async with fetchq.Downloader(settings, dir=tmp_path, observers=[events.append]) as downloader:
            jobs = from_somewhere(urls) if is_async else urls
            async with downloader.run(jobs) as results:
                return [await anext(results) for _ in range(20)]

    with Origin() as other:
        good = [other.serve(f"/{number}", FILE) for number in range(20)]
        urls = [*(f"{origin.url('/no')}?{number}" for number in range(3000)), *good]
        results = asyncio.run(asyncio.wait_for(work(urls), 20))
    assert sorted(str(result.job.url) for result in results) == sorted(good)
    [finished] = [event for event in events if isinstance(event, fetchq.RunFinished)]
    assert (finished.done, finished.failed, finished.left) == (20, 0, 3000)


def test_files_have_the_names_that_the_lists_order_gives_them(tmp_path: Path) -> None:
    """And all is done, when the host opens."""
    refusals = [b"HTTP/1.1 429 Slow\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                target = (await reader.readuntil(b"\r\n\r\n")).split()[1]
                writer.write(
                    refusals.pop()
                    if refusals
                    else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target)
                )
        writer.close()

    async def work() -> list[fetchq.Result]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        urls = [f"http://127.0.0.1:{port}/{number}/x" for number in range(400)]
        settings = fetchq.Settings(queue=SMALL)
        async with fetchq.Downloader(settings, dir=tmp_path) as downloader:
            found = [result async for result in downloader.run(urls)]
        server.close()
        return found

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        results = runner.run(work())
    assert [result.error for result in results] == [None] * 400
    names = ["x", *(f"x.{number}" for number in range(1, 400))]
    assert [(tmp_path / name).read_text() for name in names] == [f"/{number}/x" for number in range(400)]
