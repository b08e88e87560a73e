"""Many jobs: read ahead, start within the budget, wait for retries, hand out results, stop.

Generic over job and result: what an attempt does is the ``fetch`` that a run is given::

    flow        jobs that can start, in their order
    run         one queue: reads its jobs and hands out their results
    spill       the ends of long lines, outside memory
    scheduler   whose turn it is: connections for runs and single jobs
"""

from __future__ import annotations

from .flow import ScheduledJob
from .run import Found, ScheduledRun
from .scheduler import Scheduler
from .spill import Spill

__all__ = ["Found", "ScheduledJob", "ScheduledRun", "Scheduler", "Spill"]
