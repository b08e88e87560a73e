"""Since when hosts have not answered, and until when it was announced that they are waited for."""

from __future__ import annotations

__all__ = ["LONG_WAIT", "Outages"]

# Seconds without news after which a person wonders whether the program still works.
LONG_WAIT = 5.0
# Hosts to remember: a queue may name any number of them.
MAX_HOSTS = 1024


class Outages:
    """The hosts that are away, over all jobs of a run. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._announced: dict[str, float] = {}

    def failed(self, host: str, now: float) -> float:
        """Note that *host* could not be reached or is not ready; return the seconds since it first was so."""
        return now - _remember(self._since, host, self._since.get(host, now))

    def answered(self, host: str) -> None:
        """Note that *host* gave a proper answer."""
        self._since.pop(host, None)
        self._announced.pop(host, None)

    def announce(self, host: str, until: float, *, asked: bool) -> bool:
        """Whether to announce a wait for *host*: once in an outage, and if it asks for more than was announced.

        :param until: when the wait ends.
        :param asked: the host itself named that time.
        """
        announced = self._announced.get(host)
        if announced is not None and not (asked and until > announced + LONG_WAIT):
            return False
        _remember(self._announced, host, until)
        return True


def _remember(times: dict[str, float], host: str, time: float) -> float:
    times[host] = time
    if len(times) > MAX_HOSTS:
        del times[next(iter(times))]
    return time
