"""One job from its first request to its result, as named states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _digests, _naming, _ranges, _retry
from .._disk import Existing, Finished, Identity, Part, Sink
from .._errors import ChangedError, ChecksumError, FetchError, ProtocolError
from .._events import AttemptFailed, JobStarted, Planned, Progressed
from .._http import Response
from .._models import Again, Buffer, Job, PlanKind, Resource, Result, Span, redact
from .._ranges import Answer, Ask
from . import checks
from .body import Body, Chunks, DecodedBody, Decoder, TrimmedBody
from .checks import UNKNOWN_END
from .context import RunContext
from .counters import Counters
from .mirrors import Mirrors
from .outcome import kept, stuck, vouched
from .pump import Pump
from .segmented import SegmentedDownload
from .segments import Segment, SegmentQueue

__all__ = ["Transfer"]

# Fresh, a range, the range without If-Range, the whole: a server that still answers otherwise is given a pause.
MOST_ASKS = 5


class Transfer:
    """Fetches one job, over as many attempts as it takes; the part stays locked between them.

    Each attempt passes these states::

        find      an earlier run's part, by the name that the URL suggests
        ask       request, and judge the answer; again where the answer says so
        receive   the whole in one buffer, or a stream into the part, or several
        finish    length, digests, final name

    :meth:`run` is the one runner that turns an error into the attempt's end.
    """

    def __init__(self, job: Job, number: int, tools: RunContext) -> None:
        self.job = job
        self.number = number
        self._tools = tools
        self._origin = Mirrors(job, tools)
        self._identity = Identity(job.url)
        self._part: Part | None = None
        self._sink: Sink | None = None
        self._known: Resource | None = None
        self._begun: Resource | None = None
        self._name = ""
        self._plain = False
        self._refused = ""
        self._chances: set[str] = set()
        self._framed = True
        self._tally = Counters()
        self._began: float | None = None
        self._received: Callable[[], None]

    async def run(self, received: Callable[[], None]) -> Result | Again:
        """Make one attempt: give the job's result, or say that another attempt is worth its while.

        :param received: is called when the network has no more to do, and only the disk has.
        """
        self._received = received
        if self._began is None:
            self._began = self._tools.clock()
            self._tools.observe(JobStarted(self.number, self.job.id, redact(self.job.url), self.job.source))
        try:
            try:
                return await self._attempt()
            except FetchError as error:
                return await self._failed(error)
        except FetchError as error:
            await self.close()
            return self._result(status="failed", error=error)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the part; what is in it stays, and its journal says so."""
        sink, self._sink, self._part = self._sink, None, None
        if sink is not None:
            await sink.close()

    # --- find

    async def _attempt(self) -> Result:
        self._tools.http.check(self.job)
        if self._sink is None and (existing := await self._find()) is not None:
            return self._kept(existing)
        for _ in range(MOST_ASKS):
            if self._complete:
                return await self._finish("every byte was already here")
            result = await self._ask()
            if result is not None:
                return result
        raise ProtocolError(f"{self._origin.host} gave no usable answer {MOST_ASKS} times.", transient=True)

    async def _find(self) -> Existing | None:
        """Look for the part of an earlier run before anything is asked."""
        if self.job.out == "-":
            self._sink = self._tools.pipe()
            return None
        directory, name = checks.place(self.job, self._tools.settings.disk.dir)
        if not checks.resumable_method(self.job) or not self._tools.parts.left_behind(directory):
            return None
        found = self._tools.parts.peek(directory, name or _naming.guess(self.job.url), self._identity)
        return None if found is None else await self._claim(directory, found, None)

    async def _claim(self, directory: Path, name: str, seen: Resource | None) -> Existing | None:
        """Lock the part of *name*, and take over what an earlier run has left in it."""
        length = seen.length if seen is not None and not seen.encoding else None
        claimed = await self._tools.parts.claim(
            directory,
            name,
            self._identity,
            same=lambda found: checks.same_file(found, seen),
            digests=checks.digests(self.job, seen),
            length=length,
        )
        if isinstance(claimed, Existing):
            return claimed
        self._part = self._sink = claimed
        self._name = claimed.name
        journal = claimed.journal
        if journal is not None and claimed.spans and checks.resumable_method(self.job):
            self._known = Resource(journal.url, journal.length, journal.etag, journal.last_modified)
            self._tally.found(_ranges.total(claimed.spans))
        return None

    # --- ask

    async def _ask(self) -> Result | None:
        """Make one request and act on its answer; None means: ask again, from what is known now."""
        ask = await self._next_ask()
        reply = await self._origin.open(ask)
        try:
            answer, seen = self._judge(ask, reply)
            if answer.action == "whole":
                return await self._whole(reply, seen, answer)
            if answer.action == "slice":
                return await self._slice(reply, seen, ask, answer)
        finally:
            await reply.aclose()
        if answer.action == "ask_plain" and self._known is not None:
            self._plain = True
            if _ranges.same_resource(self._known, seen) is False:
                self._known = replace(self._known, etag=None)
        elif answer.action == "ask_whole":
            self._refused = answer.reason
        elif self._known is not None:
            self._known = replace(self._known, length=self._tally.have)
        return None

    async def _next_ask(self) -> Ask:
        if self._known is None or self._sink is None or not self._sink.spans or self._refused:
            return Ask()
        if checks.decodes(self._known, self._name):
            return Ask()
        overlap = self._tools.settings.disk.overlap if self._part is not None else 0
        ask = checks.next_ask(self._known, self._sink.spans, overlap, plain=self._plain)
        if ask.condition is None and ask.compare == 0:
            # Nothing would vouch that these bytes belong to those in the part.
            await self._restart("nothing proves that the server still has the same file")
            return Ask()
        return ask

    def _judge(self, ask: Ask, reply: Response) -> tuple[Answer, Resource]:
        return self._origin.judge(ask, self._known, reply, first=not self._tally.failures)

    # --- receive

    async def _whole(self, reply: Response, seen: Resource, answer: Answer) -> Result | None:
        """Receive the complete representation, from its first byte."""
        checks.check_length(self.job, seen, self._tools.settings.disk.max_size)
        restarts = self._refused or (answer.reason if self._sink is not None and self._sink.spans else "")
        self._framed = checks.framed(reply.headers, reply.status, reply.version)
        whole = Body(reply)
        chunks: Chunks = whole
        if self._sink is None:
            disk = self._tools.settings.disk
            named = _naming.name_from(reply.headers, reply.url, dotfiles=disk.dotfiles)
            directory, name = checks.place(self.job, disk.dir, named)
            if seen.length is not None and seen.length <= disk.buffer and not checks.decodes(seen, name):
                complete = await whole.complete(seen.length)
                if complete is not None:
                    return await self._put(directory, name, seen, complete, answer)
            found = await self._claim(directory, name, seen)
            if found is not None:
                return self._kept(found)
            if checks.continues(self._known, seen):
                return None
        await self._restart(restarts)
        self._known = seen
        body = Span(0, UNKNOWN_END if seen.length is None else seen.length)
        if checks.decodes(seen, self._name):
            # The length is of the coded body, and no validator is of the bytes that will be in the part.
            self._known, body = replace(seen, length=None), Span(0, UNKNOWN_END)
            most = self._tools.settings.disk.max_size or self._tools.settings.network.max_decoded
            chunks = DecodedBody(whole, Decoder(seen.encoding or "", most))
            await self._begin(Resource(seen.url))
        else:
            await self._begin(seen)
        self._plan("restart" if restarts else "fresh", restarts or answer.reason, self._known)
        return await self._stream(chunks, body)

    async def _slice(self, reply: Response, seen: Resource, ask: Ask, answer: Answer) -> Result | None:
        """Receive a range that continues the part."""
        assert ask.span is not None and answer.body is not None and self._known is not None  # noqa: S101, PT018 - what a slice is
        length = seen.length if self._known.length is None else self._known.length
        self._known = replace(self._known, length=length, ranges=True, digests=dict(seen.digests))
        await self._begin(self._known)
        self._plan("resume", answer.reason, self._known)
        rest = Body(reply)
        chunks: Chunks = rest
        if answer.body.start < ask.span.start and self._sink is not None:
            before = ask.span.start - answer.body.start
            lead = min(before, self._tools.settings.disk.overlap)
            known = await self._sink.read(Span(ask.span.start - lead, ask.span.start))
            chunks = TrimmedBody(rest, before, known)
        return await self._stream(chunks, Span(ask.span.start, min(answer.body.stop, ask.span.stop)))

    async def _stream(self, chunks: Chunks, body: Span) -> Result | None:
        """Pump *chunks* into the part, with as many connections as help; None when holes are left."""
        sink, known = self._sink, self._known
        assert sink is not None and known is not None  # noqa: S101, PT018 - begun before
        length = UNKNOWN_END if known.length is None else known.length
        claims = SegmentQueue(length, lambda: sink.spans, self._tools.clock)
        claim = claims.start(body.start, None if body.stop == UNKNOWN_END else body.stop)
        pump = Pump(sink, claim, self._tools, self._wrote)
        if self._part is not None and checks.splittable(self.job, known, self._tools.settings.queue):
            crew = SegmentedDownload(claims, self._tools, self._origin, self._fetch_span, self._tally.staffed)
            await crew.run(pump.run(chunks), claim)
        else:
            await pump.run(chunks)
        if known.length is None:
            self._known = replace(known, length=claim.position)
        return await self._finish("") if self._complete else None

    async def _fetch_span(self, claim: Segment) -> None:
        """Fetch *claim* over a connection of its own; whatever is not exactly it is refused."""
        assert self._known is not None and claim.stop is not None and self._sink is not None  # noqa: S101, PT018 - a crew's work
        ask = _ranges.ask_for(Span(claim.position, claim.stop), self._known, 0)
        reply = await self._origin.open(ask)
        try:
            answer, seen = self._judge(ask, reply)
            if _ranges.same_resource(self._known, seen) is False:
                raise ChangedError(f"{self._origin.host} has another version of the file now: starting over.")
            if answer.action != "slice" or answer.body is None or answer.body.start != claim.position:
                raise ProtocolError(f"{self._origin.host} does not serve a second range: {answer.reason}.")
            await Pump(self._sink, claim, self._tools, self._wrote).run(Body(reply))
        finally:
            await reply.aclose()

    async def _put(
        self, directory: Path, name: str, seen: Resource, chunks: Sequence[Buffer], answer: Answer
    ) -> Result:
        """Keep a body that arrived whole: one step, no journal."""
        self._name, self._known = name, seen
        await self._tools.pace(seen.length or 0)
        self._plan("fresh", answer.reason, seen)
        file = await self._tools.parts.put(
            directory,
            name,
            self._identity,
            same=lambda found: checks.same_file(found, seen),
            digests=checks.digests(self.job, seen),
            chunks=chunks,
            algorithms=self._algorithms(seen),
            mtime=_retry.http_date(seen.last_modified),
            check=self._check,
            aside=self._received,
        )
        self._wrote(seen.length or 0)
        return self._kept(file)

    # --- finish

    async def _finish(self, reason: str) -> Result:
        """Verify, and give the file its name."""
        sink, known = self._sink, self._known
        assert sink is not None and known is not None and known.length is not None  # noqa: S101, PT018 - complete
        checks.check_length(self.job, known, self._tools.settings.disk.max_size)
        if reason:
            await self._begin(known)
            self._plan("done", reason, known)
        mtime = _retry.http_date(known.last_modified)
        self._received()
        finished = await sink.finish(size=known.length, mtime=mtime, check=self._check)
        self._sink = self._part = None
        return self._kept(finished)

    def _check(self, digests: Mapping[str, str]) -> None:
        _digests.compare(checks.digests(self.job, self._known), digests, self._name or "standard output")

    def _kept(self, file: Finished | Existing) -> Result:
        verified = vouched(digest=bool(checks.digests(self.job, self._known)), framed=self._framed)
        return self._result(**kept(file, self._tally.before, verified, stdout=self.job.out == "-"))

    def _result(self, **facts: Any) -> Result:
        elapsed = self._tools.clock() - (self._began or 0.0)
        facts |= {"received": self._tally.received, "attempts": self._origin.asked, "elapsed": elapsed}
        return Result(self.job, **facts)

    # --- when it goes wrong

    async def _failed(self, error: FetchError) -> Result | Again:
        """Decide whether an error ends the job or this attempt only."""
        failures = self._tally.failed()
        wait = await self._second_chance(error)
        if wait is None:
            policy = self._tools.settings.retry
            if self.job.retries is not None:
                policy = replace(policy, retries=self.job.retries)
            wait = _retry.wait_before(error, failures, policy, self._tools.random)
        if wait is None:
            await self.close()
            return self._result(status="failed", error=error)
        self._tools.observe(AttemptFailed(self.number, self.name, error, failures, wait))
        return Again(wait, self)

    async def _second_chance(self, error: FetchError) -> float | None:
        """Give 0 where the job can go on at once: wrong or changed bytes once, and a mirror that gave up."""
        first = error.kind not in self._chances
        self._chances.add(error.kind)
        if isinstance(error, ChangedError) and error.transient:
            await self._restart("the file changed on the server")
            return 0.0 if first else None
        if isinstance(error, ChecksumError) and self.job.out != "-":
            if self._part is not None:
                await self._part.spoil()
            self._forget()
            return 0.0 if first else None
        dead = not error.transient and error.exit_code > 3
        turned = self._origin.turn(dead=dead)
        if turned and self._known is not None:
            # Mirrors hold the same bytes under validators of their own: length and overlap must do.
            self._known = replace(self._known, etag=None, last_modified=None)
        return 0.0 if turned and dead else None

    async def _restart(self, reason: str) -> None:
        """Begin at the first byte again, in the same part; what is out cannot be taken back."""
        if self._sink is not None and self._sink.spans:
            if not self._sink.restartable:
                raise stuck(self._tally.have, reason)
            await self._sink.reset()
        self._forget()

    def _forget(self) -> None:
        self._known, self._begun, self._plain, self._refused = None, None, False, ""
        self._tally.restarted()

    # --- small facts

    @property
    def _complete(self) -> bool:
        known, sink = self._known, self._sink
        return (
            known is not None
            and sink is not None
            and known.length is not None
            and _ranges.covers(sink.spans, known.length)
        )

    @property
    def received(self) -> int:
        """Body bytes that the network has brought so far."""
        return self._tally.received

    @property
    def name(self) -> str:
        """The target's name, or the best guess before the server has answered."""
        return self._name or self.job.out or _naming.guess(self.job.url)

    async def _begin(self, seen: Resource) -> None:
        assert self._sink is not None  # noqa: S101 - only called with a part at hand
        if self._begun is not seen:
            await self._sink.begin(seen, self._algorithms(seen))
            self._begun = seen

    def _algorithms(self, seen: Resource) -> list[str]:
        return checks.algorithms(self.job, seen, sha256=self._tools.settings.disk.sha256)

    def _plan(self, kind: PlanKind, reason: str, seen: Resource) -> None:
        resumable = seen.ranges and checks.resumable_method(self.job) and not seen.encoding
        self._tools.observe(
            Planned(self.number, self.name, kind, reason, self._tally.have, seen.length, resumable)
        )

    def _wrote(self, size: int) -> None:
        self._tally.wrote(size)
        self._tools.observe(Progressed(self.number, self._tally.have, size, self._tally.connections))
