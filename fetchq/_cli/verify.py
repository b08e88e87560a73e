"""``fetchq verify``: files hashed again, several at a time, against a manifest or the store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Event as Flag
from typing import TypeAlias

from .._digests import Checksum, ChecksumPolicy, Hasher, Manifest, algorithms, compare
from .._errors import DiskError, ExistsError, FetchError, StoppedError, UsageError
from .._events import Event, JobFinished, JobStarted, Planned, Progressed, RunFinished, RunStarted, Warned
from .._models import Job, Result
from .._naming import printable, sanitise
from .._report import TICK, Reporter, ReportOptions, ReportStreams
from .._settings import ProgressKind, Settings
from .._store import Store, is_missing
from .jobs import manifest
from .options import STORE

__all__ = ["verify"]

# Large enough that the calls around a block cost little beside its hash; eight take 8 MiB.
BLOCK = 1 << 20
# hashlib releases the interpreter's lock, so that each core can hash; past eight the disk is the limit.
WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file and what it must hash to; nothing where no digest is known.

    :param error: why it fails unread: the user named it, and nothing is known, or the manifest contradicts
        itself.
    """

    path: Path
    checksums: Sequence[Checksum] = ()
    error: FetchError | None = None


Known: TypeAlias = Callable[[Path], Iterator[ExpectedFile]]


def verify(
    paths: Sequence[Path],
    *,
    checksums: str | None,
    allow_unlisted: bool,
    store: Path | None,
    progress: ProgressKind,
) -> int:
    """Compare files with what is known of them; return the exit code of the first that differs.

    :param paths: files, or directories that stand for all that is known below them.
    :param checksums: a manifest's path or URL.
    :param allow_unlisted: pass over files that it does not list.
    :raises FetchError: there is nothing to compare with.
    """
    options = ReportOptions(progress=progress, slots=WORKERS)
    reporter = Reporter(options, ReportStreams(stderr=sys.stderr, stdout=sys.stdout))
    try:
        if checksums is None:
            known = _remembered(store)
        else:
            for_one = len(paths) == 1 and not paths[0].is_dir()
            warn = partial(_warn, reporter)
            known = _listed(manifest(checksums, Settings(), warn, for_one=for_one), allow_unlisted)
        return Verification(reporter).run(expected for path in paths or [Path()] for expected in known(path))
    finally:
        reporter.close()


def _warn(reporter: Reporter, message: str) -> None:
    reporter(Warned(0, message))


def _listed(manifest: Manifest, allow_unlisted: bool) -> Known:
    policy = ChecksumPolicy(manifest, unlisted=allow_unlisted)

    def expected(path: Path, name: str) -> ExpectedFile:
        try:
            checksum = manifest.find(name)
            if checksum is None:
                policy.unknown(str(path))
        except UsageError as error:
            return ExpectedFile(path, error=error)
        return ExpectedFile(path, () if checksum is None else (checksum,))

    def known(path: Path) -> Iterator[ExpectedFile]:
        if path.is_dir():
            for name in manifest.names:
                yield expected(_below(path, name), name)
        else:
            yield expected(path, str(path))

    return known


def _below(directory: Path, name: str) -> Path:
    """Return where the file that is listed as *name* lies: where the list says, or as a download names it."""
    listed = directory / name
    kept = directory / sanitise(name, dotfiles=True)
    return kept if kept.exists() and not listed.exists() else listed


def _remembered(store: Path | None) -> Known:
    def known(path: Path) -> Iterator[ExpectedFile]:
        whole = path.is_dir()
        file = store or (path if whole else path.parent) / STORE
        if is_missing(file):
            raise UsageError(f"There is no {printable(str(file))}: name a manifest with --checksums FILE.")
        wanted = None if whole else path.resolve()
        found = False
        with closing(Store(file, read_only=True)) as remembers:
            yield from _contested(remembers, wanted)
            for record in remembers.rows("done", "resumed", "skipped"):
                at = remembers.files.path_of(record)
                if at is not None and (whole or at == wanted):
                    found = True
                    checksums = [Checksum(value, (name,)) for name, value in record.digests.items()]
                    unknown = not whole and not checksums
                    yield ExpectedFile(_relative(at), checksums, _unknown(path) if unknown else None)
        if not whole and not found:
            yield ExpectedFile(path, error=_unknown(path))

    return known


