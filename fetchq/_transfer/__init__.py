"""One job: request, plan, stream, verify, finalise."""

from .checks import place
from .context import ALONE, Placement, RangeRefusals, RunContext, Warnings
from .preview import preview
from .states import Kept
from .transfer import Transfer

__all__ = [
    "ALONE",
    "Kept",
    "Placement",
    "RangeRefusals",
    "RunContext",
    "Transfer",
    "Warnings",
    "place",
    "preview",
]
