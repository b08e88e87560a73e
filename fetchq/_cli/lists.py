"""``fetchq list``, ``forget`` and ``retry``: what a store remembers as a queue again, or no longer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .._api.intake import QueuedJob
from .._errors import FetchError, UsageError
from .._models import Job, redact
from .._queue_files.write import LineFormat, format_line
from .._store import Store
from .records import chosen, job_of, line_of, store_path

__all__ = ["forget", "print_list", "retry"]

# Options of get that would say what to fetch, and where to.
_FROM_STORE = {
    "input": "-i",
    "output": "-o",
    "checksum": "--checksum",
    "dir": "-d",
    "store": "--store",
    "no_store": "--no-store",
}


def print_list(directory: Path, *, state: str | None, form: LineFormat, only: Collection[str]) -> int:
    """Print the jobs of *directory* that are in *state*, as lines of a queue file on stdout.

    :param state: None for ``failed``.
    :param only: reasons of failures.
    :return: exit code 0.
    :raises FetchError: there is no store, it cannot be read, or nothing failed for such a reason.
    """
    with closing(Store(store_path(directory), read_only=True)) as store:
        for record in chosen(store, state or "failed", only):
            click.echo(format_line(line_of(record, digest=form != "text"), form, record.source))
    return 0


def forget(directory: Path, urls: Collection[str], *, state: str | None, only: Collection[str]) -> int:
    """Delete records, so that their jobs are new again; their files stay.

    :param urls: of the jobs; their queries do not count.
    :return: exit code 0.
    :raises FetchError: nothing was named, a URL is not on record, there is no store, or it cannot be written.
    """
    if not urls and state is None and not only:
        raise UsageError("Say which jobs to forget: URLs, --state failed, --only REASON, or --state all.")
    path = store_path(directory)
    wanted = {redact(url) for url in urls}
    unknown = set(wanted)
    with closing(Store(path, run=False)) as store:
        keys = []
        for record in chosen(store, state or ("failed" if only else "all"), only):
            if not wanted or record.url in wanted:
                keys.append(record.key)
                unknown.discard(record.url)
        count = store.forget(keys)
    if unknown:
        told = f"{count} job{'s' * (count != 1)} forgotten; not on record: {', '.join(sorted(unknown))}."
        raise UsageError(told)
    click.echo(f"{count} job{'s' * (count != 1)} forgotten; the files stay.", err=True)
    return 0


def retry(directory: Path, only: Collection[str], given: Mapping[str, Any]) -> int:
    """Fetch the jobs of *directory* that failed again; return the exit code.

    :param only: reasons of failures; empty for all.
    :param given: the options of ``get``.
    :raises FetchError: there is no store, it cannot be read, nothing failed for such a reason, or the command
        line says what to fetch, or where to.
    """
    from .run import SIGNAL_CODE, get_jobs

    _require_store_alone()
    path = store_path(directory)
    folder = path.parent if directory == path else directory
    # Several runs may share a store, each with a directory of its own.
    folders: dict[Path, list[str]] = {}
    with closing(Store(path, read_only=True)) as store:
        for record in chosen(store, "failed", only):
            folders.setdefault(Path(record.run.get("dir", folder)), []).append(record.key)
    if not folders and not given["quiet"]:
        click.echo("Nothing to do: no job has failed.", err=True)
    code = 0
    # What the environment or a file says of these is for runs of a queue.
    given = {**given, "input": (), "output": None, "checksum": None, "store": path, "no_store": False}
    for each, keys in folders.items():
        ended = get_jobs(_failed(path, keys), {**given, "dir": each})
        code = code or ended
        if ended > SIGNAL_CODE:
            return ended
    return code


def _require_store_alone() -> None:
    """Raise UsageError if the command line says what the store does: which jobs, and where to."""
    source = click.get_current_context().get_parameter_source
    found = [word for name, word in _FROM_STORE.items() if source(name) is ParameterSource.COMMANDLINE]
    if found:
        told = f"leave out {' and '.join(found)}"
        raise UsageError(f"What retry fetches, and where to, is on record in DIR or its store: {told}.")


def _failed(path: Path, keys: Collection[str]) -> Iterator[QueuedJob | Job | FetchError]:
    with closing(Store(path, read_only=True)) as store:
        # While the records are written, the keys tell which were meant.
        for key in keys:
            record = store.find(key)
            if record is not None:
                yield job_of(record)
