"""Many jobs, with a fetch of our own: bounds, order, waiting, stopping, memory."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from fetchq._connections import Budget
from fetchq._models import Again
from fetchq._scheduler import Found, ScheduledJob, ScheduledRun, Scheduler
from fetchq._scheduler.run import MAX_RESULTS
from fetchq._settings import Queue

Fetch = Callable[[ScheduledJob[str]], Awaitable["str | Again"]]


Jobs = Iterator[str] | AsyncIterator[str]


def shared(
    *, jobs: int = 3, per_host: int = 3, queue: Queue | None = None, priority: Callable[[str], int] = len
) -> Scheduler[str]:
    return Scheduler(
        lambda job: (job.partition(":")[0], priority(job)),
        Budget(jobs, per_host),
        queue or Queue(),
        clock=asyncio.get_running_loop().time,
    )


def scheduler(fetch: Fetch, **how: Any) -> Callable[[Jobs], ScheduledRun[str, str]]:
    return lambda jobs: shared(**how).run(jobs, fetch)


async def rest(run: ScheduledRun[str, str]) -> list[str]:
    results = []
    while (result := await run.next()) is not None:
        results.append(result)
    return results


def collect(make: Callable[[], Callable[[Jobs], ScheduledRun[str, str]]], jobs: Jobs) -> list[str]:
    async def main() -> list[str]:
        return await rest(make()(jobs))

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_never_more_at_once_than_the_budget_allows() -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def fetch(item: ScheduledJob[str]) -> str:
        for name in (item.host, "all"):
            running[name] += 1
            most[name] = max(most[name], running[name])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for name in (item.host, "all"):
            running[name] -= 1
        return item.job

    jobs = [f"{'ab'[n % 2]}:{n}" for n in range(60)]
    assert sorted(collect(lambda: scheduler(fetch, jobs=5, per_host=3), iter(jobs))) == sorted(jobs)
    assert most["all"] == 5
    assert most["a"] == most["b"] == 3


def test_a_busy_host_does_not_hold_up_the_others() -> None:
    order: list[str] = []
    gate: list[asyncio.Event] = []

    async def fetch(item: ScheduledJob[str]) -> str:
        if not gate:
            gate.append(asyncio.Event())
        order.append(item.job)
        if item.host == "b":
            gate[0].set()
        else:
            await gate[0].wait()
        return item.job

    collect(
        lambda: scheduler(fetch, jobs=2, per_host=1, priority=lambda _: 0), iter(["a:1", "a:2", "a:3", "b:1"])
    )
    assert order[:2] == ["a:1", "b:1"]


def test_priority_goes_first_and_then_the_queues_order() -> None:
    order: list[str] = []

    async def fetch(item: ScheduledJob[str]) -> str:
        order.append(item.job)
        await asyncio.sleep(0)
        return item.job

    jobs = iter(["a:1", "a:2", "a:high", "a:3"])
    collect(lambda: scheduler(fetch, jobs=1, priority=lambda job: job.endswith("high")), jobs)
    assert order == ["a:high", "a:1", "a:2", "a:3"]


def test_a_job_that_waits_holds_no_worker() -> None:
    order: list[str] = []

    async def fetch(item: ScheduledJob[str]) -> str | Again:
        order.append(item.job)
        if item.job == "a:slow" and item.again is None:
            return Again(0.05, "what it had")
        if item.job == "a:slow":
            assert item.again is not None
            assert item.again.state == "what it had"
        return item.job

    done = collect(lambda: scheduler(fetch, jobs=1, priority=lambda _: 0), iter(["a:slow", "a:1", "a:2"]))
    assert order == ["a:slow", "a:1", "a:2", "a:slow"]
    assert done == ["a:1", "a:2", "a:slow"]


def test_jobs_that_wait_are_bounded() -> None:
    waiting: set[str] = set()
    most: list[int] = []

    async def fetch(item: ScheduledJob[str]) -> str | Again:
        if item.again is None:
            waiting.add(item.job)
            most.append(len(waiting))
            return Again(0.01, None)
        waiting.discard(item.job)
        return item.job

    jobs = [f"a:{n}" for n in range(40)]
    assert len(collect(lambda: scheduler(fetch, queue=Queue(waiting=4)), iter(jobs))) == 40
    assert max(most) <= 4 + 3


def test_the_queue_is_read_no_further_ahead_than_allowed() -> None:
    read: list[int] = []
    seen: list[int] = []

    def jobs() -> Iterator[str]:
        for n in range(500):
            read.append(n)
            yield f"a:{n}"

    async def fetch(item: ScheduledJob[str]) -> str:
        seen.append(len(read) - len(seen))
        await asyncio.sleep(0)
        return item.job

    assert len(collect(lambda: scheduler(fetch, queue=Queue(lookahead=10)), jobs())) == 500
    assert max(seen) <= 10 + 3 + 1


def test_an_async_queue_may_be_slow() -> None:
    async def jobs() -> AsyncIterator[str]:
        for n in range(5):
            await asyncio.sleep(0)
            yield f"a:{n}"

    async def fetch(item: ScheduledJob[str]) -> str:
        return item.job

    assert len(collect(lambda: scheduler(fetch), jobs())) == 5


def test_no_jobs_is_no_work() -> None:
    async def fetch(item: ScheduledJob[str]) -> str:
        raise AssertionError(item)

    assert collect(lambda: scheduler(fetch), iter([])) == []


def test_stop_breaks_off_what_runs_and_lets_it_save() -> None:
    started: list[str] = []
    saved: list[str] = []

    async def main() -> tuple[list[str], int]:
        async def fetch(item: ScheduledJob[str]) -> str:
            started.append(item.job)
            if len(started) == 2:
                it.stop()
            try:
                await asyncio.Event().wait()
            finally:
                saved.append(item.job)
            return item.job

        it = shared(jobs=2).run(iter(["a:1", "a:2", "a:3"]), fetch)
        return await rest(it), it.left

    done, left = asyncio.run(main())
    assert done == []
    assert sorted(saved) == ["a:1", "a:2"]
    assert left == 3


def test_a_bug_is_not_a_failure() -> None:
    async def fetch(item: ScheduledJob[str]) -> str:
        raise ZeroDivisionError(item.job)

    with pytest.raises(ZeroDivisionError):
        collect(lambda: scheduler(fetch), iter(["a:1"]))


def test_a_queue_that_breaks_passes_its_error_on() -> None:
    def jobs() -> Iterator[str]:
        yield "a:1"
        raise OSError("the queue broke")

    async def fetch(item: ScheduledJob[str]) -> str:
        await asyncio.Event().wait()
        return item.job

    with pytest.raises(OSError, match="the queue broke"):
        collect(lambda: scheduler(fetch), jobs())


def test_a_caller_who_takes_no_results_stops_the_workers() -> None:
    started: list[str] = []

    async def main() -> None:
        async def fetch(item: ScheduledJob[str]) -> str:
            started.append(item.job)
            return item.job

        run = scheduler(fetch)(iter([f"a:{n}" for n in range(5000)]))
        await run.next()
        for _ in range(3000):
            await asyncio.sleep(0)
        await run.cancel()

    asyncio.run(main())
    assert len(started) < 2500


def test_runs_and_single_jobs_take_turns() -> None:
    order: list[str] = []

    begun = asyncio.Event()

    async def fetch(item: ScheduledJob[str]) -> str:
        order.append(item.job)
        if len(order) == 10:
            begun.set()
        await asyncio.sleep(0)
        return item.job

    async def main() -> None:
        it = shared(jobs=1, priority=lambda _: 0)
        first = asyncio.create_task(rest(it.run(iter([f"a:{n}" for n in range(60)]), fetch)))
        await begun.wait()
        second = asyncio.create_task(rest(it.run(iter([f"b:{n}" for n in range(20)]), fetch)))
        singles = [it.start(f"c:{n}", fetch) for n in range(20)]
        await asyncio.gather(first, second, *singles)

    asyncio.run(main())
    # Each has a third of the turns while all three have jobs, whatever was read before.
    assert set("abc") == {job[0] for job in order[11:14]}
    assert [sum(job.startswith(name) for job in order[12:60]) for name in "abc"] == [16, 16, 16]


def test_no_connection_is_lost_when_jobs_are_cancelled_at_any_step() -> None:
    async def fetch(item: ScheduledJob[str]) -> str | Again:
        await asyncio.sleep(0)
        if item.again is None:
            return Again(0.0, None)
        return item.job

    async def main() -> None:
        for steps in range(12):
            it = shared(jobs=2)
            run = it.run(iter([f"a:{n}" for n in range(5)]), fetch)
            tasks = [asyncio.ensure_future(run.next()), *(it.start(f"b:{n}", fetch) for n in range(5))]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await run.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)
            assert it.budget.used == 0, steps
            assert it.running == 0

    asyncio.run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_whose_result_is_known_needs_no_attempt(*, is_async: bool) -> None:
    attempted: list[tuple[int, str]] = []
    known: list[tuple[int, str]] = []
    jobs = [f"a:{n}" for n in range(600)]

    async def fetch(item: ScheduledJob[str]) -> str:
        attempted.append((item.number, item.job))
        return item.job

    async def find(numbered: Sequence[tuple[int, str]]) -> Found[str, str]:
        await asyncio.sleep(0)
        known.extend(numbered)
        found = [job for number, job in numbered if number % 3]
        rest = [each for each in numbered if not each[0] % 3]
        return Found(rest, " ".join(found), len(found)) if found else Found(rest)

    async def slowly() -> AsyncIterator[str]:
        for job in jobs:
            yield job

    async def main() -> list[str]:
        return await rest(shared().run(slowly() if is_async else iter(jobs), fetch, find))

    results = asyncio.run(asyncio.wait_for(main(), 20))
    assert sorted(" ".join(results).split()) == sorted(jobs)
    assert known == list(enumerate(jobs, 1))
    assert sorted(attempted) == [(number, job) for number, job in known if not number % 3]


def test_a_priority_counts_for_more_than_who_holds_connections_for_long() -> None:
    started: list[str] = []

    async def fetch(item: ScheduledJob[str]) -> str:
        started.append(item.job)
        await asyncio.sleep(0)
        return item.job

    # That host has never answered, which is not told here: its jobs are taken for slow ones.
    jobs = ["a:9", "b:0", "a:5"]
    collect(lambda: scheduler(fetch, jobs=1, priority=lambda job: int(job[2:])), iter(jobs))
    assert started == ["a:9", "a:5", "b:0"]


def test_a_run_that_is_stopped_while_jobs_are_looked_up_has_left_them() -> None:
    async def fetch(item: ScheduledJob[str]) -> str:
        raise AssertionError(item)

    async def find(numbered: Sequence[tuple[int, str]]) -> Found[str, str]:
        await asyncio.sleep(math.inf)
        return Found(numbered)

    async def main() -> None:
        run = shared().run(iter(["a:1", "a:2", "a:3"]), fetch, find)
        result = asyncio.create_task(run.next())
        await asyncio.sleep(0.01)
        run.stop()
        assert await result is None
        assert run.left == 3

    asyncio.run(asyncio.wait_for(main(), 20))


def test_known_results_wait_for_a_caller_who_takes_none() -> None:
    read: list[int] = []

    def jobs() -> Iterator[str]:
        for n in range(5000):
            read.append(n)
            yield f"a:{n}"

    async def fetch(item: ScheduledJob[str]) -> str:
        raise AssertionError(item)

    async def find(numbered: Sequence[tuple[int, str]]) -> Found[str, str]:
        return Found((), " ".join(job for _, job in numbered), len(numbered))

    async def main() -> None:
        run = shared().run(jobs(), fetch, find)
        first = await run.next()
        assert first is not None
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(read) <= MAX_RESULTS + len(first.split())
        assert " ".join([first, *await rest(run)]).split() == [f"a:{n}" for n in range(5000)]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_the_first_job_of_a_slow_iterator_does_not_wait_for_more() -> None:
    now = [0.0]
    read_at_start: list[int] = []
    read: list[int] = []

    def jobs() -> Iterator[str]:
        for n in range(5):
            read.append(n)
            now[0] += 1.0  # as if it held the event loop up for so long
            yield f"a:{n}"

    async def fetch(item: ScheduledJob[str]) -> str:
        read_at_start.append(len(read))
        return item.job

    async def main() -> None:
        it: Scheduler[str] = Scheduler(lambda _: ("a", 0), Budget(1, 1), Queue(), clock=lambda: now[0])
        assert len(await rest(it.run(jobs(), fetch))) == 5

    asyncio.run(asyncio.wait_for(main(), 20))
    assert read_at_start[0] <= 2


def test_a_job_that_waits_for_another_is_resumed_by_it_and_keeps_none_from_starting() -> None:
    """Many more may wait than jobs may wait for a time: the one that they wait for may be among those."""
    ended: list[str] = []
    followers: list[int] = []

    async def main() -> list[str]:
        async def fetch(item: ScheduledJob[str]) -> str | Again:
            if item.job == "a:first" and item.again is None:
                return Again(0.01, None)
            if item.job == "a:first":
                ended.append(item.job)
                for number in followers:
                    run.resume(number)
            elif not ended and item.job != "a:other":
                followers.append(item.number)
                return Again(math.inf, None)
            return item.job

        jobs = ["a:first", *(f"a:{n}" for n in range(20)), "a:other"]
        it = shared(queue=Queue(waiting=4), priority=lambda _: 0)
        run: ScheduledRun[str, str] = it.run(iter(jobs), fetch)
        return await rest(run)

    results = asyncio.run(asyncio.wait_for(main(), 20))
    assert len(results) == 22
    assert results[0] == "a:other"
    assert len(followers) == 20


def test_jobs_that_wait_for_another_bound_what_is_read_ahead() -> None:
    read: list[int] = []

    def jobs() -> Iterator[str]:
        for n in range(500):
            read.append(n)
            yield f"a:{n}"

    async def main() -> None:
        numbers: list[int] = []

        async def fetch(item: ScheduledJob[str]) -> str | Again:
            if item.again is not None or item.number > 12:
                return item.job
            numbers.append(item.number)
            return Again(math.inf, None)

        run: ScheduledRun[str, str] = shared(queue=Queue(lookahead=10)).run(jobs(), fetch)
        collecting = asyncio.create_task(rest(run))
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(read) <= 10
        assert run.left == len(read)
        while numbers:
            run.resume(numbers.pop())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(await collecting) == 500

    asyncio.run(asyncio.wait_for(main(), 20))
