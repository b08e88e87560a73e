"""``fetchq status``: what a store says of the runs into its directory."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from .._naming import printable
from .._store import HostCount, Record, Store
from .._units import rate, size
from .records import reason_of, store_path

__all__ = ["status"]

# Failures shown for each reason, hosts in the table, and reasons, unless all are asked for.
EXAMPLES = 3
HOSTS = 20
REASONS = 50
# Seconds: a store that was written within them is of a run that goes on, whose rate is that of these seconds.
RECENT = 60.0
_WORDS = ("done", "resumed", "skipped", "failed")


@dataclass
class _Host:
    """The jobs of one host."""

    done: int = 0
    failed: int = 0
    size: int = 0


@dataclass
class _Reason:
    """The jobs that failed for one reason."""

    count: int = 0
    examples: list[Record] = field(default_factory=list)


@dataclass
class _Overview:
    """What a store says, added up.

    :param rate: bytes a second, in the last minute of a run that goes on, or over all runs.
    """

    counts: Counter[str]
    size: int
    rate: float
    hosts: dict[str, _Host]
    reasons: dict[str, _Reason]


def status(directory: Path, *, as_json: bool, everything: bool) -> int:
    """Print how the jobs of *directory* ended: counts, hosts, and failures by their reasons.

    :param directory: a directory with a store, or a store's file.
    :param everything: all failures and hosts, not only the first.
    :return: exit code 0.
    :raises FetchError: there is no store, or it cannot be read.
    """
    path = store_path(directory)
    with closing(Store(path, read_only=True)) as store:
        overview = _overview(store, everything=everything)
    if as_json:
        click.echo(json.dumps(_object(path, overview)))
        return 0
    lines = [_heading(path, overview), *_hosts(overview, everything=everything), *_failures(overview)]
    for line in lines:
        click.echo(printable(line))
    return 0


def _overview(store: Store, *, everything: bool) -> _Overview:
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
        group = reasons.setdefault(reason, _Reason())
        group.count += 1
        if everything or len(group.examples) < EXAMPLES:
            group.examples.append(record)
    total = sum(host.size for host in hosts.values())
    return _Overview(counts, total, _rate(store), hosts, reasons)


def _add(host: _Host, count: HostCount) -> None:
    if count.status == "failed":
        host.failed += count.jobs
    else:
        host.done += count.jobs
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
    ranked = sorted(overview.hosts.items(), key=lambda each: (-each[1].done - each[1].failed, each[0]))
    shown = ranked if everything else ranked[:HOSTS]
    width = min(50, max(len(name) for name, _ in shown))
    lines = [f"  {'HOST':<{width}}  {'DONE':>9}  {'FAILED':>9}  {'SIZE':>10}"]
    lines += [
        f"  {name:<{width}}  {host.done:>9}  {host.failed:>9}  {size(host.size):>10}" for name, host in shown
    ]
    if len(ranked) > len(shown):
        lines.append(f"  and {len(ranked) - len(shown)} more hosts; --all shows them")
    return lines


def _failures(overview: _Overview) -> list[str]:
    lines = []
    for reason, group in sorted(overview.reasons.items(), key=lambda each: (-each[1].count, each[0])):
        lines.append(f"failed, {reason}: {group.count} job{'s' * (group.count != 1)}")
        lines += [f"  {_failure(record)}" for record in group.examples]
        if group.count > len(group.examples):
            lines.append(f"  and {group.count - len(group.examples)} more; --all shows them")
    return lines


def _failure(record: Record) -> str:
    where = [part for part in (record.url, record.source) if part and part not in record.error]
    return f"{', '.join(where)}: {record.error}" if where else record.error


def _object(path: Path, overview: _Overview) -> dict[str, Any]:
    return {
        "store": str(path),
        "jobs": overview.counts.total(),
        "size": overview.size,
        "rate": round(overview.rate),
        **{word: overview.counts[word] for word in _WORDS},
        "hosts": {
            name: {"done": host.done, "failed": host.failed, "size": host.size}
            for name, host in overview.hosts.items()
        },
        "failures": [
            {
                "reason": reason,
                "count": group.count,
                "examples": [
                    {
                        "url": record.url,
                        "source": record.source,
                        # Two of the fields that an event's error has.
                        "error": {"kind": record.kind, "message": record.error},
                    }
                    for record in group.examples
                ],
            }
            for reason, group in overview.reasons.items()
        ],
    }
