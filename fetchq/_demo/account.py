"""What became of each file, as a table for people."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from .._events import AttemptFailed, Event, JobFinished, JobStarted, Planned, Progressed
from .._models import Result
from .._units import size
from .server import Offer

__all__ = ["Account", "right", "table"]

# The columns that are aligned at their last digit: retries, and bytes that came twice.
NUMBERS = (3, 4)


@dataclass(slots=True)
class Deeds:
    """What fetchq did about one file."""

    plans: list[Planned] = field(default_factory=list)
    failures: list[AttemptFailed] = field(default_factory=list)
    connections: int = 1

    def words(self) -> str:
        """Say it in a few words."""
        later = self.plans[1:]
        resumed = [plan.start for plan in later if plan.kind == "resume"]
        told = []
        if resumed:
            told.append(
                f"resumed at {size(resumed[0])}" if len(resumed) == 1 else f"resumed {len(resumed)} times"
            )
        if any(plan.kind in {"fresh", "restart"} for plan in later):
            told.append("started over")
        if any(failure.error.retry_after is not None for failure in self.failures):
            told.append("waited as asked")
        if self.connections > 1:
            told.append(f"up to {self.connections} connections")
        return ", ".join(told) or "fetched it"


class Account:
    """An observer that keeps what is worth telling of each job, by its id."""

    def __init__(self) -> None:
        self._ids: dict[int, str] = {}
        self.deeds: defaultdict[str, Deeds] = defaultdict(Deeds)
        self.results: dict[str, Result] = {}

    def __call__(self, event: Event) -> None:
        """Take note of *event*."""
        if isinstance(event, JobStarted):
            self._ids[event.number] = event.id or ""
        elif isinstance(event, JobFinished):
            self.results[event.result.job.id or ""] = event.result
        elif isinstance(event, Planned):
            self._of(event.number).plans.append(event)
        elif isinstance(event, AttemptFailed):
            self._of(event.number).failures.append(event)
        elif isinstance(event, Progressed):
            deeds = self._of(event.number)
            deeds.connections = max(deeds.connections, event.connections)

    def _of(self, number: int) -> Deeds:
        return self.deeds[self._ids.get(number, "")]


def right(offer: Offer, result: Result | None) -> bool:
    """Tell whether the file on disk holds what the origin meant, by reading it once more."""
    if result is None or result.path is None:
        return False
    with result.path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return found == hashlib.sha256(offer.data).hexdigest()


def table(offers: Sequence[Offer], account: Account) -> Iterator[str]:
    """Give a line for each file, columns aligned."""
    rows: list[tuple[str, ...]] = [("file", "the origin", "fetchq", "retries", "again", "")]
    rows += [_row(offer, account.results.get(offer.name), account.deeds[offer.name]) for offer in offers]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(_aligned(row, widths)).rstrip()


def _aligned(row: Iterable[str], widths: Sequence[int]) -> Iterator[str]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if column in NUMBERS else cell.ljust(width)


def _row(offer: Offer, result: Result | None, deeds: Deeds) -> tuple[str, ...]:
    retries = str(len(deeds.failures))
    if result is None:
        return offer.name, offer.trouble, "was stopped", retries, "", "-"
    if result.error is not None:
        return offer.name, offer.trouble, f"gave up: {result.error}", retries, "", "FAILED"
    again = size(max(result.received - offer.size, 0))
    return offer.name, offer.trouble, deeds.words(), retries, again, "OK" if right(offer, result) else "WRONG"
