"""``python -m tests.faults_table``: the table of faults against programs, as Markdown."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults_table.faults import FAULTS, Fault
from tests.faults_table.tools import TOOLS, Tool
from tests.faults_table.trial import LEGEND, Outcome, Verdict, trial

Outcomes = Mapping[tuple[str, str], Outcome]

PREAMBLE = """\
Each fault is met by each program on its own, over loopback, with the flags below: the best it has for
resuming, retrying and giving up. What counts is the last exit code and what stands under the final name.
"""
NOTES = """
† the file cannot be had, or not yet: 🟡 is the best end.

All but fetchq write under the final name from the start, so that a failure of theirs that leaves bytes is 🟠;
aria2c and axel mark such a file by another one beside it. curl's own retries start over from the first byte.
aria2c's least speed is not set: it ends a silent download instead of trying again.
"""


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults_table", description=__doc__)
    parser.add_argument("--tools", default="", metavar="NAME,...", help="only these")
    parser.add_argument("--only", default="", metavar="WORDS", help="only faults whose title holds WORDS")
    parser.add_argument(
        "--at-once", type=int, default=8, metavar="N", help="trials at the same time (%(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the Markdown there too")
    return parser.parse_args(argv)


def play(faults: Sequence[Fault], tools: Sequence[Tool], at_once: int) -> Outcomes:
    """Play every fault to every tool, some at a time: most of a trial is waiting."""
    pairs = [(fault, tool) for fault in faults for tool in tools]

    def one(pair: tuple[Fault, Tool]) -> Outcome:
        fault, tool = pair
        outcome = trial(tool, fault)
        print(f"{outcome.verdict.value} {tool.name:7} {fault.title}: {outcome.why}", file=sys.stderr)
        return outcome

    with ThreadPoolExecutor(at_once) as pool:
        outcomes = pool.map(one, pairs)
        return {
            (fault.title, tool.name): outcome for (fault, tool), outcome in zip(pairs, outcomes, strict=True)
        }


def report(faults: Sequence[Fault], tools: Sequence[Tool], outcomes: Outcomes) -> str:
    names = [tool.name for tool in tools]
    rows = [
        [
            f"{fault.title}{' †' if fault.hopeless else ''}",
            *(outcomes[fault.title, name].verdict.value for name in names),
        ]
        for fault in faults
    ]
    sums = [[f"**{verdict.value} in all**", *counts(verdict, faults, names, outcomes)] for verdict in Verdict]
    table = [["fault", *names], ["---", *(":-:" for _ in names)], *rows, *sums]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    legend = [f"{verdict.value} {meaning}" for verdict, meaning in LEGEND.items()]
    flags = [f"- {tool.version()}: `{tool.shown()}`" for tool in tools]
    return "\n".join([PREAMBLE, *lines, "", "; ".join(legend) + ".", NOTES, *flags]) + "\n"


def counts(verdict: Verdict, faults: Sequence[Fault], names: Sequence[str], outcomes: Outcomes) -> list[str]:
    seen = Counter((name, outcomes[fault.title, name].verdict) for fault in faults for name in names)
    return [str(seen[name, verdict]) for name in names]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table of what is installed."""
    asked = options(argv)
    wanted = set(filter(None, asked.tools.split(",")))
    tools = [tool for tool in TOOLS if tool.installed() and (not wanted or tool.name in wanted)]
    faults = [fault for fault in FAULTS if asked.only in fault.title]
    text = report(faults, tools, play(faults, tools, asked.at_once))
    print(text)
    if asked.out:
        asked.out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
