"""Which name a download gets: what has it already, whose that is, and which jobs of the run use it."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from .._errors import DiskError, ExistsError
from .._naming import candidate, printable
from .._settings import Disk
from . import record
from .entry import Entry
from .existing import TAKEN, BusyNameError, Existing, ExistingFile, ExistingPolicy, Unproven, two_jobs
from .files import Files
from .folders import Folders
from .journal import Journal
from .lock import LockedPart, OpenedPart, begun_side, locked_error, open_part
from .numbered import NumberedNames
from .record import FileRecord

__all__ = ["NameRegistry"]

# Device and inode of the folder, and the name: two spellings of a folder's path mean one name.
Key: TypeAlias = tuple[int, int, str]

# Rounds for one name: each means that another process finished, or gave up, between two of our calls.
MAX_ROUNDS = 16

# Names used by this run that are remembered, about 3 MB: jobs of one name stand near each other in a queue.
MOST_USED = 20_000


class NameRegistry:
    """Gives each job a name that no other job of the run, no other process and no other file has."""

    def __init__(self, settings: Disk, files: Files, folders: Folders) -> None:
        self._settings = settings
        self._files = files
        self._folders = folders
        # Names that jobs of this run have used, with the keys of their downloads, and those in use. Of these,
        # some are only being looked at.
        self._used: OrderedDict[Key, str] = OrderedDict()
        self._reserved: set[Key] = set()
        self._looked_at: set[Key] = set()
        # The first spelling of each name, for folders that do not tell upper from lower case.
        self._spellings: OrderedDict[Key, str] = OrderedDict()
        self._numbered: OrderedDict[Key, NumberedNames] = OrderedDict()
        self._lock = threading.Condition()

    def claim(
        self, directory: Path, wanted: str, policy: ExistingPolicy, *, unnamed: bool = False
    ) -> LockedPart | Existing | Unproven:
        """Lock the part of *wanted* in *directory*, or of the next candidate that is free.

        :param unnamed: open a file without a name instead where no part has been begun; whether the name is
            free shows when the file gets it.
        :raises UnnamedError: the file system has no *unnamed* files.
        :raises DiskError: a folder has the name, or the file system refuses.
        :raises ExistsError: the name is taken, and no other will do.
        :raises LockedError: another process has locked the part.
        """
        if policy.confined:
            self._stay_inside(directory)
        entry = self._folders.entry(directory, wanted)
        found: LockedPart | Existing | Unproven | None = None
        try:
            if not policy.named:
                entry = entry.renamed(self._folders.fit(directory, wanted))
            found = self._search(entry, policy, unnamed)
        finally:
            if not isinstance(found, LockedPart):
                entry.close()
        return found

    def _stay_inside(self, directory: Path) -> None:
        """Refuse a folder that a symbolic link leads out of the run's directory."""
        base = self._settings.dir
        resolved = self._files.resolved
        if directory != base and not resolved(directory).is_relative_to(resolved(base)):
            raise DiskError(
                f"{printable(str(directory))} leads out of {printable(str(base))}, which a queue file may with"
                " --allow-outside only."
            )

    def look_again(self) -> None:
        """Forget what was in the folders; what the jobs of this run have stays theirs."""
        self._folders.look_again()
        with self._lock:
            self._numbered.clear()

    def use(self, directory: Path, name: str, owner: str) -> None:
        """Note that a download, by its key *owner*, has the file *name*: no other job gets that."""
        entry = self._folders.entry(directory, name)
        try:
            self._note(self._key(entry, self._files.fstat(entry.dir_fd)), owner)
        finally:
            entry.close()

    def recorded(self, directory: Path, name: str, owner: str) -> tuple[Existing, FileRecord] | None:
        """Return the finished file of a download under *name* or a candidate, with the record on it.

        No other job of the run gets its name.

        :param owner: the download's key.
        """
        wanted = self._folders.entry(directory, name)
        try:
            folder = self._files.fstat(wanted.dir_fd)
            for named in self._own(wanted, folder, owner):
                entry = wanted.renamed(named)
                found, noted = entry.stat(), record.read(entry)
                if found is not None and noted is not None and noted.key == owner and noted.is_unchanged(found):
                    self._note(self._key(entry, folder), owner)
                    return Existing(entry.path, "not modified on the server", found.st_size), noted
        finally:
            wanted.close()
        return None

    def _own(self, wanted: Entry, folder: os.stat_result, owner: str) -> Iterator[str]:
        """Yield the names that the finished file of a download may have."""
        yield wanted.name
        if self._folders.numbers(wanted.directory, wanted.name) != []:
            yield from self._numbers(wanted, folder).owned(owner)

    def _search(self, wanted: Entry, policy: ExistingPolicy, unnamed: bool) -> LockedPart | Existing | Unproven:
        folder = self._files.fstat(wanted.dir_fd)
        passed: list[str] = []
        for name in self._candidates(wanted, folder, policy):
            entry = wanted.renamed(name)
            key = self._key(entry, folder)
            if not self._reserve(key, policy):
                continue
            found = self._try(entry, key, wanted, policy, passed, unnamed)
            if found is not None:
                return found
            if name != wanted.name:
                self._numbers(wanted, folder).take(name)
        raise ExistsError(f"{wanted.shown}: every name like it is taken; choose another.")

    def _try(
        self, entry: Entry, key: Key, wanted: Entry, policy: ExistingPolicy, passed: list[str], unnamed: bool
    ) -> LockedPart | Existing | Unproven | None:
        """Lock the part of one reserved name; None when the next candidate is to be tried."""
        release = partial(self._release, wanted, entry.name, key, policy.identity.key)
        found: LockedPart | Existing | Unproven | None = None
        try:
            used_by = self._used.get(key)
            tried = _Candidate(self._settings, entry, wanted.name, policy, used_by, passed, release)
            found = tried.claim_unnamed() if unnamed else None
            found = found or tried.claim()
        finally:
            if isinstance(found, LockedPart):
                self._hold(key)
            else:
                mine = isinstance(found, Existing) and found.reason != TAKEN
                release(entry.name if mine else None)
        return found

    def _candidates(self, wanted: Entry, folder: os.stat_result, policy: ExistingPolicy) -> Iterator[str]:
        """Yield the names to try: the job's candidate, those that may be the download, and free ones."""
        first = candidate(wanted.name, policy.ordinal)
        known = self._folders.numbers(wanted.directory, wanted.name) != []
        if known and wanted.renamed(first).stat() is None:
            # It is free, but the download may be there under another one.
            yield from self._numbers(wanted, folder).known(wanted, policy)
        yield first
        numbered = self._numbers(wanted, folder)
        yield from numbered.known(wanted, policy)
        yield from numbered.free(policy.ordinal)

    def _numbers(self, wanted: Entry, folder: os.stat_result) -> NumberedNames:
        """Look the folder's numbered names up once: a queue may hold thousands of jobs of one name."""
        key = (folder.st_dev, folder.st_ino, wanted.name)
        with self._lock:
            numbered = self._numbered.get(key)
            if numbered is None:
                numbered = self._numbered[key] = NumberedNames(
                    wanted, self._folders.numbers(wanted.directory, wanted.name)
                )
                if len(self._numbered) > MOST_USED:
                    self._numbered.popitem(last=False)
            return numbered

    def _key(self, entry: Entry, folder: os.stat_result) -> Key:
        """Return what two names share if they are one name to the folder."""
        lowered = (folder.st_dev, folder.st_ino, entry.name.casefold())
        with self._lock:
            first = self._spellings.setdefault(lowered, entry.name)
            if len(self._spellings) > MOST_USED:
                self._spellings.popitem(last=False)
        if first == entry.name or not self._folders.ignores_case(entry.directory, entry.dir_fd):
            first = entry.name
        return folder.st_dev, folder.st_ino, first

    def _reserve(self, key: Key, policy: ExistingPolicy) -> bool:
        """Reserve a name; return False where another job uses it."""
        with self._lock:
            # Another job looks whether it is its own file; what this one looks for may be the same file.
            while key in self._looked_at:
                if not policy.waits:
                    raise BusyNameError
                self._lock.wait()
            if key not in self._reserved:
                self._reserved.add(key)
                self._looked_at.add(key)
                return True
        if policy.named and policy.if_exists != "rename":
            raise two_jobs(key[2])
        return False

    def _hold(self, key: Key) -> None:
        """Keep a name reserved that has been looked at."""
        with self._lock:
            self._looked_at.discard(key)
            self._lock.notify_all()

    def _release(self, wanted: Entry, name: str, key: Key, owner: str, got: str | None) -> None:
        """Free a reserved name; *got* is the name of the file that the download has now."""
        if got == name == wanted.name:
            self._note(key, owner)
        elif got is not None:
            folder = self._files.fstat(wanted.dir_fd)
            self._note(key if got == name else self._key(wanted.renamed(got), folder), owner)
            if got != wanted.name:
                self._numbers(wanted, folder).take(got)
        with self._lock:
            self._reserved.discard(key)
            self._looked_at.discard(key)
            self._lock.notify_all()

    def _note(self, key: Key, owner: str) -> None:
        with self._lock:
            self._used[key] = owner
            if len(self._used) > MOST_USED:
                self._used.popitem(last=False)


