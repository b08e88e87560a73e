"""Which name a download gets: what has it already, whose that is, and which jobs of the run use it."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from .._errors import DiskError, ExistsError
from .._models import Resource
from .._naming import candidate, printable
from .._settings import Disk, IfExists
from . import record
from .entry import Entry
from .files import Files
from .folders import Folders
from .hashing import PrefixHasher
from .journal import Identity, Journal
from .lock import LockedPart, OpenedPart, locked_error, open_part

__all__ = ["Existing", "ExistingPolicy", "NameRegistry", "Same", "Unproven"]

Same: TypeAlias = Callable[[os.stat_result], bool]
# Device and inode of the folder, and the name: two spellings of a folder's path mean one name.
Key: TypeAlias = tuple[int, int, str]

# Rounds for one name: each means that another process finished, or gave up, between two of our calls.
MAX_ROUNDS = 16

# Numbers that are looked at once for each name.
MAX_NUMBER = 1_000_000

# Names used by this run that are remembered, about 3 MB: jobs of one name stand near each other in a queue.
MOST_USED = 20_000


class Existing(NamedTuple):
    """Nothing to do: the file at *path*, of *size* bytes, is there; *reason* is why it is enough."""

    path: Path
    reason: str
    size: int


class Unproven(NamedTuple):
    """The file *path* has the size and the date of the download, and nothing says whose it is.

    Every file of one deployment has one date, so its bytes must be compared with the server's.
    """

    path: Path
    size: int


class ExistingPolicy(NamedTuple):
    """Which part a download may go on with, and which finished file makes it needless.

    :param identity: of the download.
    :param if_exists: what to do about another file of the name.
    :param named: the user gave the name, so that no other one will do.
    :param seen: what the server has now; None before it has answered.
    :param same: whether a finished file of this stat can be the download: its size and date agree.
    :param digests: algorithm to lower-case hex that such a file must have.
    :param owned: whether the store has a path as this job's (True), another's (False) or not at all (None).
    :param proven: whether the bytes of an :class:`Unproven` path were found to be the server's.
    :param holds: compares the open file with a body that is at hand, instead of that.
    """

    identity: Identity
    if_exists: IfExists
    named: bool
    seen: Resource | None
    same: Same
    digests: Mapping[str, str]
    owned: Callable[[Path], bool | None]
    proven: Mapping[Path, bool]
    holds: Callable[[int], bool] | None = None


class NameRegistry:
    """Gives each job a name that no other job of the run, no other process and no other file has."""

    def __init__(self, settings: Disk, files: Files, folders: Folders) -> None:
        self._settings = settings
        self._files = files
        self._folders = folders
        # Names that jobs of this run have used, and those in use, with the keys of their downloads.
        self._used: OrderedDict[Key, str] = OrderedDict()
        self._reserved: dict[Key, str] = {}
        # The first spelling of each name, for folders that do not tell upper from lower case.
        self._spellings: OrderedDict[Key, str] = OrderedDict()
        self._numbered: OrderedDict[Key, _Numbered] = OrderedDict()
        self._lock = threading.Lock()

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
        self._stay_inside(directory)
        dir_fd = self._folders.open(directory)
        found: LockedPart | Existing | Unproven | None = None
        try:
            found = self._search(Entry(self._files, directory, dir_fd, wanted), policy, unnamed)
        finally:
            if not isinstance(found, LockedPart):
                self._files.close(dir_fd)
        return found

    def _stay_inside(self, directory: Path) -> None:
        """Refuse a folder below the run's directory that a symbolic link leads out of it."""
        base = self._settings.dir
        if directory == base or not directory.is_relative_to(base):
            return
        if not Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(base)):
            raise DiskError(
                f"{printable(str(directory))} leads out of {printable(str(base))}; name it with --dir."
            )

    def _search(self, wanted: Entry, policy: ExistingPolicy, unnamed: bool) -> LockedPart | Existing | Unproven:
        folder = self._files.fstat(wanted.dir_fd)
        passed: list[str] = []
        for name in self._candidates(wanted, folder, policy):
            key = self._key(wanted, folder, name)
            if not self._reserve(key, policy):
                continue
            found: LockedPart | Existing | Unproven | None = None
            try:
                tried = _Candidate(
                    self._settings,
                    wanted.renamed(name),
                    wanted.name,
                    policy,
                    used_by=self._used.get(key),
                    passed=passed,
                    release=partial(self._release, key, policy.identity.key),
                )
                found = tried.claim_unnamed() if unnamed else None
                found = found or tried.claim()
            finally:
                if not isinstance(found, LockedPart):
                    self._release(key, policy.identity.key, used=False)
            if found is not None:
                return found
        raise ExistsError(f"{wanted.shown}: every name like it is taken; choose another.")

    def _candidates(self, wanted: Entry, folder: os.stat_result, policy: ExistingPolicy) -> Iterator[str]:
        """Yield the names to try: the wanted one, those that may be the download already, and free ones."""
        yield candidate(wanted.name, 0)
        numbered = self._numbers(wanted, folder)
        yield from numbered.known(wanted, policy)
        while True:
            yield candidate(wanted.name, numbered.take())

    def _numbers(self, wanted: Entry, folder: os.stat_result) -> _Numbered:
        """Look the folder's numbered names up once: a queue may hold thousands of jobs of one name."""
        key = (folder.st_dev, folder.st_ino, wanted.name)
        with self._lock:
            numbered = self._numbered.get(key)
            if numbered is None:
                numbered = self._numbered[key] = _Numbered(wanted)
                if len(self._numbered) > MOST_USED:
                    self._numbered.popitem(last=False)
            return numbered

    def _key(self, wanted: Entry, folder: os.stat_result, name: str) -> Key:
        """Return what two names share if they are one name to the folder."""
        lowered = (folder.st_dev, folder.st_ino, name.casefold())
        with self._lock:
            first = self._spellings.setdefault(lowered, name)
            if len(self._spellings) > MOST_USED:
                self._spellings.popitem(last=False)
        if first != name and not self._folders.ignores_case(wanted.directory, wanted.dir_fd):
            first = name
        return folder.st_dev, folder.st_ino, first

    def _reserve(self, key: Key, policy: ExistingPolicy) -> bool:
        with self._lock:
            if key not in self._reserved:
                self._reserved[key] = policy.identity.key
                return True
        if policy.named and policy.if_exists == "overwrite":
            raise _two_jobs(key[2])
        return False

    def _release(self, key: Key, owner: str, used: bool) -> None:
        with self._lock:
            self._reserved.pop(key, None)
            if used:
                self._used[key] = owner
                if len(self._used) > MOST_USED:
                    self._used.popitem(last=False)


