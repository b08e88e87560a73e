"""One job: request, plan, stream, verify, finalise."""

from .checks import place
from .context import ALONE, Placement, RangeRefusals, RunContext, Warnings
from .preview import preview
from .transfer import Transfer

__all__ = ["ALONE", "Placement", "RangeRefusals", "RunContext", "Transfer", "Warnings", "place", "preview"]
