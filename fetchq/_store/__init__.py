"""The sqlite3 edge: which jobs exist and how each ended, so that a repeated run requests nothing twice."""

from .database import is_missing
from .files import FinishedFiles
from .records import FinishedJob, HostCount, Record
from .store import Store

__all__ = ["FinishedFiles", "FinishedJob", "HostCount", "Record", "Store", "is_missing"]
