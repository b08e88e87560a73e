"""``fetchq status``: the records of a directory's store."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import click

from .._errors import UsageError
from .._naming import printable
from .._store import Record, Store
from .._units import size
from .options import STORE

__all__ = ["status"]


def status(directory: Path, *, as_json: bool) -> int:
    """Print how the jobs of *directory* ended: counts and failures, or all records as JSON lines.

    :param directory: a directory with a store, or a store's file.
    :return: exit code 0.
    :raises FetchError: there is no store, or it cannot be read.
    """
    path = directory if directory.is_file() else directory / STORE
    if not path.is_file():
        raise UsageError(f"There is no {printable(str(path))}: no queue has been run into that directory.")
    with closing(Store(path, read_only=True)) as store:
        if as_json:
            for record in store.rows():
                click.echo(json.dumps(dataclasses.asdict(record)))
        else:
            _print_summary(path, store)
    return 0


def _print_summary(path: Path, store: Store) -> None:
    counts: Counter[str] = Counter()
    total = 0
    for record in store.rows():
        counts[record.status] += 1
        total += record.size
    by_status = ", ".join(
        f"{counts[word]} {word}" for word in ("done", "resumed", "skipped", "failed") if counts[word]
    )
    separator = ": " if by_status else ""
    click.echo(printable(f"{path}: {counts.total()} jobs, {size(total)}{separator}{by_status}"))
    for record in store.rows("failed"):
        click.echo(printable(_failure(record)))


def _failure(record: Record) -> str:
    return f"  {record.error if record.url in record.error else f'{record.url}: {record.error}'}"
