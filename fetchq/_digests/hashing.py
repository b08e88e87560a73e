"""Digest algorithms: names, sizes, spellings; and a hasher that computes several at once."""

from __future__ import annotations

import binascii
import hashlib
import re
import zlib
from collections.abc import Iterable
from typing import Protocol

from .._models import Buffer

__all__ = ["SIZES", "Hasher", "canonical", "decode_base64", "mentioned"]

# Bytes of each digest, the weakest algorithm first.
SIZES = {
    "crc32": 4,
    "md5": 16,
    "sha1": 20,
    "sha224": 28,
    "sha3-224": 28,
    "sha256": 32,
    "blake2s": 32,
    "blake2b-256": 32,
    "sha3-256": 32,
    "sha384": 48,
    "sha3-384": 48,
    "sha512": 64,
    "blake2b": 64,
    "sha3-512": 64,
}
# Spellings, in lower case without "-" and "_": ours, OpenSSL's of SHA-2 and BLAKE2, RFC 3230's of SHA-1.
_SPELLINGS = (
    {name.replace("-", ""): name for name in SIZES}
    | {f"sha2{bits}": f"sha{bits}" for bits in (224, 256, 384, 512)}
    | {"sha": "sha1", "blake2b512": "blake2b", "blake2s256": "blake2s"}
)
# Text that names an algorithm: SHA256SUMS, SHASUMS256.txt, sha3-256, "BLAKE2b checksums", f.bin.b2. A file of
# "b2" alone is a release as often as a digest, so that needs "sum" behind it, or the text's end.
_MENTION = (
    r"(?<![a-z0-9])"
    r"(sha-?3(?!\d)|sha-?2(?!\d)|sha(?:sums?)?|blake2[bs]?|b2(?=sum|$)|md5|crc-?32|sfv)"
    r"[-_ ]?(\d{1,3})?(?!\d)"
)
_SHA2 = ("sha224", "sha256", "sha384", "sha512")
_BLAKE2B = ("blake2b", "blake2b-256")
# What a mention without a number of bits stands for.
_FAMILIES = {
    "sha": ("sha1", *_SHA2),
    "sha2": _SHA2,
    "sha3": ("sha3-224", "sha3-256", "sha3-384", "sha3-512"),
    "blake2": ("blake2s", *_BLAKE2B),
    "blake2b": _BLAKE2B,
    "blake2s": ("blake2s",),
    "b2": _BLAKE2B,
    "md5": ("md5",),
    "crc32": ("crc32",),
    "sfv": ("crc32",),
}


def canonical(spelling: str) -> str | None:
    """Return our name of the algorithm that *spelling* means; None for one that is not supported."""
    return _SPELLINGS.get(spelling.strip().lower().replace("-", "").replace("_", ""))


def mentioned(text: str) -> frozenset[str]:
    """Return the algorithms that a file's name, a comment or a heading names; of a family all members."""
    found: set[str] = set()
    for word, bits in re.findall(_MENTION, text.lower()):
        family = "sha" if word.startswith("shasum") else word.replace("-", "")
        if not bits:
            found.update(_FAMILIES[family])
        elif name := canonical(family + bits):
            found.add(name)
    return frozenset(found)


def decode_base64(text: str) -> bytes | None:
    """Decode base64, its padding optional (RFC 9651 section 4.2.7); None for anything else."""
    bare = text.strip().rstrip("=")
    try:
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:
        return None


class _HashState(Protocol):
    def update(self, data: Buffer, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    """CRC-32 with the interface of a hash object."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Buffer, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class Hasher:
    """Compute several digests of the same bytes as they pass.

    :param algorithms: canonical names; none at all costs nothing.
    """

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._running: dict[str, _HashState] = {name: _start(name) for name in algorithms}

    def update(self, data: Buffer) -> None:
        """Add *data*, which is not copied; large buffers are hashed without the interpreter's lock."""
        for running in self._running.values():
            running.update(data)

    def hexdigests(self) -> dict[str, str]:
        """Return algorithm to hex for what was added so far; more may follow."""
        return {name: running.hexdigest() for name, running in self._running.items()}


def _start(algorithm: str) -> _HashState:
    if algorithm == "crc32":
        return _Crc32()
    if algorithm == "blake2b-256":
        return hashlib.blake2b(digest_size=32, usedforsecurity=False)
    # Not for security: MD5 and SHA-1 must work on machines whose OpenSSL forbids them for signatures.
    return hashlib.new(algorithm.replace("-", "_"), usedforsecurity=False)
