"""How wall time and memory grow with file size, number of files and latency, as pictures."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench.peers import Peer
from tests.bench.rounds import Bench, Scores
from tests.bench.works import KIB, MIB, File, Pace, Work, many

ROUNDS = 3
# Fast and slow, C and Python; more lines would hide each other.
SHOWN = ("fetchq", "aria2c", "curl", "parfive", "tutorial")


def sized(mib: float) -> Work:
    size = round(mib * MIB)
    return Work(f"size-{size}", "", (File(f"size-{size}.bin", size),), SHOWN)


def counted(count: float) -> Work:
    return Work("count", "", many("small", round(count), 10 * KIB), SHOWN, jobs=16)


def delayed(milliseconds: float) -> Work:
    shown = tuple(name for name in SHOWN if name != "tutorial")
    return Work(
        "delay", "", many("small", 160, 10 * KIB), shown, jobs=16, pace=Pace(latency=milliseconds / 1000)
    )


CURVES: tuple[tuple[str, str, Callable[[float], Work], tuple[float, ...]], ...] = (
    ("size", "size of the one file in MiB", sized, (1, 4, 16, 64, 256, 1024)),
    ("files", "number of 10 KiB files, 16 connections", counted, (1, 10, 100, 1000, 4000)),
    ("latency", "latency in ms, 160 files of 10 KiB, 16 connections", delayed, (1, 10, 30, 100, 200)),
)


def draw(bench: Bench, peers: Sequence[Peer], target: Path, *, smoke: bool) -> None:
    """Measure every curve and save it as PNG under *target*; only say so where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no curves: matplotlib is not installed", file=sys.stderr)
        return
    target.mkdir(parents=True, exist_ok=True)
    for name, label, work, values in CURVES:
        at = values[:2] if smoke else values
        points = [(value, bench.run(work(value), peers, 1 if smoke else ROUNDS)) for value in at]
        save(points, label, target / f"{name}.png")


def save(points: Sequence[tuple[float, Scores]], label: str, path: Path) -> None:
    importlib.import_module("matplotlib").use("Agg")
    plots: Any = importlib.import_module("matplotlib.pyplot")
    figure, (wall, memory) = plots.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name in points[0][1]:
        good = [(value, scores[name]) for value, scores in points if not scores[name].wrong]
        at = [value for value, _ in good]
        width = 2.2 if name == "fetchq" else 1.2
        wall.plot(at, [score.seconds for _, score in good], marker="o", label=name, linewidth=width)
        memory.plot(at, [score.peak / MIB for _, score in good], marker="o", label=name, linewidth=width)
    for axes, title in ((wall, "wall time in seconds"), (memory, "peak memory in MiB")):
        axes.set(xscale="log", yscale="log", xlabel=label, title=title)
        axes.grid(visible=True, which="both", alpha=0.25)
    wall.legend()
    figure.savefig(path, dpi=110)
    plots.close(figure)
    print(path, file=sys.stderr)
