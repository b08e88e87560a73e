"""``fetchq get``: options -> jobs, settings and reports; results and signals -> an exit code."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click

from .._api import Downloader
from .._api.intake import QueuedJob
from .._digests import Manifest
from .._disk import require_usable
from .._errors import DiskError, FetchError, UsageError
from .._events import Event, Observer, RunFinished, Warned
from .._models import FormFile, Job, Preview, Result
from .._naming import printable
from .._report import (
    NORMAL,
    QUIET,
    TICK,
    VERBOSE,
    LogFile,
    Reporter,
    ReportOptions,
    ReportStreams,
    format_failure,
    is_broken_pipe,
)
from .._settings import Settings
from .._transfer import place
from .._units import size
from .credentials import with_credentials
from .jobs import RunRequest, followed, from_files, manifest, read_in_threads, request
from .options import STORE, settings
from .programs import Hooks, RefreshCommand

__all__ = ["SIGNAL_CODE", "get", "get_jobs"]

T = TypeVar("T")

Jobs: TypeAlias = "list[Job] | Iterator[QueuedJob | Job | FetchError] | AsyncIterator[Job | FetchError]"

# Added to a signal's number for the exit code, as a shell does.
SIGNAL_CODE = 128
# Options that read it where they are given as @-.
_FROM_STDIN = ("data", "json", "bearer", "key_password")
STOPPING = "Stopping: what is there is being saved; once more to stop at once."


def get(urls: Sequence[str], given: Mapping[str, Any]) -> int:
    """Download *urls* and the jobs of the queue files; return the exit code.

    :param given: the options by parameter name.

    :raises UsageError: the options contradict each other, or one of them cannot be used.
    """
    if not urls and not given["input"]:
        raise UsageError("Nothing to download: give a URL, or a queue file with -i. fetchq -h shows more.")
    return _run(given, lambda run: run.jobs(urls), several=len(urls) > 1 or bool(given["input"]))


def get_jobs(jobs: Iterator[QueuedJob | Job | FetchError], given: Mapping[str, Any]) -> int:
    """Download *jobs* with the options *given*; return the exit code."""
    return _run(given, lambda run: run.completed(jobs), several=True)


def _run(given: Mapping[str, Any], jobs: Callable[[Run], Jobs], *, several: bool) -> int:
    _check(given, several=several)
    chosen = settings(given)
    chosen = replace(chosen, network=with_credentials(chosen.network, given["user"]))
    folder, _ = place(Job("", given["output"]), chosen.disk.dir)
    if given["output"] != "-":
        require_usable(folder)
    run = Run(chosen, given)
    with ExitStack() as closing:
        run.open(closing)
        items = jobs(run)
        return asyncio.run(run.preview(items) if given["dry_run"] else run.fetch(items))


def _check(given: Mapping[str, Any], *, several: bool) -> None:
    """Raise UsageError for options that contradict each other, before anything is opened."""
    if several and given["output"]:
        raise UsageError("-o names one file: give it with one URL, or write out= into the queue file.")
    if several and given["checksum"]:
        raise UsageError("--checksum belongs to one file: give it with one URL, or use --checksums FILE.")
    if given["output"] == "-" and given["progress"] == "json":
        raise UsageError("-o - and --progress json both want stdout: choose one of them.")
    if given["config"] and given["no_config"]:
        raise UsageError("--config names a file and --no-config reads none: give one of them.")
    if given["follow"] and not given["input"]:
        raise UsageError("--follow reads on in a queue file: give it with -i.")
    if given["follow"] and given["dry_run"]:
        raise UsageError("--follow never ends, and --dry-run adds up a whole queue: give one of them.")
    if given["store"] and given["no_store"]:
        raise UsageError("--store names a file and --no-store has none: give one of them.")
    if given["quiet"] and given["verbose"]:
        raise UsageError("-q and -v contradict each other.")
    if given["require_checksum"] and given["allow_unlisted"]:
        raise UsageError("--require-checksum and --allow-unlisted contradict each other.")
    _check_stdin(given)


def _check_stdin(given: Mapping[str, Any]) -> None:
    """Raise UsageError if more than one option wants standard input."""
    readers = ["-i -"] * given["input"].count("-")
    readers += [f"--{name.replace('_', '-')} @-" for name in _FROM_STDIN if given[name] == "@-"]
    files = [value for _, value in given["form"] if isinstance(value, FormFile)]
    readers += ["--form K=@-" for file in files if str(file.path) == "-"]
    if len(readers) > 1:
        raise UsageError(f"stdin can be read once: {' and '.join(readers)} both want it.")


class Run:
    """One run of the command.

    :param given: the options by parameter name.
    """

    def __init__(self, chosen: Settings, given: Mapping[str, Any]) -> None:
        self._settings = chosen
        self._given = given
        self._reporter: Reporter
        self._request: RunRequest
        self._manifest: Manifest | None = None
        self._downloader: Downloader
        self._hooks = Hooks(given["on_complete"], given["on_error"], self._warn)
        self._log: LogFile | None = None
        self._on_terminal = sys.stderr.isatty()
        self._signal = 0
        self._broken_pipe = False
        self._error: FetchError | None = None
        self._report: Observer | None = None

    def open(self, closing: ExitStack) -> None:
        """Open log and reports until *closing* ends, and read request bodies and manifests."""
        given = self._given
        if given["log"] is not None:
            self._log = _opened(given["log"], partial(LogFile, given["log"]))
            closing.callback(self._log.close)
        options = ReportOptions(
            progress="none" if given["dry_run"] else given["progress"],
            verbosity=QUIET if given["quiet"] else VERBOSE if given["verbose"] else NORMAL,
            slots=self._settings.queue.jobs,
            resumable=given["output"] != "-",
            endless=given["follow"],
        )
        streams = ReportStreams(stderr=sys.stderr, stdout=sys.stdout, log=self._log)
        self._reporter = Reporter(options, streams, on_closed=self._pipe_closed, on_error=self._events_failed)
        closing.callback(self._reporter.close)
        if given["follow"]:
            self._reporter.observers.append(self._note_end)
        self._request = request(given, self._warn)
        if given["report"] is not None:
            self._report = self._open_report(given["report"], closing)
        if given["no_env"]:
            self._tell_what_is_unused()

    def _open_report(self, path: Path, closing: ExitStack) -> Observer:
        from .._report.records import Report  # not needed for most runs

        if path.suffix.lower() not in {".jsonl", ".csv"}:
            raise UsageError(f"--report {printable(str(path))}: the name must end in .jsonl or .csv.")
        report = _opened(path, partial(Report, path, on_error=self._report_failed))
        closing.callback(report.close)
        return report

    def jobs(self, urls: Sequence[str]) -> Jobs:
        """Read the manifest; return the jobs, a list if there are no queue files, else an iterator."""
        given = self._given
        if given["checksums"] is not None:
            for_one = len(urls) == 1 and not given["input"]
            self._manifest = manifest(given["checksums"], self._settings, self._warn, for_one=for_one)
        named = [self._request.complete(Job(url, given["output"], checksum=given["checksum"])) for url in urls]
        if not given["input"]:
            return named
        if given["follow"]:
            return read_in_threads(iter(named), *followed(given["input"], self._request))
        items = chain(named, from_files(given["input"], self._request))
        return items if all(map(_regular, given["input"])) else read_in_threads(items)

    def completed(self, jobs: Iterator[QueuedJob | Job | FetchError]) -> Iterator[QueuedJob | Job | FetchError]:
        """Return *jobs* with what the command line says of those that leave it open."""
        if self._given["checksums"] is not None:
            self._manifest = manifest(self._given["checksums"], self._settings, self._warn, for_one=False)
        return map(self._completed, jobs)

    def _completed(self, item: QueuedJob | Job | FetchError) -> QueuedJob | Job | FetchError:
        if isinstance(item, Job):
            return self._request.complete(item)
        if isinstance(item, QueuedJob):
            job = self._request.complete(item.job)
            # One that asks for something else than it did is another job.
            same = job.fingerprint == item.job.fingerprint
            return item._replace(job=job, key=item.key if same else job.key)
        return item

    def _tell_what_is_unused(self) -> None:
        from .._http import variables  # the Downloader needs it next

        unused = variables(self._settings.network)
        if unused:
            self._warn(f"Not used because of --no-env: {', '.join(unused)} of the environment.")

    def _warn(self, message: str) -> None:
        self._reporter(Warned(0, message))

    async def fetch(self, jobs: Jobs) -> int:
        """Download *jobs* until all have ended or a signal arrives; return the exit code."""
        async with self._entered(self._store()) as downloader:
            drawing = asyncio.create_task(self._draw())
            try:
                async for result in downloader.run(jobs).batches():
                    if isinstance(result, Result):  # the others were done: nothing failed, nothing is to be run
                        self._error = self._error or result.error
                        await self._hooks.call(result)
                await self._hooks.wait()
            finally:
                drawing.cancel()
        return self._exit_code()

    async def preview(self, jobs: Jobs) -> int:
        """Print what :meth:`fetch` would do; return the exit code."""
        table = PreviewTable()
        async with self._entered(None) as downloader:
            print_line(HEADING)
            async for preview in downloader.preview(jobs):
                self._error = self._error or preview.error
                print_line(table.add(preview))
                if self._signal:
                    break
        print_line(table.total())
        return self._exit_code()

    def _entered(self, store: Path | None) -> Downloader:
        """Return the downloader; the first signal will stop it, the second will end the process."""
        # The digest costs a quarter of a fast download: it is computed only if the store or a program reads it.
        reads = (store, self._report, self._given["on_complete"])
        sha256 = any(each is not None for each in reads) or self._given["progress"] == "json"
        settings = replace(self._settings, disk=replace(self._settings.disk, sha256=sha256))
        self._downloader = Downloader(
            settings,
            observers=[*self._reporter.observers, *([self._report] if self._report else [])],
            store=store,
            store_required=self._given["store"] is not None,
            base_url=self._given["base_url"],
            manifest=self._manifest,
            refresh=None if self._given["refresh"] is None else RefreshCommand(self._given["refresh"]),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._first_signal, number)
        # Under nohup it is ignored, and a log may still be rotated.
        if self._log is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        return self._downloader

    def _hung_up(self) -> None:
        """Reopen the log, as who rotates logs asks for; stop where there is none, or the terminal is gone."""
        if self._log is None or (self._on_terminal and not sys.stderr.isatty()):
            self._first_signal(signal.SIGHUP)
        else:
            self._log.reopen()

    def _store(self) -> Path | None:
        given = self._given
        if given["no_store"]:
            return None
        return given["store"] or (self._settings.disk.dir / STORE if given["input"] else None)

    async def _draw(self) -> None:
        while True:
            self._reporter.tick()
            await asyncio.sleep(TICK)

    def _first_signal(self, number: int) -> None:
        if self._signal:  # both arrived in the same iteration of the loop
            self._second_signal(number, None)
        self._signal = number
        loop = asyncio.get_running_loop()
        for other in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(other)
            # Not through the loop: the second signal must end the process also when the loop is blocked.
            signal.signal(other, self._second_signal)
        if not self._given["quiet"]:
            self._reporter.write_line(STOPPING)
        self._downloader.stop()

    def _second_signal(self, number: int, _: object) -> None:
        self._hooks.kill()
        self._reporter.clear()
        os._exit(SIGNAL_CODE + number)

    def _events_failed(self, error: OSError) -> None:
        reason = f"Standard output cannot be written: {error.strerror}."
        self._error = self._error or DiskError(reason)
        self._reporter.write_line(f"failed   {reason}")
        self._downloader.stop()

    def _report_failed(self, error: OSError) -> None:
        """Go on: the files matter more than the report."""
        reason = f"The report {printable(str(self._given['report']))} cannot be written: {error.strerror}."
        self._error = self._error or DiskError(reason)
        self._reporter.write_line(f"failed   {reason}")

    def _pipe_closed(self) -> None:
        self._broken_pipe = True
        self._downloader.stop()

    def _note_end(self, event: Event) -> None:
        """Forget the signal where it cut no job short: a run that follows its list ends by one."""
        if type(event) is RunFinished and not event.left:
            self._signal = 0

    def _exit_code(self) -> int:
        if self._signal:
            return SIGNAL_CODE + self._signal
        if self._broken_pipe or (self._error is not None and is_broken_pipe(self._error)):
            return SIGNAL_CODE + signal.SIGPIPE
        return 0 if self._error is None else self._error.exit_code


def _regular(path: str) -> bool:
    try:
        return path != "-" and stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


HEADING = f"{'SIZE':>10}  {'STATE':<24}  NAME"


class PreviewTable:
    """The rows of a dry run's table, and their totals."""

    def __init__(self) -> None:
        self._files = self._bytes = self._have = self._unknown = self._failed = 0

    def add(self, preview: Preview) -> str:
        """Count *preview* and return its row."""
        self._files += 1
        if preview.error is not None:
            self._failed += 1
            return f"{'-':>10}  {'failed':<24}  {format_failure(preview.job, preview.error)}"
        self._bytes += preview.size or 0
        self._have += preview.have
        self._unknown += preview.size is None
        total = "unknown" if preview.size is None else size(preview.size)
        state: str = preview.status
        if not preview.asked:
            state = f"{preview.job.method}, not asked"
        elif state == "resume":
            state += f" from {size(preview.have)}"
        elif state == "fresh":
            state += ", resumable" if preview.resumable else ", not resumable"
        return f"{total:>10}  {state:<24}  {preview.name}"

    def total(self) -> str:
        """Return the last line."""
        here = f", {size(self._have)} of them here already" if self._have else ""
        parts = [f"{self._files} file{'s' * (self._files != 1)}, {size(self._bytes)}{here}"]
        parts += [f"{self._unknown} of unknown size"] if self._unknown else []
        parts += [f"{self._failed} failed"] if self._failed else []
        return "; ".join(parts)


def print_line(text: str) -> None:
    """Print a line of data on stdout."""
    click.echo(printable(text))


def _opened(path: Path, open_: Callable[[], T]) -> T:
    """Return what *open_* returns, which opens *path* for writing.

    :raises UsageError: it cannot be opened.
    """
    try:
        return open_()
    except OSError as error:
        reason = "nothing reads it yet" if error.errno == errno.ENXIO else error.strerror
        raise UsageError(f"{printable(str(path))} cannot be written: {reason}.") from error
