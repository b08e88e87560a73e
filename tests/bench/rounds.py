"""Run works: everyone in turn, round after round, every file checked, nothing left over."""

from __future__ import annotations

import hashlib
import os
import site
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.bench.measure import Run, run
from tests.bench.peers import PEERS, Errand, Peer
from tests.bench.web import Web
from tests.bench.works import Work

ROOT = Path(__file__).parents[2]
# Ten times what the slowest peer needs for the longest work.
BOUND = 600.0


@dataclass
class Score:
    """The runs of one program at one work, and the first thing that went wrong."""

    runs: list[Run] = field(default_factory=list)
    wrong: str = ""

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> int:
        return max(run.peak for run in self.runs)


Scores = dict[str, Score]


class Bench:
    """A temporary folder with servers over it, in which works are run.

    :param folder: empty; what is downloaded goes below it, so it decides which disk is measured.
    :param tell: receives a line about each run.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._served = folder / "served"
        self._target = folder / "target"
        self._spent = folder / "spent"
        self._scratch = folder / "scratch"
        self._tell = tell
        self._digests: dict[str, str] = {}
        self._stack = ExitStack()
        for path in (self._served, self._scratch, self._spent):
            path.mkdir()
        self._web = self._stack.enter_context(Web(self._served, self._scratch))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def server(self) -> str:
        """The web server's name."""
        return self._web.name

    def run(self, work: Work, peers: Sequence[Peer], rounds: int) -> Scores:
        """Let every one of *peers* that takes part in *work* do it *rounds* times."""
        for file in work.files:
            if file.name not in self._digests:
                self._digests[file.name] = file.write(self._served)
        competing = [peer for peer in peers if peer.name in work.peers]
        scores = {peer.name: Score() for peer in competing}
        for number in range(min(rounds, work.rounds)):
            turn = number % len(competing)
            ordered = work.shuffled(number)
            for peer in (*competing[turn:], *competing[:turn]):
                self._once(peer, ordered, scores[peer.name])
        return scores

    def _once(self, peer: Peer, work: Work, score: Score) -> None:
        self._target.mkdir()
        try:
            errand = Errand.prepare(work, self._web.base(work), self._target, self._web.cacert, self._scratch)
            done = run(peer.argv(errand), cwd=self._target, env=self._environment(), bound=BOUND)
            score.runs.append(done)
            score.wrong = score.wrong or self._wrong(work, done)
        finally:
            self._set_aside()
        self._tell(
            f"{work.name:8} {peer.name:15} {done.seconds:8.3f} s  {done.cpu:7.3f} s CPU  "
            f"{done.peak / 2**20:6.1f} MiB  {score.wrong}"
        )

    def _set_aside(self) -> None:
        """Free the space of the files and keep their names, for the reason in :func:`level`."""
        for path in self._target.rglob("*"):
            if path.is_file():
                os.truncate(path, 0)
        self._target.rename(self._spent / str(len(list(self._spent.iterdir()))))

    def _wrong(self, work: Work, done: Run) -> str:
        if done.code:
            return f"exit {done.code}: {done.said[-300:]}"
        for file in work.files:
            path = self._target / file.name
            if not path.is_file():
                return f"{file.name} is missing"
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != self._digests[file.name]:
                    return f"{file.name} is wrong"
        return ""

    def _environment(self) -> Mapping[str, str]:
        """Nobody's own configuration, proxies or certificates; our package and this interpreter's modules."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        return kept | {
            "HOME": str(self._scratch),
            "PYTHONPATH": str(ROOT),
            "PYTHONUSERBASE": site.getuserbase(),
            # axel and aiohttp have no option for it.
            "SSL_CERT_FILE": str(self._web.cacert),
        }


def level(folder: Path) -> None:
    """Make new files cost in *folder* what they cost anywhere.

    ext4 looks at every inode that was freed in the last minutes before it gives one out: after some thousand
    deletions a new file costs 0.7 ms instead of 0.03. So we use them up here, and delete nothing until the end.
    """
    for batch in range(60):
        started = time.perf_counter()
        for number in range(1000):
            (folder / f"level-{batch}-{number}").touch()
        if time.perf_counter() - started < 0.1:
            return


def installed(names: Iterable[str] = ()) -> tuple[list[Peer], list[str]]:
    """Find the programs on this machine, of *names* only when given; and the names of those that are not."""
    wanted = [
        peer
        for peer in PEERS
        if not names or peer.name == "fetchq" or peer.needs in names or peer.name in names
    ]
    here = [peer for peer in wanted if peer.installed()]
    return here, [peer.name for peer in wanted if peer not in here]
