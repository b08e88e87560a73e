"""Compressed queue files, unpacked as they are read, in bounded memory."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["ERRORS", "SUFFIXES", "is_packed", "unpacked"]

# Bytes read and unpacked at a time; a block of bzip2 has up to 900,000 bytes.
_CHUNK = 64 << 10
# xz -9 needs 65 MiB to be unpacked; a file may ask for 4 GiB.
_XZ_MEMORY = 96 << 20

ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


class _Gzip:
    """zlib's decompressor with the interface of the others: it keeps by itself what it was not let unpack."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


class _Packing(NamedTuple):
    """A form of compression.

    :param magic: the file's first bytes.
    """

    suffix: str
    magic: bytes
    name: str
    make: Callable[[], Any]


_PACKINGS = (
    _Packing(".gz", b"\x1f\x8b", "gzip", _Gzip),  # RFC 1952 section 2.3.1
    _Packing(".bz2", b"BZh", "bzip2", bz2.BZ2Decompressor),
    _Packing(".xz", b"\xfd7zXZ\0", "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)),
)
SUFFIXES = tuple(packing.suffix for packing in _PACKINGS)


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with *head* is compressed."""
    return any(head.startswith(packing.magic) for packing in _PACKINGS)


def unpacked(stream: io.BufferedReader, path: str) -> io.BufferedReader:
    """Return *stream*, or what it unpacks to if its first bytes or the suffix of *path* say so.

    :raises ValueError: it is not what its suffix says.
    """
    head = stream.peek(6)
    for packing in _PACKINGS:
        if head.startswith(packing.magic):
            return io.BufferedReader(_Unpacked(stream, packing.make), _CHUNK)
        if path.lower().endswith(packing.suffix):
            raise ValueError(f"it is not {packing.name}")
    return stream


class _Unpacked(io.RawIOBase):
    """The bytes of a compressed file; members that follow one another are one file (RFC 1952 section 2.2)."""

    def __init__(self, packed: io.BufferedReader, make: Callable[[], Any]) -> None:
        self._packed = packed
        self._make = make
        self._decompressor = make()
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill *buffer* as far as the next bytes of the file go.

        :raises EOFError: the file is cut off.
        """
        while True:
            if self._decompressor.eof:
                if not self._next_member():
                    return 0
                data, self._rest = self._rest, b""
            elif self._decompressor.needs_input:
                data = self._packed.read1(_CHUNK)
                if not data:
                    raise EOFError("it is cut off")
            else:
                data = b""
            found = self._decompressor.decompress(data, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)

    def _next_member(self) -> bool:
        """Begin with the member behind the one that has ended; return whether there is one."""
        rest = self._decompressor.unused_data.lstrip(b"\0")
        while not rest:  # zeros fill up the last block of a tape, or of four bytes
            data = self._packed.read1(_CHUNK)
            if not data:
                return False
            rest = data.lstrip(b"\0")
        self._decompressor, self._rest = self._make(), rest
        return True
