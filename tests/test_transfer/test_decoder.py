"""Content codings undone: whole, in any pieces, with more behind their end, cut short, damaged, and bombs."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from contextlib import nullcontext

import pytest

import fetchq
from fetchq._transfer.decoder import LEAST_BOMB, PIECE, Decoder

from ..origin import generated

DATA = generated(100_000)
SHORT = b"a file's bytes, " * 20


@pytest.mark.parametrize(("size", "bomb"), [(LEAST_BOMB, False), (LEAST_BOMB + PIECE, True)])
def test_a_body_that_grows_out_of_all_proportion_is_stopped(size: int, bomb: bool) -> None:
    decoder, coded = Decoder("gzip", 10 * LEAST_BOMB), gzip.compress(bytes(size), 1)
    decoded = 0
    with pytest.raises(fetchq.TooLargeError) if bomb else nullcontext():
        for piece in decoder.feed(coded):
            assert len(piece) <= PIECE
            decoded += len(piece)
    assert decoded == LEAST_BOMB


def test_a_large_file_that_is_compressed_well_is_no_bomb() -> None:
    data = (DATA.data[:4096] + bytes(400_000)) * (1 + LEAST_BOMB // 400_000)
    decoder = Decoder("gzip", 10 * LEAST_BOMB)
    assert sum(map(len, decoder.feed(gzip.compress(data, 1)))) == len(data) > LEAST_BOMB


def compressors(coding: str) -> Callable[[bytes], bytes]:
    if coding == "br":
        return pytest.importorskip("brotli", "1.2").compress  # type: ignore[no-any-return] # it has no types
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return pytest.importorskip(name).compress  # type: ignore[no-any-return] # of one of two modules


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_what_is_coded_by_another_library_is_decoded(coding: str, size: int) -> None:
    data = DATA.data[:100_000] + bytes(3 * PIECE)
    coded = compressors(coding)(data)
    decoder = Decoder(coding, LEAST_BOMB)
    pieces: list[bytes] = []
    for at in range(0, len(coded), size):
        pieces += decoder.feed(coded[at : at + size])
    decoder.finish()
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 2 * PIECE


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_what_another_library_finds_damaged_is_refused(coding: str) -> None:
    coded = compressors(coding)(DATA.data[:100_000])
    decoder = Decoder(coding, LEAST_BOMB)
    assert any(decoder.feed(coded[:-5]))
    with pytest.raises(fetchq.ProtocolError, match="too early"):
        decoder.finish()
    with pytest.raises(fetchq.ProtocolError, match="damaged"):
        list(Decoder(coding, LEAST_BOMB).feed(DATA.data[:1000]))


def packed(coding: str, data: bytes) -> bytes:
    if coding == "gzip":
        return gzip.compress(data, mtime=0)
    if coding == "deflate":
        return zlib.compress(data)
    if coding == "bare deflate":
        return zlib.compress(data)[2:-4]
    return compressors(coding)(data)


def decoded(coding: str, coded: bytes, size: int) -> tuple[bytes, str]:
    """Feed *coded* in pieces of *size*; return what it decodes to, and what was odd."""
    decoder = Decoder(coding.rpartition(" ")[2], LEAST_BOMB)
    found = b"".join(b"".join(decoder.feed(coded[at : at + size])) for at in range(0, len(coded), size))
    decoder.finish()
    return found, decoder.odd


CODINGS = ("gzip", "deflate", "bare deflate", "br", "zstd")
IN_PIECES = pytest.mark.parametrize("size", [1, 2, 1000])


@IN_PIECES
@pytest.mark.parametrize("coding", CODINGS)
def test_a_coding_in_pieces(coding: str, size: int) -> None:
    coded = packed(coding, SHORT)
    assert decoded(coding, coded, size) == (SHORT, "")
    with pytest.raises(fetchq.ProtocolError, match="too early"):
        decoded(coding, coded[:-1], size)
    assert decoded(coding, b"", size) == (b"", "")


@IN_PIECES
@pytest.mark.parametrize(("coding", "form"), [("gzip", "gzip"), ("deflate", "gzip"), ("zstd", "zstd")])
def test_a_file_of_two_members(coding: str, form: str, size: int) -> None:
    coded = packed(form, SHORT) + packed(form, DATA.data)
    assert decoded(coding, coded, size) == (SHORT + DATA.data, "")
    with pytest.raises(fetchq.ProtocolError, match="too early"):
        decoded(coding, coded[:-1], size)


@pytest.mark.parametrize(
    ("coding", "size"),
    # Brotli's library refuses what follows in the piece that has the end.
    [("gzip", 1), ("gzip", 2), ("gzip", 1000), ("deflate", 1), ("deflate", 1000), ("br", 1)],
)
def test_what_follows_the_end_is_left_out(coding: str, size: int) -> None:
    found, odd = decoded(coding, packed(coding, SHORT) + b"<!-- 3 ms -->", size)
    assert found == SHORT
    assert "more behind the end" in odd


@IN_PIECES
@pytest.mark.parametrize("data", [SHORT, b"\x1fnot gzip", b"\x1f\x1f\x8b"], ids=len)
def test_what_is_called_gzip_and_is_not_is_kept(data: bytes, size: int) -> None:
    found, odd = decoded("gzip", data, size)
    assert found == data
    assert "says gzip of a body that is not" in odd


def test_the_first_byte_of_gzip_alone_is_not_nothing() -> None:
    with pytest.raises(fetchq.ProtocolError, match="too early"):
        decoded("gzip", b"\x1f", 1)
