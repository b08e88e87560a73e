"""Events -> lines for people, JSON lines for programs, and the report at the end of a run.

The JSON lines (``_record``) are imported when a program asks for them.
"""

from ._audience import TICK, Audience
from ._outlet import Outlet
from ._summary import GO_ON, Summary
from ._words import NORMAL, QUIET, VERBOSE, Lines, failure, left_by_reader, line

__all__ = [
    "GO_ON",
    "NORMAL",
    "QUIET",
    "TICK",
    "VERBOSE",
    "Audience",
    "Lines",
    "Outlet",
    "Summary",
    "failure",
    "left_by_reader",
    "line",
]
