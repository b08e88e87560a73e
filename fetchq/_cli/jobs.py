"""The command line and queue files as jobs; the manifest of their checksums."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from .._api import Downloader
from .._digests import Manifest
from .._errors import FetchError, QueueFileError, TooLargeError, UsageError
from .._http import with_scheme
from .._models import FormFile, Job, Pairs, redact
from .._naming import printable
from .._settings import Settings
from .._units import size
from .credentials import contents

__all__ = ["RunRequest", "followed", "from_files", "manifest", "read_in_threads", "request"]

# Jobs between the reader thread and the scheduler, which has a look-ahead of its own; about 1 KiB each.
READ_AHEAD = 256
# Half a million lines of SHA-512; Debian's largest Release file has a few hundred KiB.
MAX_MANIFEST = 64 << 20
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded")


class RunRequest(NamedTuple):
    """The request that the command line describes, for jobs that do not have one of their own.

    :param warn: is called with each warning about a queue file.
    :param confined: jobs of queue files may not leave the run's directory.
    :param relative: URLs without a scheme are relative to a base URL.
    """

    method: str = "GET"
    headers: Pairs = ()
    params: Pairs = ()
    content: bytes | None = None
    json: Any = None
    form: Pairs = ()
    files: tuple[tuple[str, FormFile], ...] = ()
    warn: Callable[[str], None] = lambda _: None
    confined: bool = True
    relative: bool = False

    @property
    def absolute(self) -> Callable[[str], str]:
        """What returns the URL that a word of a queue file means."""
        return str if self.relative else with_scheme

    @property
    def is_usual(self) -> bool:
        """Whether a job of a queue file lacks nothing."""
        return self.method == "GET" and not self.params and self.confined

    def complete(self, job: Job) -> Job:
        """Return *job* with what it leaves open filled in."""
        changes: dict[str, Any] = {}
        asks = self.method != "GET" or bool(self.params)
        if asks and job.method == "GET" and not job.has_body:
            body = {"content": self.content, "json": self.json, "form": self.form, "files": self.files}
            changes.update(body, method=self.method, headers=(*self.headers, *job.headers))
        if self.params:
            changes["params"] = (*job.params, *self.params)
        if not self.confined:
            changes["confined"] = False
        return replace(job, **changes) if changes else job


def request(given: Mapping[str, Any], warn: Callable[[str], None]) -> RunRequest:
    """Read the options that describe a request.

    :raises UsageError: two bodies, an unreadable body, a body that is no JSON.
    """
    bodies = [f"--{name}" for name in ("data", "json", "form") if given[name] not in (None, ())]
    if len(bodies) > 1:
        raise UsageError(f"A request has one body: give {' or '.join(bodies)}.")
    typed = any(name.lower() == "content-type" for name, _ in given["header"])
    return RunRequest(
        method=(given["request"] or ("POST" if bodies else "GET")).upper(),
        headers=(FORM_TYPE,) if given["data"] is not None and not typed else (),
        params=given["param"],
        content=None if given["data"] is None else contents("--data", given["data"]),
        json=None if given["json"] is None else _json(given["json"]),
        form=tuple(field for field in given["form"] if not isinstance(field[1], FormFile)),
        files=tuple(_read_stdin(field) for field in given["form"] if isinstance(field[1], FormFile)),
        warn=warn,
        confined=not given["allow_outside"],
        relative=given["base_url"] is not None,
    )


def _read_stdin(field: tuple[str, FormFile]) -> tuple[str, FormFile]:
    """Return a form's *field*; one whose file is stdin holds what that says, since its length must be known."""
    name, file = field
    if str(file.path) != "-":
        return field
    return name, replace(file, content=contents("--form", "@-"), filename=file.filename or "stdin")


def _json(text: str) -> Any:
    try:
        return json.loads(contents("--json", text))
    except ValueError as error:
        raise UsageError(f"--json is not JSON: {error}.") from error


