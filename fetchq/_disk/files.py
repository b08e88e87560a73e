"""The system calls that move bytes and names, and their errors as sentences."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import stat
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from .._errors import DiskError, DiskFullError, UsageError
from .._models import Buffer
from .._naming import printable

__all__ = [
    "DiskWarnings",
    "Files",
    "NameTakenError",
    "UnnamedError",
    "reason",
    "remove",
    "require_usable",
    "translate",
    "write_all",
]

P = ParamSpec("P")
T = TypeVar("T")

# writev(2): the kernel takes at most 1024 buffers a call (UIO_MAXIOV).
MAX_BUFFERS = 1024
# Bytes a call. Larger calls make the kernel allocate page cache in blocks that a virtual machine may have given
# back to its host and must fault in again: 1 MiB a call took ten times as long as 256 KiB or less. Smaller ones
# need the interpreter more often, as does the thread that receives: 128 KiB a call made https 4 % slower.
PIECE = 256 * 1024

_REASONS = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than the file system, or the limit set by ulimit -f, allows",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "the folder vanished",
    errno.ENOTDIR: "a folder on its path is a file",
    errno.EISDIR: "a folder has its name",
    errno.ELOOP: "a symbolic link stands in its place, and is not followed",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EIO: "the disk reports an input/output error",
    errno.ENAMETOOLONG: "the name is too long for the file system",
    errno.EMFILE: "too many open files; raise the limit with ulimit -n, or lower --jobs",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOLCK: "the file system has no locks",
    errno.ESTALE: "the network file system lost it",
    errno.ENOTCONN: "the program that serves its file system has ended; unmount it, and mount it again",
    errno.EILSEQ: "the file system does not take the letters of its name",
}
# What is no UTF-8 by the locale cannot write most names: LC_ALL=C without Python's UTF-8 mode, for instance.
_ENCODING = sys.getfilesystemencoding().lower()
_UNWRITABLE = f"its name has letters that {_ENCODING}, the locale's encoding, lacks; set LC_ALL=C.UTF-8"
# Errors of open(2) where the file system, or the kernel, has no O_TMPFILE.
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


class UnnamedError(Exception):
    """The system cannot create files without a name, or cannot name them later."""


class NameTakenError(Exception):
    """The name that an unnamed file was to get is taken."""


def _named(call: Callable[P, T]) -> Callable[P, T]:
    """Let a call raise OSError also for a name that Python does not hand to the system."""

    @functools.wraps(call)
    def named(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except UnicodeError as error:
            raise OSError(errno.EILSEQ, _UNWRITABLE) from error
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from error

    return named


class DiskWarnings:
    """Announces what file systems lack, each kind once; may be called from any thread.

    :param announce: is called with one sentence.
    """

    def __init__(self, announce: Callable[[str], None] | None = None) -> None:
        self._announce = announce
        self._kinds: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, kind: str, message: str) -> None:
        with self._lock:
            known = kind in self._kinds
            self._kinds.add(kind)
        if not known and self._announce is not None:
            self._announce(message)


class Files:
    """The system calls, one method each, so that tests can make them fail.

    Names are relative to the folder open as *dir_fd*; symbolic links are never followed.

    :ivar warnings: hears of each call that a file system lacks.
    """

    warnings = DiskWarnings()

    @_named
    def open(self, name: str | Path, flags: int, dir_fd: int | None = None) -> int:
        """Open *name*; a new file gets mode 0666 less the umask."""
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666, dir_fd=dir_fd)

    @_named
    def open_folder(self, path: Path) -> int:
        """Open the folder *path*. Symbolic links are followed here: the user has named this folder."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_unnamed(self, dir_fd: int) -> int:
        """Open a new file without a name (``O_TMPFILE``), which vanishes when it is closed without one.

        :raises UnnamedError: the file system or the kernel has no such files.
        """
        # Linux has them, and /proc to name them.
        unnamed = getattr(os, "O_TMPFILE", None)
        if unnamed is None:
            raise UnnamedError
        try:
            return os.open(".", os.O_RDWR | os.O_CLOEXEC | unnamed, 0o666, dir_fd=dir_fd)
        except OSError as error:
            if error.errno in _NO_UNNAMED:
                raise UnnamedError from error
            raise

    @_named
    def link_unnamed(self, fd: int, name: str, dir_fd: int) -> None:
        """Link an unnamed file under *name*.

        :raises FileExistsError: the name is taken.
        :raises UnnamedError: the system cannot do this.
        """
        try:
            # The way of open(2), which unlike AT_EMPTY_PATH needs no privilege.
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=dir_fd, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError as error:
            # There is no /proc, the file system has no links, or the folder is gone: it is created again for
            # a part, whose calls report what else may be wrong.
            raise UnnamedError from error

    @_named
    def mkdir(self, name: str, dir_fd: int) -> None:
        os.mkdir(name, dir_fd=dir_fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(fd, chunks, offset)

    def preadv(self, fd: int, buffers: Sequence[bytearray | memoryview], offset: int) -> int:
        return os.preadv(fd, buffers, offset)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def touch(self, fd: int, mtime: float) -> None:
        os.utime(fd, (mtime, mtime))

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def lock(self, fd: int) -> bool:
        """Take the exclusive lock, which ends with the process; return whether it was free (flock(2))."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    @_named
    def stat(self, name: str | Path, dir_fd: int | None = None) -> os.stat_result | None:
        """Return the stat of *name* itself, not of a link's target; None when it does not exist."""
        # Not access(2), which is quicker where nothing is there: a sandbox that does not know faccessat2(2)
        # refuses it with EPERM, and os.access() is False then as well.
        try:
            return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @_named
    def statvfs(self, at: int | Path) -> os.statvfs_result:
        return os.statvfs(at)

    def file_system(self, fd: int) -> str | None:
        """Return the type of the file system of *fd*, such as ``ext4`` (proc(5)); None where it is not known.

        Looked up by the mount's number: on btrfs, a file's device is not the one in the list of mounts.
        """
        try:
            facts = Path(f"/proc/self/fdinfo/{fd}").read_bytes().splitlines()
            number = next(line.split()[1] for line in facts if line.startswith(b"mnt_id:"))
            mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
            mount = next(line for line in mounts if line.startswith(number + b" "))
            # The type follows a variable number of fields and " - "; spaces within fields are escaped.
            return mount.partition(b" - ")[2].split()[0].decode("ascii", "replace")
        except (OSError, StopIteration, IndexError):
            return None

    @_named
    def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        """Link *source*, of the folder *source_fd* if given, under *target* as well."""
        source_fd = dir_fd if source_fd is None else source_fd
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=dir_fd, follow_symlinks=False)

    @_named
    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        """Rename *source*, of the folder *source_fd* if given, to *target*."""
        source_fd = dir_fd if source_fd is None else source_fd
        os.replace(source, target, src_dir_fd=source_fd, dst_dir_fd=dir_fd)

    @_named
    def resolved(self, path: Path) -> Path:
        """Return the absolute path without symbolic links; what does not exist stays as it is."""
        return Path(os.path.realpath(path))

    def ignores_case(self, dir_fd: int) -> bool:
        """Whether a folder does not tell upper from lower case: a file is created to find out."""
        name = f".fetchq-case-{os.getpid()}"
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=dir_fd))
        except OSError:
            return False
        try:
            return os.access(name.upper(), os.F_OK, dir_fd=dir_fd)
        finally:
            os.unlink(name, dir_fd=dir_fd)

    def set_attribute(self, fd: int, name: str, value: bytes) -> None:
        os.setxattr(fd, name, value)

    def attribute(self, fd: int, name: str) -> bytes:
        return os.getxattr(fd, name)

    @_named
    def unlink(self, name: str, dir_fd: int) -> None:
        os.unlink(name, dir_fd=dir_fd)


