"""Which name a download gets: what is taken, whose part lies there, and the lock on it."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from .._errors import DiskError, DiskFullError, ExistsError, LockedError
from .._naming import candidates, printable
from .._settings import Disk
from .._units import size as shown
from .files import Files, remove
from .folders import Folders
from .hashing import PrefixHasher
from .journal import Identity, Journal, forget, journal_of, load, part_of

__all__ = ["Existing", "ExistingPolicy", "LockedPart", "NameRegistry", "Same", "open_part", "require_room"]

Same: TypeAlias = Callable[[os.stat_result], bool]
Key: TypeAlias = tuple[int, int, str]

# Each round means that another process finished or gave up between two of our calls; nobody is that unlucky.
MAX_ROUNDS = 16

# Names that this run has used, some 3 MB of them: jobs of one name stand near each other in a queue.
MOST_USED = 20_000


class Existing(NamedTuple):
    """Nothing to do: the file at *path*, of *size* bytes, is there; *reason* says what it is."""

    path: Path
    reason: str
    size: int


class ExistingPolicy(NamedTuple):
    """Whose part a name may hold, and which finished file would do.

    :param same: tells from its stat whether a finished file is this very download.
    :param digests: algorithm to lower-case hex that such a file must have besides.
    """

    identity: Identity
    same: Same
    digests: Mapping[str, str]


@dataclass(slots=True)
class LockedPart:
    """A name that is ours while this is open: the locked part, and the folder that holds it.

    :param wanted: the name that was asked for; *name* is the one of its candidates that was free.
    :param journal: what an earlier run left about this very download, as far as it can be true.
    :param size: bytes that the part had when it was opened.
    :param release: makes the name free for other jobs of this run, and says whether it has been used.
    :param unnamed: there is no part that others could see: the file gets its first name when it is finished.
    """

    files: Files
    directory: Path
    dir_fd: int
    wanted: str
    name: str
    fd: int
    size: int
    journal: Journal | None
    release: Callable[[bool], None]
    unnamed: bool = False

    @property
    def path(self) -> Path:
        """Where the unfinished file is."""
        return self.directory / part_of(self.name)

    def drop_if_empty(self) -> bool:
        """Remove part and journal if nothing is in them; True when that was so."""
        if self.unnamed:
            return True
        if self.files.fstat(self.fd).st_size:
            return False
        remove(self.files, journal_of(self.name), self.dir_fd)
        remove(self.files, part_of(self.name), self.dir_fd)
        return True

    def put_aside(self) -> str:
        """Keep wrong bytes under a name that nothing goes on with; give it."""
        part = part_of(self.name)
        aside = f"{part}.bad"
        if self.unnamed:
            remove(self.files, aside, self.dir_fd)
            self.files.name(self.fd, aside, self.dir_fd)
        else:
            self.files.replace(part, aside, self.dir_fd)
        return aside

    def close(self, *, used: bool = True) -> None:
        """Let go of lock and name; an unnamed file that never got one has not *used* it."""
        self.files.close(self.fd)
        self.files.close(self.dir_fd)
        self.release(used)

    def abandon(self) -> None:
        """Let go of a part that nobody is going to use."""
        try:
            self.drop_if_empty()
        finally:
            self.close(used=not self.unnamed)


class NameRegistry:
    """Gives out names: never one that another job of the run, another process or the user has.

    :param files: the file system.
    """

    def __init__(self, settings: Disk, files: Files, folders: Folders) -> None:
        self._settings = settings
        self._files = files
        self._folders = folders
        self._used: OrderedDict[Key, None] = OrderedDict()
        self._lock = threading.Lock()
        self._reserved: set[Key] = set()

    def take(
        self, directory: Path, name: str, wish: ExistingPolicy, *, unnamed: bool = False
    ) -> LockedPart | Existing:
        """Lock the part of *name* in *directory*, or the next name that is free.

        :param unnamed: the file will be written in one go, and needs no part where none is there already;
            whether its name is free shows when it gets it.
        :raises UnnamedError: *unnamed* files are not to be had here.
        :raises DiskError: a folder has the name, or the file system refuses.
        :raises ExistsError: the name is taken, and that is to be an error.
        :raises LockedError: another process is at it.
        """
        self._stay_inside(directory)
        dir_fd = self._folders.open(directory)
        found: LockedPart | Existing | None = None
        try:
            found = self._walk(directory, dir_fd, name, wish, unnamed)
        finally:
            if not isinstance(found, LockedPart):
                self._files.close(dir_fd)
        return found

    def _stay_inside(self, directory: Path) -> None:
        """Refuse a folder below the run's directory that a link leads out of it."""
        base = self._settings.dir
        if directory == base or not directory.is_relative_to(base):
            return
        if not Path(os.path.realpath(directory)).is_relative_to(os.path.realpath(base)):
            raise DiskError(
                f"{printable(str(directory))} leads out of {printable(str(base))}; name it with --dir."
            )

    def _walk(
        self, directory: Path, dir_fd: int, wanted: str, wish: ExistingPolicy, unnamed: bool
    ) -> LockedPart | Existing:
        folder = self._files.fstat(dir_fd)
        for name in candidates(wanted):
            # By the folder's number: two spellings of its path must not hide one name from the other.
            key = (folder.st_dev, folder.st_ino, name)
            if not self._reserve(key):
                continue
            found: LockedPart | Existing | None = None
            try:
                ours = key in self._used
                where = (directory, dir_fd, wanted, name)
                attempt = _Attempt(self._settings, self._files, ours, *where, wish, unnamed)
                found = attempt.run(partial(self._release, key))
            finally:
                if not isinstance(found, LockedPart):
                    self._release(key, used=False)
            if found is not None:
                return found
        raise ExistsError(f"{printable(wanted)}: every name like it is taken; choose another.")

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
class _Attempt:
    """One candidate name, tried."""

    settings: Disk
    files: Files
    ours: bool
    directory: Path
    dir_fd: int
    wanted: str
    name: str
    wish: ExistingPolicy
    unnamed: bool

    def run(self, release: Callable[[bool], None]) -> LockedPart | Existing | None:
        """Lock the name's part; None when the next candidate is to be tried."""
        # link(2) overwrites nothing: for that a file needs a name that it can be moved from.
        if self.unnamed and self.settings.if_exists != "overwrite" and not self._begun():
            claim = self._claimed(self.files.open_unnamed(self.dir_fd), 0, None, release)
            claim.unnamed = True
            return claim
        for _ in range(MAX_ROUNDS):
            found = self.files.stat(self.name, self.dir_fd)
            if found is not None:
                existing = self._existing(found)
                if existing is not None:
                    return existing
                if self.settings.if_exists != "overwrite" and not self._resumable():
                    return None
            opened = open_part(self.files, self.name, self.dir_fd, self._locked)
            if opened is None:
                continue
            if found is None and self.files.stat(self.name, self.dir_fd) is not None:
                # Another process gave the name to its file between our look and our lock.
                self._drop(*opened)
                continue
            return self._owned(*opened, release)
        raise self._locked()

    def _drop(self, fd: int, size: int) -> None:
        try:
            if not size:
                remove(self.files, part_of(self.name), self.dir_fd)
        finally:
            self.files.close(fd)

    def _existing(self, found: os.stat_result) -> Existing | None:
        """Judge what has the name: nothing to do, an error, or None."""
        first, policy = self.name == self.wanted, self.settings.if_exists
        regular = stat.S_ISREG(found.st_mode)
        # What this run has made is another job's: two jobs get two files, though size and date agree.
        same = regular and not self.ours and (self._published(found) or self.wish.same(found))
        if same and self._right(found.st_size):
            return Existing(self._path, "already complete", found.st_size)
        if first and stat.S_ISDIR(found.st_mode):
            raise DiskError(f"{self._shown} is a folder; choose another name with --output.")
        if policy == "skip":
            return Existing(self._path, "exists", found.st_size)
        if policy == "error":
            raise ExistsError(f"{self._shown} exists; move it away, or choose another --if-exists.")
        if policy == "overwrite" and not (regular or stat.S_ISLNK(found.st_mode)):
            raise DiskError(f"{self._shown} is not a regular file, and is not overwritten.")
        return None

    def _published(self, finished: os.stat_result) -> bool:
        """Whether *finished* is this very download, published by a process that died before it had tidied up.

        Removes what that process left: a part that is a second name of *finished*, a journal without a part.
        """
        # In this order: publishing removes the part first, so a journal that is still there afterwards is one
        # whose part is gone, and not one whose part was looked for too early.
        journal = load(self.files, journal_of(self.name), self.dir_fd)
        part = self.files.stat(part_of(self.name), self.dir_fd)
        ours = journal is not None and journal.belongs_to(self.wish.identity)
        if (part is not None and not os.path.samestat(part, finished)) or (journal is not None and not ours):
            return False
        if part is not None:
            remove(self.files, part_of(self.name), self.dir_fd)
        if journal is not None:
            remove(self.files, journal_of(self.name), self.dir_fd)
        return journal is not None and (part is not None or journal.describes(finished))

    def _resumable(self) -> bool:
        """Whether this download was begun here before another file got the name.

        It goes on in the part that it has; the finished file gets the next free name.
        """
        return (
            not self.ours
            and self._begun()
            and (journal := load(self.files, journal_of(self.name), self.dir_fd)) is not None
            and journal.belongs_to(self.wish.identity)
        )

    def _right(self, size: int) -> bool:
        """Tell whether a finished file has the known digests; its size and date may be right by chance."""
        if not self.wish.digests:
            return True
        fd = self.files.open(self.name, os.O_RDONLY | os.O_NONBLOCK, self.dir_fd)
        try:
            return PrefixHasher(self.files, fd, list(self.wish.digests)).digests(size) == dict(
                self.wish.digests
            )
        finally:
            self.files.close(fd)

    def _owned(self, fd: int, size: int, release: Callable[[bool], None]) -> LockedPart | None:
        """Return the part, now locked; None when it is another download's."""
        claim = None
        try:
            # An empty part has nothing to trust and nothing to lose, whatever lies beside it.
            journal = load(self.files, journal_of(self.name), self.dir_fd) if size else None
            ours = journal is not None and journal.belongs_to(self.wish.identity)
            if journal is None or ours or self.settings.if_exists == "overwrite":
                trusted = journal.within(size) if journal is not None and ours else None
                claim = self._claimed(fd, size, trusted, release)
        finally:
            if claim is None:
                self.files.close(fd)
        return claim

    def _claimed(
        self, fd: int, size: int, journal: Journal | None, release: Callable[[bool], None]
    ) -> LockedPart:
        where = (self.files, self.directory, self.dir_fd, self.wanted, self.name)
        return LockedPart(*where, fd, size, journal, release)

    def _begun(self) -> bool:
        """Tell whether somebody, in this process or another, has begun a part."""
        return self.files.stat(part_of(self.name), self.dir_fd) is not None

    def _locked(self) -> LockedError:
        journal = load(self.files, journal_of(self.name), self.dir_fd)
        pid = journal.pid if journal is not None and _alive(journal.pid) else None
        owner = f"process {pid}" if pid is not None else "another process"
        return LockedError(
            f"{self._shown} is being downloaded by {owner}; wait for it to end, or choose another name"
            " with --output.",
            pid=pid,
        )

    @property
    def _path(self) -> Path:
        return self.directory / self.name

    @property
    def _shown(self) -> str:
        return printable(str(self._path))


