"""The sqlite3 edge: which jobs exist and how each ended, so that a repeated run requests nothing twice."""

from .store import Record, Store

__all__ = ["Record", "Store"]
