"""The URLs of a job: its own and its mirrors, asked one at a time; and what an answer means."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .. import _digests, _naming, _ranges, _retry
from .._errors import FetchError, ProtocolError
from .._log import LOGGER, is_debugging
from .._models import Job, Pairs, Resource, Span, redact
from .._naming import printable
from .._ranges import Action, Answer, Ask
from .._settings import Network
from .._throttle import buffer_for
from .body import Body
from .checks import media_type
from .context import Reply, RunContext, Warnings
from .standing import Standing

__all__ = ["Mirrors", "judge"]

# What a web page is called.
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_PAGES = frozenset({"html", "htm", "xhtml", "shtml", "php", "asp", "aspx", "jsp", "cgi", "do"})

# What an Accept field that would take a page has in it.
_ANY = re.compile(r"(?i)html|\*/\*")
# RFC 9110 section 15: from here on.
_ERRORS = 400


class Mirrors:
    """Asks one of a job's URLs, and turns to the next.

    :ivar asked: requests made so far.
    :ivar took: seconds that the last answer's head took to come.
    :ivar standing: what its answers mean for the host.
    :ivar redirected: the last answer came from behind a redirect.
    """

    def __init__(self, job: Job, context: RunContext) -> None:
        self._job = job
        self._context = context
        self._urls = [job.url, *job.mirrors]
        self._url = job.url
        # Header fields for the origin of a URL that came in place of another.
        self._given: dict[str, Pairs] = {}
        # How the last answer, an error to Range or If-Range, says that the next request must be made.
        self._refused: Action | None = None
        self.asked = 0
        self.took = 0.0
        self.redirected = False
        self.standing = Standing(self, context)
        policy = context.settings.retry
        unsafe = policy.retry_unsafe if job.retry_unsafe is None else job.retry_unsafe
        self._repeats = unsafe or job.method.upper() in _retry.IDEMPOTENT
        self._sent = False

    def judge_range(self, ask: Ask, known: Resource, reply: Reply) -> tuple[Answer, Resource]:
        """Decide what *reply*, the answer to one of several ranges, means.

        :raises FetchError: what an error status means.
        """
        return judge(ask, known, reply, self._context, self._job)

    @property
    def repeatable(self) -> bool:
        """Whether another request cannot make a server act twice."""
        return self._repeats or not self._sent

    def explain(self, error: FetchError) -> None:
        """Add to *error* why there is no other attempt, where there would be one for a GET."""
        if error.transient and not self.repeatable:
            why = f"{self._job.method} is not repeated, since the server may have acted on it"
            error.args = (f"{error.args[0]} {why}: --retry-unsafe does so.", *error.args[1:])

    @property
    def host(self) -> str:
        """The host that is asked now, with its port if the URL has one."""
        try:
            return urlsplit(self._url).netloc.rpartition("@")[2] or "the server"
        except ValueError:
            return "the server"

    @property
    def shown(self) -> str:
        """The URL that is asked now, without secrets."""
        return redact(self._url)

    @property
    def refusal(self) -> Action | None:
        """How the host is to be asked from the start, since it has refused ranges or If-Range in this run."""
        return self._context.refusals.get(self.key)

    @property
    def key(self) -> str:
        """The host that connections are counted for."""
        return self._context.fetcher.host_of(self._job, self._url)

    @property
    def others(self) -> bool:
        """Whether there is another URL to turn to."""
        return len(self._urls) > 1

    async def open(self, ask: Ask) -> Reply:
        """Make one request, redirects followed; always from the job's own URL, which may sign anew."""
        self.asked += 1
        self.standing.asked()
        self.redirected = False
        settings = self._context.settings
        buffer = buffer_for(settings.queue.limit_rate, settings.queue.jobs, settings.disk.buffer)
        began = self._context.clock()
        try:
            reply = await self._context.fetcher.open(
                self._job,
                url=self._url,
                headers=ask.headers(),
                buffer=buffer,
                given=self._given.get(self._url, ()),
            )
        except FetchError as error:
            self._sent = self._sent or not error.unsent
            raise
        self._sent = True
        self.took = self._context.clock() - began
        self.redirected = reply.hops > 0
        if is_debugging():
            wanted = f" bytes {ask.span.start}-" if ask.span is not None else ""
            told = f"{self._job.method} {self.shown}{wanted}: {reply.status} in {self.took:.3f} s"
            LOGGER.debug("%s", printable(told))
        return reply

    def judge(self, ask: Ask, known: Resource | None, reply: Reply) -> tuple[Answer, Resource]:
        """Decide what *reply* means for the bytes that are here.

        :raises FetchError: what an error status means.
        """
        # What is on standard output cannot be compared with what is sent without If-Range.
        otherwise = _ranges.refused(ask, reply.status) if self._job.out != "-" else None
        now = self._context.now()
        if otherwise is not None and _retry.wait_asked(reply.status, reply.headers, now) is None:
            self._refused = otherwise.action
            return otherwise, Resource(reply.url)
        answer, seen = judge(ask, known, reply, self._context, self._job)
        self.standing.answered()
        if not reply.head and media_type(reply) in _PAGE_TYPES:
            self._tell_of_page(reply)
        if self._refused is not None:
            self._context.refusals.note(self.key, self._refused)
            self._refused = None
        return answer, seen

    async def sends(self, span: Span, known: Resource, expected: bytes) -> bool:
        """Ask for *span* of *known*: whether it is there, and has the bytes *expected*."""
        ask = _ranges.ask_for(span, known, 0)
        try:
            reply = await self.open(ask)
        except FetchError:
            return False
        body = Body(reply)
        try:
            answer, _ = self.judge(ask, known, reply)
            whole = answer.action == "slice" and answer.body == span
            return whole and await body.peek(len(expected) + 1) == expected
        except FetchError:
            return False
        finally:
            await body.aclose()

    def _tell_of_page(self, reply: Reply) -> None:
        """Warn of a web page in place of a file: a login, a notice, a download that must be confirmed."""
        name = self._job.out or _naming.guess(self._job.url)
        dot, suffix = name.rpartition(".")[1:]
        accept = next((value for name, value in self._job.headers if name.lower() == "accept"), "")
        if (dot and suffix.lower() not in _PAGES) or (accept and not _ANY.search(accept)):
            told = f"sent a web page in place of {name}: look into it, it may be a login or a notice"
            self._context.warnings.tell(reply.host, "page", told)

    def renew(self, link: Job) -> None:
        """Go on with the URL of *link*, and its headers, in place of the one that is asked now."""
        self._refused = None
        self._urls[self._urls.index(self._url)] = self._url = link.url
        self._given[link.url] = link.headers

    def turn(self, *, drop: bool) -> None:
        """Go on with the next URL; one that is dropped is not asked again."""
        at = self._urls.index(self._url)
        self._refused = None
        if drop:
            self._urls.pop(at)
        self._url = self._urls[(at if drop else at + 1) % len(self._urls)]


