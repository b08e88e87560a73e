"""One job: request, plan, stream, verify, finalise."""

from .context import RunContext, Warnings
from .preview import preview
from .transfer import Transfer

__all__ = ["RunContext", "Transfer", "Warnings", "preview"]
