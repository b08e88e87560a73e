"""Run one program and tell its wall time, CPU time and peak memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Linux counts into a process's peak what it was before exec: a copy of whoever started it. So an interpreter
# without site starts the program, and no peak reads less than that interpreter's 9 MiB.
LAUNCHER = """
import os, sys, time
report = int(sys.argv[1])
os.set_inheritable(report, False)
started = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - started
code = os.waitstatus_to_exitcode(status)
os.write(report, f"{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss} {code}".encode())
"""


@dataclass(frozen=True)
class Run:
    """What one run of a program cost, in seconds and bytes, and how it ended."""

    seconds: float
    cpu: float
    peak: int
    code: int
    said: str


def run(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], bound: float) -> Run:
    """Run *argv* to its end, or kill it after *bound* seconds (code -9)."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output, open(reader, "rb") as report:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", LAUNCHER, str(writer), *argv],
                cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                pass_fds=(writer,), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(writer)
        try:
            process.wait(bound)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        figures = report.read().split()
        output.seek(0)
        said = output.read()[-2000:].decode(errors="replace").strip()
    if not figures:
        return Run(bound, 0.0, 0, -9, said)
    seconds, cpu, peak, code = figures
    return Run(float(seconds), float(cpu), int(peak) * 1024, int(code), said)