def translate(error: OSError, path: Path) -> DiskError:
    """Return the error as one sentence: which file and why; a DiskFullError where there is no room.

    :param path: what the download is to be; the error may name a file beside it, or the folder.
    """
    name = error.filename if isinstance(error.filename, str) else ""
    is_folder = name.endswith("/")
    if is_folder:
        path = Path(name)
    elif error.errno in _DENIED and name.startswith(path.name.partition(".")[0]) and "/" not in name:
        path = path.with_name(name)
    kind = DiskFullError if error.errno in _FULL else DiskError
    verb = "used" if is_folder else "written"
    return kind(f"{printable(str(path))} cannot be {verb}: {reason(error, path)}.")


def reason(error: OSError, path: Path) -> str:
    """Return why a call failed for *path*, as the end of a sentence."""
    number = error.errno or 0
    told = _REASONS.get(number) or (os.strerror(number).lower() if number else str(error))
    if number == errno.EILSEQ and error.strerror == _UNWRITABLE:
        return _UNWRITABLE
    try:
        if number == errno.ENOENT and path.parent.is_dir() and not _lacks_folder(path):
            return "its folder takes no new files"
        if number in _DENIED and os.lstat(path).st_uid != os.geteuid():
            return f"{told}, it belongs to another user"
    except (OSError, ValueError):
        pass  # there is no more to say
    return told