def open_part(
    files: Files, name: str, dir_fd: int, locked: Callable[[], LockedError]
) -> tuple[int, int] | None:
    """Open and lock the part of *name*: give descriptor and size, or None when it must be tried again.

    :param locked: gives the error when another process has the lock.
    """
    part = part_of(name)
    try:
        fd = files.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, dir_fd)
    except FileExistsError:
        try:
            fd = files.open(part, os.O_RDWR | os.O_NONBLOCK, dir_fd)
        except FileNotFoundError:
            return None
    size = None
    try:
        if not files.lock(fd):
            raise locked()
        size = _size_if_ours(files, fd, name, dir_fd)
    finally:
        if size is None:
            files.close(fd)
    return None if size is None else (fd, size)


def _size_if_ours(files: Files, fd: int, name: str, dir_fd: int) -> int | None:
    """Give the locked part's size; None when its name has gone elsewhere meanwhile."""
    ours, there = files.fstat(fd), files.stat(part_of(name), dir_fd)
    if not stat.S_ISREG(ours.st_mode):
        raise DiskError(f"{printable(part_of(name))} is not a regular file; move it away.")
    if there is None or not os.path.samestat(ours, there):
        return None
    if ours.st_nlink > 1:
        # A finished file, or somebody else's, has a second name here: to write would change that file.
        forget(files, name, dir_fd, durable=False)
        files.unlink(part_of(name), dir_fd)
        return None
    return ours.st_size


def require_room(claim: LockedPart, length: int, min_free: int) -> None:
    """Check that *length* bytes fit on the disk and leave *min_free*.

    :raises DiskFullError: they do not.
    """
    free = claim.files.free(claim.fd)
    if free is None:
        return
    # st_blocks counts 512-byte units, whatever the file system's block is.
    there = claim.files.fstat(claim.fd).st_blocks * 512
    missing = max(0, length - there)
    if missing and free - missing < min_free:
        raise DiskFullError(
            f"{printable(claim.name)} needs {shown(missing)} more, and the disk of"
            f" {printable(str(claim.directory))} has {shown(free)} free,"
            f" of which {shown(min_free)} must stay free."
        )


def _alive(pid: int) -> bool:
    """Tell whether *pid* runs: a journal's may be a dead process's."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid > 0
