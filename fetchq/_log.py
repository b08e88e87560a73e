"""The logger ``fetchq``: at level DEBUG each request, each plan and each failed attempt, with reasons.

It has no handler but the null one, so a program that does not configure logging sees nothing. No line holds a
secret: URLs are without passwords and queries.
"""

from __future__ import annotations

import logging

__all__ = ["LOGGER", "is_debugging"]

LOGGER = logging.getLogger("fetchq")
LOGGER.addHandler(logging.NullHandler())


def is_debugging() -> bool:
    """Whether debug lines go anywhere; asked before a line is made, which costs more than that."""
    return LOGGER.isEnabledFor(logging.DEBUG)
