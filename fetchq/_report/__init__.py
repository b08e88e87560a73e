"""Events -> lines for people, JSON lines for programs, and the report at the end of a run.

The JSON lines (``_record``) are imported when a program asks for them.
"""

from .lines import LineWriter
from .reporter import TICK, Reporter
from .summary import GO_ON, Summary
from .words import NORMAL, QUIET, VERBOSE, Lines, failure, left_by_reader, line

__all__ = [
    "GO_ON",
    "NORMAL",
    "QUIET",
    "TICK",
    "VERBOSE",
    "LineWriter",
    "Lines",
    "Reporter",
    "Summary",
    "failure",
    "left_by_reader",
    "line",
]
