"""Words of the command line and lines of queue files -> Jobs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .._errors import FetchError, QueueFileError, UsageError
from .._models import Job, Pairs
from .._naming import guess, printable

__all__ = ["RunRequest", "digests", "from_files", "patiently", "request"]

# Lines that wait between the reader and the scheduler, which has a look-ahead of its own; about 1 KiB each.
READ_AHEAD = 256
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded")


class RunRequest(NamedTuple):
    """What the command line asks of every job that does not say otherwise itself.

    :param digests: file name to checksum.
    :param warn: told of a job whose name the manifest does not hold.
    """

    method: str = "GET"
    headers: Pairs = ()
    params: Pairs = ()
    content: bytes | None = None
    json: Any = None
    form: Pairs = ()
    digests: Mapping[str, str] = {}
    warn: Callable[[str], None] = lambda _: None

    def dress(self, job: Job) -> Job:
        """Give *job* with what it leaves open filled in."""
        changes: dict[str, Any] = {}
        bare = job.method == "GET" and job.content is None and job.json is None and not job.form
        if bare and (self.method != "GET" or self.params):
            body = {"content": self.content, "json": self.json, "form": self.form}
            changes.update(body, method=self.method, headers=(*self.headers, *job.headers))
        if self.params:
            changes["params"] = (*job.params, *self.params)
        if self.digests and not job.checksum:
            changes["checksum"] = self._promised(job)
        return dataclasses.replace(job, **changes) if changes else job

    def _promised(self, job: Job) -> str | None:
        name = job.out or guess(job.url)
        known = self.digests.get(name) or self.digests.get(name.rpartition("/")[2])
        if known is None:
            self.warn(f"{printable(name)} is not in the manifest of checksums: it is fetched unchecked.")
        return known


def request(given: Mapping[str, Any], warn: Callable[[str], None]) -> RunRequest:
    """Read the options that describe a request.

    :raises UsageError: two bodies, unreadable body or manifest, a body that is no JSON.
    """
    bodies = [f"--{name}" for name in ("data", "json", "form") if given[name] not in (None, ())]
    if len(bodies) > 1:
        raise UsageError(f"A request has one body: give {' or '.join(bodies)}.")
    typed = any(name.lower() == "content-type" for name, _ in given["header"])
    return RunRequest(
        method=(given["request"] or ("POST" if bodies else "GET")).upper(),
        headers=(FORM_TYPE,) if given["data"] is not None and not typed else (),
        params=given["param"],
        content=None if given["data"] is None else _body("--data", given["data"]),
        json=None if given["json"] is None else _json(given["json"]),
        form=given["form"],
        digests={} if given["checksums"] is None else digests(given["checksums"]),
        warn=warn,
    )


def _body(option: str, text: str) -> bytes:
    """Give the body as curl's ``--data-binary`` does: the text itself, or the file behind ``@``."""
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except OSError as error:
        raise UsageError(f"{option} {printable(text)}: {error.strerror}.") from error


def _json(text: str) -> Any:
    try:
        return json.loads(_body("--json", text))
    except ValueError as error:
        raise UsageError(f"--json is not JSON: {error}.") from error


def digests(path: Path) -> dict[str, str]:
    """Read a manifest: file name to checksum.

    :raises UsageError: it cannot be read, or one of its lines is not understood.
    """
    from .._digests import manifest

    known: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as lines:
            for entry in manifest(lines, str(path)):
                if isinstance(entry, QueueFileError):
                    raise entry
                name, digest = entry
                known[name.removeprefix("./")] = str(digest)
    except OSError as error:
        raise UsageError(f"{printable(str(path))} cannot be read: {error.strerror}.") from error
    return known


def from_files(paths: Iterable[str], wanted: RunRequest) -> Iterator[Job | FetchError]:
    """Read queue files one after another, line by line.

    Each is opened, and its first line read, before the first job is given: a mistyped name ends the run
    before it has begun.

    :raises UsageError: a file cannot be opened or is none.
    """
    from .._queue_files import read  # a run of URLs alone reads no file

    # A reader of its own: one that waits in sys.stdin's when the process ends would hold up its end.
    stdin = open(0, "rb", closefd=False) if "-" in paths else None  # noqa: SIM115 - read to the process's end
    return _in_turn([read(path, warn=wanted.warn, stdin=stdin) for path in paths], wanted)


def _in_turn(files: list[Iterator[Job | QueueFileError]], wanted: RunRequest) -> Iterator[Job | FetchError]:
    for lines in files:
        for item in lines:
            yield wanted.dress(item) if isinstance(item, Job) else item


async def patiently(items: Iterator[Job | FetchError]) -> AsyncIterator[Job | FetchError]:
    """Give *items* as they come, read by a thread: a pipe that pauses must not pause the transfers."""
    loop = asyncio.get_running_loop()
    come: deque[list[Job | FetchError]] = deque()
    bell, room = asyncio.Event(), threading.Semaphore(READ_AHEAD)

    def put(block: list[Job | FetchError]) -> None:
        room.acquire()
        come.append(block)
        with suppress(RuntimeError):  # the run has ended and its loop is closed
            loop.call_soon_threadsafe(bell.set)

    def fetch() -> None:
        for item in items:
            put([item])
        put([])

    # A daemon, since nothing can call a thread back from a read that never ends.
    threading.Thread(target=fetch, name="fetchq-queue", daemon=True).start()
    while True:
        await bell.wait()
        bell.clear()
        while come:
            block = come.popleft()
            room.release()
            if not block:
                return
            yield block[0]