class _Numbered:
    """The numbered candidates of one wanted name that were in its folder when it was first looked at.

    The same list of jobs finds its files under the same names again, each in constant time.
    """

    def __init__(self, wanted: Entry) -> None:
        self._next = 1
        self._taken: set[int] = set()
        self._owned: dict[str, list[str]] = {}
        self._unowned: list[str] = []
        self._lock = threading.Lock()
        for number in range(1, MAX_NUMBER):
            entry = wanted.renamed(candidate(wanted.name, number))
            found, journal = entry.stat(), entry.journal()
            if found is None and journal is None:
                break
            self._taken.add(number)
            noted = None if found is None else record.read(entry)
            owner: str | None = None if journal is None else journal.key
            if noted is not None and found is not None and noted.is_unchanged(found):
                owner = noted.key
            if owner is None:
                self._unowned.append(entry.name)
            else:
                self._owned.setdefault(owner, []).append(entry.name)

    def known(self, wanted: Entry, policy: ExistingPolicy) -> Iterator[str]:
        """Yield the names whose file, or part, is or may be the download's."""
        yield from self._owned.get(policy.identity.key, ())
        for name in self._unowned:
            found = wanted.renamed(name).stat()
            if found is not None and (policy.digests or policy.same(found) or policy.seen is None):
                yield name

    def take(self) -> int:
        """Return the next number that was free."""
        with self._lock:
            while self._next in self._taken:
                self._next += 1
            self._next += 1
            return self._next - 1


