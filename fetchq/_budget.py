"""How many connections may be open, in all and to one host; and who may have a spare one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["Budget"]


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
        """Tell whether a connection is to spare: no job wants it, and *host* does not mind several a file."""
        return not self.wanted and host not in self._whole and self.free(host)

    def borrow(self, host: str) -> bool:
        """Take a connection that is to spare."""
        return self.lends(host) and self.take(host)

    def give(self, host: str) -> None:
        """Give a connection back."""
        self.used -= 1
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        self.freed()

    def leave_whole(self, host: str) -> None:
        """Split no more files of *host*: it has shown that it minds."""
        self._whole.add(host)

    def splits(self, host: str) -> bool:
        """Tell whether files of *host* may still be split."""
        return host not in self._whole
