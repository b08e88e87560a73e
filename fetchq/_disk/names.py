"""Which name a download gets: what has it already, whose part lies there, and which jobs of the run use it."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from .._digests import Checksum
from .._errors import DiskError, ExistsError, LockedError
from .._naming import candidates, printable
from .._settings import Disk
from .entry import Entry
from .files import Files
from .folders import Folders
from .hashing import has_digests
from .journal import Identity, Journal
from .lock import LockedPart, open_part

__all__ = ["Existing", "ExistingPolicy", "NameRegistry", "Same"]

Same: TypeAlias = Callable[[os.stat_result], bool]
# Device and inode of the folder, and the name: two spellings of a folder's path mean one name.
Key: TypeAlias = tuple[int, int, str]

# Rounds for one name: each means that another process finished, or gave up, between two of our calls.
MAX_ROUNDS = 16

# Names used by this run that are remembered, about 3 MB: jobs of one name stand near each other in a queue.
MOST_USED = 20_000


class Existing(NamedTuple):
    """Nothing to do: the file at *path*, of *size* bytes, is there; *reason* is why it is enough."""

    path: Path
    reason: str
    size: int


class ExistingPolicy(NamedTuple):
    """Which part a download may go on with, and which finished file makes it needless.

    :param same: whether a finished file of this stat is the download.
    :param checksums: what such a file must hash to besides.
    :param confined: symbolic links may not lead the download out of the run's directory.
    """

    identity: Identity
    same: Same
    checksums: Sequence[Checksum]
    confined: bool = False


class NameRegistry:
    """Gives each job a name that no other job of the run, no other process and no other file has."""

    def __init__(self, settings: Disk, files: Files, folders: Folders) -> None:
        self._settings = settings
        self._files = files
        self._folders = folders
        self._used: OrderedDict[Key, None] = OrderedDict()
        self._lock = threading.Lock()
        self._reserved: set[Key] = set()

    def claim(
        self, directory: Path, wanted: str, policy: ExistingPolicy, *, unnamed: bool = False
    ) -> LockedPart | Existing:
        """Lock the part of *wanted* in *directory*, or of the next candidate that is free.

        :param unnamed: open a file without a name instead where no part has been begun; whether the name is
            free shows when the file gets it.
        :raises UnnamedError: the file system has no *unnamed* files.
        :raises DiskError: a folder has the name, or the file system refuses.
        :raises ExistsError: the name is taken, and ``--if-exists error`` was asked for.
        :raises LockedError: another process has locked the part.
        """
        if policy.confined:
            self._stay_inside(directory)
        dir_fd = self._folders.open(directory)
        found: LockedPart | Existing | None = None
        try:
            found = self._search(Entry(self._files, directory, dir_fd, wanted), policy, unnamed)
        finally:
            if not isinstance(found, LockedPart):
                self._files.close(dir_fd)
        return found

    def _stay_inside(self, directory: Path) -> None:
        """Refuse a folder that a symbolic link leads out of the run's directory."""
        base = self._settings.dir
        if directory != base and not Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(base)):
            raise DiskError(
                f"{printable(str(directory))} leads out of {printable(str(base))}, which a queue file may with"
                " --allow-outside only."
            )

    def _search(self, wanted: Entry, policy: ExistingPolicy, unnamed: bool) -> LockedPart | Existing:
        folder = self._files.fstat(wanted.dir_fd)
        for name in candidates(wanted.name):
            key = (folder.st_dev, folder.st_ino, name)
            if not self._reserve(key):
                continue
            found: LockedPart | Existing | None = None
            try:
                candidate = _Candidate(
                    self._settings,
                    wanted.renamed(name),
                    wanted.name,
                    policy,
                    used=key in self._used,
                    release=partial(self._release, key),
                )
                found = candidate.claim_unnamed() if unnamed else None
                found = found or candidate.claim()
            finally:
                if not isinstance(found, LockedPart):
                    self._release(key, used=False)
            if found is not None:
                return found
        raise ExistsError(f"{printable(wanted.name)}: every name like it is taken; choose another.")

    def _reserve(self, key: Key) -> bool:
        with self._lock:
            if key in self._reserved:
                return False
            self._reserved.add(key)
            return True

    def _release(self, key: Key, used: bool) -> None:
        with self._lock:
            self._reserved.discard(key)
            if used:
                self._used[key] = None
                if len(self._used) > MOST_USED:
                    self._used.popitem(last=False)