def manifest(source: str, settings: Settings, warn: Callable[[str], None], *, for_one: bool) -> Manifest:
    """Read a manifest from a file, or from a URL, which is fetched as a job is.

    :param warn: is called with what is to be said about lines that hold no digest.
    :param for_one: there is one file only, and a digest without a name is of that.
    :raises UsageError: it cannot be read, is too large, or holds no digest.
    :raises FetchError: it cannot be fetched.
    """
    if re.match(r"(?i)https?://", source):
        name = redact(source).partition("?")[0]
        data = asyncio.run(_fetched(source, name, settings))
    else:
        name, data = source, _contents(source)
    read = Manifest(data, name, for_one=for_one)
    if read.warning:
        warn(read.warning)
    return read


def _contents(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_MANIFEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it holds a NUL"
        raise UsageError(f"{printable(path)} cannot be read: {reason}.") from error
    if len(data) > MAX_MANIFEST:
        raise UsageError(f"{printable(path)} is larger than {size(MAX_MANIFEST)}: it is no manifest.")
    return data


async def _fetched(url: str, name: str, settings: Settings) -> bytes:
    disk = replace(settings.disk, require_checksum=False)
    try:
        async with Downloader(replace(settings, disk=disk)) as downloader:
            return await downloader.fetch_bytes(url, max_size=MAX_MANIFEST)
    except TooLargeError as error:
        error.args = (f"{printable(name)} is larger than {size(MAX_MANIFEST)}: it is no manifest.",)
        raise
    except FetchError as error:
        error.args = (f"{printable(name)} cannot be fetched: {error}",)
        raise


def from_files(paths: Iterable[str], wanted: RunRequest) -> Iterator[Job | FetchError]:
    """Read queue files one after another, line by line.

    All are opened, and their first lines read, before the first job is returned, so that a mistyped name ends
    the run before it begins.

    :raises UsageError: a file cannot be opened or is no queue file.
    """
    from .._queue_files import read  # not needed for a run of URLs alone

    # Not sys.stdin: a thread blocked in its read holds its lock, which the interpreter takes when it exits.
    stdin = open(0, "rb", closefd=False) if "-" in paths else None  # noqa: SIM115 - read to the process's end
    absolute = wanted.absolute
    return _in_turn([read(path, warn=wanted.warn, stdin=stdin, absolute=absolute) for path in paths], wanted)


def followed(paths: Iterable[str], wanted: RunRequest) -> list[Iterator[Job | FetchError]]:
    """Return readers of queue files that others append to; none of them ends before the run does.

    :raises UsageError: a file cannot be opened or followed.
    """
    from .._queue_files import follow

    stdin = open(0, "rb", closefd=False) if "-" in paths else None  # noqa: SIM115 - as above
    files = [
        follow(path, warn=wanted.warn, stdin=stdin, absolute=wanted.absolute, sleep=time.sleep)
        for path in paths
    ]
    return [_in_turn([file], wanted) for file in files]


def _in_turn(files: list[Iterator[Job | QueueFileError]], wanted: RunRequest) -> Iterator[Job | FetchError]:
    for lines in files:
        if wanted.is_usual:
            yield from lines
        else:
            yield from (wanted.complete(item) if isinstance(item, Job) else item for item in lines)


async def read_in_threads(*sources: Iterator[Job | FetchError]) -> AsyncIterator[Job | FetchError]:
    """Yield the items of each source, which threads read: a pipe without data must not block the loop."""
    loop = asyncio.get_running_loop()
    blocks: deque[list[Job | FetchError]] = deque()
    available, free = asyncio.Event(), threading.Semaphore(READ_AHEAD)

    def put(block: list[Job | FetchError]) -> None:
        free.acquire()
        blocks.append(block)
        with suppress(RuntimeError):  # the run has ended and its loop is closed
            loop.call_soon_threadsafe(available.set)

    def read(items: Iterator[Job | FetchError]) -> None:
        for item in items:
            put([item])
        put([])

    # Daemons: a blocking read cannot be interrupted, and must not keep the process alive.
    for source in sources:
        threading.Thread(target=read, args=(source,), name="fetchq-queue", daemon=True).start()
    reading = len(sources)
    while reading:
        await available.wait()
        available.clear()
        while blocks:
            block = blocks.popleft()
            free.release()
            reading -= not block
            for item in block:
                yield item
