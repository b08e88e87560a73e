"""One job from its first request to its result, as named states."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _ranges, _retry
from .._disk import Existing, Finished, Unproven
from .._errors import (
    AuthenticationError,
    ChangedError,
    ChecksumError,
    FetchError,
    ProtocolError,
    StatusError,
    forget_frames,
)
from .._events import AttemptFailed, Planned
from .._models import Again, Buffer, Job, PlanKind, Resource, Result, ResultStatus, Span, redact
from .._ranges import Answer, Ask
from . import checks, refusal
from .body import Body, Chunks, DecodedBody, TrimmedBody
from .context import ALONE, Placement, Reply, RunContext
from .counters import Counters
from .deadline import Deadline
from .decoder import Decoder
from .forms import CodedForm
from .links import Links
from .mirrors import Mirrors
from .pump import Pump
from .segmented import SegmentedDownload, SegmentError
from .segments import UNKNOWN_END, SegmentQueue
from .states import Answered, Begun, Empty, Kept, State
from .target import Target

__all__ = ["Transfer"]

# Fresh, a range, the range without If-Range, the whole: a server that still answers otherwise is given a pause.
MOST_ASKS = 5
# Bytes at either end of a file that are compared with the server's, before it is taken for the download.
PROOF = 64 * 1024


class Transfer:
    """Fetches one job, over as many attempts as it takes; the part stays locked between them.

    Each attempt passes these states::

        find      an earlier run's part, by the name that the URL suggests      -> Empty, Begun or none yet
        ask       request, and judge the answer; again where the answer says so -> Answered
        receive   the whole in one piece, or a stream, or several connections   -> Begun, complete
        finish    length, digests, final name                                   -> Result

    :param key: the job's identity in the store.
    :param placement: where its file goes among those of other jobs.
    :param earlier: the file that an earlier run has left, which is to be brought up to date.

    :meth:`run` is the one runner that turns an error into the attempt's end.
    """

    def __init__(
        self,
        job: Job,
        number: int,
        context: RunContext,
        key: str = "",
        placement: Placement = ALONE,
        earlier: Kept | None = None,
    ) -> None:
        self.job = job
        self.number = number
        self._context = context
        self._settings = context.settings
        self._target = Target(job, number, context, key, placement, earlier)
        self._mirrors = Mirrors(job, context)
        self._links = Links(job, number, context, self._mirrors)
        self._form = CodedForm(job, context.warnings)
        self._counters = Counters(number, context.observe)
        self._policy = context.settings.retry
        if job.retries is not None:
            self._policy = replace(self._policy, retries=job.retries)
        seconds = context.settings.retry.deadline if job.deadline is None else job.deadline
        self._deadline = Deadline(seconds, context.clock)
        self._began = context.clock()
        # What the next request, or the next attempt, starts from; None: it is not known where the bytes go.
        self._state: State | None = None
        self._headers: Mapping[str, str] = {}
        self._received: Callable[[], None] = lambda: None
        # What the server has said last of the resource.
        self._seen: Resource | None = None
        # Kinds of errors that have restarted the job: each does so once without a pause.
        self._restarted: set[str] = set()

    async def run(self, received: Callable[[], None]) -> Result | Again:
        """Make one attempt: return the job's result, or that another attempt is worth it.

        :param received: is called when the network has no more to do, and only the disk has.
        """
        self._received = received
        try:
            async with self._deadline.bound():
                try:
                    return await self._attempt()
                except SegmentError as failed:
                    return await self._failed(failed.error, segment=True)
                except FetchError as error:
                    return await self._failed(error)
        except FetchError as error:
            self.note_request(error)
            await self.close()
            return self._result("failed", error=error)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the part; what is in it stays, and its journal says so."""
        state, self._state = self._state, None
        if state is not None:
            await state.sink.close()

    @property
    def received(self) -> int:
        """Body bytes that the network has brought so far."""
        return self._counters.received

    @property
    def name(self) -> str:
        """The target's name, or the best guess before the server has answered."""
        return self._target.name

    # --- find

    async def _attempt(self) -> Result:
        self._context.fetcher.check(self.job)
        self._mirrors.standing.begin()
        if self._state is None:
            found = await self._target.find()
            if isinstance(found, Existing):
                return self._kept(found)
            if isinstance(found, Kept):
                result = await self._renew(found)
                if result is not None:
                    return result
            else:
                self._take_over(found)
        for _ in range(MOST_ASKS):
            state = self._state
            if isinstance(state, Begun) and state.complete:
                await self._begin(state, state.known)
                self._plan("done", "every byte was already here", state.known)
                return await self._finish(state)
            result = await self._ask(state)
            if result is not None:
                return result
        raise ProtocolError(f"{self._mirrors.host} gave no usable answer {MOST_ASKS} times.", transient=True)

    async def _renew(self, kept: Kept) -> Result | None:
        """Ask for a newer version of a finished file; None where the answer has to be asked for again."""
        ask = Ask(unless=kept.unless)
        return await self._receive(None, ask, await self._mirrors.open(ask), kept.existing)

    def _take_over(self, state: State | None) -> None:
        """Go on with the part that was found, and count what an earlier run has left in it."""
        self._state = state
        if isinstance(state, Begun):
            self._counters.found(_ranges.total(state.sink.spans))

    # --- ask

    async def _ask(self, state: State | None) -> Result | None:
        """Make one request and act on its answer; None means: ask again, from the state then."""
        ask = Ask()
        if isinstance(state, Begun):
            state, ask = await self._next_ask(state)
        try:
            reply = await self._mirrors.open(ask)
        except ProtocolError:
            if ask.span is None or not isinstance(state, Begun) or not state.sink.restartable:
                raise
            self._state = state._replace(refused="the server's answer to a range is no HTTP")
            return None
        return await self._receive(state, ask, reply)

    async def _receive(
        self, state: State | None, ask: Ask, reply: Reply, existing: Existing | None = None
    ) -> Result | None:
        """Act on the answer to *ask*; *existing* is the result where the file is not modified."""
        self._headers = reply.headers
        body = Body(reply)
        try:
            self._seen = Resource(redact(reply.url))
            answer, self._seen = await self._judge(ask, state, reply, body)
            seen = self._seen
            answered = Answered(reply, body, seen, answer)
            if answer.action == "complete" and existing is not None:
                return self._kept(existing)
            if answer.action == "whole":
                return await self._whole(state, answered)
            if isinstance(state, Begun):
                if ask.span is not None and answer.body is not None:
                    return await self._slice(state, answered, ask.span, answer.body)
                self._state = state.after(answer, seen, self._counters.have)
            return None
        finally:
            await body.aclose()

    async def _judge(self, ask: Ask, state: State | None, reply: Reply, body: Body) -> tuple[Answer, Resource]:
        """Decide what *reply* means; an error has what the server said with it."""
        try:
            return self._mirrors.judge(ask, state.known if isinstance(state, Begun) else None, reply)
        except (StatusError, AuthenticationError) as error:
            await refusal.attach(error, body, reply)
            raise

    async def _next_ask(self, state: Begun) -> tuple[State, Ask]:
        """Ask for the first bytes that are missing, or for all if nothing can vouch for those here."""
        refusal = self._mirrors.refusal if state.sink.restartable else None
        if not state.sink.spans or state.refused or state.known.encoding or refusal == "ask_whole":
            return state, Ask()
        overlap = checks.overlap(self._settings.disk.overlap, self._counters.failures)
        plain = state.plain or refusal is not None
        ask = checks.next_ask(state.known, state.sink.spans, overlap, plain=plain)
        # What standard output got cannot be taken back when a comparison fails.
        if ask.condition is None and (ask.compare == 0 or not state.sink.restartable):
            return await self._restart(state, "nothing proves that the server still has the same file"), Ask()
        return state, ask

    # --- receive

    async def _whole(self, state: State | None, answered: Answered) -> Result | None:
        """Receive the complete representation, from its first byte."""
        if answered.seen.encoding:
            name = self._target.place(answered.reply)[1] if state is None else state.sink.name
            answered = await self._form.settle(answered, name)
        seen, answer = answered.seen, answered.answer
        self._links.check(state.known if isinstance(state, Begun) else None, seen, self._counters.have)
        if not seen.encoding:
            checks.check_length(self.job, seen, self._settings.disk.max_size)
        self._target.settle(answered.reply)
        restarts = ""
        if state is not None:
            refused = state.refused if isinstance(state, Begun) else ""
            restarts = refused or (answer.reason if state.sink.spans else "")
        else:
            located = await self._locate(answered)
            if isinstance(located, Result):
                return located
            if isinstance(located, Begun) and checks.continues(located.known, seen):
                return None
            state = located
        empty = await self._restart(state, restarts)
        return await self._from_zero(empty, answered, restarts)

    async def _locate(self, answered: Answered) -> Result | State:
        """Settle the name, and keep a small body there and then."""
        seen = answered.seen
        directory, name = self._target.place(answered.reply)
        small = seen.length is not None and seen.length <= self._settings.disk.buffer
        if small and not seen.encoding and not self._form.in_doubt:
            chunks = await answered.body.complete(seen.length or 0)
            if chunks is not None:
                return await self._put(directory, name, answered, chunks)
        proven: dict[Path, bool] = {}
        head = None
        while isinstance(found := await self._target.claim(directory, name, seen, proven, head), Unproven):
            proven[found.path] = await self._proves(found, answered)
            head = bytes((await answered.body.peek(0))[:PROOF])
        if isinstance(found, Existing):
            return self._kept(found)
        self._take_over(found)
        return found

    async def _proves(self, unproven: Unproven, answered: Answered) -> bool:
        """Whether a finished file has the bytes of the answer: the first that come, and the last of another."""
        if not checks.resumable_method(self.job):
            return False
        size = min(PROOF, unproven.size)
        first, last = await self._context.parts.ends(unproven.path, size)
        if (await answered.body.peek(size))[:size] != first:
            return False
        return await self._mirrors.sends(Span(unproven.size - size, unproven.size), answered.seen, last)

    async def _put(self, directory: Path, name: str, answered: Answered, chunks: Sequence[Buffer]) -> Result:
        """Keep a body that arrived whole."""
        seen, size = answered.seen, answered.seen.length or 0
        await self._context.pace(size)
        self._plan("fresh", answered.answer.reason, seen)
        file = await self._target.put(directory, name, seen, chunks, self._received)
        self._counters.wrote(size)
        return self._kept(file, seen, framed=checks.framed(answered.reply))

    async def _from_zero(self, empty: Empty, answered: Answered, restarts: str) -> Result | None:
        """Stream the complete representation into an empty part."""
        seen = answered.seen
        chunks: Chunks = answered.body
        known, span = seen, Span(0, UNKNOWN_END if seen.length is None else seen.length)
        if seen.encoding:
            chunks = self._decoded(answered, seen.encoding)
            # The length is of the coded body, and no validator is of the bytes that will be in the part.
            known, seen, span = replace(seen, length=None), Resource(seen.url), Span(0, UNKNOWN_END)
        begun = Begun(empty.sink, known, framed=checks.framed(answered.reply))
        self._context.answered(known, answered.reply.headers)
        await self._begin(begun, seen)
        self._plan("restart" if restarts else "fresh", restarts or answered.answer.reason, known)
        return await self._stream(begun, answered, chunks, span)

    def _decoded(self, answered: Answered, encoding: str) -> Chunks:
        most = self._settings.disk.max_size or self._settings.network.max_decoded
        host, warnings = answered.reply.host, self._context.warnings
        return DecodedBody(answered.body, Decoder(encoding, most), lambda odd: warnings.tell(host, odd, odd))

    async def _slice(self, state: Begun, answered: Answered, wanted: Span, sent: Span) -> Result | None:
        """Receive the range *sent*, which continues the part at the start of *wanted*."""
        known, seen = state.known, answered.seen
        chunks: Chunks = answered.body
        length = seen.length if known.length is None else known.length
        known = replace(known, length=length, ranges=True, digests=dict(seen.digests))
        begun = state._replace(known=known)
        await self._begin(begun, known)
        self._plan("resume", answered.answer.reason, known)
        if sent.start < wanted.start:
            before = wanted.start - sent.start
            lead = min(before, self._settings.disk.overlap)
            compared = await begun.sink.read(Span(wanted.start - lead, wanted.start))
            chunks = TrimmedBody(answered.body, before, compared)
        return await self._stream(begun, answered, chunks, Span(wanted.start, min(sent.stop, wanted.stop)))

    async def _stream(self, begun: Begun, answered: Answered, chunks: Chunks, span: Span) -> Result | None:
        """Write *chunks* to the part, with as many connections as help; None when holes are left."""
        sink, known = begun.sink, begun.known
        length = UNKNOWN_END if known.length is None else known.length
        segments = SegmentQueue(length, lambda: sink.spans, self._context.clock)
        first = segments.start(span.start, span.stop)
        pumped = Pump(chunks, sink, first, self._context, self._counters.wrote).run()
        if not self._target.piped and checks.splittable(
            self.job, known, self._settings.queue, answered.reply.version
        ):
            download = SegmentedDownload(begun, segments, self._context, self._mirrors, self._counters)
            if not await download.run(pumped, first):
                self._state = begun._replace(refused="the server has no range for what is missing")
                return None
        else:
            await pumped
        if known.length is None:
            self._state = begun = begun._replace(known=replace(known, length=first.position))
        return await self._finish(begun) if begun.complete else None

    # --- finish

    async def _finish(self, state: Begun) -> Result:
        """Verify, and give the file its name."""
        checks.check_length(self.job, state.known, self._settings.disk.max_size)
        self._deadline.lift()
        self._received()
        self._seen = self._seen or state.known
        finished = await self._target.finish(state)
        self._state = None
        return self._kept(finished, state.known, framed=state.framed)

    def _kept(self, file: Finished | Existing, seen: Resource | None = None, *, framed: bool = True) -> Result:
        path = None if self._target.piped else file.path
        if isinstance(file, Existing):
            return self._result("skipped", path=path, size=file.size, reason=file.reason)
        verified = "digest" if self._target.checksums(seen) else "length" if framed else "nothing"
        facts = {"path": path, "size": file.size, "digests": file.digests, "verified": verified}
        if self._counters.before:
            reason = f"{self._counters.before} bytes from an earlier run"
            return self._result("resumed", reason=reason, **facts)
        return self._result("done", **facts)

    def _result(self, status: ResultStatus, **facts: Any) -> Result:
        seen = self._seen or Resource("")
        return Result(
            self.job,
            status,
            received=self._counters.received,
            attempts=self._mirrors.asked,
            headers=self._headers,
            elapsed=self._context.clock() - self._began,
            final_url=seen.url or None,
            etag=seen.etag,
            last_modified=seen.last_modified,
            **facts,
        )

    # --- when it goes wrong

    async def _failed(self, error: FetchError, *, segment: bool = False) -> Result | Again:
        """Act on what is decided about a failed attempt."""
        forget_frames(error)
        self.note_request(error)
        standing = self._mirrors.standing
        failures = self._counters.failed()
        if not segment:
            standing.failed(error, failures)
        failure = _retry.Failure(
            failures,
            away=standing.away(failures),
            persistent=standing.persistent,
            redirected=self._mirrors.redirected,
            segment=segment,
            repeated=error.kind in self._restarted,
            mirrors=self._mirrors.others,
            repeatable=self._mirrors.repeatable,
            restartable=self._state is None or self._state.sink.restartable,
        )
        decision = _retry.decide(error, failure, self._policy, self._context.random)
        if isinstance(error, ChecksumError) and failure.restartable and self._state is not None:
            sink = self._state.sink
            await (sink.reset() if self._form.refute() else sink.spoil())
            self._state = Empty(sink)
            self._counters.restarted()
        if decision.kind == "give_up" and await self._links.renew(error, failures, self._counters.have):
            self._context.observe(AttemptFailed(self.number, self.name, error, failures, 0.0))
            if isinstance(self._state, Begun):
                self._state = self._state.elsewhere()
            return Again(0.0, self, host=self._mirrors.key)
        ended = standing.is_given_up and not self._mirrors.others
        if decision.kind == "give_up" or ended or self._links.mislead(error, self._counters.have):
            await self.close()
            return self._result("failed", error=error)
        await self._prepare(decision, error)
        again = standing.again(decision.wait, self)
        self._deadline.check(again.wait, error)
        self._context.observe(AttemptFailed(self.number, self.name, error, failures, again.wait))
        standing.announce(self.number, error, failure.away, again.wait, decision.lasts)
        return again

    async def refuse(self, error: FetchError) -> Result | Again:
        """End without an attempt, since the host is given up; a job with another mirror goes on with that."""
        if self._mirrors.others:
            await self._prepare(_retry.Decision("drop_mirror", 0.0, "the host is given up"), error)
            return Again(0.0, self, host=self._mirrors.key)
        await self.close()
        if (own := self._mirrors.standing.error) is not None:
            return self._result("failed", error=own)
        error = copy.copy(error)
        error.args, error.url = (f"Not asked, since its host is given up: {error}", *error.args[1:]), ""
        self.note_request(error)
        return self._result("failed", error=error, reason="its host is given up")

    def note_request(self, error: FetchError) -> None:
        """Note in *error* what was asked last, and how often the job has asked."""
        error.url, error.attempts = error.url or self._mirrors.shown, self._mirrors.asked
        self._mirrors.explain(error)

    async def _prepare(self, decision: _retry.Decision, error: FetchError) -> None:
        """Make the state that the next attempt starts from."""
        if decision.kind == "restart":
            self._restarted.add(error.kind)
            if self._state is not None:
                await self._restart(self._state, decision.reason)
        elif decision.kind in {"next_mirror", "drop_mirror"}:
            self._mirrors.turn(drop=decision.kind == "drop_mirror")
            if isinstance(self._state, Begun):
                self._state = self._state.elsewhere()

    async def _restart(self, state: State, reason: str) -> Empty:
        """Begin at the first byte again, in the same part.

        :raises ChangedError: bytes went to standard output, or the like, and cannot be taken back.
        """
        if state.sink.spans:
            if not state.sink.restartable:
                got = f"{self._counters.have} bytes, and cannot get the rest"
                out = f"{state.sink.noun.capitalize()} got {got}"
                raise ChangedError(f"{out}: {reason.removesuffix('.')}.", transient=False)
            await state.sink.reset()
        self._counters.restarted()
        self._state = empty = Empty(state.sink)
        return empty

    # --- small facts

    async def _begin(self, begun: Begun, noted: Resource) -> None:
        """Enter *begun*, and note in its journal what its bytes are of."""
        self._state = begun
        await self._target.begin(begun.sink, noted)

    def _plan(self, kind: PlanKind, reason: str, seen: Resource) -> None:
        resumable = seen.ranges and checks.resumable_method(self.job) and not seen.encoding
        have = self._counters.have
        self._context.observe(Planned(self.number, self.name, kind, reason, have, seen.length, resumable))
