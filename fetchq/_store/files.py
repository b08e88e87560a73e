"""The files of records: relative to the store's folder if they are below it, so that it may be moved."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .records import FinishedJob, Record

__all__ = ["FinishedFiles"]


class FinishedFiles:
    """The finished files of a store.

    :param directory: its folder, absolute.
    """

    def __init__(self, directory: str) -> None:
        self._prefix = os.path.join(directory, "")
        self._bytes = os.fsencode(self._prefix)

    def absolute(self, path: str) -> str:
        """Return the absolute path of a file that is on record as *path*."""
        # os.path.join does the same for a path of the system's own, and costs more.
        return path if path.startswith("/") else self._prefix + path

    def relative(self, path: str) -> str:
        """Return what stands on record for an absolute *path*."""
        return path.removeprefix(self._prefix)

    def text_of(self, record: Record | FinishedJob) -> str | None:
        """Return the absolute path of the job's file, None if it has none."""
        path = record.path
        return None if path is None else self.absolute(path if isinstance(path, str) else os.fsdecode(path))

    def path_of(self, record: Record | FinishedJob) -> Path | None:
        """Return the same as a Path, which costs ten times as much."""
        file = self.text_of(record)
        return None if file is None else Path(file)

    def still_there(self, record: Record | FinishedJob) -> bool:
        """Whether the job's file is unchanged: a regular file of the same size and modification time.

        May be called from any thread.
        """
        path: str | bytes | None = record.path
        if isinstance(path, bytes):
            path = path if path.startswith(b"/") else self._bytes + path
        elif path is not None:
            path = self.absolute(path)
        else:
            return False
        try:
            found = os.stat(path)
        except OSError:
            return False
        same = found.st_size == record.size and found.st_mtime_ns == record.mtime_ns
        return same and stat.S_ISREG(found.st_mode)
