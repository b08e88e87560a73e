"""One program against one fault: run, and judge what it left."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.faults_table.faults import REACHED, Fault, Then, reaches
from tests.faults_table.tools import NAME, Tool
from tests.origin import Origin, Resource, hang, sign, stall

ROOT = Path(__file__).parents[2]
FOREIGN = b"something of the user's own\n" * 100
# Long enough for a program that saves its state every second to have done so.
SETTLED = 1.5


class Verdict(Enum):
    """How it ended, best first."""

    RIGHT = "✅"
    CLEAN = "🟡"
    PARTIAL = "🟠"
    WRONG = "❌"
    HANGS = "⏳"
    NONE = "n/a"


LEGEND = {
    Verdict.RIGHT: "the right file",
    Verdict.CLEAN: "a clean failure: it says so, and nothing stands under the final name",
    Verdict.PARTIAL: "it says that it failed, but an unfinished or wrong file stands under the final name",
    Verdict.WRONG: "success reported, and the file wrong or not there; or a file of the user's spoilt",
    Verdict.HANGS: "did not end within the bound",
    Verdict.NONE: "does not apply",
}


@dataclass(frozen=True)
class Outcome:
    """The verdict, and what a reader needs to believe it."""

    verdict: Verdict
    why: str


class Trial:
    """A directory, an origin and a program; :meth:`run` plays the fault through once."""

    def __init__(self, tool: Tool, fault: Fault, origin: Origin, folder: Path) -> None:
        self._tool = tool
        self._fault = fault
        self._origin = origin
        self._target = folder / "target"
        self._target.mkdir()
        self._home = folder / "home"
        self._home.mkdir()
        self._codes: list[int] = []

    def run(self) -> Outcome:
        fault = self._fault
        if fault.then is Then.SIDECAR and not self._tool.sidecar:
            return Outcome(Verdict.NONE, "keeps no sidecar")
        if fault.then is Then.TAKEN:
            self._final.write_bytes(FOREIGN)
        if fault.then in {Then.KILL, Then.AGAIN, Then.SIDECAR}:
            self._killed()
        if fault.then is Then.KILL:
            return self._judge()
        if fault.then is Then.SIDECAR:
            self._zero_sidecar()
        if fault.then is Then.FULL:
            self._full()
        return self._last()

    @property
    def _final(self) -> Path:
        return self._target / NAME

    @property
    def _wanted(self) -> Resource:
        """What the last run is served first."""
        if self._fault.then is Then.NOTHING:
            return self._fault.resource
        return self._fault.newer or self._fault.resource

    def _last(self) -> Outcome:
        url = self._serve()
        processes = [self._start(url)]
        if self._fault.then is Then.TWO:
            time.sleep(SETTLED)
            processes.append(self._start(url))
        deadline = time.monotonic() + self._fault.bound
        for process in processes:
            try:
                self._codes.append(process.wait(max(0.0, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                for each in processes:
                    kill(each)
                return Outcome(Verdict.HANGS, f"after {self._fault.bound:g} s")
        return self._judge()

    def _serve(self) -> str:
        behave = self._fault.behave()
        if not self._fault.signed:
            return self._origin.serve(f"/{NAME}", self._wanted, behave, repeat=True)
        self._origin.serve("/store/a.bin", self._wanted, behave, repeat=True)
        return self._origin.serve(f"/{NAME}", self._wanted, sign("/store/a.bin"), repeat=True)

    def _killed(self) -> None:
        """Let it come to a certain byte, and kill it there."""
        url = self._origin.serve(f"/{NAME}", self._fault.resource, reaches(stall, hang), repeat=True)
        process = self._start(url)
        deadline = time.monotonic() + 10
        while self._origin.sent < REACHED and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        time.sleep(SETTLED)
        kill(process)
        self._codes.append(process.returncode)

    def _full(self) -> None:
        """Run it where no file may grow beyond a certain byte."""
        url = self._origin.serve(f"/{NAME}", self._fault.resource)
        blocks = REACHED // 512
        process = self._start(url, "sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh")
        try:
            process.wait(self._fault.bound)
        except subprocess.TimeoutExpired:
            kill(process)

    def _zero_sidecar(self) -> None:
        sidecar = self._target / str(self._tool.sidecar)
        if sidecar.exists():
            sidecar.write_bytes(bytes(sidecar.stat().st_size))

    def _start(self, url: str, *before: str) -> subprocess.Popen[bytes]:
        sha256 = self._wanted.sha256 if self._fault.known else ""
        return subprocess.Popen(
            [*before, *self._tool.argv(url, self._target, sha256)],
            cwd=self._target,
            env=environment(self._home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _judge(self) -> Outcome:
        success = 0 in self._codes[-2 if self._fault.then is Then.TWO else -1 :]
        found = {path.name: path.read_bytes() for path in self._target.iterdir() if path.is_file()}
        why = f"exit {self._codes}, left { ({name: len(data) for name, data in found.items()}) }"
        if self._fault.then is Then.TAKEN:
            return Outcome(self._beside_foreign(found, success=success), why)
        if success:
            return Outcome(Verdict.RIGHT if self._whole(found.get(NAME, b"")) else Verdict.WRONG, why)
        return Outcome(Verdict.PARTIAL if NAME in found else Verdict.CLEAN, why)

    def _beside_foreign(self, found: Mapping[str, bytes], *, success: bool) -> Verdict:
        if found.get(NAME) != FOREIGN:
            return Verdict.WRONG
        if not success:
            return Verdict.CLEAN
        return Verdict.RIGHT if any(map(self._whole, found.values())) else Verdict.WRONG

    def _whole(self, data: bytes) -> bool:
        """Whether *data* is one version of the file, from its first byte to its last."""
        versions = {self._wanted.sha256, (self._fault.newer or self._wanted).sha256}
        return hashlib.sha256(data).hexdigest() in versions


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program that we started, and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(home: Path) -> Mapping[str, str]:
    """Nobody's own configuration or proxies; our package."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


def trial(tool: Tool, fault: Fault) -> Outcome:
    """Play *fault* to *tool* in a folder and against an origin of their own."""
    with tempfile.TemporaryDirectory(prefix="fetchq-fault-") as folder, Origin() as origin:
        return Trial(tool, fault, origin, Path(folder)).run()
