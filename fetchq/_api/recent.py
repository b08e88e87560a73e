"""What a run remembers of its queue, in bounded memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A dict of what was set last.

    :param most: entries; at least half as many are kept.
    """

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value of *key*; None where none is known."""
        found = self._new.get(key)
        return self._old.get(key) if found is None else found

    def set(self, key: K, value: V) -> None:
        """Remember *value*, which is not None."""
        self._new[key] = value
        if len(self._new) >= self._half:
            # Half of them go at once: to find the oldest one each time costs more than all the rest.
            self._old, self._new = self._new, {}
