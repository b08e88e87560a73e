"""Digests: computed as bytes pass, promised by servers, published in manifests, and compared.

::

    hashing    algorithms, their names and sizes; running hashers
    checksum   what a file must hash to: one value's spellings, comparison
    formats    how people publish digests: lines of a manifest, JSON
    manifest   many files' checksums, found by name
    headers    digests that servers promise in header fields

Algorithm names are canonical throughout, the keys of :data:`SIZES`; values are lower-case hex.
"""

from .checksum import Checksum, algorithms, compare, matches
from .formats import parse
from .hashing import SIZES, Hasher
from .headers import promised
from .manifest import ChecksumPolicy, Manifest

__all__ = [
    "SIZES",
    "Checksum",
    "ChecksumPolicy",
    "Hasher",
    "Manifest",
    "algorithms",
    "compare",
    "matches",
    "parse",
    "promised",
]