def judge(
    ask: Ask, known: Resource | None, reply: Reply, context: RunContext, job: Job
) -> tuple[Answer, Resource]:
    """Decide what *reply*, the answer to *ask*, means; *known* is what the bytes here are of.

    :raises FetchError: what an error status means.
    """
    if reply.head and reply.status < _ERRORS:
        return Answer("whole", "the head alone was asked for"), Resource(redact(reply.url), len(reply.head))
    if reply.status == 304 and ask.unless is not None:
        return Answer("complete", "not modified on the server"), Resource(redact(reply.url), None, *ask.unless)
    if reply.status not in _retry.GOOD and not (reply.status == 416 and ask.span is not None):
        policy, now = context.settings.retry, context.now()
        error = _retry.error_for(reply.status, reply.headers, policy, reply.host, now, reply.hint)
        error.url = redact(reply.url)
        raise error
    _check_type(reply, context.settings.network, job)
    _tell_what_is_odd(reply, context.warnings)
    promised = _digests.promised(reply.headers, reply.status)
    seen = _ranges.resource_of(reply.headers, reply.url, reply.status, promised)
    return _ranges.decide(ask, known, reply.status, reply.headers, seen), seen


def _check_type(reply: Reply, network: Network, job: Job) -> None:
    """Refuse a body of a type that the caller has ruled out.

    :raises ProtocolError: a page in place of a file, or not the type that was asked for.
    """
    kind, wanted = media_type(reply), (job.expect_type or network.expect_type or "").lower()
    if network.no_html and kind in _PAGE_TYPES:
        raise ProtocolError(f"{reply.host} sent a web page, which --no-html refuses: a login or a notice.")
    if wanted and kind != wanted and not (wanted.endswith("/*") and kind.startswith(wanted[:-1])):
        sent = printable(kind[:80]) or "no type"
        raise ProtocolError(f"{reply.host} sent {sent}, not the {wanted} of --expect-type.")


def _tell_what_is_odd(reply: Reply, warnings: Warnings) -> None:
    if reply.skipped:
        line = reply.skipped[:40].decode("latin-1")
        warnings.tell(reply.host, "line", f"sent a header line that is none, which is skipped: {line!r}")
    if "content-encoding" in reply.headers and (word := _ranges.unknown_coding(reply.headers)):
        warnings.tell(reply.host, "coding", f"names {word[:40]!r} as content coding: there is none")
