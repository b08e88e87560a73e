"""Hosts that are simulated on a virtual clock."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from fetchq._connections import Budget
from fetchq._errors import FetchError, NetworkError, StatusError, TimedOutError
from fetchq._hosts import Hosts
from fetchq._models import Again
from fetchq._scheduler import ScheduledJob, Scheduler
from fetchq._settings import Queue

from .clock import VirtualLoop

GONE = NetworkError("gone")
BUSY = StatusError("busy", status=503, transient=True)


def limited(seconds: float | None = None, code: int = 429) -> StatusError:
    return StatusError("too often", status=code, transient=True, retry_after=seconds)


class World:
    """Hosts by the first letter of their names, as a fetch that takes virtual time.

    ``f``ast, ``s``low, ``d``ead (refuses after a while), ``h``ole (times out), ``t``ardy (takes 5 s),
    ``l``imited (20 requests a second, else 429 with Retry-After 5), ``n``ginx (the same with nothing but 503),
    ``u``nsteady (one 503 in ten), ``r``andom (every second one), ``c``losed (429 with Retry-After 600),
    ``e``nding (closed after 200 requests).
    """

    def __init__(self, jobs: int, settings: Queue | None = None) -> None:
        self.clock = asyncio.get_running_loop().time
        self.budget = Budget(jobs, jobs)
        self.hosts = Hosts(random=lambda: 0.5)
        self.scheduler: Scheduler[str] = Scheduler(
            lambda job: (job.partition(":")[0], 0),
            self.budget,
            settings or Queue(),
            self.hosts,
            clock=self.clock,
        )
        self.chance = random.Random(5)
        self.asked: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.ended: dict[str, float] = {}
        self.most: Counter[str] = Counter()
        self.running_at_once = 0
        # Requests under way, whether they count for the budget or not, and the most of them.
        self.open: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self._free: dict[str, float] = {}

    async def answer(self, name: str) -> FetchError | None:
        """The host's answer, after the time that it takes."""
        match name[0]:
            case "f":
                await asyncio.sleep(0.02)
            case "s":
                await asyncio.sleep(0.02)
                self.hosts.answered(name, self.clock(), self.clock())
                await asyncio.sleep(60.0)
            case "t":
                await asyncio.sleep(5.0)
            case "d":
                await asyncio.sleep(3.0)
                return GONE
            case "h":
                await asyncio.sleep(30.0)
                return TimedOutError("late")
            case "e" if self.asked[name] <= 200:
                await asyncio.sleep(0.02)
            case "c" | "e":
                await asyncio.sleep(0.02)
                return limited(600.0)
            case "u" | "r":
                await asyncio.sleep(0.02)
                return BUSY if self.chance.random() < (0.1 if name[0] == "u" else 0.5) else None
            case "l" | "n":
                await asyncio.sleep(0.005)
                free = self._free.get(name, 0.0)
                if self.clock() < free - 1e-6:
                    self.refused[name] += 1
                    return limited(5.0) if name[0] == "l" else BUSY
                self._free[name] = max(free, self.clock()) + 0.05
        return None

    async def fetch(self, item: ScheduledJob[str]) -> str | Again:
        name, began = item.host, self.clock()
        self.running_at_once = max(self.running_at_once, self.scheduler.running)
        if item.refused is not None:
            await asyncio.sleep(0.001)
            self.ended[item.job] = began
            return f"failed {item.job}"
        self.asked[name] += 1
        self.hosts.asked(name, began)
        self.most[name] = max(self.most[name], self.budget.held(name))
        self.open[name] += 1
        self.most_open[name] = max(self.most_open[name], self.open[name])
        try:
            error = await self.answer(name)
        finally:
            self.open[name] -= 1
        if error is None:
            self.hosts.answered(name, began, self.clock(), relents=item.again is not None)
            self.ended[item.job] = self.clock()
            return f"done {item.job}"
        held = self.budget.held(name)
        again = item.again is not None
        self.hosts.failed(name, error, began=began, now=self.clock(), held=held, again=again)
        if self.hosts.is_dead(name):
            self.ended[item.job] = self.clock()
            return f"failed {item.job}"
        return Again(0.5, None, in_line=self.hosts.is_closed(name))


def simulate(names: list[str], jobs: int) -> tuple[World, Counter[str]]:
    async def main() -> tuple[World, Counter[str]]:
        world = World(jobs)
        run = world.scheduler.run(iter(names), world.fetch)
        results: Counter[str] = Counter()
        while (result := await run.next()) is not None:
            word, _, job = result.partition(" ")
            results[f"{job[0]} {word}"] += 1
        assert world.budget.used == 0
        return world, results

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def queue(*hosts: tuple[str, int]) -> list[str]:
    return [f"{name}:{n}" for name, count in hosts for n in range(count)]
