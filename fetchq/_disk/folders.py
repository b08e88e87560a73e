"""Facts about folders that are looked up once in a run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple, TypeVar

from .._errors import DiskError
from .._naming import printable, shorten
from .entry import Entry, TempFolder, temp_name
from .fallbacks import sync
from .files import Files

__all__ = ["Folders", "open_directory"]

Key = TypeVar("Key", Path, int)
Fact = TypeVar("Fact")

# Types of file systems (proc(5)) whose calls wait for the kernel and a disk of this machine only. Those of NFS,
# SMB, 9p and FUSE wait for a server or another process, for as long as that does not answer. Those of removable
# media (vfat, exfat, ntfs3) are left out as well: a USB stick that is being written to may take seconds.
LOCAL = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)
# Entries of a folder that are looked at: about 10 ms.
MOST_ENTRIES = 10_000
_SIDE_FILE = re.compile(r"\.part(\.[0-9]+)?(\.json)?(\.tmp)?\Z")
_NUMBER = re.compile(r"\.([1-9][0-9]{0,8})(?=\.|\Z)")
# Bytes of a name on nearly all file systems: names of downloads are made to fit this with their suffixes.
USUAL_LIMIT = 255
# Bytes of the longest ones, ".999999" of a numbered name and ".part.99.json.tmp".
SUFFIXES = 24
# Folders remembered: a queue that uses more of them at a time looks them up again.
MAX_FOLDERS = 256


class _Listing(NamedTuple):
    """What was in a folder.

    :param journals: whether there may be some.
    :param numbers: the numbers of candidates by the wanted name in lower case; None where there are too many.
    """

    journals: bool
    numbers: dict[str, list[int]] | None


class Folders:
    """Opens the folders of a run, and remembers what it learns of them.

    :param durable: a new folder survives power loss.
    :param temp: where parts and journals are; None for the folders of their targets.
    """

    def __init__(self, files: Files, *, durable: bool, temp: Path | None = None) -> None:
        self._files = files
        self._durable = durable
        self._temp = temp
        self._listings: dict[Path, _Listing] = {}
        self._local: dict[Path, bool] = {}
        self._devices: dict[int, bool] = {}
        self._ignores_case: dict[Path, bool] = {}
        self._limits: dict[Path, int] = {}

    def look_again(self) -> None:
        """Forget what was in the folders."""
        self._listings.clear()

    def left_behind(self, directory: Path) -> bool:
        """Whether an earlier run may have left parts of files in *directory*."""
        return self._listing(self._temp or directory).journals

    def numbers(self, directory: Path, wanted: str) -> list[int] | None:
        """Return which candidates for *wanted* may be in *directory*; None where that has too many entries."""
        numbers = self._listing(directory).numbers
        return None if numbers is None else numbers.get(wanted.casefold(), [])

    def _listing(self, directory: Path) -> _Listing:
        if directory not in self._listings:
            _remember(self._listings, directory, _list(directory))
        return self._listings[directory]

    def is_local(self, directory: Path) -> bool:
        """Whether *directory* is known to be on a disk of this machine; makes no system call.

        False before :meth:`open`: even the call that tells would wait for a server that does not answer.
        """
        return self._local.get(directory, False)

    def ignores_case(self, directory: Path, dir_fd: int) -> bool:
        """Whether *directory*, open as *dir_fd*, does not tell upper from lower case; tried once."""
        if directory not in self._ignores_case:
            _remember(self._ignores_case, directory, self._files.ignores_case(dir_fd))
        return self._ignores_case[directory]

    def open(self, directory: Path) -> int:
        """Open *directory*, created with its parents when missing; may block, so not for the event loop.

        :raises OSError: it cannot be created or opened.
        """
        dir_fd = open_directory(self._files, directory, durable=self._durable)
        if directory not in self._local:
            _remember(self._local, directory, self._on_local_device(dir_fd))
            _remember(self._limits, directory, self._limit(dir_fd))
        return dir_fd

    def entry(self, directory: Path, name: str) -> Entry:
        """Return *name* in *directory*, which is opened as by :meth:`open`, as is the folder of its parts."""
        entry = Entry(self._files, directory, self.open(directory), name)
        target = self._apart(directory)
        if self._temp is None or target is None:
            return entry
        try:
            return entry._replace(temp=TempFolder(self._temp, self.open(self._temp), target))
        except BaseException:
            entry.close()
            raise

    def parts_of(self, directory: Path, name: str) -> tuple[Path, str]:
        """Return the folder of the side files of *name* in *directory*, and what they are called after."""
        target = self._apart(directory)
        if self._temp is None or target is None:
            return directory, name
        return self._temp, temp_name(target, name)

    def _apart(self, directory: Path) -> Path | None:
        """Return the true path of *directory*, if the parts of its files are in another one."""
        if self._temp is None:
            return None
        target = self._files.resolved(directory)
        return None if target == self._files.resolved(self._temp) else target

    def fit(self, directory: Path, name: str) -> str:
        """Return *name*, cut where *directory* is known not to take one as long with the suffixes of its part.

        Encrypting file systems leave 143 (eCryptfs) or 175 bytes (gocryptfs) of the usual 255. Makes no system
        call, and cuts nothing before :meth:`open`.
        """
        limit = self._limits.get(directory, USUAL_LIMIT)
        return name if limit >= USUAL_LIMIT else shorten(name, max(limit - SUFFIXES, SUFFIXES))

    def _limit(self, dir_fd: int) -> int:
        """Return the bytes that a name may have, as far as is known."""
        try:
            return self._files.statvfs(dir_fd).f_namemax or USUAL_LIMIT
        except OSError:
            return USUAL_LIMIT

    def _on_local_device(self, dir_fd: int) -> bool:
        # Once for each device: reading a list of 20 mounts takes 0.07 ms, as long as a call into a thread.
        device = self._files.fstat(dir_fd).st_dev
        local = self._devices.get(device)
        if local is None:
            local = self._files.file_system(dir_fd) in LOCAL
            _remember(self._devices, device, local)
        return local


def _list(directory: Path) -> _Listing:
    journals, numbers = False, dict[str, list[int]]()
    try:
        with os.scandir(directory) as entries:
            for at, entry in enumerate(entries):
                if at >= MOST_ENTRIES:
                    return _Listing(journals=True, numbers=None)
                side = _SIDE_FILE.search(entry.name)
                journals = journals or (side is not None and side[2] is not None)
                name = entry.name if side is None else entry.name[: side.start()]
                for found in _NUMBER.finditer(name):
                    wanted = f"{name[: found.start()]}{name[found.end() :]}".casefold()
                    numbers.setdefault(wanted, []).append(int(found[1]))
    except (OSError, ValueError):
        pass  # the download itself meets the same error, and reports it
    return _Listing(journals, numbers)


def open_directory(files: Files, path: Path, *, durable: bool) -> int:
    """Open the folder *path*; it is created with its parents when missing.

    :param durable: a new folder survives power loss.
    :raises OSError: with the folder that cannot be opened or created, and a ``/`` behind it.
    """
    try:
        try:
            return files.open_folder(path)
        except FileNotFoundError:
            if path.parent == path:
                raise
        _create(files, path, durable=durable)
        return files.open_folder(path)
    except OSError as error:
        folder = str(error.filename or "")
        raise OSError(error.errno, error.strerror, folder if folder.endswith("/") else f"{path}/") from error


def _create(files: Files, path: Path, *, durable: bool) -> None:
    parent = open_directory(files, path.parent, durable=durable)
    try:
        files.mkdir(path.name, parent)
        if durable:
            sync(files, parent)
    except FileExistsError as error:
        # Else another job or process has just created it.
        if os.path.islink(path) and not os.path.exists(path):
            raise DiskError(
                f"{printable(str(path))} is a symbolic link to a folder that does not exist."
            ) from error
    finally:
        files.close(parent)


def _remember(known: dict[Key, Fact], key: Key, value: Fact) -> None:
    if len(known) >= MAX_FOLDERS:
        known.clear()
    known[key] = value
