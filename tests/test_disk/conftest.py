"""What the tests of the disk may ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import pytest

from fetchq._disk.threads import Threads

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InLoop(Threads):
    """All work is done in the loop's own thread."""

    async def run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return function(*args)


@pytest.fixture
def in_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """No threads: of ten thousand calls that are made one by one, the way into a thread takes half the time."""
    monkeypatch.setattr("fetchq._disk.parts.Threads", InLoop)
