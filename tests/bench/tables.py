"""What was measured, as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from tests.bench.peers import Peer
from tests.bench.rounds import Score, Scores
from tests.bench.works import MIB, Work

# What everything fetchq does must fit in.
PEAK = 80 * MIB
PREAMBLE = """\
{machine} {server} serves at full speed; an origin that waits and holds back plays the far servers, where the
first answer of a connection takes its latency twice, as the handshake would. Medians of {rounds} interleaved
rounds (at most 3 with the far servers), every file checked by sha256. A ratio is the other's wall time over
fetchq's: above 1 fetchq is faster. In brackets the goal. Peak memory reads 9 MiB at least.
"""
Results = Sequence[tuple[Work, Scores]]


def report(results: Results, peers: Sequence[Peer], absent: Sequence[str], rounds: int, server: str) -> str:
    """Return the whole report: the summary, what each program cost, and how each was called."""
    parts = [
        "## fetchq against others\n",
        PREAMBLE.format(machine=machine(), rounds=rounds, server=server),
        summary(results, peers),
        "\n## Details\n",
        details(results),
        "\n## How each was called\n",
        calls(results, peers),
        "\nReleases: "
        + ", ".join(f"{peer.name} {peer.version()}" for peer in peers if " " not in peer.name)
        + ".",
    ]
    if absent:
        parts.append(f"\nNot installed here: {', '.join(absent)}.")
    return "\n".join(parts) + "\n"


def summary(results: Results, peers: Sequence[Peer]) -> str:
    others = [peer.name for peer in peers if peer.name != "fetchq"]
    rows = [["work", "fetchq", *others, "fetchq's own goals"]]
    for work, scores in results:
        ours = scores.get("fetchq")
        ratios = [ratio(work, scores, name) for name in others]
        rows.append([work.title, figure(work, ours), *ratios, "; ".join(own(work, ours))])
    used = [column for column in range(len(rows[0])) if any(row[column] != "" for row in rows[1:])]
    return table([[row[column] for column in used] for row in rows])


def ratio(work: Work, scores: Scores, name: str) -> str:
    """Return the ratio of *name* at *work* with its goal; nothing when it has no part in it."""
    ours, theirs = scores.get("fetchq"), scores.get(name)
    if theirs is None:
        return ""
    if not usable(theirs):
        return "failed"
    if not usable(ours) or ours is None:
        return "?"
    value = theirs.seconds / ours.seconds
    goal = work.goals.get(name)
    return f"{value:.2f}" if goal is None else f"**{value:.2f}** ({goal:g} {mark(value >= goal)})"


def figure(work: Work, score: Score | None) -> str:
    if score is None or not usable(score):
        return "failed"
    if len(work.files) > 1 and work.total < len(work.files) * MIB:
        return f"{score.seconds:.2f} s, {len(work.files) / score.seconds:,.0f} files/s"
    if work.total > MIB:
        return f"{score.seconds:.2f} s, {work.total / score.seconds / 1e6:,.0f} MB/s"
    return f"{score.seconds:.3f} s"


def own(work: Work, score: Score | None) -> list[str]:
    """Return how fetchq compares with the goals that need no peer."""
    if score is None or not usable(score):
        return []
    said = [goal(f"{score.peak / MIB:.0f} MiB", PEAK / MIB, score.peak <= PEAK)]
    if work.wall < float("inf"):
        said.append(goal(f"{score.seconds:.3f} s", work.wall, score.seconds <= work.wall))
    if work.cpu < float("inf"):
        each = score.cpu / len(work.files)
        said.append(goal(f"{each * 1e6:.0f} us CPU a file", work.cpu * 1e6, each <= work.cpu))
    bound = work.bound()
    if bound and work.over < float("inf"):
        over = score.seconds / bound
        said.append(goal(f"{over:.2f} of the bound {bound:.2f} s", work.over, over <= work.over))
    return said


def goal(text: str, limit: float, met: bool) -> str:
    return f"{text} ({limit:g} {mark(met)})"


def mark(met: bool) -> str:
    return "✓" if met else "✗"


def details(results: Results) -> str:
    rows = [["work", "program", "wall", "fastest to slowest", "CPU", "CPU a file", "peak memory"]]
    for work, scores in results:
        for name, score in scores.items():
            if not usable(score):
                rows.append([work.name, name, f"failed: {first_line(score.wrong)}", "", "", "", ""])
                continue
            times = [run.seconds for run in score.runs]
            each = f"{score.cpu / len(work.files) * 1e6:,.0f} us" if len(work.files) > 1 else ""
            rows.append(
                [
                    work.name,
                    name,
                    f"{score.seconds:.3f} s",
                    f"{min(times):.3f} to {max(times):.3f}",
                    f"{score.cpu:.3f} s",
                    each,
                    f"{score.peak / MIB:.0f} MiB",
                ]
            )
    return table(rows)


def calls(results: Results, peers: Sequence[Peer]) -> str:
    by_name = {peer.name: peer for peer in peers}
    works_of: dict[tuple[str, str], list[str]] = {}
    for work, scores in results:
        for name in scores:
            works_of.setdefault((name, by_name[name].shown(work)), []).append(work.name)
    rows = [[name, f"`{command}`", ", ".join(names)] for (name, command), names in sorted(works_of.items())]
    return table([["program", "command", "works"], *rows])


def wrong(results: Results) -> list[str]:
    """Name every program that failed or left a wrong file, and fetchq where it did not run."""
    said = [
        f"{work.name}: {name}: {score.wrong}"
        for work, scores in results
        for name, score in scores.items()
        if score.wrong
    ]
    return said + [f"{work.name}: fetchq did not run" for work, scores in results if "fetchq" not in scores]


def usable(score: Score | None) -> bool:
    return score is not None and bool(score.runs) and not score.wrong


def first_line(text: str) -> str:
    return text.splitlines()[-1][:80].replace("|", "/") if text else ""


def machine() -> str:
    """Name the machine: processor, cores, memory, system, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}; servers on loopback, on the same cores."
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
