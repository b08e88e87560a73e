"""What a run remembers of its queue, in bounded memory."""

from __future__ import annotations

from itertools import islice
from typing import Any

__all__ = ["trim"]


def trim(remembered: dict[Any, Any], most: int) -> None:
    """Forget the older half of a dict that has more than *most* entries.

    Half of them go at once: to look for the oldest one each time costs more than all the rest.
    """
    if len(remembered) > most:
        for key in list(islice(remembered, most // 2)):
            del remembered[key]
