"""What does not fit into memory for now, in a temporary file without a name."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import zlib
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from .._errors import DiskError

__all__ = ["Overflow", "Piece"]

# Bytes that stay in memory before there is a file: a quarter of a million URLs.
MOST_HELD = 8 * 1024 * 1024
# Bytes of the file: 30 million URLs, and an end for a caller whose queue has none.
MOST_WRITTEN = 1024 * 1024 * 1024


class Piece(NamedTuple):
    """Where something is.

    :param data: the bytes themselves, if they are in memory.
    """

    number: int
    start: int
    length: int
    data: bytes | None


class Overflow:
    """Bytes that are put aside and taken back.

    They may hold secrets, as signed URLs do. So the file has no name and only its owner could open it, and what
    is in it cannot be read without a key that is in memory only: the disk keeps what is deleted for long.

    :param folder: where the file is made, with the first bytes that need it; None for the system's.
    :param held: most bytes that stay in memory.
    :param written: most bytes of the file.
    """

    def __init__(
        self, folder: Path | None = None, *, held: int = MOST_HELD, written: int = MOST_WRITTEN
    ) -> None:
        self._folder = folder
        self._room = held
        self._written = written
        self._key = os.urandom(32)
        self._number = 0
        self._file: FileIO | None = None
        self._end = 0
        self._pieces = 0

    def put(self, data: bytes) -> Piece:
        """Put *data* aside.

        :raises DiskError: it cannot be written; nothing else is lost.
        """
        self._number += 1
        packed = zlib.compress(data, 1)
        if len(packed) <= self._room:
            self._room -= len(packed)
            return Piece(self._number, 0, len(packed), packed)
        try:
            self._write(self._masked(self._number, packed))
        except OSError as error:
            raise DiskError("No more jobs can be put into a temporary file.") from error
        piece = Piece(self._number, self._end, len(packed), None)
        self._end += len(packed)
        self._pieces += 1
        return piece

    def _write(self, data: bytes) -> None:
        if self._end + len(data) > self._written:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        file = self._opened()
        file.seek(self._end)
        while data:  # on a disk that is nearly full, a part of it at first
            data = data[file.write(data) :]

    def _opened(self) -> FileIO:
        if self._file is None:
            # A buffer would keep what a full disk did not take, and fail again at the next read and at the end.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._folder)  # noqa: SIM115 # see close()
        return self._file

    def take(self, piece: Piece) -> bytes:
        """Return what *piece* stands for, which is gone after this.

        :raises DiskError: it cannot be read.
        """
        if piece.data is not None:
            self._room += piece.length
            return zlib.decompress(piece.data)
        try:
            return zlib.decompress(self._masked(piece.number, self._read(piece)))
        except (OSError, zlib.error) as error:
            raise DiskError("The temporary file with the jobs in line cannot be read.") from error

    def _read(self, piece: Piece) -> bytes:
        file = self._opened()
        file.seek(piece.start)
        data = file.read(piece.length)
        self._pieces -= 1
        if not self._pieces:
            self._end = 0
            file.truncate(0)
        return data

    def _masked(self, number: int, data: bytes) -> bytes:
        """Return *data* enciphered or deciphered; each piece has a key stream of its own (FIPS 202)."""
        stream = hashlib.shake_256(self._key + number.to_bytes(8, "big")).digest(len(data))
        mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
        return mixed.to_bytes(len(data), "big")

    def close(self) -> None:
        """Let go of the file; what was put aside is gone."""
        if self._file is not None:
            self._file.close()
            self._file = None
