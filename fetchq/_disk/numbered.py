"""The numbered names beside one name, ``a.1.iso`` beside ``a.iso``: whose they are, and which are free."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence

from .._naming import candidate, candidate_number
from . import record
from .entry import Entry
from .existing import HEAD, ExistingPolicy

__all__ = ["NumberedNames"]

# Numbers up to this one are given to a name.
MAX_NUMBER = 1_000_000


class NumberedNames:
    """The numbered candidates of one wanted name that were in its folder when it was first looked at.

    The same list of jobs finds its files under the same names again, each in constant time.

    :param numbers: those that may be there; None: look at each one up to the first that is free.
    """

    def __init__(self, wanted: Entry, numbers: Iterable[int] | None) -> None:
        self._wanted = wanted.name
        # All numbers below the first are taken, and some above it.
        self._next = 1
        self._taken: set[int] = set()
        # By the key of the download, and, for files of which nothing is on record, by size.
        self._owned: dict[str, list[str]] = {}
        self._unowned: dict[int, list[str]] = {}
        self._heads: dict[tuple[int, bytes], list[str]] = {}
        self._lock = threading.Lock()
        # In a list of another order the download had the name itself.
        self._look_up(wanted)
        for number in range(1, MAX_NUMBER) if numbers is None else sorted(set(numbers)):
            name = candidate(wanted.name, number)
            if self._look_up(wanted.renamed(name)):
                self.take(name)
            elif numbers is None:
                break

    def _look_up(self, entry: Entry) -> bool:
        """Note whose the name is; return False where it is free."""
        found, journal = entry.stat(), entry.journal()
        noted = None if found is None else record.read(entry)
        if found is not None and noted is not None and not noted.is_unchanged(found):
            noted = None
        # Another process may have given the name to its file after the part was begun.
        keys = {side.key for side in (noted, journal) if side is not None}
        for key in keys:
            self._owned.setdefault(key, []).append(entry.name)
        if found is not None and not keys:
            self._unowned.setdefault(found.st_size, []).append(entry.name)
        return found is not None or journal is not None

    def owned(self, owner: str) -> Sequence[str]:
        """Return the names that the download with the key *owner* has."""
        return self._owned.get(owner, ())

    def known(self, wanted: Entry, policy: ExistingPolicy) -> Iterator[str]:
        """Yield the names whose file, or part, is or may be the download's."""
        yield from self.owned(policy.identity.key)
        for name in self._alike(wanted, policy):
            found = wanted.renamed(name).stat()
            if found is not None and (policy.checksums or policy.same(found)):
                yield name

    def _alike(self, wanted: Entry, policy: ExistingPolicy) -> list[str]:
        """Return the names of files without a record of the download's size, and first bytes where known."""
        size = None if policy.seen is None else policy.seen.length
        if size is None or size not in self._unowned:
            return []
        if policy.head is None:
            return self._unowned[size]
        with self._lock:
            names = self._unowned[size]
            if (size, b"") not in self._heads:
                self._heads[size, b""] = names
                for name in names:
                    self._heads.setdefault((size, _head(wanted.renamed(name))), []).append(name)
        return self._heads.get((size, policy.head[:HEAD]), []) if size else names

    def free(self, above: int = 0) -> Iterator[str]:
        """Yield the names that no file has, as far as is known; other jobs may have reserved some of them.

        :param above: numbers up to this one are left to other jobs.
        """
        for number in range(max(self._next, above + 1), MAX_NUMBER):
            if number not in self._taken:
                yield candidate(self._wanted, number)

    def take(self, name: str) -> None:
        """Note that a file has the name."""
        number = candidate_number(self._wanted, name)
        if number is None:
            return
        with self._lock:
            self._taken.add(number)
            while self._next in self._taken:
                self._taken.discard(self._next)
                self._next += 1


def _head(entry: Entry) -> bytes:
    """Return the first bytes of a file; none of one that cannot be read."""
    buffer = bytearray(HEAD)
    try:
        fd = entry.files.open(entry.name, os.O_RDONLY | os.O_NONBLOCK, entry.dir_fd)
        try:
            return bytes(buffer[: entry.files.preadv(fd, [buffer], 0)])
        finally:
            entry.files.close(fd)
    except OSError:
        return b""