@dataclass(slots=True)
class _Candidate:
    """One name that the download might get.

    :param used: this run has made the file of that name.
    """

    settings: Disk
    entry: Entry
    wanted: str
    policy: ExistingPolicy
    used: bool
    release: Callable[[bool], None]

    def claim_unnamed(self) -> LockedPart | None:
        """Open a file without a name; None where a part has been begun, or the name is to be overwritten."""
        # link(2) cannot overwrite: for that the file needs a name that it can be moved from.
        if self.settings.if_exists == "overwrite" or self.entry.part.stat() is not None:
            return None
        fd = self.entry.files.open_unnamed(self.entry.dir_fd)
        return LockedPart(self.entry, self.wanted, fd, 0, None, self.release, unnamed=True)

    def claim(self) -> LockedPart | Existing | None:
        """Lock the name's part; None when the next candidate is to be tried."""
        for _ in range(MAX_ROUNDS):
            found = self.entry.stat()
            if found is not None:
                existing = self._existing(found)
                if existing is not None:
                    return existing
                if self.settings.if_exists != "overwrite" and not self._resumable():
                    return None
            opened = open_part(self.entry, self._locked_error)
            if opened is None:
                continue
            fd, size = opened
            if found is None and self.entry.stat() is not None:
                # Another process published its file between our look and our lock.
                self._drop(fd, size)
                continue
            return self._own_part(fd, size)
        raise self._locked_error()

    def _drop(self, fd: int, size: int) -> None:
        try:
            if not size:
                self.entry.part.remove()
        finally:
            self.entry.files.close(fd)

    def _existing(self, found: os.stat_result) -> Existing | None:
        """Judge what has the name: the download itself, a reason to stop, or None."""
        if_exists, shown = self.settings.if_exists, self.entry.shown
        regular = stat.S_ISREG(found.st_mode)
        # What this run has made is another job's: two jobs get two files, though size and date agree.
        same = regular and not self.used and (self._published(found) or self.policy.same(found))
        if same and self._has_digests(found.st_size):
            return Existing(self.entry.path, "already complete", found.st_size)
        if self.entry.name == self.wanted and stat.S_ISDIR(found.st_mode):
            raise DiskError(f"{shown} is a folder; choose another name with --output.")
        if if_exists == "skip":
            return Existing(self.entry.path, "exists", found.st_size)
        if if_exists == "error":
            raise ExistsError(f"{shown} exists; move it away, or choose another --if-exists.")
        if if_exists == "overwrite" and not (regular or stat.S_ISLNK(found.st_mode)):
            raise DiskError(f"{shown} is not a regular file, and is not overwritten.")
        return None

    def _published(self, finished: os.stat_result) -> bool:
        """Whether *finished* is this very download, published by a process that died before it had tidied up.

        Removes what that process left: a part that is a second name of *finished*, a journal without a part.
        """
        # In this order: publishing removes the part first, so a journal that is still there afterwards is one
        # whose part is gone, and not one whose part was looked for too early.
        journal, part = self.entry.journal(), self.entry.part.stat()
        foreign = journal is not None and not journal.belongs_to(self.policy.identity)
        if foreign or (part is not None and not os.path.samestat(part, finished)):
            return False
        if part is not None:
            self.entry.part.remove()
        if journal is None:
            return False
        self.entry.journal_file.remove()
        return part is not None or journal.describes(finished)

    def _resumable(self) -> bool:
        """Whether this download was begun here before another file got the name.

        It goes on in the part that it has; the finished file gets the next free name.
        """
        if self.used or self.entry.part.stat() is None:
            return False
        journal = self.entry.journal()
        return journal is not None and journal.belongs_to(self.policy.identity)

    def _has_digests(self, size: int) -> bool:
        """Whether a finished file has the known digests; its size and date may agree by chance."""
        checksums, entry = self.policy.checksums, self.entry
        return not checksums or has_digests(entry.files, entry.name, entry.dir_fd, size, checksums)

    def _own_part(self, fd: int, size: int) -> LockedPart | None:
        """Return the part, now locked; None when it is another download's."""
        journal: Journal | None = None
        mine = False
        try:
            # An empty part has nothing to trust and nothing to lose, whatever lies beside it.
            found = self.entry.journal() if size else None
            if found is not None and found.belongs_to(self.policy.identity):
                journal = found.within(size)
            mine = found is None or journal is not None or self.settings.if_exists == "overwrite"
        finally:
            if not mine:
                self.entry.files.close(fd)
        return LockedPart(self.entry, self.wanted, fd, size, journal, self.release) if mine else None

    def _locked_error(self) -> LockedError:
        journal = self.entry.journal()
        pid = journal.pid if journal is not None and _is_alive(journal.pid) else None
        owner = f"process {pid}" if pid is not None else "another process"
        return LockedError(
            f"{self.entry.shown} is being downloaded by {owner}; wait for it to end, or choose another name"
            " with --output.",
            pid=pid,
        )


def _is_alive(pid: int) -> bool:
    """Whether *pid* runs: the process that wrote a journal last may have died."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid > 0
