"""``fetchq get``: options -> jobs, settings and watchers; results and signals -> an exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import click

from .._api import Downloader
from .._errors import DiskError, FetchError, UsageError
from .._events import Warned
from .._models import Job, Preview
from .._naming import place, printable
from .._report import NORMAL, QUIET, TICK, VERBOSE, Reporter, failure, left_by_reader
from .._settings import Settings
from .._units import size
from .jobs import RunRequest, from_files, patiently, request
from .options import STORE, settings

__all__ = ["get"]

Jobs: TypeAlias = "list[Job] | Iterator[Job | FetchError] | AsyncIterator[Job | FetchError]"

# What a shell reports of a program that a signal ended (POSIX: 128 and the signal's number).
SIGNALLED = 128
STOPPING = "Stopping: what is there is being saved; once more to stop at once."


def get(urls: Sequence[str], given: Mapping[str, Any]) -> int:
    """Fetch *urls* and the jobs of the queue files as the options say; give the exit code.

    :raises UsageError: the options contradict each other, or one of them cannot be used.
    """
    _check(urls, given)
    chosen = settings(given)
    chosen = replace(chosen, network=replace(chosen.network, user=_user(given["user"])))
    place(chosen.disk.dir, None if given["output"] == "-" else given["output"])
    run = Run(chosen, given)
    with ExitStack() as closing:
        run.open(closing)
        jobs = run.jobs(urls)
        return asyncio.run(run.preview(jobs) if given["dry_run"] else run.fetch(jobs))


def _check(urls: Sequence[str], given: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself before anything is opened."""
    several = len(urls) > 1 or bool(given["input"])
    if not urls and not given["input"]:
        raise UsageError("Nothing to download: give a URL, or a queue file with -i. fetchq -h shows more.")
    if several and given["output"]:
        raise UsageError("-o names one file: give it with one URL, or write out= into the queue file.")
    if several and given["checksum"]:
        raise UsageError("--checksum belongs to one file: give it with one URL, or use --checksums FILE.")
    if given["output"] == "-" and given["progress"] == "json":
        raise UsageError("-o - and --progress json both want stdout: choose one of them.")
    if given["quiet"] and given["verbose"]:
        raise UsageError("-q and -v contradict each other.")
    if given["input"].count("-") > 1:
        raise UsageError("stdin can be read once: give -i - once.")


def _user(text: str | None) -> tuple[str, str] | None:
    """Give name and password; ask for a password that is missing, where there is somebody to ask."""
    if text is None:
        return None
    name, colon, password = text.partition(":")
    if colon:
        return name, password
    if not sys.stdin.isatty():
        raise UsageError("-u without a password needs a terminal to ask on: write NAME:PASSWORD.")
    return name, click.prompt(f"Password for {printable(name)}", hide_input=True, err=True)


