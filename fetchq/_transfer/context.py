"""What every transfer of a run is handed: source, disk, settings, and clock, sleep and chance as values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from .._connections import Budget
from .._digests import ChecksumPolicy
from .._disk import Parts, Sink
from .._errors import FetchError
from .._events import Observer, Warned
from .._hosts import Hosts
from .._models import Buffer, Job, Resource
from .._naming import printable
from .._ranges import Action
from .._settings import Settings
from .._throttle import Bucket

__all__ = ["ALONE", "Fetcher", "Placement", "RangeRefusals", "Reply", "RunContext", "Warnings"]

# Beyond so many warnings of a run the next says nothing that helps.
MOST_WARNINGS = 200
# Hosts that refuse ranges are few; the bound is for memory.
MOST_REFUSALS = 10_000


class Reply(Protocol):
    """A final answer in the terms of HTTP (RFC 9110), whatever its status; must be closed."""

    @property
    def status(self) -> int:
        """The status code; 206 with a Content-Range for a range, 200 for the whole."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""

    @property
    def url(self) -> str:
        """The URL that answered."""

    @property
    def host(self) -> str:
        """The server that answered, for messages, with the hop that led to it."""

    @property
    def hint(self) -> str:
        """What a 401 means and what can be done about it, as the end of a sentence; else empty."""

    @property
    def hops(self) -> int:
        """Redirects that were followed to get here."""

    @property
    def version(self) -> str:
        """The protocol, such as ``HTTP/1.1``."""

    @property
    def skipped(self) -> bytes:
        """The first line of the head that is no field and was left out; else empty."""

    @property
    def secrets(self) -> Iterable[str]:
        """What the request carried that must not be shown, though the body may repeat it."""

    @property
    def head(self) -> bytes:
        """The head as text, which is the body where it alone was asked for (HEAD); else empty."""

    @property
    def received(self) -> int:
        """Body bytes that :meth:`chunks` has handed over."""

    def chunks(self) -> AsyncIterator[Buffer]:
        """Iterate over the body, its content coding kept.

        :raises FetchError: it broke off.
        """

    async def aclose(self) -> None:
        """Release the connection."""


class Fetcher(Protocol):
    """A source of bytes: HTTP servers, or something that answers like one."""

    def check(self, job: Job) -> None:
        """Refuse what can never be asked for.

        :raises UsageError: one sentence says what is wrong.
        """

    def host_of(self, job: Job, url: str | None = None) -> str:
        """Return what connections are counted by, the same for all jobs of one server; *url* is a mirror's."""

    async def open(
        self,
        job: Job,
        *,
        url: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        buffer: int | None = None,
        given: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """Make one request, and return once the head of its answer is in.

        :param url: one of the job's mirrors; default: its own URL.
        :param headers: Range and If-Range.
        :param buffer: most bytes that a chunk should have.
        :param given: header fields for the origin of *url* alone.
        :raises FetchError: no answer.
        """


class Warnings:
    """Tells of what is odd about a server and does no harm: once per host and kind in a run.

    :param observe: is called with every event.
    """

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self._told: set[tuple[str, str]] = set()

    def tell(self, host: str, kind: str, predicate: str) -> None:
        """Warn that *host* does what *predicate* says, the rest of a sentence, unless it was told before."""
        if (host, kind) not in self._told and len(self._told) < MOST_WARNINGS:
            self._told.add((host, kind))
            self._observe(Warned(0, printable(f"{host} {predicate}.")))


class RangeRefusals:
    """Which hosts answer with an error to Range or If-Range, and well without them, as seen in this run."""

    def __init__(self) -> None:
        self._hosts: dict[str, Action] = {}

    def note(self, host: str, action: Action) -> None:
        """Note that *host* answered well after it was asked as *action* says: ``ask_plain``, ``ask_whole``."""
        if len(self._hosts) < MOST_REFUSALS:
            self._hosts[host] = action

    def get(self, host: str) -> Action | None:
        """Return how *host* is to be asked from the start; None for all that has answered ranges well."""
        return self._hosts.get(host)


class Placement(NamedTuple):
    """Where the file of a job goes among those of other jobs of the queue.

    :param folder: below that of the job, from the name template.
    :param name: from the name template; empty where URL or server name the file.
    :param ordinal: how many earlier jobs of the queue suggest the same name; it gets that candidate.
    :param copy: how many earlier jobs of the queue are equal, and are to have files of their own.
    """

    folder: Path | None = None
    name: str = ""
    ordinal: int = 0
    copy: int = 0


# Most jobs suggest a name that no job before them does.
ALONE = Placement()


class RunContext(NamedTuple):
    """The surroundings of a transfer.

    :param owned: whether the store has a path as the job's of this key and URL (True), another's (False) or not
        at all (None).
    :param observe: is called with every event.
    :param warnings: what is odd about servers is told there.
    :param refusals: which hosts are asked without Range or If-Range.
    :param bucket: the rate limit that all transfers share, if there is one.
    :param pipe: returns a sink for the target ``-``: standard output, or what stands for it.
    :param clock: steady seconds.
    :param now: seconds since the epoch, for what servers date.
    :param sleep: waits that many seconds.
    :param random: returns a number in [0, 1).
    :param checksums: what is known of the files besides their jobs' own checksums.
    :param refresh: finds a new URL, and the headers that go with it, for a job whose own has expired; raises a
        FetchError where there is none.
    :param answered: is called with what the server says of a body that is read from its start, and its header.
    """

    fetcher: Fetcher
    parts: Parts
    settings: Settings
    budget: Budget
    hosts: Hosts
    bucket: Bucket | None
    owned: Callable[[Path, str, str], bool | None]
    observe: Observer
    warnings: Warnings
    refusals: RangeRefusals
    pipe: Callable[[], Sink]
    clock: Callable[[], float]
    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]
    checksums: ChecksumPolicy = ChecksumPolicy()
    refresh: Callable[[Job, FetchError], Awaitable[Job]] | None = None
    answered: Callable[[Resource, Mapping[str, str]], None] = lambda *_: None

    async def pace(self, size: int) -> None:
        """Count *size* bytes that came against the rate limit; wait if they came too fast."""
        if self.bucket is not None:
            pause = self.bucket.take(size, self.clock())
            if pause > 0:
                await self.sleep(pause)
