"""The sqlite3 edge: which jobs exist and how each ended, so that a repeated run requests nothing twice."""

from .records import HostCount, Record
from .store import Store

__all__ = ["HostCount", "Record", "Store"]