def _contested(store: Store, wanted: Path | None) -> Iterator[ExpectedFile]:
    """Yield the files that stand for two jobs, which is an error: the bytes of one of these are nowhere.

    :param wanted: the only file to look at; None for all.
    """
    for path, first, last in store.contested():
        if wanted in (None, path):
            told = f"{printable(str(_relative(path)))} is on record as the file of {first} and of {last}"
            yield ExpectedFile(_relative(path), error=ExistsError(f"{told}; fetch one under another name."))


def _unknown(path: Path) -> UsageError:
    return UsageError(
        f"{printable(str(path))}: no digest of it is known: name a manifest with --checksums FILE."
    )


def _relative(path: Path) -> Path:
    """Return *path* relative to the working directory if it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


class Verification:
    """One run of ``verify``: worker threads hash, the calling thread reports."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._error: FetchError | None = None
        self._stopping = Flag()
        self._done = self._failed = self._unknown = self._bytes = 0

    def run(self, files: Iterable[ExpectedFile]) -> int:
        """Check all *files*; return the exit code.

        :raises UsageError: there are no files, or none with a known digest.
        """
        began = time.monotonic()
        self._reporter(RunStarted(None, ""))
        try:
            self._run(self._known(files))
        except KeyboardInterrupt:
            self._reporter.write_line("Stopped before all files were compared.")
            return StoppedError.exit_code
        if not self._done + self._failed:
            what = "No digest is on record" if self._unknown else "Nothing is known"
            raise UsageError(f"{what} of any file here: name a manifest with --checksums FILE.")
        if self._unknown:
            told = "1 file has" if self._unknown == 1 else f"{self._unknown} files have"
            self._reporter(Warned(0, f"{told} no digest on record and cannot be verified."))
        elapsed = time.monotonic() - began
        self._reporter(
            RunFinished(self._done, 0, 0, self._failed, 0, self._bytes, self._bytes, elapsed, stopped=False)
        )
        return 0 if self._error is None else self._error.exit_code

    def _known(self, files: Iterable[ExpectedFile]) -> Iterator[ExpectedFile]:
        """Yield the files with a known digest, and those that fail without one; count the others."""
        for expected in files:
            if expected.checksums or expected.error is not None:
                yield expected
            else:
                self._unknown += 1

    def _run(self, files: Iterable[ExpectedFile]) -> None:
        numbered = enumerate(files, 1)
        waiting: set[Future[None]] = set()
        with ThreadPoolExecutor(WORKERS) as pool:
            # Twice the workers, so that none waits for its next file, and memory stays bounded.
            try:
                while waiting := waiting | {
                    pool.submit(self._check, number, expected)
                    for number, expected in islice(numbered, 2 * WORKERS - len(waiting))
                }:
                    done, waiting = wait(waiting, TICK, FIRST_COMPLETED)
                    for future in done:
                        future.result()
                    self._report()
            except BaseException:
                # Leaving the pool waits for its threads, which would read their files to the end.
                self._stopping.set()
                raise

    def _report(self) -> None:
        """Report the events that the threads have queued."""
        while not self._events.empty():
            event = self._events.get()
            self._reporter(event)
            if isinstance(event, JobFinished):
                self._error = self._error or event.result.error
                self._done += event.result.ok
                self._failed += not event.result.ok
                self._bytes += event.result.received
        self._reporter.tick()

    def _check(self, number: int, expected: ExpectedFile) -> None:
        """Hash one file, in a thread."""
        name = printable(str(expected.path))
        began = time.monotonic()
        self._events.put(JobStarted(number, None, name, ""))
        try:
            if expected.error is not None:
                raise expected.error
            size, actual = self._hash(number, expected, name)
            compare(expected.checksums, actual, name)
            result = Result(
                Job(""), "done", expected.path, size, size, actual, "digest", time.monotonic() - began, 1
            )
        except FetchError as error:
            result = Result(Job(""), "failed", error=error)
        self._events.put(JobFinished(number, name, result))

    def _hash(self, number: int, expected: ExpectedFile, name: str) -> tuple[int, dict[str, str]]:
        hasher, have = Hasher(algorithms(expected.checksums)), 0
        try:
            with expected.path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                self._events.put(Planned(number, name, "fresh", "", 0, size, resumable=False))
                while (block := file.read(BLOCK)) and not self._stopping.is_set():
                    hasher.update(block)
                    have += len(block)
                    self._events.put(Progressed(number, have, len(block), 1))
        except OSError as error:
            raise DiskError(f"{name} cannot be read: {error.strerror}.") from error
        return have, hasher.hexdigests()
