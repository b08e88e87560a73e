"""One job: request, plan, stream, verify, finalise."""

from .context import RangeRefusals, RunContext, Warnings
from .preview import preview
from .transfer import Transfer

__all__ = ["RangeRefusals", "RunContext", "Transfer", "Warnings", "preview"]
