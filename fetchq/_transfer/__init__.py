"""One job: request, plan, stream, verify, finalise."""

from ._job import Transfer
from ._preview import preview
from ._tools import Tools

__all__ = ["Tools", "Transfer", "preview"]
