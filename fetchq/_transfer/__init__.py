"""One job: request, plan, stream, verify, finalise.

::

    transfer   the runner: one job from its first request to its result, as named states
    states     these states as values
    target     where the bytes go: the file's name and its part, or standard output
    mirrors    the URLs of a job, asked one at a time; and what an answer means
    links      a URL that has expired is replaced
    standing   what answers and failures mean for the host
    deadline   how long a job may take
    body       the chunks of an answer, each counted once
    forms      which form of a coded body is the file (decoder)
    pump       one connection's chunks into the part, in batches (writer)
    segmented  several connections for one file (segments: which of them fetches what)
    checks     what caller and server have promised about the bytes
    refusal    what a server says in the body of an error
    counters   what is counted, for events and results
    preview    what a run would do about a job
    context    what all transfers of a run are handed
"""

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
