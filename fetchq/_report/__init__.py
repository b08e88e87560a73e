"""Events -> lines for people, JSON lines for programs, and the summary at the end of a run.

``json_lines`` and ``records`` are imported only when JSON or a report was asked for.
"""

from .lines import LineWriter
from .log import LogFile
from .reporter import TICK, Reporter, ReportOptions, ReportStreams
from .summary import RESUME_HINT, Summary
from .text import NORMAL, QUIET, VERBOSE, TextLines, format_event, format_failure, is_broken_pipe

__all__ = [
    "NORMAL",
    "QUIET",
    "RESUME_HINT",
    "TICK",
    "VERBOSE",
    "LineWriter",
    "LogFile",
    "ReportOptions",
    "ReportStreams",
    "Reporter",
    "Summary",
    "TextLines",
    "format_event",
    "format_failure",
    "is_broken_pipe",
]
