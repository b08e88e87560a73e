"""A complete part becomes the file of its name, in one step, and overwrites nothing unasked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

from .._errors import DiskError, ExistsError
from .._naming import candidates, printable
from .._settings import Disk
from .files import NO_LINKS, NameTakenError, remove
from .journal import forget, part_of
from .names import Existing, LockedPart

__all__ = ["Finished", "publish", "twin"]

# Two files are compared this much at a time: large enough that the calls do not count, small for memory.
COMPARED = 1 << 18


class Finished(NamedTuple):
    """A complete, verified file under its final name.

    :param digests: algorithm to lower-case hex.
    """

    path: Path
    size: int
    digests: dict[str, str]


def publish(claim: LockedPart, settings: Disk, size: int, *, journal: bool = True) -> Path | Existing:
    """Give the part its final name; the claim stays open.

    With ``fsync`` each step is on disk before the next one relies on it: bytes, name, then the journal's end.

    :param journal: there may be one.
    :raises NameTakenError: so was that of an unnamed file, which leaves it to its owner what to do.
    :raises ExistsError: the name was taken meanwhile, and that is to be an error.
    """
    if settings.fsync:
        claim.files.fsync(claim.fd)
    name = claim.name
    if settings.if_exists == "overwrite":
        claim.files.replace(part_of(name), name, claim.dir_fd)
    elif not _named(claim, name):
        if claim.unnamed:
            raise NameTakenError
        if settings.if_exists == "error":
            raise ExistsError(
                f"{printable(str(claim.directory / name))} appeared while it was downloaded; the bytes are kept"
                f" in {printable(part_of(name))}."
            )
        if settings.if_exists == "skip":
            _clear(claim, durable=False)
            return Existing(claim.directory / name, "exists", size)
        name = next(other for other in _later(claim) if _named(claim, other))
    _clear(claim, durable=settings.fsync, journal=journal)
    return claim.directory / name


def twin(claim: LockedPart, settings: Disk, size: int, before: float) -> Existing | None:
    """Find the same bytes under the part's own name or an earlier candidate's, and drop the new copy.

    :param before: only a file that was complete at this time counts, in seconds since the epoch: two
        jobs of one run get two files though they are the same.
    """
    if settings.if_exists == "overwrite" or (claim.unnamed and claim.name == claim.wanted):
        return None  # nothing is kept twice: the name is taken over, or refused by link(2)
    for name in candidates(claim.wanted):
        found = claim.files.stat(name, claim.dir_fd)
        if found is not None and found.st_ctime < before and _same_bytes(claim, name, found, size):
            _clear(claim, durable=False)
            return Existing(claim.directory / name, "identical file already there", size)
        if name == claim.name:
            break
    return None


def _named(claim: LockedPart, name: str) -> bool:
    """Give the part the further name *name*; False when that is taken."""
    part = part_of(claim.name)
    try:
        if claim.unnamed:
            claim.files.name(claim.fd, name, claim.dir_fd)
        else:
            claim.files.link(part, name, claim.dir_fd)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Without links nothing is both atomic and sure not to overwrite: look, then rename.
        if claim.files.stat(name, claim.dir_fd) is not None:
            return False
        claim.files.replace(part, name, claim.dir_fd)
    return True


def _later(claim: LockedPart) -> Iterator[str]:
    names = dropwhile(lambda name: name != claim.name, candidates(claim.wanted))
    next(names)
    return names


def _clear(claim: LockedPart, *, durable: bool, journal: bool = True) -> None:
    """Remove what is left of part and journal."""
    if durable:
        claim.files.fsync(claim.dir_fd)
    if claim.unnamed:
        return
    remove(claim.files, part_of(claim.name), claim.dir_fd)
    if journal:
        forget(claim.files, claim.name, claim.dir_fd, durable=False)


def _same_bytes(claim: LockedPart, name: str, found: os.stat_result, size: int) -> bool:
    if not stat.S_ISREG(found.st_mode) or found.st_size != size:
        return False
    try:
        other = claim.files.open(name, os.O_RDONLY | os.O_NONBLOCK, claim.dir_fd)
    except OSError:
        return False  # what cannot be read is no copy that the user could use
    ours, theirs = bytearray(COMPARED), bytearray(COMPARED)
    try:
        for offset in range(0, size, COMPARED):
            count = claim.files.preadv(claim.fd, [ours], offset)
            if count != claim.files.preadv(other, [theirs], offset) or ours[:count] != theirs[:count]:
                return False
    except OSError:
        return False
    finally:
        claim.files.close(other)
    return True


def require_own_name(claim: LockedPart) -> os.stat_result:
    """Check that the part's name is still that of the open file, and give its stat.

    :raises DiskError: somebody moved, replaced or removed it.
    """
    ours, there = claim.files.fstat(claim.fd), claim.files.stat(part_of(claim.name), claim.dir_fd)
    if there is None or not os.path.samestat(ours, there):
        raise DiskError(f"{printable(str(claim.path))} was moved or removed while it was written.")
    return ours
