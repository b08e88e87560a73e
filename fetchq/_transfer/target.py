"""Where a job's bytes go: its name and its part, or standard output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from .. import _digests, _naming, _retry
from .._digests import Checksum
from .._disk import CompleteBody, Existing, ExistingPolicy, Finished, Sink, Unproven
from .._events import Warned
from .._models import Buffer, Job, Resource
from . import checks
from .context import Placement, Reply, RunContext
from .states import Begun, Empty, Kept, State

__all__ = ["Target"]


class Target:
    """Finds, locks and finishes what a job's bytes are written to.

    :param key: the job's identity in the store.
    :param placement: where its file goes among those of other jobs.
    :param earlier: the file that an earlier run has left.
    :ivar piped: the bytes go to standard output, or what stands for it, in their order.
    """

    def __init__(
        self, job: Job, number: int, context: RunContext, key: str, placement: Placement, earlier: Kept | None
    ) -> None:
        self._job = job
        self._number = number
        self._observe = context.observe
        self._known = context.checksums
        self._checksum: Checksum | None = None
        # No further name of the file can tell more of its checksum.
        self._settled = False
        self._parts = context.parts
        self._pipe = context.pipe
        self._settings = context.settings.disk
        self._owned = context.owned
        self._key = key
        self._earlier = earlier
        # The finished file of this job, which a newer version replaces.
        self._own: Path | None = None
        self._updates = context.settings.queue.update
        self._placement = placement
        self._identity = checks.identity(job, placement.copy)
        self._name = ""
        self.piped = job.out == "-"
        self._noun = ""

    @property
    def name(self) -> str:
        """The target's name, or the best guess before the server has answered."""
        return self._name or self._job.out or _naming.guess(self._job.url)

    async def find(self) -> State | Existing | Kept | None:
        """Look for the file or an earlier run's part of it, by the name that the job or its URL suggests.

        :raises UsageError: the checksum is malformed, or it is not known and must be.
        """
        if not self._settled:
            self._look_up("")
        if self.piped:
            sink = self._pipe()
            self._noun = sink.noun
            return Empty(sink)
        if not checks.resumable_method(self._job):
            return None
        directory, name = self._placed("")
        name = name or _naming.guess(self._job.url)
        found: State | Existing | Kept | None = await self._held(directory, name)
        if self._updates and found is None:
            return await self._outdated(directory, name)
        if found is None:
            found = await self._begun(directory, name)
        return found or await self._recorded(directory, name)

    async def _outdated(self, directory: Path, name: str) -> State | Existing | Kept | None:
        """Return the finished file, which may have a newer version, or what has been begun of that."""
        found = None if self._earlier is None else await self._still_kept(self._earlier)
        found = found or await self._recorded(directory, name)
        if isinstance(found, Kept):
            self._own = found.existing.path
            directory, name = self._own.parent, self._own.name
        begun = await self._begun(directory, name)
        return begun or found

    async def _still_kept(self, earlier: Kept) -> Existing | Kept | None:
        path = earlier.existing.path
        found = await self._recorded(path.parent, path.name)
        # File systems without extended attributes hold no record.
        return earlier if found is None and self._checksum is None and any(earlier.unless) else found

    async def _held(self, directory: Path, name: str) -> Existing | None:
        """Return the file *name* if it has the known checksum."""
        if self._checksum is None:
            return None
        return await self._parts.holds(directory, name, self._checksum, self._identity)

    async def _begun(self, directory: Path, name: str) -> State | Existing | None:
        """Lock the part that an earlier run has left."""
        found = await self._parts.peek(directory, name, self._identity, self._ordinal(name))
        if found is None:
            return None
        if not self._settled:
            self._look_up(found)
        claimed = await self.claim(directory, found, None)
        return None if isinstance(claimed, Unproven) else claimed

    async def _recorded(self, directory: Path, name: str) -> Existing | Kept | None:
        """Return the file that an earlier run has finished, and recorded that on it."""
        recorded = await self._parts.recorded(directory, name, self._identity)
        if recorded is None:
            await self._parts.require_free(directory)
            return None
        existing, record = recorded
        if not self._settled:
            self._look_up(existing.path.name)
        if self._checksum is not None:
            return await self._held(directory, existing.path.name)
        return Kept(existing, (record.etag, record.last_modified))

    def settle(self, reply: Reply) -> None:
        """Find out what the file must hash to: the manifest may list it by the name that the server gives it.

        :raises UsageError: that is not known, and must be.
        """
        if not self._settled:
            self._look_up(_naming.name_from(reply.headers, reply.url, dotfiles=self._settings.dotfiles))

    def _look_up(self, name: str) -> None:
        self._checksum = self._known.find(self._job, name)
        self._settled = bool(name) or self._job.checksum is not None or self._known.manifest is None
        if self._settled and self._checksum is None:
            own = "" if self.piped else self._job.out
            warning = self._known.unknown(own or name or _naming.guess(self._job.url))
            if warning:
                self._observe(Warned(self._number, warning))

    def place(self, reply: Reply) -> tuple[Path, str]:
        """Settle and return folder and name; the server names a job that has no name of its own.

        :raises UsageError: the job's own path cannot be used.
        """
        named = _naming.name_from(reply.headers, reply.url, dotfiles=self._settings.dotfiles)
        directory, self._name = self._placed(named)
        return directory, self._name

    def _placed(self, named: str) -> tuple[Path, str]:
        if self._own is not None:
            return self._own.parent, self._own.name
        return checks.place(self._job, self._settings.dir, named, self._placement)

    def _ordinal(self, name: str) -> int:
        """Return which candidate for *name* is the job's: where the URL names it, the list's order decides."""
        if self._job.out is None and name == (self._placement.name or _naming.guess(self._job.url)):
            return self._placement.ordinal
        return 0

    async def claim(
        self,
        directory: Path,
        name: str,
        seen: Resource | None,
        proven: Mapping[Path, bool] = MappingProxyType({}),
        head: bytes | None = None,
    ) -> State | Existing | Unproven:
        """Lock the part of *name*, with what an earlier run has left in it.

        :param proven: whether the bytes of files that were :class:`Unproven` are the server's.
        :param head: first bytes of the server's answer, where they are at hand.
        :raises DiskError: full, refused, or locked by another process.
        """
        part = await self._parts.claim(
            directory,
            name,
            self._policy(name, seen, proven, head),
            length=seen.length if seen is not None and not seen.encoding else None,
        )
        if isinstance(part, Existing | Unproven):
            return part
        self._name = part.name
        journal = part.journal
        if journal is None or not part.spans or not checks.resumable_method(self._job):
            return Empty(part)
        return Begun(part, Resource(journal.url, journal.length, journal.etag, journal.last_modified))

    def _policy(
        self, name: str, seen: Resource | None, proven: Mapping[Path, bool], head: bytes | None = None
    ) -> ExistingPolicy:
        return ExistingPolicy(
            self._identity,
            "overwrite" if self._own else checks.if_exists(self._job, self._settings.if_exists),
            named=self._job.out is not None or self._own is not None,
            seen=seen,
            same=partial(checks.same_file, seen=seen),
            checksums=self.checksums(seen),
            owned=lambda path: self._owned(path, self._key, self._job.url),
            proven=proven,
            head=head,
            confined=self._job.confined or self._placement.folder is not None,
            # A part that was found is the job's, whatever the list's order says of a new one.
            ordinal=0 if seen is None else self._ordinal(name),
        )

    async def put(
        self, directory: Path, name: str, seen: Resource, chunks: Sequence[Buffer], aside: Callable[[], None]
    ) -> Finished | Existing:
        """Make the file of a body that arrived whole: one step, no journal.

        :param aside: is called before this begins, so that others can use the network meanwhile.
        """
        return await self._parts.put(
            directory,
            name,
            self._policy(name, seen, {}),
            CompleteBody(
                chunks,
                self._algorithms(seen),
                _retry.http_date(seen.last_modified),
                partial(self._check, seen),
                seen.etag,
                seen.last_modified,
            ),
            aside=aside,
        )

    async def begin(self, sink: Sink, seen: Resource) -> None:
        """Note in the journal what is being fetched, before its first byte is written."""
        await sink.begin(seen, self._algorithms(seen))

    async def finish(self, begun: Begun) -> Finished | Existing:
        """Verify a complete part, and give the file its name.

        :raises ChecksumError: these are not the bytes that a digest promises.
        """
        known = begun.known
        mtime, check = _retry.http_date(known.last_modified), partial(self._check, known)
        return await begun.sink.finish(size=known.length or 0, mtime=mtime, check=check)

    def checksums(self, seen: Resource | None) -> list[Checksum]:
        """Return what the finished file must hash to."""
        return checks.checksums(self._checksum, seen)

    def _algorithms(self, seen: Resource) -> list[str]:
        return checks.algorithms(self._checksum, seen, sha256=self._settings.sha256, likely=not self.piped)

    def _check(self, seen: Resource, digests: Mapping[str, str]) -> None:
        name = self._noun if self.piped else self._name
        _digests.compare(self.checksums(seen), digests, name)
