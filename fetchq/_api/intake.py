"""A queue as it is read: each job with what the list's order decides about it, whatever the timing."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .. import _naming
from .._arguments import URL
from .._errors import FetchError, QueueFileError, UsageError
from .._models import Job, redact
from .._templates import NameTemplate
from .._transfer import ALONE, Placement
from .recent import trim

__all__ = ["Intake", "QueueItem", "QueueItems", "QueuedJob", "alone", "intake", "iterable"]

# Jobs and names that are remembered, about 10 MB: equal ones stand near each other in a queue.
MOST_REMEMBERED = 20_000


class QueuedJob(NamedTuple):
    """A job of the queue.

    :param key: its identity in the store.
    :param equal: the same for jobs that are to have one transfer: all but ``id`` and ``source`` agree. Empty
        for one that has a transfer of its own.
    """

    job: Job
    key: str
    equal: str
    placement: Placement


# One entry of a queue: a job, a URL, or the error of a line that could not be read; or a job that had its place
# in the queue of an earlier run.
QueueItem: TypeAlias = "str | URL | Job | QueuedJob | FetchError"
QueueItems: TypeAlias = "Iterable[QueueItem] | AsyncIterable[QueueItem]"
Intake: TypeAlias = "AsyncIterator[QueuedJob | FetchError] | Iterator[QueuedJob | FetchError]"


def intake(
    jobs: QueueItems,
    template: NameTemplate | None,
    *,
    allow_duplicates: bool,
    resolved: Callable[[Job], Job] | None = None,
) -> Intake:
    """Return *jobs* in their order, read one by one.

    :param template: names the files of jobs that have no name of their own.
    :param allow_duplicates: jobs that are equal are different jobs.
    :param resolved: returns a job with its URL absolute.
    :raises UsageError: *jobs* is no iterable; and while iterating: one is neither a job nor a URL.
    """
    order = _Order(template, resolved, allow_duplicates=allow_duplicates)
    if isinstance(jobs, AsyncIterable):
        return (order.queued(item) async for item in jobs)
    return map(order.queued, iterable(jobs))


def iterable(jobs: Any) -> Iterable[Any]:
    """Return *jobs*.

    :raises UsageError: it is a single one, or no iterable.
    """
    if isinstance(jobs, str | Job) or not isinstance(jobs, Iterable):
        raise UsageError("jobs must be an iterable of URLs and fetchq.Job: put a single one into a list.")
    return jobs


def _job(item: Any) -> Job:
    try:
        return Job(item)
    except UsageError as error:
        raise UsageError(f"A queue holds URLs and fetchq.Job, not {type(item).__name__}.") from error


def no_job(error: FetchError) -> Job:
    """Return what stands for the job of a line that cannot be read."""
    return Job("", source=error.source if isinstance(error, QueueFileError) else "")


def alone(job: Job) -> QueuedJob:
    """Return *job* as one beside which there is no other."""
    try:
        return QueuedJob(job, job.key, "", ALONE)
    except (TypeError, ValueError):  # a body that is no JSON: its attempt says so
        return QueuedJob(job, "", "", ALONE)


class _Order:
    """Counts, over one run, the jobs that are equal and those that suggest the same name.

    :param template: names the files of jobs that have no name of their own.
    :param resolved: returns a job with its URL absolute, if some may be relative.
    :param allow_duplicates: jobs that are equal are different jobs.
    """

    def __init__(
        self, template: NameTemplate | None, resolved: Callable[[Job], Job] | None, *, allow_duplicates: bool
    ) -> None:
        self._template = template
        self._resolved = resolved
        self._allow_duplicates = allow_duplicates
        self._index = 0
        # The ordinal of the last job that suggested a name, by folder and name.
        self._names: dict[tuple[Path | None, Path | None, str], int] = {}
        # Placement of a job, and how often it came, by its key.
        self._jobs: dict[str, tuple[Placement, int]] = {}

    def queued(self, item: QueueItem) -> QueuedJob | FetchError:
        """Return the next item of the queue with its place.

        :raises UsageError: it is neither a job nor a URL.
        """
        self._index += 1
        if not isinstance(item, Job):
            if isinstance(item, FetchError | QueuedJob):
                return item
            item = _job(item)
        if self._resolved is not None:
            item = self._resolved(item)
        try:
            fingerprint = item.fingerprint
            key = fingerprint if item.id is None else item.key
            equal = fingerprint if item.is_plain else _equality(item, fingerprint)
        except (TypeError, ValueError):
            return alone(item)
        copies, earlier = 0, self._jobs.get(equal)
        if earlier is not None:
            if not self._allow_duplicates:
                return QueuedJob(item, key, equal, earlier[0])
            copies = earlier[1] + 1
        try:
            placement = self._placed(item, copies)
        except UsageError as error:
            return UsageError(f"{item.source or redact(item.url)}: {error}")
        self._jobs[equal] = placement, copies
        if len(self._jobs) > MOST_REMEMBERED:
            trim(self._jobs, MOST_REMEMBERED)
        if copies:
            key, equal = (_hashed(f"{text}\0{copies}") for text in (key, equal))
        return QueuedJob(item, key, equal, placement)

    def _placed(self, job: Job, copies: int) -> Placement:
        """Return where the file of *job* goes among those of the other jobs.

        :raises UsageError: the template cannot name it.
        """
        if job.out is not None:
            return Placement(copy=copies) if copies else ALONE
        folder, name = None, ""
        if self._template is not None:
            folder, name = self._template.render(job, self._index)
        named = (job.dir, folder, name or _naming.guess_anew(job.url))
        ordinal = self._names.pop(named, -1) + 1
        self._names[named] = ordinal  # as the last one
        if len(self._names) > MOST_REMEMBERED:
            trim(self._names, MOST_REMEMBERED)
        return Placement(folder, name, ordinal, copies) if folder or ordinal or copies else ALONE


def _equality(job: Job, fingerprint: str) -> str:
    more = (job.checksum, job.size, job.headers, job.cookies, job.user, job.bearer)
    return _hashed(f"{fingerprint}\0{more!r}") if any(more) else fingerprint


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
