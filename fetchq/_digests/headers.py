"""Digests that servers promise in header fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from .hashing import SIZES, canonical, decode_base64

__all__ = ["promised"]

Headers = Mapping[str, str]

# The fields that a promise can stand in.
_AMAZON = ("sha256", "sha1", "crc32")
# Artifactory's and Nexus's, in hex, the strongest first.
_REPOSITORY = ("sha256", "sha1", "md5")
_PROMISING = frozenset(
    {"repr-digest", "content-digest", "digest", "content-md5", "x-goog-hash", "x-linked-etag"}
    | {f"x-amz-checksum-{algorithm}" for algorithm in _AMAZON}
    | {f"x-checksum-{algorithm}" for algorithm in _REPOSITORY}
)

# Most servers send none of these fields: ``re`` compiles and keeps each pattern when it is first used.

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


def promised(headers: Headers, status: int) -> dict[str, str]:
    """Collect the digests that the server promises for the whole representation: algorithm to hex.

    All of them are over the bytes on the wire, a content coding included (RFC 9530 section 3, RFC 3230
    section 4.1). What describes this answer's content only (``Content-Digest``, ``Content-MD5``, S3's and
    repositories' checksums) says nothing about the whole when the answer is a part. A value that is garbled, of
    the wrong length or of an unknown algorithm is no promise. Where two fields disagree, the earlier in the
    order Repr-Digest, Content-Digest, Digest, Content-MD5, x-goog-hash, x-amz-checksum, X-Checksum,
    X-Linked-ETag counts.
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
        algorithm = canonical(spelling)
        value = decode_base64(encoded)
        if algorithm is not None and value is not None and len(value) == SIZES[algorithm]:
            found.setdefault(algorithm, value.hex())
    for algorithm, value in [*(_repository(headers) if whole else ()), *_linked(headers, whole=whole)]:
        found.setdefault(algorithm, value)
    return found


def _dictionary(field: str) -> Iterable[tuple[str, str]]:
    """Return the byte sequences of a structured Dictionary; of one that breaks the grammar, none."""
    if not field:
        return ()
    member, comma = re.compile(_MEMBER), re.compile(_COMMA)
    members: dict[str, str | None] = {}
    position, field = 0, field.strip(" \t")
    while found := member.match(field, position):
        members[found[1]] = found[2]
        if found[2] is not None and decode_base64(found[2]) is None:
            break
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


def _repository(headers: Headers) -> Iterator[tuple[str, str]]:
    """Read the strongest of the checksums that Artifactory and Nexus send; each costs time to compute."""
    for algorithm in _REPOSITORY:
        value = headers.get(f"x-checksum-{algorithm}", "").strip().lower()
        if len(value) == 2 * SIZES[algorithm] and re.fullmatch("[0-9a-f]+", value):
            yield algorithm, value
            break


def _linked(headers: Headers, *, whole: bool) -> Iterator[tuple[str, str]]:
    """Read the SHA-256 that Hugging Face names large files by: a tag of 64 hex digits, with the size."""
    value = headers.get("x-linked-etag", "").strip().strip('"').lower()
    size, length = headers.get("x-linked-size"), headers.get("content-length")
    fits = size is not None and (not whole or length is None or length == size)
    if fits and re.fullmatch("[0-9a-f]{64}", value):
        yield "sha256", value
