"""``fetchq status``: what a store says of the runs into its directory."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import click

from .._naming import printable
from .._store import HostCount, Record, Store
from .._units import rate, size
from .records import reason_of, store_path

__all__ = ["status"]

# Failures shown for each reason, and hosts in the table, unless all are asked for; reasons in any case.
EXAMPLES = 3
HOSTS = 20
REASONS = 50
# Seconds: a store that was written within them is of a run that goes on, whose rate is that of these seconds.
RECENT = 60.0
# Characters of one reason's failures that are kept in memory, and that are printed at once.
IN_MEMORY = 1 << 16
_WORDS = ("done", "resumed", "skipped", "failed")


@dataclass
class _Host:
    """The jobs of one host."""

    counts: Counter[str] = field(default_factory=Counter)
    size: int = 0


@dataclass
class _Reason:
    """The jobs that failed for one reason.

    :param examples: the text of those that are shown; in a file, since there may be a million.
    """

    examples: SpooledTemporaryFile[str]
    count: int = 0
    shown: int = 0

    def text(self) -> Iterator[str]:
        """Return the text of the examples in pieces."""
        self.examples.seek(0)
        return iter(partial(self.examples.read, IN_MEMORY), "")


@dataclass
class _Overview:
    """What a store says, added up.

    :param rate: bytes a second, in the last minute of a run that goes on, or over all runs.
    """

    counts: Counter[str]
    size: int
    rate: float
    hosts: dict[str, _Host]
    reasons: list[tuple[str, _Reason]]


def status(directory: Path, *, as_json: bool, everything: bool) -> int:
    """Print how the jobs of *directory* ended: counts, hosts, and failures by their reasons.

    :param directory: a directory with a store, or a store's file.
    :param everything: all failures and hosts, not only the first.
    :return: exit code 0.
    :raises FetchError: there is no store, or it cannot be read.
    """
    path = store_path(directory)
    with ExitStack() as files:
        with closing(Store(path, read_only=True)) as store:
            overview = _overview(store, files, as_json=as_json, everything=everything)
        for text in _json(path, overview) if as_json else _text(path, overview, everything=everything):
            click.echo(text, nl=False)
    return 0


def _overview(store: Store, files: ExitStack, *, as_json: bool, everything: bool) -> _Overview:
    show, between = (_example, ", ") if as_json else (_failure, "")
    counts: Counter[str] = Counter()
    hosts: dict[str, _Host] = {}
    for each in store.counts():
        counts[each.status] += each.jobs
        _add(hosts.setdefault(each.host, _Host()), each)
    reasons: dict[str, _Reason] = {}
    for record in store.rows("failed"):
        reason = reason_of(record)
        if reason not in reasons and len(reasons) >= REASONS:
            reason = "other"
        if reason not in reasons:
            file = SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="")  # noqa: SIM115 - see files
            reasons[reason] = _Reason(files.enter_context(file))
        group = reasons[reason]
        if everything or group.count < EXAMPLES:
            group.examples.write(f"{between if group.shown else ''}{show(record)}")
            group.shown += 1
        group.count += 1
    ranked = sorted(reasons.items(), key=lambda each: (-each[1].count, each[0]))
    total = sum(host.size for host in hosts.values())
    return _Overview(counts, total, _rate(store), hosts, ranked)


def _add(host: _Host, count: HostCount) -> None:
    host.counts[count.status] += count.jobs
    if count.status != "failed":
        host.size += count.size


def _rate(store: Store) -> float:
    now = time.time()
    first, last, total, recent = store.span(now - RECENT)
    if last >= now - RECENT:
        return recent / max(min(RECENT, now - first), 1.0)
    return total / max(last - first, 1.0)


def _heading(path: Path, overview: _Overview) -> str:
    by_status = ", ".join(f"{overview.counts[word]} {word}" for word in _WORDS if overview.counts[word])
    speed = f"; {rate(overview.rate)}" if overview.rate else ""
    separator = ": " if by_status else ""
    return f"{path}: {overview.counts.total()} jobs, {size(overview.size)}{separator}{by_status}{speed}"


def _hosts(overview: _Overview, *, everything: bool) -> list[str]:
    """Return a table of the hosts, those with the most jobs first; none where there is one host only."""
    if len(overview.hosts) < 2:
        return []
    ranked = sorted(overview.hosts.items(), key=lambda each: (-each[1].counts.total(), each[0]))
    shown = ranked if everything else ranked[:HOSTS]
    width = min(50, max(len(name) for name, _ in shown))
    lines = [f"  {'HOST':<{width}}  {'DONE':>9}  {'FAILED':>9}  {'SIZE':>10}"]
    for name, host in shown:
        failed = host.counts["failed"]
        lines.append(
            f"  {name:<{width}}  {host.counts.total() - failed:>9}  {failed:>9}  {size(host.size):>10}"
        )
    if len(ranked) > len(shown):
        lines.append(f"  and {len(ranked) - len(shown)} more hosts; --all shows them")
    return lines


def _text(path: Path, overview: _Overview, *, everything: bool) -> Iterator[str]:
    for line in (_heading(path, overview), *_hosts(overview, everything=everything)):
        yield f"{printable(line)}\n"
    for reason, group in overview.reasons:
        yield f"failed, {printable(reason)}: {group.count} job{'s' * (group.count != 1)}\n"
        yield from group.text()
        if group.count > group.shown:
            yield f"  and {group.count - group.shown} more; --all shows them\n"


def _failure(record: Record) -> str:
    where = [part for part in (record.url, record.source) if part and part not in record.error]
    text = f"{', '.join(where)}: {record.error}" if where else record.error
    return f"  {printable(text)}\n"


def _example(record: Record) -> str:
    # Two of the fields that an event's error has.
    error = {"kind": record.kind, "message": record.error}
    return json.dumps({"url": record.url, "source": record.source, "error": error})


def _object(path: Path, overview: _Overview) -> dict[str, Any]:
    return {
        "store": str(path),
        "jobs": overview.counts.total(),
        "size": overview.size,
        "rate": round(overview.rate),
        **_by_status(overview.counts),
        "hosts": {
            name: {**_by_status(host.counts), "size": host.size} for name, host in overview.hosts.items()
        },
    }


def _by_status(counts: Counter[str]) -> dict[str, int]:
    return {word: counts[word] for word in _WORDS}


def _json(path: Path, overview: _Overview) -> Iterator[str]:
    """Yield the text of one object, in which the failures come last."""
    yield f'{json.dumps(_object(path, overview))[:-1]}, "failures": ['
    separator = ""
    for reason, group in overview.reasons:
        told = json.dumps({"reason": reason, "count": group.count})
        yield f'{separator}{told[:-1]}, "examples": ['
        yield from group.text()
        yield "]}"
        separator = ", "
    yield "]}\n"
