"""The programs that the user's options run: ``--on-complete``, ``--on-error`` and ``--refresh``.

Each is a command for ``sh -c``, in a session of its own, so that Ctrl-C reaches fetchq alone, and with nothing
to read. What it prints on stdout goes to stderr, since stdout is for data; for ``--refresh`` it is the link.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .._errors import AuthenticationError, FetchError, StatusError
from .._models import Job, Result, redact
from .._naming import printable

__all__ = ["Hooks", "RefreshCommand"]

# Programs at once: more would only take the processor from the downloads.
AT_ONCE = 4
# Results that may wait for their program; beyond, the downloads wait as well.
MOST_WAITING = 256
# Unpacking or uploading a large file takes minutes; what takes longer hangs.
LONGEST = 600.0
# A link is a line; a page in its place is a mistake.
MOST_OUTPUT = 64 * 1024
# Seconds for a program to end by itself after it was asked to.
GRACE = 2.0


class Hooks:
    """Runs a command for each job that ended; a failure of it is a warning.

    :param on_complete: for each file that this run has completed.
    :param on_error: for each job that failed.
    :param warn: is called with a sentence.
    :param longest: seconds after which a program is ended.
    """

    def __init__(
        self,
        on_complete: str | None,
        on_error: str | None,
        warn: Callable[[str], None],
        *,
        longest: float = LONGEST,
    ) -> None:
        self._commands = {"done": on_complete, "resumed": on_complete, "failed": on_error}
        self._warn = warn
        self._longest = longest
        self._free = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[int] = set()

    async def call(self, result: Result) -> None:
        """Begin the program for *result*; wait while too many are waiting."""
        command = self._commands.get(result.status)
        if not command:
            return
        while len(self._tasks) >= MOST_WAITING:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._run(command, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until all programs have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def kill(self) -> None:
        """End all programs at once."""
        for pid in self._running:
            _signal_group(pid, signal.SIGKILL)

    async def _run(self, command: str, result: Result) -> None:
        option = "--on-error" if result.status == "failed" else "--on-complete"
        # Absolute, so that no name can look like an option.
        path = "" if result.path is None else str(Path.cwd() / result.path)
        async with self._free:
            try:
                await _run(command, path, _facts(result, path), self._longest, running=self._running)
            except FetchError as error:
                shown = printable(Path(path).name) or redact(result.job.url)
                self._warn(f"{option} for {shown}: {error}")


class RefreshCommand:
    """Runs a command for the new link of a job; called as ``Downloader(refresh=...)`` calls it."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._free = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, job: Job, error: FetchError) -> str | Job:
        """Return the new URL, or a job with that and its headers.

        :raises FetchError: the command failed, or printed none.
        """
        url = redact(job.url)
        status = error.status if isinstance(error, StatusError | AuthenticationError) else ""
        facts = {"URL": url, "PATH": job.out or "", "ID": job.id or "", "STATUS": status, "ERROR": error}
        async with self._free:
            output = await _run(self._command, url, facts, LONGEST, reads=True)
        return _link(output.decode("utf-8", "surrogateescape").strip())


def _link(text: str) -> str | Job:
    """Return the link that a command has printed: a URL on the first line, or a JSON object."""
    if not text.startswith("{"):
        return text.partition("\n")[0].strip()
    try:
        found = json.loads(text)
        url, headers = found["url"], found.get("headers", {})
        if not isinstance(url, str) or not all(isinstance(value, str) for value in headers.values()):
            raise TypeError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise FetchError('it printed no JSON object with "url", and "headers" of texts.') from None
    return Job(url, headers=tuple(headers.items()))


def _facts(result: Result, path: str) -> dict[str, Any]:
    return {
        "URL": redact(result.job.url),
        "PATH": path,
        "SIZE": result.size,
        "SHA256": result.sha256 or "",
        "STATUS": result.status,
        "ERROR": "" if result.error is None else result.error,
        "ID": result.job.id or "",
    }


async def _run(
    command: str,
    argument: str,
    facts: Mapping[str, Any],
    longest: float,
    *,
    reads: bool = False,
    running: set[int] | None = None,
) -> bytes:
    """Run *command* with *argument* as ``$1``; return what it printed if that is wanted, else nothing.

    :param facts: variables of its environment, without their prefix ``JOB_``.
    :raises FetchError: it cannot be run, did not end in time, failed, or printed too much.
    """
    # A NUL ends a variable.
    told = {f"JOB_{name}": str(value).replace("\0", "") for name, value in facts.items()}
    try:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command, "fetchq", argument),
            stdin=DEVNULL,
            stdout=PIPE if reads else 2,
            env={**os.environ, **told},
            start_new_session=True,
        )
    except OSError as error:
        raise FetchError(f"it cannot be run: {error.strerror}.") from error
    if running is not None:
        running.add(process.pid)
    try:
        async with asyncio.timeout(longest):
            output = await _output(process) if reads else b""
            code = await process.wait()
    except TimeoutError:
        raise FetchError(f"it did not end within {longest:g} s, and was ended.") from None
    finally:
        if running is not None:
            running.discard(process.pid)
        await _end(process)
    if code:
        raise FetchError(f"it ended with exit code {code}." if code > 0 else f"signal {-code} ended it.")
    return output


async def _output(process: Process) -> bytes:
    if process.stdout is None:
        return b""
    output = bytearray()
    while chunk := await process.stdout.read(MOST_OUTPUT):
        output += chunk
        if len(output) > MOST_OUTPUT:
            raise FetchError("it printed more than a link.")
    return bytes(output)


async def _end(process: Process) -> None:
    """End a program that has not ended, and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        _signal_group(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await process.wait()


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
