"""Leases on jobs: several runs share one queue through the store, and none does what another has in hand.

A run that is alone leases nothing, so that this costs it nothing per job. Each run has a row in ``runs``, which
it renews while it lives. One that begins beside others waits until these share: each looks for new runs every
``TICK`` seconds, then writes down which jobs it has in hand, and from then on asks the table before it begins
one. The leases of a run that has died are void at once where its process can be looked up, else when its row
expires. They stay in the table until the jobs are taken over, for they tell who had begun them.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeVar

from .._errors import StoreError
from .database import LOCKED_WAIT, OPEN_TIMEOUT, LockedStoreError

__all__ = ["Leases"]

T = TypeVar("T")

# Seconds between two looks for other runs; one that begins beside this one waits for it.
TICK = 0.5
# Seconds for which a row is valid, so that a run that does not go on loses its jobs, and between two renewals.
VALID = 30.0
RENEW = 5.0
# Seconds between two looks whether the others share yet.
POLL = 0.05
# A machine, a process id, and when that process began.
_PROCESS = re.compile(r"\S+ [0-9]{1,10} \S+")


class Transact(Protocol):
    """Runs a function with the writer's connection in one transaction, in the writer's thread."""

    def __call__(self, work: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
        """Return what *work* returns.

        :raises StoreError: the transaction failed.
        """


class _OtherRun(NamedTuple):
    owner: str
    process: str
    shares: bool


class Leases:
    """What this run has in hand. To be used in the event loop's thread.

    :param clock: returns seconds since the epoch.
    :param warn: called once with a sentence when a job is left to another run.
    :ivar owner: the name of this run.
    :ivar orphaned: called before the first job of each run that has died is begun: its files are not on record.
    """

    def __init__(self, transact: Transact, clock: Callable[[], float], warn: Callable[[str], None]) -> None:
        self._transact = transact
        self._clock = clock
        self._warn = warn
        self.orphaned: Callable[[], None] = lambda: None
        self._dead: set[str] = set()
        self.owner = os.urandom(16).hex()
        self._in_hand: set[str] = set()
        self._renewed_at = 0.0
        self._told = False
        # Since when another program's lock has kept this run from beginning jobs.
        self._locked_at: float | None = None
        self._told_locked = False
        self._ticker: asyncio.Task[None] | None = None
        self.shared = False

    async def join(self) -> None:
        """Enter the run, and wait until all others that live know that they are not alone."""
        with suppress(StoreError):
            others = await self._entered()
            self.shared = bool(others)
            self._ticker = asyncio.create_task(self._tick())
            deadline = self._clock() + VALID
            while not all(run.shares for run in others) and self._clock() < deadline:
                await asyncio.sleep(POLL)
                others = await self._transact(self._others)

    async def _entered(self) -> list[_OtherRun]:
        # Not every lock is waited for by SQLite, such as that of a run that closes the store just now.
        deadline = self._clock() + LOCKED_WAIT
        while True:
            try:
                return await self._transact(self._enter)
            except LockedStoreError:
                if self._clock() > deadline:
                    self.join_later()
                    raise
            await asyncio.sleep(POLL)

    def join_later(self) -> None:
        """Enter the run as soon as the store can be written; jobs are begun meanwhile."""
        self._ticker = asyncio.create_task(self._tick())

    async def claim(self, key: str) -> bool:
        """Take a job in hand; False if another run has it, or another program the store, which cannot tell.

        A store that fails keeps no run from its jobs, and one that is locked does so for a while only.
        """
        holder = begun_by = None
        if self.shared:
            try:
                begun_by, holder = await self._transact(lambda connection: self._claim(connection, key))
                self._locked_at = None
            except LockedStoreError as error:
                if self._may_wait(error):
                    return False
                # Another look at the table comes with the next tick.
                self.shared = False
            except StoreError:
                pass
        if holder is None:
            self._in_hand.add(key)
            if begun_by is not None and begun_by not in self._dead:
                self._dead.add(begun_by)
                self.orphaned()
            return True
        if not self._told:
            self._told = True
            self._warn(f"Process {_pid(holder)} works on this queue too: what it has begun is waited for.")
        return False

    def _may_wait(self, error: LockedStoreError) -> bool:
        now = self._clock()
        if self._locked_at is None:
            self._locked_at = now
        if now - self._locked_at > OPEN_TIMEOUT and not self._told_locked:
            self._told_locked = True
            self._warn(
                f"{error.reason}: no job is begun until that lets it go, for {LOCKED_WAIT:.0f} seconds at most."
            )
        return now - self._locked_at < LOCKED_WAIT

    def release(self, keys: Iterable[str]) -> None:
        """Let go of jobs that ended, or were given up."""
        keys = list(keys)
        self._in_hand.difference_update(keys)
        if self.shared and keys:
            rows = [(key, self.owner) for key in keys]
            _forget(
                self._transact(
                    lambda connection: connection.executemany(
                        "DELETE FROM leases WHERE key = ? AND owner = ?", rows
                    )
                )
            )

    async def leave(self) -> None:
        """Let go of everything."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait({self._ticker})
            with suppress(StoreError):
                await self._transact(self._leave)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            with suppress(StoreError):
                others = [] if self.shared else await self._transact(self._others)
                if others:
                    # From here on jobs are asked for; those in hand are written down before the first of these.
                    self.shared = True
                    await self._transact(self._publish)
                elif self._clock() - self._renewed_at > RENEW:
                    await self._transact(self._publish)

    # --- within a transaction, in the writer's thread

    def _enter(self, connection: sqlite3.Connection) -> list[_OtherRun]:
        others = self._others(connection)
        if not others:
            connection.execute("DELETE FROM leases")
        self._write_row(connection, shares=bool(others))
        return others

    def _leave(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM runs WHERE owner = ?", (self.owner,))
        # The last one sweeps up what dead runs have left.
        connection.execute(
            "DELETE FROM leases WHERE owner = ? OR NOT EXISTS (SELECT 1 FROM runs)", (self.owner,)
        )

    def _publish(self, connection: sqlite3.Connection) -> None:
        """Renew the row, and write down what is in hand unless another run has taken it."""
        self._write_row(connection, shares=self.shared)
        if self.shared:
            rows = [(key, self.owner) for key in self._in_hand.copy()]
            connection.executemany("INSERT OR IGNORE INTO leases VALUES (?, ?)", rows)

    def _write_row(self, connection: sqlite3.Connection, *, shares: bool) -> None:
        self._renewed_at = self._clock()
        row = (self.owner, _this_process(), self._renewed_at + VALID, shares)
        connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)", row)

    def _others(self, connection: sqlite3.Connection) -> list[_OtherRun]:
        """Return the other runs that live; those that are dead are removed."""
        found = connection.execute(
            "SELECT owner, process, shares, expires FROM runs WHERE owner != ?", (self.owner,)
        ).fetchall()
        others, now = [], self._clock()
        for owner, process, shares, expires in found:
            # A date far ahead is of a clock that was set back since.
            valid = type(expires) is float and now <= expires <= now + 2 * VALID
            if valid and _PROCESS.fullmatch(str(process)) and _may_live(process):
                others.append(_OtherRun(owner, process, bool(shares)))
            else:
                connection.execute("DELETE FROM runs WHERE owner = ?", (owner,))
        return others

    def _claim(self, connection: sqlite3.Connection, key: str) -> tuple[str | None, str | None]:
        """Lease a job; return the other run that has begun it, and the process of that if it lives.

        A job that no living run has is this one's now.
        """
        row = connection.execute("SELECT owner FROM leases WHERE key = ?", (key,)).fetchone()
        begun_by = None if row is None or row[0] == self.owner else row[0]
        if begun_by is not None:
            for run in self._others(connection):
                if run.owner == begun_by:
                    return begun_by, run.process
        connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?)", (key, self.owner))
        return begun_by, None


def _forget(work: Awaitable[object]) -> None:
    """Do *work* without waiting for it; its errors concern nobody."""
    asyncio.ensure_future(work).add_done_callback(lambda task: task.cancelled() or task.exception())


def _this_process() -> str:
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def _pid(process: str) -> str:
    return process.split()[1]


def _may_live(process: str) -> bool:
    """Whether a process may be running: False only where it is known not to."""
    machine, pid, began = process.split()
    return machine != _machine() or machine == UNKNOWN or _started(int(pid)) == began


UNKNOWN = "?"


def _machine() -> str:
    """Return what tells this boot of this machine, and this space of process ids, from all others."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return UNKNOWN


def _started(pid: int) -> str:
    """Return when a process of this machine began, in clock ticks since boot; "-" if it does not run."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, *fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return "-"
    # Fields 20 and 22 of proc(5). A process that was killed is a zombie as soon as its first thread has ended;
    # the others may hold its locks still, and be in the middle of making a file.
    ended = state in {b"Z", b"X"} and int(fields[16]) <= 1
    return "-" if ended else fields[18].decode("ascii")
