"""Events -> lines for people, JSON lines for programs, and the report at the end of a run."""

from ._audience import Audience, ProgressKind
from ._outlet import Outlet
from ._record import Json, record
from ._summary import GO_ON, Summary
from ._words import NORMAL, QUIET, VERBOSE, Lines, failure, left_by_reader, line

__all__ = [
    "GO_ON",
    "NORMAL",
    "QUIET",
    "VERBOSE",
    "Audience",
    "Json",
    "Lines",
    "Outlet",
    "ProgressKind",
    "Summary",
    "failure",
    "left_by_reader",
    "line",
    "record",
]