@dataclass(slots=True)
class _Candidate:
    """One name that the download might get.

    :param used_by: key of the download that this run has made a file of that name for.
    :param passed: names that were not taken for this download, although nothing says whose they are.
    """

    settings: Disk
    entry: Entry
    wanted: str
    policy: ExistingPolicy
    used_by: str | None
    passed: list[str]
    release: Callable[[bool], None]

    def claim_unnamed(self) -> LockedPart | None:
        """Open a file without a name; None where a part has been begun, or a file is to be overwritten."""
        # link(2) cannot overwrite: for that the file needs a name that it can be moved from.
        if self.policy.if_exists == "overwrite" and self.entry.stat() is not None:
            return None
        if self.entry.part.stat() is not None:
            return None
        fd = self.entry.files.open_unnamed(self.entry.dir_fd)
        return self._locked(self.entry, fd, 0, None, unnamed=True)

    def claim(self) -> LockedPart | Existing | Unproven | None:
        """Lock the name's part; None when the next candidate is to be tried."""
        for _ in range(MAX_ROUNDS):
            found = self.entry.stat()
            if found is not None:
                judged = self._judge(found)
                if judged is not None:
                    return None if judged == "next" else judged
                if not self._overwrites:
                    self.passed.append(self.entry.name)
                    if not self._resumable():
                        return None
            opened = open_part(
                self.entry,
                self.policy.identity,
                take_over=self._overwrites,
                durable=self.settings.fsync,
            )
            if opened == "taken":
                if self._overwrites:
                    raise locked_error(self.entry)
                return None
            if opened is None:
                continue
            part = None
            try:
                if found is not None or self.entry.stat() is None:
                    part = self._own_part(opened)
                    return part
            finally:
                # Another process published its file between our look and our lock.
                if part is None:
                    opened.discard()
        raise locked_error(self.entry)

    @property
    def _overwrites(self) -> bool:
        return self.policy.if_exists == "overwrite"

    def _judge(self, found: os.stat_result) -> Existing | Unproven | Literal["next"] | None:
        """Judge what has the name: the download itself, another job's file, a reason to stop, or None."""
        policy, shown = self.policy, self.entry.shown
        regular = stat.S_ISREG(found.st_mode)
        if regular and self.used_by is None and self._published(found) and self._has_digests(found.st_size):
            return Existing(self.entry.path, "already complete", found.st_size)
        mine = self._is_mine(found) if regular else None
        if regular and mine is not False:
            same = self._is_same(found, mine=bool(mine))
            if same is None:
                return Unproven(self.entry.path, found.st_size)
            if same:
                return Existing(self.entry.path, "already complete", found.st_size)
        if mine is False:
            if policy.named and self.used_by is not None:
                raise _two_jobs(self.entry.name)
            if not policy.named and policy.if_exists != "error":
                return "next"
        if self.entry.name == self.wanted and stat.S_ISDIR(found.st_mode):
            raise DiskError(f"{shown} is a folder; choose another name with --output.")
        if policy.if_exists == "skip":
            return Existing(self.entry.path, "exists", found.st_size)
        if policy.if_exists == "error":
            raise ExistsError(f"{shown} exists; move it away, or choose another --if-exists.")
        if self._overwrites and not (regular or stat.S_ISLNK(found.st_mode)):
            raise DiskError(f"{shown} is not a regular file, and is not overwritten.")
        return None

    def _is_mine(self, found: os.stat_result) -> bool | None:
        """Whether a finished file is this download's, by what is on record; None where nothing is."""
        key = self.policy.identity.key
        if self.used_by is not None:
            return self.used_by == key
        owned = self.policy.owned(self.entry.path)
        noted = record.read(self.entry)
        if owned is None and noted is not None and noted.is_unchanged(found):
            return noted.key == key
        return owned

    def _is_same(self, found: os.stat_result, *, mine: bool) -> bool | None:
        """Whether a finished file holds what the server has now; None where only its bytes can tell."""
        policy = self.policy
        if policy.digests:
            return self._has_digests(found.st_size)
        if policy.seen is None:
            return False
        if mine:
            noted = record.read(self.entry)
            if noted is not None and noted.is_unchanged(found):
                return noted.is_of(policy.seen)
            return policy.same(found)
        if not policy.same(found):
            return False
        proven = policy.proven.get(self.entry.path)
        if proven is None and policy.holds is not None:
            fd = self._open_existing()
            try:
                proven = policy.holds(fd)
            finally:
                self.entry.files.close(fd)
        if proven and self.settings.xattr:
            record.adopt(self.entry, policy.identity, policy.seen)
        return proven

    def _open_existing(self) -> int:
        return self.entry.files.open(self.entry.name, os.O_RDONLY | os.O_NONBLOCK, self.entry.dir_fd)

    def _published(self, finished: os.stat_result) -> bool:
        """Whether *finished* is this very download, published by a process that died before it had tidied up.

        Removes what that process left: a part that is a second name of *finished*, a journal without a part.
        """
        # In this order: publishing removes the part first, so a journal that is still there afterwards is one
        # whose part is gone, and not one whose part was looked for too early.
        journal, part = self.entry.journal(), self.entry.part.stat()
        if journal is None or not journal.belongs_to(self.policy.identity):
            return False
        if part is not None:
            if not os.path.samestat(part, finished):
                return False
            self.entry.part.remove()
        self.entry.journal_file.remove()
        return part is not None or journal.describes(finished)

    def _resumable(self) -> bool:
        """Whether this download was begun here before another file got the name.

        It goes on in the part that it has; the finished file gets the next free name.
        """
        if self.used_by is not None or self.entry.part.stat() is None:
            return False
        journal = self.entry.journal()
        return journal is not None and journal.belongs_to(self.policy.identity)

    def _has_digests(self, size: int) -> bool:
        """Whether a finished file has the known digests; its size and date may agree by chance."""
        expected = dict(self.policy.digests)
        if not expected:
            return True
        fd = self._open_existing()
        try:
            return PrefixHasher(self.entry.files, fd, list(expected)).digests(size) == expected
        finally:
            self.entry.files.close(fd)

    def _own_part(self, opened: OpenedPart) -> LockedPart:
        """Return the locked part, with what an earlier run of this download has left in it."""
        found, size = opened.entry.journal(), opened.size
        journal = found.within(size) if found is not None and found.belongs_to(self.policy.identity) else None
        return self._locked(opened.entry, opened.fd, size, journal)

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


def _two_jobs(name: str) -> ExistsError:
    return ExistsError(f"{printable(name)} is the target of two jobs of this run; give one another name.")