@dataclass(slots=True)
class _Candidate:
    """One name that the download might get.

    :param used_by: key of the download that this run has made a file of that name for, or found one.
    :param passed: names that were not taken for this download, although nothing says whose they are.
    """

    settings: Disk
    entry: Entry
    wanted: str
    policy: ExistingPolicy
    used_by: str | None
    passed: list[str]
    release: Callable[[str | None], None]

    def claim_unnamed(self) -> LockedPart | None:
        """Open a file without a name; None where a part has been begun, or a file has the name."""
        if self.entry.stat() is not None or self.entry.part.stat() is not None:
            return None
        fd = self.entry.files.open_unnamed(self.entry.dir_fd)
        return self._locked(self.entry, fd, 0, None, unnamed=True)

    def claim(self) -> LockedPart | Existing | Unproven | None:
        """Lock the name's part; None when the next candidate is to be tried."""
        for _ in range(MAX_ROUNDS):
            found = self.entry.stat()
            judged = None if found is None else self._judge(found)
            if judged is not None:
                return None if judged == "next" else judged
            insists = self._overwrites and self.policy.named
            opened = open_part(self.entry, self.policy.identity, take_over=insists, durable=self.settings.fsync)
            if opened == "taken":
                if insists:
                    raise locked_error(self.entry)
                return None
            part = None if opened is None else self._part(opened, found)
            if part is not None:
                return part
        raise locked_error(self.entry)

    @property
    def _overwrites(self) -> bool:
        return self.policy.if_exists == "overwrite"

    def _judge(self, found: os.stat_result) -> Existing | Unproven | Literal["next"] | None:
        """Judge what has the name; None where the part may be locked all the same."""
        if stat.S_ISDIR(found.st_mode) and self.entry.name == self.wanted:
            raise DiskError(f"{self.entry.shown} is a folder; choose another name with --output.")
        existing = ExistingFile(self.entry, found, self.policy, self.used_by, self.settings.xattr)
        judged = existing.judge()
        if judged == "next":
            renames = self.policy.if_exists == "rename"
            return None if renames and self._resumable() else judged
        if judged is not None or self._overwrites:
            return judged
        self.passed.append(self.entry.name)
        return None if self._resumable() else "next"

    def _resumable(self) -> bool:
        """Whether this download was begun here before another file got the name.

        It goes on in the part that it has; the finished file gets the next free name.
        """
        beside = begun_side(self.entry, self.policy.identity)
        return beside is not None and beside.part.stat() is not None

    def _part(self, opened: OpenedPart, found: os.stat_result | None) -> LockedPart | None:
        """Return the locked part, with what an earlier run of this download has left in it.

        None where another process published its file between our look, which gave *found*, and our lock.
        """
        part = None
        try:
            if found is not None or self.entry.stat() is None:
                journal, size = opened.entry.journal(), opened.size
                own = journal is not None and journal.belongs_to(self.policy.identity)
                trusted = journal.within(size) if journal is not None and own else None
                part = self._locked(opened.entry, opened.fd, size, trusted)
            return part
        finally:
            if part is None:
                opened.discard()

    def _locked(
        self, entry: Entry, fd: int, size: int, journal: Journal | None, *, unnamed: bool = False
    ) -> LockedPart:
        return LockedPart(
            entry,
            self.wanted,
            fd,
            size,
            journal,
            self.release,
            identity=self.policy.identity,
            if_exists=self.policy.if_exists,
            passed=tuple(self.passed),
            unnamed=unnamed,
        )
