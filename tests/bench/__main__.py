"""``python -m tests.bench``: the command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import curves, tables
from tests.bench.rounds import Bench, installed, level
from tests.bench.works import MIB, Work, works


def options(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes, one round: does everything run, and right?"
    )
    parser.add_argument(
        "--only", default="", metavar="NAME,...", help="works and peers by name; fetchq always runs"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="of which the medians are shown (%(default)s)"
    )
    parser.add_argument(
        "--size", type=int, default=512, metavar="MIB", help="of the single large file (%(default)s)"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="work below DIR, on its disk (the system's temporary folder)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the Markdown there too")
    parser.add_argument(
        "--plots",
        nargs="?",
        const="",
        metavar="DIR",
        help="measure and draw the cost curves; without DIR into a new folder",
    )
    return parser.parse_args(argv)


def chosen(names: set[str], every: tuple[Work, ...]) -> list[Work]:
    """Return the works among *names*, or all when *names* speaks of peers only."""
    return [work for work in every if work.name in names] or list(every)


def main(argv: list[str] | None = None) -> int:
    """Run what the options ask for; 1 when a file was wrong or fetchq did not run."""
    asked = options(argv)
    every = works(large=asked.size * MIB, smoke=asked.smoke)
    names = set(filter(None, asked.only.split(",")))
    peers, absent = installed(names - {work.name for work in every})
    rounds = 1 if asked.smoke else asked.rounds
    with (
        tempfile.TemporaryDirectory(prefix="fetchq-bench-", dir=asked.dir) as folder,
        Bench(Path(folder), lambda line: print(line, file=sys.stderr)) as bench,
    ):
        if not asked.smoke:
            level(Path(folder))
        results = [(work, bench.run(work, peers, rounds)) for work in chosen(names, every)]
        served = bench.server
        if asked.plots is not None:
            target = Path(asked.plots or tempfile.mkdtemp(prefix="fetchq-curves-"))
            curves.draw(bench, peers, target, smoke=asked.smoke)
    text = tables.report(results, peers, absent, rounds, served)
    print(text)
    if asked.out:
        asked.out.write_text(text)
    wrong = tables.wrong(results)
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
