"""Content codings (RFC 9110 section 8.4.1) undone: servers apply them although identity was asked for."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol

from .._errors import ProtocolError, TooLargeError
from .._models import Buffer

__all__ = ["GZIP_MAGIC", "Decoder", "decodable"]

# Output is handed on in pieces of this size, so that a bomb cannot fill memory before it is noticed.
PIECE = 1 << 20
# What real files decode to is rarely 20 times as long; gzip reaches 1030 with zeros alone. Below the least size
# it does no harm.
MOST_RATIO, LEAST_BOMB = 200, 64 << 20
_DAMAGED = "The server's content coding is damaged."
_MORE = "sent more behind the end of a compressed body: it was left out"
GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952 section 2.3.1


class Step(Protocol):
    """One coding of a body."""

    def feed(self, data: Buffer) -> Iterator[bytes]:
        """Yield what *data* decodes to, in pieces of at most :data:`PIECE` bytes.

        :raises ProtocolError: the coding is damaged.
        """

    @property
    def ended(self) -> bool:
        """Whether the coding came to its end."""

    @property
    def odd(self) -> str:
        """What was odd about it and does no harm, as the end of a sentence; else empty."""


class _Inflate:
    """gzip, or deflate: the zlib format, or the bare deflate format that some servers send."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflate: zlib._Decompress | None = None
        self._start = b""  # the first byte of a gzip member whose second has not come
        self._as_sent = False
        self._after = False
        self.odd = ""

    @property
    def ended(self) -> bool:
        return not self._start if self._inflate is None else self._inflate.eof

    def feed(self, data: Buffer) -> Iterator[bytes]:
        while len(data) and not self._after:
            if self._as_sent:
                yield bytes(data)
                return
            if self._inflate is None or self._inflate.eof:
                data = self._begin(data)
                continue
            try:
                piece = self._inflate.decompress(data, PIECE)
            except zlib.error as error:
                raise ProtocolError(_DAMAGED) from error
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            yield piece

    def _begin(self, data: Buffer) -> Buffer:
        """Begin a stream, and return what of *data* is to be decoded now.

        RFC 1952 section 2.2: a gzip file may hold several members.
        """
        data = self._start + bytes(data)
        self._start = b""
        first = self._inflate is None
        if not self._gzip and first:
            self._inflate = zlib.decompressobj(_deflate_format(data[0]))
        elif data == GZIP_MAGIC[:1]:
            self._start = data
            return b""
        elif data.startswith(GZIP_MAGIC):
            self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        elif first:
            self._as_sent, self.odd = True, "says gzip of a body that is not: it is kept as it was sent"
        else:
            self._after, self.odd = True, _MORE
        return data


def _deflate_format(first: int) -> int:
    """Return zlib's number for the format of a "deflate" body by its *first* byte.

    A zlib header's low four bits are 8 (RFC 1950 section 2.2), which no deflate encoder begins with.
    """
    if first == GZIP_MAGIC[0]:
        return 16 + zlib.MAX_WBITS
    return zlib.MAX_WBITS if first & 15 == 8 else -zlib.MAX_WBITS


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self, library: Any) -> None:
        self._error = library.error
        self._decompressor = library.Decompressor()
        self.odd = ""

    @property
    def ended(self) -> bool:
        return bool(self._decompressor.is_finished())

    def feed(self, data: Buffer) -> Iterator[bytes]:
        if self.ended:
            self.odd = _MORE
            return
        more, piece = bytes(data), b""
        try:
            while more or piece:
                # A full piece may leave output behind although all of the input was taken.
                piece = self._decompressor.process(more, output_buffer_limit=PIECE)
                more = b""
                yield piece
        except self._error as error:
            raise ProtocolError(_DAMAGED) from error


class _Zstd:
    """zstd (RFC 8878): one frame after another."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._frame = library.ZstdDecompressor()
        self.odd = ""

    @property
    def ended(self) -> bool:
        return bool(self._frame.eof)

    def feed(self, data: Buffer) -> Iterator[bytes]:
        more = bytes(data)
        while more or not (self._frame.eof or self._frame.needs_input):
            if self._frame.eof:
                self._frame = self._library.ZstdDecompressor()
            try:
                piece = self._frame.decompress(more, PIECE)
            except self._library.ZstdError as error:
                raise ProtocolError(_DAMAGED) from error
            more = self._frame.unused_data if self._frame.eof else b""
            yield piece


@cache
def _step(coding: str) -> Callable[[], Step] | None:
    """Return what undoes *coding*; None where that needs a library that is not installed."""
    if coding in ("gzip", "x-gzip", "deflate"):
        return partial(_Inflate, gzip=coding != "deflate")
    for name, feature, step in _LIBRARIES.get(coding, ()):
        try:
            library = import_module(name)
        except ImportError:
            continue
        with suppress(AttributeError):
            attrgetter(feature)(library)
            return partial(step, library)
    return None


# Coding -> module, what it must have, and what uses it. Only libraries that bound their output, as Brotli's
# does from 1.2 on. Python has zstd from 3.14 on.
_LIBRARIES: dict[str, tuple[tuple[str, str, Callable[[Any], Step]], ...]] = {
    "br": (("brotli", "Decompressor.can_accept_more_data", _Brotli),),
    "zstd": (
        ("compression.zstd", "ZstdDecompressor", _Zstd),
        ("backports.zstd", "ZstdDecompressor", _Zstd),
    ),
}


def decodable(encoding: str) -> bool:
    """Whether every one of the codings can be undone here."""
    return all(_step(coding) is not None for coding in encoding.split(", "))


class Decoder:
    """Undoes a body's codings in bounded pieces.

    :param encoding: codings in the order in which they were applied, lower case, joined by ``", "``;
        :func:`decodable`.
    :param most: decoded bytes to allow.
    """

    def __init__(self, encoding: str, most: int) -> None:
        self._most = most
        self._size = self._taken = 0
        makers = map(_step, reversed(encoding.split(", ")))
        self._steps = [make() for make in makers if make is not None]

    @property
    def odd(self) -> str:
        """What was odd about the coding and does no harm, as the end of a sentence; else empty."""
        return next((step.odd for step in self._steps if step.odd), "")

    def feed(self, chunk: Buffer) -> Iterator[bytes]:
        """Yield what *chunk* decodes to, piece by piece.

        :raises ProtocolError: the coding is damaged.
        :raises TooLargeError: more decoded bytes than allowed, or out of all proportion.
        """
        self._taken += len(chunk)
        pieces: Iterator[Buffer] = iter((chunk,))
        for step in self._steps:
            pieces = chain.from_iterable(map(step.feed, pieces))
        for piece in pieces:
            self._count(len(piece))
            yield bytes(piece)

    def finish(self) -> None:
        """Check that the coding came to its end; of an empty body there is none.

        :raises ProtocolError: it did not.
        """
        if self._taken and not all(step.ended for step in self._steps):
            raise ProtocolError("The server's content coding ends too early.", transient=True)

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._most:
            raise TooLargeError(f"The file decodes to more than {self._most} bytes.")
        if self._size > LEAST_BOMB and self._size > MOST_RATIO * self._taken:
            raise TooLargeError(f"The file decodes to more than {MOST_RATIO} times the bytes that were sent.")
