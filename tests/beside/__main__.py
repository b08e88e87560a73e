"""Make servers by chance, and tell where fetchq does worse than curl and wget."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random

from .programs import BAD, Seen, Verdict, judge, meet
from .scenario import Scenario, by_chance, simpler

Meet = Callable[[Scenario], Awaitable[Mapping[str, Seen]]]


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.beside", description=__doc__)
    parser.add_argument("--fuzz", type=int, default=100, metavar="N", help="scenarios to make (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="the same scenarios again (%(default)s)"
    )
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="at the same time (%(default)s)")
    parser.add_argument("--lenient", action="store_true", help="show too what fetchq alone gets")
    return parser.parse_args(argv)


async def shrink(scenario: Scenario, meet: Meet = meet) -> tuple[Scenario, Mapping[str, Seen]]:
    """Leave away what is not needed for the same verdict; return what remains, and how it ends."""
    seen = await meet(scenario)
    wanted = judge(seen)
    shrunk = True
    while shrunk:
        shrunk = False
        for less in simpler(scenario):
            other = await meet(less)
            if judge(other) is wanted:
                scenario, seen, shrunk = less, other, True
                break
    return scenario, seen


def told(verdict: Verdict, scenario: Scenario, seen: Mapping[str, Seen]) -> str:
    lines = [f"{verdict.name} {scenario.told()}"]
    for name, ended in seen.items():
        size = "no file" if ended.body is None else f"{len(ended.body)} bytes"
        place = " ".join(ended.place or ())
        cookies = f" {'; '.join(sorted(ended.cookies))}" if ended.cookies else ""
        last = ended.words.splitlines()[-1][:200] if ended.words else ""
        lines.append(f"    {name:6} exit {ended.code}, {size}, {place}{cookies} {last}".rstrip())
    return "\n".join(lines)


async def run(asked: argparse.Namespace) -> int:
    dice = Random(asked.seed)
    scenarios = [by_chance(dice) for _ in range(asked.fuzz)]
    shown = BAD + ((Verdict.LENIENT,) if asked.lenient else ())
    counts: Counter[Verdict] = Counter()
    reports: set[str] = set()
    gate = asyncio.Semaphore(asked.at_once)

    async def one(scenario: Scenario) -> None:
        async with gate:
            first = await meet(scenario)
            verdict = judge(first)
            least, seen = await shrink(scenario) if verdict in shown else (scenario, first)
            if judge(seen) is not verdict:
                print(f"not again: {told(verdict, scenario, first)}", flush=True)
                # On a busy machine programs come to their bounds.
                verdict = judge(seen) if verdict is Verdict.CRASH else verdict
            elif verdict in shown and least.told() not in reports:
                reports.add(least.told())
                print(told(verdict, least, seen), flush=True)
            counts[verdict] += 1

    await asyncio.gather(*map(one, scenarios))
    sums = ", ".join(f"{verdict.name} {counts[verdict]}" for verdict in Verdict if counts[verdict])
    print(f"{sums} of {asked.fuzz}; {len(reports)} different")
    return 1 if any(counts[verdict] for verdict in BAD) else 0


def main(argv: Sequence[str] | None = None) -> int:
    missing = [name for name in ("curl", "wget") if shutil.which(name) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    return asyncio.run(run(options(argv)))


if __name__ == "__main__":
    sys.exit(main())