def require_usable(folder: Path) -> None:
    """Check that *folder* can be where files go; it need not exist.

    :raises UsageError: it is a file, or can be neither entered nor created.
    """
    shown = printable(str(folder))
    try:
        found = os.stat(folder)
        if stat.S_ISDIR(found.st_mode):
            os.stat(f"{folder}/.")  # may it be entered?
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.path.islink(folder):
            raise UsageError(f"{shown} is a symbolic link to a folder that does not exist.") from error
        return
    except OSError as error:
        raise UsageError(f"{shown} cannot be used as the folder: {reason(error, folder)}.") from error
    except ValueError as error:
        raise UsageError(f"{shown} cannot be used as the folder: {_UNWRITABLE}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{shown} is a file: give a directory.")
    if _lacks_folder(folder):
        raise UsageError(
            "The current folder does not exist any more: go to another one, or give one with --dir."
        )


def _lacks_folder(path: Path) -> bool:
    """Whether *path* is relative to a current folder that was deleted."""
    try:
        return not (path.is_absolute() or os.getcwd())
    except FileNotFoundError:
        return True


def remove(files: Files, name: str, dir_fd: int) -> bool:
    """Remove *name*; return whether it was there."""
    try:
        files.unlink(name, dir_fd)
    except FileNotFoundError:
        return False
    return True


def write_all(files: Files, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
    """Write all *chunks* one behind the other at *offset*, without copying; return their size in bytes."""
    start = offset
    left = list(chunks)
    while left:
        count = files.pwritev(fd, _leading(left), offset)
        if count == 0 and any(map(len, left)):
            raise OSError(errno.EIO, "a write made no progress")
        offset += count
        left = _without(left, count)
    return offset - start


def _leading(chunks: list[Buffer]) -> list[Buffer]:
    """Return the first :data:`PIECE` bytes of *chunks*, as buffers for one call."""
    leading: list[Buffer] = []
    room = PIECE
    for chunk in chunks[:MAX_BUFFERS]:
        leading.append(chunk if len(chunk) <= room else memoryview(chunk)[:room])
        room -= len(leading[-1])
        if not room:
            break
    return leading


def _without(chunks: list[Buffer], count: int) -> list[Buffer]:
    """Return *chunks* without their first *count* bytes: pwritev(2) may write less than it was asked to."""
    for index, chunk in enumerate(chunks):
        if count < len(chunk):
            return [memoryview(chunk)[count:], *chunks[index + 1 :]] if count else chunks[index:]
        count -= len(chunk)
    return []
