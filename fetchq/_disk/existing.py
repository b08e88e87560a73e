"""What has a download's name already: whose it is, and whether it is the download."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from .._digests import Checksum
from .._errors import DiskError, ExistsError
from .._models import Resource
from .._naming import printable
from .._settings import IfExists
from . import record
from .copying import discard_copy
from .entry import Entry
from .hashing import has_digests
from .journal import Identity
from .lock import begun_side

__all__ = [
    "HEAD",
    "TAKEN",
    "BusyNameError",
    "Existing",
    "ExistingFile",
    "ExistingPolicy",
    "Same",
    "Unproven",
    "two_jobs",
]

Same: TypeAlias = Callable[[os.stat_result], bool]
# Whose a file is on record: this download's, another job's of the run or the store, another download's.
Owner: TypeAlias = Literal["this", "job", "other"]

# Reason of an Existing file that is kept because it has the name, whatever it holds.
TAKEN = "exists"
COMPLETE = "already complete"
# Files of one size are told apart by so many of their first bytes, before they are compared.
HEAD = 1024


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


class BusyNameError(Exception):
    """Another job is looking at the name, which may take it a while."""


class ExistingPolicy(NamedTuple):
    """Which part a download may go on with, and which finished file makes it needless.

    :param identity: of the download.
    :param if_exists: what to do about another file of the name.
    :param named: the user gave the name, so that no other one will do.
    :param seen: what the server has now; None before it has answered.
    :param same: whether a finished file of this stat can be the download: its size and date agree.
    :param checksums: what such a file must hash to.
    :param owned: whether the store has a path as this job's (True), another's (False) or not at all (None).
    :param proven: whether the bytes of an :class:`Unproven` path were found to be the server's.
    :param holds: compares the open file with a body that is at hand, instead of that.
    :param head: first bytes of the server's answer, where they are at hand.
    :param waits: for a name that another job is looking at, instead of raising :class:`BusyNameError`.
    :param confined: symbolic links may not lead the download out of the run's directory.
    :param ordinal: which candidate for the name is the job's, as far as it is free.
    """

    identity: Identity
    if_exists: IfExists
    named: bool
    seen: Resource | None
    same: Same
    checksums: Sequence[Checksum]
    owned: Callable[[Path], bool | None]
    proven: Mapping[Path, bool]
    holds: Callable[[int], bool] | None = None
    head: bytes | None = None
    waits: bool = True
    confined: bool = False
    ordinal: int = 0


@dataclass(slots=True)
class ExistingFile:
    """What has the name *entry*, by its stat *found*.

    :param used_by: key of the download that this run has made a file of that name for, or found one.
    :param records: a file whose bytes were compared gets a record.
    """

    entry: Entry
    found: os.stat_result
    policy: ExistingPolicy
    used_by: str | None
    records: bool

    def judge(self) -> Existing | Unproven | Literal["next"] | None:
        """Judge what has the name: enough, to be compared, another job's, or None: to be overwritten or passed.

        :raises ExistsError: the name is taken, and no other will do.
        :raises DiskError: it is to be overwritten, and is no file.
        """
        if stat.S_ISREG(self.found.st_mode):
            owner = self._owner()
            kept = self._kept(owner)
            if kept is not None:
                return kept
            if owner in ("job", "other") and self._left_to(owner):
                return "next"
        return self._by_policy()

    def _left_to(self, owner: Owner | None) -> bool:
        """Whether another download's file makes this one take the next name.

        A name that the user gave is replaced, unless a job of the same queue has its file there.
        """
        if_exists = self.policy.if_exists
        if not self.policy.named:
            return if_exists != "error"
        if owner == "job" and if_exists != "rename":
            raise two_jobs(self.entry.name)
        return False

    def _by_policy(self) -> Existing | None:
        shown, if_exists, mode = self.entry.shown, self.policy.if_exists, self.found.st_mode
        if if_exists == "skip":
            return Existing(self.entry.path, TAKEN, self.found.st_size)
        if if_exists == "error":
            raise ExistsError(f"{shown} exists; move it away, or choose another --if-exists.")
        if if_exists == "overwrite" and not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise DiskError(f"{shown} is not a regular file, and is not overwritten.")
        return None

    def _owner(self) -> Owner | None:
        """Return whose the file is; None where nothing is on record."""
        key = self.policy.identity.key
        if self.used_by is not None:
            return "this" if self.used_by == key else "job"
        owned = self.policy.owned(self.entry.path)
        if owned is not None:
            return "this" if owned else "job"
        noted = self._record()
        if noted is not None:
            return "this" if noted.key == key else "other"
        return None

    def _record(self) -> record.FileRecord | None:
        """Return the record on the file, unless the file was changed since it was finished."""
        noted = record.read(self.entry)
        return noted if noted is not None and noted.is_unchanged(self.found) else None

    def _kept(self, owner: Owner | None) -> Existing | Unproven | None:
        """Return the file if it is, or can be, what the server has now."""
        path, size = self.entry.path, self.found.st_size
        if self.used_by is None and self._published() and self._has_digests():
            return Existing(path, COMPLETE, size)
        if owner in ("job", "other"):
            return None
        same = self._is_same(mine=owner == "this")
        if same is None:
            return Unproven(path, size)
        return Existing(path, COMPLETE, size) if same else None

    def _is_same(self, *, mine: bool) -> bool | None:
        """Whether the file holds what the server has now; None where only its bytes can tell."""
        policy = self.policy
        if policy.checksums:
            return self._has_digests()
        if policy.seen is None:
            return False
        noted = self._record() if mine else None
        if noted is not None:
            return noted.is_of(policy.seen)
        same = policy.same(self.found)
        if mine or not same:
            return same
        proven = self._proven()
        if proven and self.records:
            record.adopt(self.entry, policy.identity, policy.seen)
        return proven

    def _proven(self) -> bool | None:
        """Whether the file's bytes are the server's; None where they were not compared yet."""
        if self.policy.holds is None:
            return self.policy.proven.get(self.entry.path)
        fd = self._open()
        try:
            return self.policy.holds(fd)
        finally:
            self.entry.files.close(fd)

    def _published(self) -> bool:
        """Whether this is the very download, published by a process that died before it had tidied up.

        Removes what that process left: a part that is a second name of the file, a journal without a part.
        """
        beside = begun_side(self.entry, self.policy.identity)
        if beside is None:
            return False
        # In this order: publishing removes the part first, so a journal that is still there afterwards is one
        # whose part is gone, and not one whose part was looked for too early.
        journal, part = beside.journal(), beside.part.stat()
        if journal is None or (part is not None and not os.path.samestat(part, self.found)):
            return False
        if part is not None:
            beside.part.remove()
        discard_copy(self.entry, self.policy.identity)
        beside.delete_journal()
        return part is not None or journal.describes(self.found)

    def _has_digests(self) -> bool:
        """Whether the file has the known digests; its size and date may agree by chance."""
        checksums, entry = self.policy.checksums, self.entry
        size = self.found.st_size
        return not checksums or has_digests(entry.files, entry.name, entry.dir_fd, size, checksums)

    def _open(self) -> int:
        return self.entry.files.open(self.entry.name, os.O_RDONLY | os.O_NONBLOCK, self.entry.dir_fd)


def two_jobs(name: str) -> ExistsError:
    """Return the error for a name that the user gave to two jobs of a queue."""
    return ExistsError(f"{printable(name)} is the target of two jobs of this queue; give one another name.")
