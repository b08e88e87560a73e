"""Jobs that an earlier run has done: looked up together or one by one, counted or shown, they are the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fetchq import Disk, Event, Job, JobFinished, Network, Observer, Queue, Result, Retry, RunFinished, Settings
from fetchq._api import Downloader
from fetchq._errors import QueueFileError
from fetchq._events import SkippedJobs, SkippingObserver
from fetchq._progress.totals import RunProgress
from fetchq._report import NORMAL, QUIET, TextLines
from fetchq._report.json_lines import event_to_dict
from fetchq._scheduler import run as scheduled

from .conftest import run
from .origin import Generated, Origin, Resource

Item: TypeAlias = "str | Job | QueueFileError"
FILES = 6
QUEUES = int(os.environ.get("QUEUES", "25"))


def settings_of(folder: Path, **queue: Any) -> Settings:
    """One connection, so that the order of ending is that of starting."""
    return Settings(
        disk=Disk(dir=folder),
        network=Network(env=False),
        queue=Queue(jobs=1, **queue),
        retry=Retry(retries=0, patience=0),
    )


class Told(NamedTuple):
    """What a run has told: of each job, of all together, and how many results came."""

    jobs: dict[int, dict[str, Any]]
    end: RunFinished
    results: Counter[tuple[str, str]]
    progress: tuple[int, int, int, tuple[int, bool] | None]


class Counting(SkippingObserver):
    """Notes how many jobs came together."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.single = 0

    def __call__(self, event: Event) -> None:
        self.single += type(event) is JobFinished and event.result.status == "skipped"

    def skipped(self, jobs: SkippedJobs) -> None:
        self.together.append(len(jobs))


def told(folder: Path, items: Sequence[Item], *, together: bool, **queue: Any) -> Told:
    """Run *items* with the store of *folder*.

    :param together: take results and events of done jobs as they come, together; else each for itself.
    """
    jobs: dict[int, dict[str, Any]] = {}
    ends: list[RunFinished] = []
    progress = RunProgress()

    def note(event: Event) -> None:
        if isinstance(event, JobFinished):
            said = event_to_dict(event)
            said["path"] = said["path"] and str(Path(said["path"]).relative_to(folder))
            said["error"] = said["error"] and said["error"]["message"]
            del said["elapsed"]
            jobs[event.number] = said
        elif isinstance(event, RunFinished):
            ends.append(event._replace(elapsed=0.0))

    class Each:
        def __call__(self, event: Event) -> None:
            progress(event)

    observers = [note, progress if together else Each()]

    async def work() -> list[Result]:
        how = settings_of(folder, **queue)
        async with Downloader(how, observers=observers, store=folder / ".fetchq.db") as downloader:
            results = downloader.run(items)
            if not together:
                return [result async for result in results]
            found = [batch async for batch in results.batches()]
        # Looked at only now, with the store closed.
        return [result for batch in found for result in ([batch] if isinstance(batch, Result) else batch)]

    results = run(work())
    shown = Counter((result.job.url, str(result.status)) for result in results)
    counts = progress.ended, progress.failed, progress.have, progress.total()
    return Told(dict(sorted(jobs.items())), ends[0], shown, counts)


class Plan(NamedTuple):
    """A queue, the lines of it that an earlier run has had, and what was done to files since."""

    items: tuple[tuple[str, int], ...]
    earlier: frozenset[int]
    deleted: frozenset[int]
    altered: frozenset[int]
    queue: dict[str, Any]


KINDS = (
    "plain",
    "plain",
    "plain",
    "id",
    "named",
    "checksum",
    "wrong checksum",
    "missing",
    "no URL",
    "bad line",
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    items = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, FILES - 1)), max_size=14).map(tuple))
    some = st.frozensets(st.integers(0, 14))
    return Plan(
        items,
        draw(some),
        draw(st.frozensets(st.integers(0, FILES - 1), max_size=2)),
        draw(st.frozensets(st.integers(0, FILES - 1), max_size=2)),
        draw(
            st.fixed_dictionaries(
                {}, optional={"allow_duplicates": st.just(True), "trust_store": st.just(True)}
            )
        ),
    )


