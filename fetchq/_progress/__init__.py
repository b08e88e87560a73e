"""Events -> bars on a terminal, or a status line now and then where there is none.

Observers are called for every event and only remember; whoever opens the door calls ``tick`` about ten
times a second, and nothing but ``tick`` and ``close`` draws.
"""

from .bars import MOST_SLOTS, Bars
from .status import Status

__all__ = ["MOST_SLOTS", "Bars", "Status"]
