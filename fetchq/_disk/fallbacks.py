"""What is done where a file system lacks a call."""

from __future__ import annotations

import errno
from contextlib import suppress
from itertools import count

from .files import Files, remove

__all__ = ["lock", "replace", "sync", "sync_data", "touch"]

# flock(2) on file systems without locks, and on network file systems whose server keeps none.
_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EACCES})
# fsync(2) where the file system, or the kind of file, such as a folder, has nothing to synchronise.
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS})
# rename(2) onto a file that is there: an SFTP server without posix-rename refuses it, which sshfs passes on as
# EPERM; others say EEXIST.
_NO_RENAME_OVER = frozenset({errno.EPERM, errno.EACCES, errno.EEXIST, errno.EOPNOTSUPP})


def lock(files: Files, fd: int) -> bool:
    """Take the exclusive lock; return whether it was free. Without locks it always is, which is a warning."""
    try:
        return files.lock(fd)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        files.warnings(
            "lock",
            "The file system has no locks: nothing prevents two processes from downloading to one file;"
            " run one at a time.",
        )
        return True


def replace(files: Files, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
    """Rename *source* to *target*, over what is there: in one step where the file system can, else in two.

    :param source_fd: folder of *source*, where that is another one than *dir_fd*.
    """
    source_fd = dir_fd if source_fd is None else source_fd
    try:
        files.replace(source, target, dir_fd, source_fd)
    except OSError as error:
        if error.errno not in _NO_RENAME_OVER:
            raise
        if files.stat(source, source_fd) is None or files.stat(target, dir_fd) is None:
            raise
        _replace_in_steps(files, source, target, dir_fd, source_fd)


def _replace_in_steps(files: Files, source: str, target: str, dir_fd: int, source_fd: int) -> None:
    """Move the old file out of the way, and back where the new one does not get its name."""
    aside = next(name for number in count(1) if files.stat(name := f"{target}.old{number}", dir_fd) is None)
    # A refusal that has another reason, such as a read-only folder, is repeated by this call.
    files.replace(target, aside, dir_fd)
    try:
        files.replace(source, target, dir_fd, source_fd)
    except OSError:
        files.replace(aside, target, dir_fd)
        raise
    with suppress(OSError):  # two files are better than none
        remove(files, aside, dir_fd)


def sync(files: Files, fd: int) -> None:
    """Put an open file or folder on the disk for good (fsync(2)); a warning where that does not exist."""
    try:
        files.fsync(fd)
    except OSError as error:
        _require_no_sync(files, error)


def sync_data(files: Files, fd: int) -> None:
    """Put the bytes of an open file on the disk for good (fdatasync(2)); else as :func:`sync`."""
    try:
        files.fdatasync(fd)
    except OSError as error:
        _require_no_sync(files, error)


def _require_no_sync(files: Files, error: OSError) -> None:
    if error.errno not in _NO_SYNC:
        raise error
    files.warnings("fsync", "The file system has no fsync: files may not survive power loss, despite --fsync.")


def touch(files: Files, fd: int, mtime: float) -> None:
    """Set the modification time. exFAT, NTFS and SMB refuse it to all but the mount's owner: a warning."""
    try:
        files.touch(fd, mtime)
    except OSError as error:
        files.warnings(
            "mtime",
            "The file system does not let modification times be set"
            f" ({error.strerror}): files have the time of their download instead of the server's.",
        )
