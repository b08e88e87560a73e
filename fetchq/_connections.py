"""How many connections may be open, in all and to one host; and which file gets a spare one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

__all__ = ["Budget", "Splittable"]


class Splittable(Protocol):
    """A file that can be fetched over more connections than the one of its job."""

    @property
    def host(self) -> str:
        """The host that its connections are counted for."""

    @property
    def connections(self) -> int:
        """Connections that it has."""

    @property
    def may_grow(self) -> bool:
        """Whether it may have one more."""

    @property
    def longest(self) -> float:
        """Seconds that remain for the longest of its segments that can be divided."""

    @property
    def work(self) -> float:
        """Seconds that a single connection would need for what remains."""

    def grow(self, share: float) -> bool:
        """Take and use one more connection; False if that gains nothing.

        :param share: seconds until all files end, were the connections shared equally.
        """


class Budget:
    """Counts connections. Jobs come first; a running job may have those that no job waits for.

    :param total: connections in all.
    :param per_host: connections to one host.
    :ivar splittable: files that could use spare connections.
    :ivar wanted: a job waits for a connection: files return their extra ones at their next step.
    :ivar freed: called with the host whenever a connection was given back.
    :ivar splits_now: whether a host may be asked for one more part of a file.
    """

    def __init__(self, total: int, per_host: int) -> None:
        self.total = total
        self.per_host = per_host
        self.used = 0
        self._hosts: Counter[str] = Counter()
        self._whole: set[str] = set()
        self.splittable: list[Splittable] = []
        self.wanted = False
        self.freed: Callable[[str], None] = lambda _: None
        self.splits_now: Callable[[str], bool] = lambda _: True

    def free(self, host: str) -> bool:
        """Whether one more connection to *host* is within both bounds."""
        return self.used < self.total and self.may_take(host)

    def may_take(self, host: str) -> bool:
        """Whether *host* is within its own bound."""
        return self.held(host) < self.per_host

    def held(self, host: str) -> int:
        """Return the number of connections to *host*."""
        return self._hosts.get(host, 0)

    def spare(self, host: str) -> bool:
        """Whether one more connection to *host* is free and no job waits for it."""
        return not self.wanted and self.free(host) and self.splits_now(host)

    def take(self, host: str) -> bool:
        """Take a connection to *host* if there is one."""
        if not self.free(host):
            return False
        self.retake(host)
        return True

    def retake(self, host: str) -> None:
        """Take a connection to *host* that was there all the time, even if that is one more than the bound."""
        self.used += 1
        self._hosts[host] += 1

    def give(self, host: str) -> None:
        """Take a connection back."""
        self.used -= 1
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        self.freed(host)

    def distribute(self) -> None:
        """Hand the spare connections to files, each to the one that would end last."""
        while not self.wanted:
            last = max(filter(self._grows, self.splittable), key=lambda file: file.longest, default=None)
            if last is None or not last.grow(self._share(last.host)):
                break

    def _share(self, host: str) -> float:
        """Return the seconds until all files end, with equal shares of all connections and of the host's."""
        near = [file for file in self.splittable if file.host == host]
        return max(self._mean(self.splittable, self.total), self._mean(near, self.per_host))

    def _mean(self, files: list[Splittable], connections: int) -> float:
        """Divide the work of the files that may grow by the connections that the others leave."""
        left = connections - sum(file.connections for file in files if not self._grows(file))
        return sum(file.work for file in files if self._grows(file)) / max(1, left)

    def _grows(self, file: Splittable) -> bool:
        return file.may_grow and self.free(file.host) and self.splits_now(file.host)

    def leave_whole(self, host: str) -> None:
        """Split no more files of *host*: it has refused a second connection for one."""
        self._whole.add(host)

    def splits(self, host: str) -> bool:
        """Whether *host* has never refused a second connection for a file."""
        return host not in self._whole