class Run:
    """One run of the command, from its options to its exit code."""

    def __init__(self, chosen: Settings, given: Mapping[str, Any]) -> None:
        self._settings = chosen
        self._given = given
        self._audience: Reporter
        self._request: RunRequest
        self._downloader: Downloader
        self._signal = 0
        self._gone = False
        self._error: FetchError | None = None

    def open(self, closing: ExitStack) -> None:
        """Open what the run writes to besides its files, and read what its requests say."""
        given = self._given
        log = given["log"]
        try:
            stream = log.open("a", encoding="utf-8", errors="backslashreplace") if log else None
        except OSError as error:
            raise UsageError(f"{printable(str(log))} cannot be written: {error.strerror}.") from error
        if stream is not None:
            closing.callback(_close, stream)
        self._audience = Reporter(
            "none" if given["dry_run"] else given["progress"],
            QUIET if given["quiet"] else VERBOSE if given["verbose"] else NORMAL,
            stderr=sys.stderr,
            stdout=sys.stdout,
            log=stream,
            slots=self._settings.queue.jobs,
            fleeting=given["output"] == "-",
            gone=self._reader_gone,
            lost=self._events_lost,
        )
        closing.callback(self._audience.close)
        self._request = request(given, lambda message: self._audience(Warned(0, message)))

    def jobs(self, urls: Sequence[str]) -> Jobs:
        """Give the jobs: a list where all are known, else an iterator over the queue files' lines."""
        given = self._given
        named = [self._request.dress(Job(url, given["output"], checksum=given["checksum"])) for url in urls]
        if not given["input"]:
            return named
        items = chain(named, from_files(given["input"], self._request))
        return items if all(map(_regular, given["input"])) else patiently(items)

    async def fetch(self, jobs: Jobs) -> int:
        """Run *jobs* to their end, or to a signal's; give the exit code."""
        async with self._entered(self._store()) as downloader:
            drawing = asyncio.create_task(self._draw())
            try:
                async for result in downloader.run(jobs):
                    self._error = self._error or result.error
            finally:
                drawing.cancel()
        return self._exit_code()

    async def preview(self, jobs: Jobs) -> int:
        """Say what :meth:`fetch` would do; give the exit code."""
        sums = Previews()
        async with self._entered(None) as downloader:
            print_line(HEADING)
            async for preview in downloader.preview(jobs):
                self._error = self._error or preview.error
                print_line(sums.add(preview))
                if self._signal:
                    break
        print_line(sums.total())
        return self._exit_code()

    def _entered(self, store: Path | None) -> Downloader:
        """Give the downloader, with the first signal stopping it and the second ending the process."""
        seen = store is not None or self._given["progress"] == "json"
        settings = replace(self._settings, disk=replace(self._settings.disk, sha256=seen))
        self._downloader = Downloader(
            settings, observers=self._audience.observers, store=store, base_url=self._given["base_url"]
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        return self._downloader

    def _store(self) -> Path | None:
        given = self._given
        if given["no_store"]:
            return None
        return given["store"] or (self._settings.disk.dir / STORE if given["input"] else None)

    async def _draw(self) -> None:
        while True:
            self._audience.tick()
            await asyncio.sleep(TICK)

    def _signalled(self, number: int) -> None:
        if self._signal:  # both came before the loop turned
            self._signalled_again(number, None)
        self._signal = number
        loop = asyncio.get_running_loop()
        for again in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(again)
            # Not the loop's: a second signal is for a loop that does not turn any more.
            signal.signal(again, self._signalled_again)
        if not self._given["quiet"]:
            self._audience.say(STOPPING)
        self._downloader.stop()

    def _signalled_again(self, number: int, _: object) -> None:
        self._audience.wipe()
        os._exit(SIGNALLED + number)

    def _events_lost(self, error: OSError) -> None:
        reason = f"Standard output cannot be written: {error.strerror}."
        self._error = self._error or DiskError(reason)
        self._audience.say(f"failed   {reason}")
        self._downloader.stop()

    def _reader_gone(self) -> None:
        self._gone = True
        self._downloader.stop()

    def _exit_code(self) -> int:
        if self._signal:
            return SIGNALLED + self._signal
        if self._gone or (self._error is not None and left_by_reader(self._error)):
            return SIGNALLED + signal.SIGPIPE
        return 0 if self._error is None else self._error.exit_code


def _regular(path: str) -> bool:
    try:
        return path != "-" and stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


HEADING = f"{'SIZE':>10}  {'STATE':<24}  NAME"


class Previews:
    """The table of a dry run, row by row, and its totals."""

    def __init__(self) -> None:
        self._files = self._bytes = self._have = self._unknown = self._failed = 0

    def add(self, preview: Preview) -> str:
        """Give the row of one job."""
        self._files += 1
        if preview.error is not None:
            self._failed += 1
            return f"{'-':>10}  {'failed':<24}  {failure(preview.job, preview.error)}"
        self._bytes += preview.size or 0
        self._have += preview.have
        self._unknown += preview.size is None
        told = "unknown" if preview.size is None else size(preview.size)
        state: str = preview.status
        if state == "resume":
            state += f" from {size(preview.have)}"
        elif state == "fresh":
            state += ", resumable" if preview.resumable else ", not resumable"
        return f"{told:>10}  {state:<24}  {preview.name}"

    def total(self) -> str:
        """Give the last line."""
        here = f", {size(self._have)} of them here already" if self._have else ""
        parts = [f"{self._files} file{'s' * (self._files != 1)}, {size(self._bytes)}{here}"]
        parts += [f"{self._unknown} of unknown size"] if self._unknown else []
        parts += [f"{self._failed} failed"] if self._failed else []
        return "; ".join(parts)


def print_line(text: str) -> None:
    """Put a line of data on stdout."""
    click.echo(printable(text))


def _close(log: TextIO) -> None:
    """Close the log; what a full disk did not take was lost when it was written, and the run went on."""
    with suppress(OSError):
        log.close()
