"""How many connections may be open, in all and to one host; and who may have a spare one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

__all__ = ["Borrower", "Budget"]


class Borrower(Protocol):
    """A file that may be fetched over more connections than the one of its job."""

    @property
    def host(self) -> str:
        """The host that its connections are counted for."""

    @property
    def staff(self) -> int:
        """Connections at work."""

    @property
    def hires(self) -> bool:
        """Tell whether it may have more."""

    @property
    def longest(self) -> float:
        """Seconds that the longest of its spans that may be divided takes still."""

    @property
    def work(self) -> float:
        """Seconds that a single connection would need for it."""

    def hire(self) -> bool:
        """Put one more connection to work; False where that is worth nothing."""


class Budget:
    """Counts connections. Jobs come first; a running job may borrow what no job wants.

    :param total: connections in all.
    :param per_host: connections to one host.
    """

    def __init__(self, total: int, per_host: int) -> None:
        self.total = total
        self.per_host = per_host
        self.used = 0
        self._hosts: Counter[str] = Counter()
        self._whole: set[str] = set()
        # Files that would take what is to spare.
        self.borrowers: list[Borrower] = []
        # True while a job waits for a connection: borrowers give theirs back at their next step.
        self.wanted = False
        # Is called whenever a connection was given back.
        self.freed: Callable[[], None] = lambda: None

    def free(self, host: str) -> bool:
        """Tell whether one more connection to *host* is within both bounds."""
        return self.used < self.total and self._hosts[host] < self.per_host

    def take(self, host: str) -> bool:
        """Take a connection to *host* if there is one."""
        if not self.free(host):
            return False
        self.used += 1
        self._hosts[host] += 1
        return True

    def lends(self, host: str) -> bool:
        """Tell whether a connection to *host* is to spare: no job wants it."""
        return not self.wanted and self.free(host)

    def borrow(self, host: str) -> bool:
        """Take a connection that is to spare."""
        return self.lends(host) and self.take(host)

    def lend(self) -> None:
        """Hand out what is to spare, each connection to the file that would end last."""
        while not self.wanted and self.used < self.total:
            last = max(filter(self._open, self.borrowers), key=lambda one: one.longest, default=None)
            if last is None or not last.hire():
                break

    def fair(self, host: str) -> float:
        """Give the seconds after which all files would end together, with equal shares of the connections."""
        near = [borrower for borrower in self.borrowers if borrower.host == host]
        return max(self._share(self.borrowers, self.total), self._share(near, self.per_host))

    def _share(self, borrowers: list[Borrower], connections: int) -> float:
        """Divide the work of those who may have more over the connections that the others leave."""
        left = connections - sum(one.staff for one in borrowers if not self._open(one))
        return sum(one.work for one in borrowers if self._open(one)) / max(1, left)

    def _open(self, borrower: Borrower) -> bool:
        return borrower.hires and self.free(borrower.host)

    def give(self, host: str) -> None:
        """Give a connection back."""
        self.used -= 1
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        self.freed()

    def leave_whole(self, host: str) -> None:
        """Split no other file of *host*: it has shown that it minds."""
        self._whole.add(host)

    def splits(self, host: str) -> bool:
        """Tell whether *host* does not mind several connections for a file, as far as is known."""
        return host not in self._whole
