"""Checksum spellings, digests that servers promise, running hashers, comparison.

Algorithm names are canonical throughout: ``md5 sha1 sha224 sha256 sha384 sha512 sha3-224 sha3-256 sha3-384
sha3-512 blake2b blake2s crc32``; values are lower-case hex.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from ._errors import ChecksumError, QueueFileError, UsageError
from ._models import Buffer
from ._naming import printable

__all__ = ["Digest", "Hasher", "compare", "manifest", "parse", "promised"]

Headers = Mapping[str, str]

# Bytes of each digest.
SIZES = {
    "md5": 16,
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "sha3-224": 28,
    "sha3-256": 32,
    "sha3-384": 48,
    "sha3-512": 64,
    "blake2b": 64,
    "blake2s": 32,
    "crc32": 4,
}
# Spellings, without case, "-" and "_": ours, OpenSSL's of BLAKE2, and RFC 3230's "SHA" for SHA-1.
_SPELLINGS = {name.replace("-", ""): name for name in SIZES} | {
    "sha": "sha1",
    "blake2b512": "blake2b",
    "blake2s256": "blake2s",
}
# What a bare hex value of so many bytes is taken for: the algorithm in common use at that length.
_BY_SIZE = {SIZES[name]: name for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")}

# The fields that a promise can stand in.
_AMAZON = ("sha256", "sha1", "crc32")
_PROMISING = frozenset(
    {"repr-digest", "content-digest", "digest", "content-md5", "x-goog-hash"}
    | {f"x-amz-checksum-{algorithm}" for algorithm in _AMAZON}
)

# Patterns of fields that most servers do not send: ``re`` compiles and keeps each when it is first used.
_SPELLED = r"([A-Za-z][A-Za-z0-9_-]*?)\s*[:= ]\s*([^\s:=]*)"
_HEX = r"(?:[0-9A-Fa-f]{2})+"

# Structured Fields (RFC 9651 section 3): as much of a Dictionary as is needed to skip what is not ours.
_KEY = r"[a-z*][a-z0-9_.*-]*+"
_BARE = (
    r"(?::[A-Za-z0-9+/=]*:"
    r'|"(?:[ !#-\[\]-~]|\\["\\])*"'
    r'|%"(?:[ !#$&-~]|%[0-9a-f]{2})*"'
    r"|\?[01]|@-?[0-9]{1,15}+|-?(?:[0-9]{1,12}\.[0-9]{1,3}+|[0-9]{1,15}+)(?!\.)"
    r"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*+)"
)
_PARAMETERS = rf"(?:; *{_KEY}(?:={_BARE})?)*+"
_INNER_LIST = rf"\( *(?:{_BARE}{_PARAMETERS}(?: +|(?=\))))*+\)"
_MEMBER = rf"({_KEY})(?:=(?::([A-Za-z0-9+/=]*):|{_BARE}|{_INNER_LIST}))?{_PARAMETERS}"
_COMMA = r"[ \t]*,[ \t]*"

# "HEX  name" and "HEX *name" as coreutils writes them, one blank as others do; a leading backslash says that
# the name is escaped. "SHA256 (name) = HEX" is BSD's and coreutils' --tag.
_GNU_LINE = r"(\\?)([0-9A-Fa-f]{32,128})(?: \*|[ \t][ \t]?)(?=\S)(.+)"
_BSD_LINE = r"(\\?)([A-Za-z][A-Za-z0-9-]*) ?\((.+)\) ?= ?([0-9A-Fa-f]+)"
_ESCAPE = r"\\([\\nr])"
_ESCAPES = {"\\": "\\", "n": "\n", "r": "\r"}


class Digest(NamedTuple):
    """A digest that a file must have: canonical algorithm name, lower-case hex."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def parse(text: str) -> Digest:
    """Read a checksum as people write it: ``sha256:HEX``, ``sha-256=HEX``, ``SHA256 HEX``, or HEX alone.

    :raises UsageError: unknown algorithm, no hex, or the wrong length, with the right one named.
    """
    text = text.strip()
    if spelled := re.fullmatch(_SPELLED, text):
        return _digest(spelled[1], spelled[2])
    if re.fullmatch(_HEX, text) and len(text) // 2 in _BY_SIZE:
        return Digest(_BY_SIZE[len(text) // 2], text.lower())
    raise UsageError(
        f"The checksum {_shown(text)} is not understood: write ALGORITHM:HEX,"
        " such as sha256:HEX with 64 hex digits."
    )


def _digest(spelling: str, value: str) -> Digest:
    algorithm = _canonical(spelling)
    if algorithm is None:
        raise UsageError(f"The checksum algorithm {_shown(spelling)} is not one of {', '.join(SIZES)}.")
    digits = 2 * SIZES[algorithm]
    if not re.fullmatch(_HEX, value) or len(value) != digits:
        raise UsageError(
            f"The {algorithm} checksum {_shown(value)} must be {digits} hex digits,"
            f" and it has {len(value)} characters."
        )
    return Digest(algorithm, value.lower())


def _canonical(spelling: str) -> str | None:
    return _SPELLINGS.get(spelling.strip().lower().replace("-", "").replace("_", ""))


def _shown(text: str) -> str:
    """Quote what was given, as far as a line has room: the longest honest value has 128 digits."""
    return repr(printable(text if len(text) <= 140 else f"{text[:140]}..."))


def promised(headers: Headers, status: int) -> dict[str, str]:
    """Collect the digests that the server promises for the whole representation: algorithm to hex.

    All of them are over the bytes on the wire, a content coding included (RFC 9530 section 3, RFC 3230
    section 4.1). What describes this answer's content only (``Content-Digest``, ``Content-MD5``, S3's
    checksums) says nothing about the whole when the answer is a part. A value that is garbled, of the wrong
    length or of an unknown algorithm is no promise. Where two fields disagree, the earlier in the order
    Repr-Digest, Content-Digest, Digest, Content-MD5, x-goog-hash, x-amz-checksum counts.
    """
    if _PROMISING.isdisjoint(headers):
        return {}
    whole = status != 206 and "content-range" not in headers
    offers = [*_dictionary(headers.get("repr-digest", ""))]
    if whole:
        offers += _dictionary(headers.get("content-digest", ""))
    offers += _instance_digests(headers.get("digest", ""))
    if whole:
        offers.append(("md5", headers.get("content-md5", "")))
    offers += _google(headers)
    if whole:
        offers += _amazon(headers)
    found: dict[str, str] = {}
    for spelling, encoded in offers:
        algorithm = _canonical(spelling)
        value = _decoded(encoded)
        if algorithm is not None and value is not None and len(value) == SIZES[algorithm]:
            found.setdefault(algorithm, value.hex())
    return found


def _decoded(encoded: str) -> bytes | None:
    """Decode base64, its padding optional (RFC 9651 section 4.2.7)."""
    bare = encoded.strip().rstrip("=")
    try:
        return binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except ValueError:
        return None


def _dictionary(field: str) -> Iterable[tuple[str, str]]:
    """Give the byte sequences of a structured Dictionary; a field that breaks the grammar is ignored whole."""
    if not field:
        return ()
    member, comma = re.compile(_MEMBER), re.compile(_COMMA)
    members: dict[str, str | None] = {}
    position, field = 0, field.strip(" \t")
    while found := member.match(field, position):
        members[found[1]] = found[2]
        if found.end() == len(field):
            return [(key, value) for key, value in members.items() if value is not None]
        separator = comma.match(field, found.end())
        if separator is None:
            break
        position = separator.end()
    return ()


def _instance_digests(field: str) -> Iterator[tuple[str, str]]:
    """Read ``SHA-256=base64, MD5=base64`` (RFC 3230 section 4.3.2), which is no structured field."""
    for item in field.split(","):
        algorithm, _, value = item.partition("=")
        yield algorithm, value


def _google(headers: Headers) -> Iterator[tuple[str, str]]:
    """Read Google Cloud Storage's hashes, which are over the stored bytes.

    An object stored as gzip is unpacked for a client that did not ask for gzip, and then they do not hold.
    """
    stored = headers.get("x-goog-stored-content-encoding", "identity")
    if stored == headers.get("content-encoding", "identity"):
        yield from _instance_digests(headers.get("x-goog-hash", ""))


def _amazon(headers: Headers) -> Iterator[tuple[str, str]]:
    """Read S3's checksums; those of a multipart upload are checksums of checksums (``...-N``)."""
    if headers.get("x-amz-checksum-type", "").upper() == "COMPOSITE":
        return
    for algorithm in _AMAZON:
        yield algorithm, headers.get(f"x-amz-checksum-{algorithm}", "")


class _HashState(Protocol):
    def update(self, data: Buffer, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    """CRC-32 with the face of a hash object."""

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
        """Give algorithm to hex for what was added so far; more may follow."""
        return {name: running.hexdigest() for name, running in self._running.items()}


def _start(algorithm: str) -> _HashState:
    if algorithm == "crc32":
        return _Crc32()
    # Not for security: MD5 and SHA-1 must work on machines whose OpenSSL forbids them for signatures.
    return hashlib.new(algorithm.replace("-", "_"), usedforsecurity=False)


def compare(expected: Mapping[str, str], actual: Mapping[str, str], name: str) -> None:
    """Check that every expected digest is the actual one.

    :param expected: algorithm to hex; *actual* must hold each of its algorithms.
    :param name: of the file, for the message.
    :raises ChecksumError: one differs; the message has both values.
    """
    for algorithm, value in expected.items():
        if actual[algorithm] != value:
            raise ChecksumError(
                f"{printable(name)}: the {algorithm} should be {value}, and it is {actual[algorithm]};"
                " the server sent other bytes than promised."
            )


def manifest(lines: Iterable[str], name: str = "manifest") -> Iterator[tuple[str, Digest] | QueueFileError]:
    """Read the lines of a SHA256SUMS file, GNU or BSD form, a PGP signature around them skipped.

    :param name: of the manifest, for messages.
    :returns: file name as written and digest, or for a bad line the error that names it; lazily.
    """
    signature = False
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        if line.startswith("-----"):
            signature = line.startswith("-----BEGIN PGP SIGNATURE")
        elif not signature and line.strip() and not line.startswith(("#", "Hash: ")):
            yield _manifest_line(line, f"{printable(name)}:{number}")


def _manifest_line(line: str, where: str) -> tuple[str, Digest] | QueueFileError:
    try:
        if gnu := re.fullmatch(_GNU_LINE, line):
            return _unescaped(gnu[3], gnu[1]), parse(gnu[2])
        if bsd := re.fullmatch(_BSD_LINE, line):
            return _unescaped(bsd[3], bsd[1]), _digest(bsd[2], bsd[4])
    except UsageError as error:
        return QueueFileError(f"{where}: {error}")
    return QueueFileError(f"{where}: neither 'HEX  NAME' nor 'ALGORITHM (NAME) = HEX'.")


def _unescaped(name: str, mark: str) -> str:
    return re.sub(_ESCAPE, lambda found: _ESCAPES[found[1]], name) if mark else name
