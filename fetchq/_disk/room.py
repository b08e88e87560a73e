"""Whether a download fits on its disk, and leaves what is to stay free."""

from __future__ import annotations

import errno
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from .._errors import DiskFullError
from .._naming import printable
from .._settings import MIB, Disk
from .._units import size as shown
from .files import Files, translate

__all__ = ["Reserved", "Room", "require_free", "room_of"]

# What stays free unless the user says otherwise: enough for the machine to work, and not all of a small disk.
_KEPT_BYTES, _KEPT_SHARE = 64 * MIB, 0.01


class Room(NamedTuple):
    """Bytes of a file system that are free to this user, and that are to stay free."""

    free: int
    kept: int


def room_of(files: Files, at: int | Path, settings: Disk) -> Room | None:
    """Return the room on the file system of *at*; None when that reports no size, which FUSE need not."""
    try:
        found = files.statvfs(at)
    except OSError:
        return None
    if not found.f_blocks:
        return None
    kept = settings.min_free
    if kept is None:
        kept = min(_KEPT_BYTES, int(found.f_blocks * found.f_frsize * _KEPT_SHARE))
    return Room(found.f_bavail * found.f_frsize, kept)


class Reserved:
    """The files of a run that are being written and whose lengths are known: each has its room to itself."""

    def __init__(self, files: Files, settings: Disk) -> None:
        self._files = files
        self._settings = settings
        # By descriptor: the device and the length.
        self._lengths: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def require(self, fd: int, path: Path, length: int, *, reserve: bool = False) -> None:
        """Check that a file of *length* bytes, of which *fd* has some, fits beside all that the others need.

        :param fd: the file, or a folder that it is to be in.
        :param reserve: keep room for it until :meth:`release`.
        :raises DiskFullError: it does not fit.
        """
        room = room_of(self._files, fd, self._settings)
        if room is None:
            return
        with self._lock:
            device, missing = self._missing(fd, length)
            others = sum(
                self._missing(other, wanted)[1]
                for other, (on, wanted) in self._lengths.items()
                if on == device and other != fd
            )
            if missing and room.free - missing - others < room.kept:
                also = f", {shown(others)} of it for other downloads" if others else ""
                raise DiskFullError(
                    f"{printable(path.name)} needs {shown(missing)} more, and the disk of"
                    f" {printable(str(path.parent))} has {shown(room.free)} free{also},"
                    f" of which {shown(room.kept)} must stay free."
                )
            if reserve:
                self._lengths[fd] = (device, length)

    def release(self, fd: int) -> None:
        """Keep no more room for a file; before its descriptor is closed."""
        with self._lock:
            self._lengths.pop(fd, None)

    def _missing(self, fd: int, length: int) -> tuple[int, int]:
        """Return device and bytes that a file has yet to get."""
        found = self._files.fstat(fd)
        # st_blocks counts units of 512 bytes (stat(2)), whatever the file system's block is.
        has = 0 if stat.S_ISDIR(found.st_mode) else found.st_blocks * 512
        return found.st_dev, max(0, length - has)


def require_free(files: Files, at: int | Path, path: Path, settings: Disk) -> None:
    """Check that what is to stay free is free: other jobs, and other programs, fill the disk as well.

    :param at: open file or folder on the disk that *path* is to be on.
    :raises DiskFullError: it is not.
    """
    room = room_of(files, at, settings)
    if room is None:
        return
    if not room.free:
        raise translate(OSError(errno.ENOSPC, ""), path)
    if room.free < room.kept:
        raise DiskFullError(
            f"{printable(str(path))}: only {shown(room.free)} are free on its disk, less than the"
            f" {shown(room.kept)} that --min-free keeps."
        )