def item(kind: str, number: int, urls: Sequence[str], contents: Sequence[Generated]) -> Item:
    # Jobs of one URL with different checksums are different ones with one key: which ends first is not told.
    url = urls[number] if "checksum" not in kind else f"{urls[number]}?{kind.partition(' ')[0]}"
    match kind:
        case "id":
            return Job(url, id=f"id {number % 2}")
        case "named":
            return Job(url, f"own {number}")
        case "checksum":
            return Job(
                url, checksum=f"sha256:{hashlib.sha256(contents[number].read(0, 100 + number)).hexdigest()}"
            )
        case "wrong checksum":
            return Job(url, checksum=f"sha256:{'0' * 64}")
        case "missing":
            return f"{url}.missing"
        case "no URL":
            return "ftp://nowhere"
        case "bad line":
            return QueueFileError(f"q:{number}: no line.")
        case _:
            return url


@pytest.mark.timeout(60 + 10 * QUEUES)
@settings(max_examples=QUEUES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(plans())
def test_a_queue_tells_the_same_whether_it_is_looked_up_line_by_line_or_together(plan: Plan) -> None:
    contents = [Generated(100 + number, seed=number) for number in range(FILES)]
    with Origin() as origin, tempfile.TemporaryDirectory() as made:
        # Three folders, two names.
        urls = [
            origin.serve(f"/{number // 2}/{number % 2}.bin", Resource(content))
            for number, content in enumerate(contents)
        ]
        items = [item(kind, number, urls, contents) for kind, number in plan.items]
        first = Path(made, "first")
        first.mkdir()
        told(first, [each for at, each in enumerate(items) if at in plan.earlier], together=False)
        files = sorted(path for path in first.iterdir() if not path.name.startswith("."))
        for at, path in enumerate(files):
            if at in plan.deleted:
                path.unlink()
            elif at in plan.altered:
                path.write_bytes(b"by hand")
        said = []
        for name, size, together in (("one", 1, False), ("three", 3, True), ("all", 500, True)):
            shutil.copytree(first, Path(made, name))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(scheduled, "FIRST_BATCH", size)
                patch.setattr(scheduled, "BATCH", size)
                said.append(told(Path(made, name), items, together=together, **plan.queue))
    assert said[0] == said[1] == said[2]
    assert len(said[0].jobs) == said[0].results.total() == len(items)


def queue_of(folder: Path, jobs: int) -> list[str]:
    """Run a queue of so many files, and return it."""
    with Origin() as origin:
        urls = [origin.serve(f"/{number}.bin", Resource(Generated(10, seed=number))) for number in range(jobs)]
        assert told(folder, urls, together=False).end.done == jobs
    return urls


def test_who_only_counts_is_told_of_done_jobs_together(tmp_path: Path) -> None:
    urls, counting = queue_of(tmp_path, 40), Counting()
    ends: list[Event] = []

    async def work() -> list[Result | Sequence[Result]]:
        observers: list[Observer] = [counting, ends.append]
        async with Downloader(
            settings_of(tmp_path), observers=observers, store=tmp_path / ".fetchq.db"
        ) as downloader:
            return [batch async for batch in downloader.run(urls).batches()]

    batches = run(work())
    assert counting.single == 0
    assert (
        counting.together == [8, 16, 16] == [len(batch) for batch in batches if not isinstance(batch, Result)]
    )
    # An observer that asks for no more than events has each.
    assert [event.number for event in ends if isinstance(event, JobFinished)] == list(range(1, 41))
    assert isinstance(ends[-1], RunFinished)
    assert (ends[-1].skipped, ends[-1].size, ends[-1].left) == (40, 400, 0)


@pytest.mark.parametrize("together", [False, True])
def test_events_results_and_counts_agree_where_an_observer_raises_in_their_middle(
    tmp_path: Path, together: bool
) -> None:
    urls = queue_of(tmp_path, 40)
    seen, failed, results = list[Event](), list[int](), list[Result]()

    def failing(event: Event) -> None:
        if isinstance(event, JobFinished):
            failed.append(event.number)
            if event.number == 12:
                raise RuntimeError("twelve")

    async def work() -> None:
        how = settings_of(tmp_path)
        async with Downloader(
            how, observers=[failing, seen.append], store=tmp_path / ".fetchq.db"
        ) as downloader:
            if together:
                async for batch in downloader.run(urls).batches():
                    results.extend([batch] if isinstance(batch, Result) else batch)
            else:
                async for result in downloader.run(urls):
                    results.append(result)

    with pytest.raises(RuntimeError, match="twelve"):
        run(work())
    assert failed == list(range(1, 13))
    told = [event for event in seen if isinstance(event, JobFinished)]
    # What had been looked up with the twelfth is told to its end, in order.
    assert [event.number for event in told] == list(range(1, 25))
    assert [event.result for event in told] == results
    assert isinstance(seen[-1], RunFinished)
    assert (seen[-1].skipped, seen[-1].size, seen[-1].left, seen[-1].stopped) == (24, 240, 0, True)


def test_what_an_observer_raises_of_jobs_that_come_together_comes_out(tmp_path: Path) -> None:
    urls = queue_of(tmp_path, 5)

    class Failing(Counting):
        def skipped(self, jobs: SkippedJobs) -> None:
            super().skipped(jobs)
            raise RuntimeError("no")

    failing, seen = Failing(), list[Event]()

    async def work() -> None:
        observers: list[Observer] = [failing, seen.append]
        async with Downloader(
            settings_of(tmp_path), observers=observers, store=tmp_path / ".fetchq.db"
        ) as downloader:
            async for _ in downloader.run(iter([*urls] * 200)):
                pass

    with pytest.raises(RuntimeError, match="no"):
        run(work())
    assert len(failing.together) == 1
    assert isinstance(seen[-1], RunFinished)
    assert seen[-1].stopped


def test_a_loop_that_is_left_among_jobs_that_came_together_ends_the_run(tmp_path: Path) -> None:
    urls = queue_of(tmp_path, 8)
    ends: list[Event] = []

    def lines() -> Iterator[str]:
        yield from urls
        raise AssertionError("the queue is read no further than the loop got")

    async def work() -> None:
        async with (
            Downloader(
                settings_of(tmp_path), observers=[ends.append], store=tmp_path / ".fetchq.db"
            ) as downloader,
            downloader.run(lines()) as results,
        ):
            async for result in results:
                assert result.status == "skipped"
                break

    run(work())
    assert isinstance(ends[-1], RunFinished)
    assert ends[-1].skipped == 8


def test_of_equal_lines_the_first_decides_though_the_second_alone_was_done_before(tmp_path: Path) -> None:
    with Origin() as origin:
        url = origin.serve("/f.bin", Resource(Generated(10, seed=1)))
        told(tmp_path, [url], together=True)
        said = told(tmp_path, [Job(url, id="new"), url, f"{url}?other", url], together=True)
    assert [said.jobs[number]["reason"] for number in (2, 4)] == ["the same as another job"] * 2


def test_each_of_them_has_its_line_where_finished_files_are_shown(tmp_path: Path) -> None:
    urls = queue_of(tmp_path, 20)
    written: dict[int, list[str]] = {QUIET: [], NORMAL: []}

    async def work() -> None:
        observers = [TextLines(lines.append, verbosity) for verbosity, lines in written.items()]
        async with Downloader(
            settings_of(tmp_path), observers=observers, store=tmp_path / ".fetchq.db"
        ) as downloader:
            async for _ in downloader.run(urls):
                pass

    run(work())
    assert written[QUIET] == []
    assert len(written[NORMAL]) == 2
    shown = "\n".join(written[NORMAL]).split("\n")
    assert shown == [f"skipped  {number}.bin (done in an earlier run)" for number in range(20)]
