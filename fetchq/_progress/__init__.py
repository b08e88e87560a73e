"""Events -> bars on a terminal, or a status line every few seconds elsewhere.

Both are observers: a call with an event only counts. The caller calls ``tick`` about ten times a second, and
only ``tick`` and ``close`` draw.
"""

from .bars import MAX_SLOTS, Bars
from .status_line import StatusLine

__all__ = ["MAX_SLOTS", "Bars", "StatusLine"]
