"""Content codings that a server applies although identity was asked for, undone with a bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from .._errors import ProtocolError, TooLargeError
from .._models import Buffer

__all__ = ["Decoder"]

# Output is handed on in pieces of this size, so that a bomb cannot fill memory before it is noticed.
PIECE = 1 << 20
# zlib's spelling for "a gzip or zlib wrapper, whichever is there".
ANY_WRAPPER = 32 + zlib.MAX_WBITS


class Decoder:
    """Decodes one gzip or deflate coding (RFC 9110 section 8.4.1) in bounded pieces.

    :param encoding: the Content-Encoding, lower case.
    :param most: decoded bytes to allow.
    :raises ProtocolError: two codings on top of each other, or one that is not spoken here.
    """

    def __init__(self, encoding: str, most: int) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise ProtocolError(
                f"The server sent the file as {encoding!r} although the plain file was asked for; "
                "only a single gzip or deflate coding can be undone."
            )
        self._most = most
        self._size = 0
        self._inflate = zlib.decompressobj(ANY_WRAPPER)

    def feed(self, chunk: Buffer) -> Iterator[bytes]:
        """Give what *chunk* decodes to, piece by piece."""
        data: Buffer = chunk
        while len(data):
            if self._inflate.eof:
                # RFC 1952 section 2.2: a gzip file may hold several members.
                self._inflate = zlib.decompressobj(ANY_WRAPPER)
            try:
                piece = self._inflate.decompress(data, PIECE)
            except zlib.error as error:
                raise ProtocolError("The server's content coding is damaged.") from error
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            yield self._counted(piece)

    def finish(self) -> None:
        """Check that the coding came to its end.

        :raises ProtocolError: it did not.
        """
        if not self._inflate.eof:
            raise ProtocolError("The server's content coding ends too early.", transient=True)

    def _counted(self, piece: bytes) -> bytes:
        self._size += len(piece)
        if self._size > self._most:
            raise TooLargeError(f"The file decodes to more than {self._most} bytes.")
        return piece
