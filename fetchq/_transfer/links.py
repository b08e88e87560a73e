"""New links for old ones: a URL that has expired is replaced, and the same bytes go on."""

from __future__ import annotations

from dataclasses import replace

from .._errors import AuthenticationError, ChangedError, FetchError, StatusError, UsageError
from .._events import Warned
from .._models import Job, Resource, redact
from .._retry import IDEMPOTENT
from .context import RunContext
from .mirrors import Mirrors

__all__ = ["EXPIRED", "Links"]

# What servers answer where a link has expired, or is used up.
EXPIRED = frozenset({401, 403, 404, 410})
# New links in a row that bring no bytes: another would not either.
MOST_IN_A_ROW = 3
# Over all; a link an hour lasts for six weeks.
MOST = 1000


class Links:
    """Asks for a new link where a job would fail because its own has expired."""

    def __init__(self, job: Job, number: int, context: RunContext, mirrors: Mirrors) -> None:
        self._job = job
        self._number = number
        self._context = context
        self._mirrors = mirrors
        self._asked = 0
        # Bytes that were here when the link was new.
        self._had = 0

    async def renew(self, error: FetchError, failures: int, have: int) -> bool:
        """Whether there is a new link, with which the job goes on.

        :param have: bytes that are here.
        :param failures: attempts in a row that have failed with *error* or another, and without progress.
        """
        refresh = self._context.refresh
        status = error.status if isinstance(error, StatusError | AuthenticationError) else 0
        if refresh is None or status not in EXPIRED or not self._harmless:
            return False
        if failures > MOST_IN_A_ROW or self._asked >= MOST:
            return False
        self._asked += 1
        try:
            link = await refresh(self._job, error)
            self._check(link)
        except FetchError as refused:
            told = f"No new link for {redact(self._job.url)}: {refused}"
            self._context.observe(Warned(self._number, told))
            return False
        self._mirrors.renew(link)
        self._had = have
        return True

    @property
    def _harmless(self) -> bool:
        """Whether no server can have acted on the request that was refused: one behind a redirect may have."""
        return self._job.method.upper() in IDEMPOTENT or not self._mirrors.redirected

    def _check(self, link: Job) -> None:
        """Refuse a link that cannot be asked, or is not to be told the request's body."""
        fetcher, job = self._context.fetcher, self._job
        fetcher.check(replace(job, url=link.url, params=()))
        if job.has_body and fetcher.host_of(job, link.url) != fetcher.host_of(job):
            raise UsageError("it leads to another server, which the request's body is not sent to.")

    def mislead(self, error: FetchError, have: int) -> bool:
        """Whether *error* is that a new link leads to another file than the one that is here.

        The server's file has not changed, then, but the link is wrong: what is here is kept.
        """
        if not isinstance(error, ChangedError) or not self._had or have > self._had:
            return False
        error.args = (f"The new link leads to another file than what is here, which is kept: {error}",)
        return True

    def check(self, known: Resource | None, seen: Resource, have: int) -> None:
        """Check that a new link, whose server sends all from the start, leads to a file of the same length.

        :raises ChangedError: of another.
        """
        lengths = (known.length, seen.length) if known is not None else (None, None)
        if self._had and have <= self._had and None not in lengths and lengths[0] != lengths[1]:
            raise ChangedError(f"it has {lengths[1]} bytes, not {lengths[0]}.")
