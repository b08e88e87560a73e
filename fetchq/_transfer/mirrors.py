"""Who is asked for a job's bytes: its URL and mirrors, one attempt at a time."""

from __future__ import annotations

from urllib.parse import urlsplit

from .. import _digests, _ranges, _retry
from .._http import Response
from .._models import Job, Resource
from .._ranges import Answer, Ask
from .._throttle import buffer_for
from .context import RunContext

__all__ = ["Mirrors"]


class Mirrors:
    """Asks one of a job's URLs, and judges what comes back.

    :ivar asked: requests made so far.
    :ivar took: seconds that the last answer's head took to come.
    """

    def __init__(self, job: Job, tools: RunContext) -> None:
        self._job = job
        self._tools = tools
        self._urls = [job.url, *job.mirrors]
        self._url = job.url
        self.asked = 0
        self.took = 0.0

    @property
    def host(self) -> str:
        """The host that is asked now, for messages."""
        try:
            return urlsplit(self._url).hostname or "the server"
        except ValueError:
            return "the server"

    @property
    def key(self) -> str:
        """The host that connections are counted for."""
        return self._tools.http.host_of(self._job)

    async def open(self, ask: Ask) -> Response:
        """Make one request, redirects followed; always from the job's own URL, which may sign anew."""
        self.asked += 1
        settings = self._tools.settings
        buffer = buffer_for(settings.queue.limit_rate, settings.queue.jobs, settings.disk.buffer)
        began = self._tools.clock()
        reply = await self._tools.http.open(self._job, url=self._url, headers=ask.headers(), buffer=buffer)
        self.took = self._tools.clock() - began
        return reply

    def judge(
        self, ask: Ask, known: Resource | None, reply: Response, *, first: bool
    ) -> tuple[Answer, Resource]:
        """Turn an error status into its error, and any other answer into what it means.

        :param first: no attempt has failed yet: a signed target that says 403 may only have expired.
        :raises FetchError: what the status means.
        """
        if reply.status not in _retry.GOOD and not (reply.status == 416 and ask.span is not None):
            policy, now = self._tools.settings.retry, self._tools.now()
            error = _retry.error_for(reply.status, reply.headers, policy, self.host, now)
            error.transient |= reply.status == 403 and reply.hops > 0 and first
            raise error
        promised = _digests.promised(reply.headers, reply.status)
        seen = _ranges.resource_of(reply.headers, reply.url, reply.status, promised)
        return _ranges.decide(ask, known, reply.status, reply.headers, seen), seen

    def turn(self, *, dead: bool) -> bool:
        """Go on with the next of several URLs; a *dead* one is not asked again. False: there is no other."""
        if len(self._urls) == 1:
            return False
        at = self._urls.index(self._url)
        if dead:
            self._urls.pop(at)
        self._url = self._urls[(at if dead else at + 1) % len(self._urls)]
        return True
