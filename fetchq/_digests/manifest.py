"""A manifest: which checksum each of many files must have, found by the file's name."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from .._errors import UsageError
from .._models import Job
from .._naming import printable, sanitise
from .checksum import Checksum, strongest
from .formats import parse, read
from .hashing import mentioned

__all__ = ["ChecksumPolicy", "Manifest"]

Parts = tuple[str, ...]

# Scheme and authority of a URL (RFC 3986 appendix B).
_BEFORE_PATH = r"\A(?:[^:/]+:)?//[^/]*"
# Suffixes of a file that holds another one's digest, besides those that name an algorithm.
_OF_DIGESTS = frozenset({"asc", "checksum", "digest", "hash", "sum", "sums", "txt"})


class Manifest:
    """The checksums of a SHA256SUMS file, or of any other form in which digests are published.

    :param data: its bytes: UTF-8, else Latin-1; UTF-16 behind a byte order mark.
    :param source: its file name: it is looked at for the algorithm, and for the file that a single digest is
        of (``f.bin.sha256``). Messages name it.
    :param for_one: there is one file only, and a digest without a name is of that.
    :raises UsageError: there is no digest in it.
    """

    def __init__(self, data: bytes, source: str = "manifest", *, for_one: bool = False) -> None:
        self.source = source
        base = source.replace("\\", "/").rpartition("/")[2]
        entries, self._skipped = read(_decoded(data), base)
        if not entries:
            raise UsageError(f"{printable(source)} holds no digest: is it the manifest that was meant?")
        self._alone = [entry.checksum for entry in entries if not entry.name]
        self._for_one = for_one
        self._names: dict[Parts, str] = {}
        self._listed: dict[str, list[tuple[Parts, Checksum]]] = {}
        for entry in entries:
            self._add(entry.name or _subject(base), entry.checksum)

    def _add(self, name: str, checksum: Checksum) -> None:
        if parts := _parts(name):
            self._names.setdefault(parts, name)
            self._listed.setdefault(parts[-1], []).append((parts, checksum))

    @property
    def warning(self) -> str:
        """What is to be said of the lines without a digest; empty where there are none."""
        if not self._skipped:
            return ""
        first, more = self._skipped[0], len(self._skipped) - 1
        told = f"{first} and {more} more hold" if more else f"{first} holds"
        return f"{printable(self.source)}: {told} no digest that is understood."

    @property
    def names(self) -> Iterator[str]:
        """The names of the files that are listed, as written, each once."""
        return iter(self._names.values())

    def find(self, *targets: str) -> Checksum | None:
        """Return the checksum of one file, by the strongest algorithm listed; None if it is not listed.

        :param targets: what the file is called: its URL, its path, the name that the server gives it.
            Folders count where they agree with the manifest's: with ``b/f`` and ``f`` listed, ``/a/b/f`` is
            ``b/f``; where none agree, the last part must be unique.
        :raises UsageError: different digests are listed for it, or several files fit.
        """
        wanted: dict[str, list[Parts]] = {}
        for parts in map(_parts, targets):
            if parts:
                wanted.setdefault(parts[-1], []).append(parts)
        found = [checksum for base, spellings in wanted.items() for checksum in self._of(base, spellings)]
        if not found and self._for_one:
            found = self._alone
        where = f"{printable(self.source)}: {printable(next(iter(wanted), 'the digest'))}"
        return strongest(found, where)

    def _of(self, base: str, spellings: Iterable[Parts]) -> list[Checksum]:
        """Return the checksums of the listed file whose path agrees best with one of the *spellings*."""
        fits = [
            (max(_agreement(parts, spelling) for spelling in spellings), parts, checksum)
            for parts, checksum in self._listed.get(base, ())
        ]
        best = max((fit for fit, _, _ in fits), default=None)
        by_path: dict[Parts, list[Checksum]] = {}
        for fit, parts, checksum in fits:
            if fit == best:
                by_path.setdefault(parts, []).append(checksum)
        first, *others = by_path.values() or [[]]
        if any(set(other) != set(first) for other in others):
            paths = " and ".join("/".join(parts) for parts in list(by_path)[:2])
            raise UsageError(
                f"{printable(self.source)} lists several files called {printable(base)}, {printable(paths)}:"
                " give the right one with --checksum."
            )
        return first


def _agreement(listed: Parts, wanted: Parts) -> tuple[int, bool]:
    """Return how many last parts of two paths are equal, and whether these are all that are listed."""
    equal = 0
    for ours, theirs in zip(reversed(listed), reversed(wanted), strict=False):
        if ours != theirs:
            break
        equal += 1
    return equal, equal == len(listed)


def _url_path(url: str) -> str:
    """Return the path of *url*, percent-decoded, as a target for :meth:`Manifest.find`."""
    path = re.sub(_BEFORE_PATH, "", re.split("[?#]", url, maxsplit=1)[0])
    return _decoded_line(unquote_to_bytes(path.encode("utf-8", "replace")))


class ChecksumPolicy(NamedTuple):
    """What is known of a run's files, and which of them may do without a checksum.

    :param manifest: counts for jobs without a checksum of their own.
    :param required: no file may.
    :param unlisted: a file may that the manifest does not list.
    """

    manifest: Manifest | None = None
    required: bool = False
    unlisted: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of a job without a checksum of its own."""
        return self.manifest is None and not self.required

    def find(self, job: Job, name: str = "") -> Checksum | None:
        """Return what the file of *job* must hash to: its own checksum, else the manifest's; None if unknown.

        :param name: that the server gives the file, if it has answered.
        :raises UsageError: the checksum is malformed, or the manifest contradicts itself.
        """
        if job.checksum is not None:
            return parse(job.checksum)
        if self.manifest is None:
            return None
        return self.manifest.find(_url_path(job.url), job.out or "", name)

    def unknown(self, name: str) -> str:
        """Return the warning about a file whose checksum is not known; empty where none was to be expected.

        :raises UsageError: the file is not to be had without.
        """
        unlisted = ""
        if self.manifest is not None:
            unlisted = f"{printable(name)} is not listed in {printable(self.manifest.source)}"
            if not self.unlisted:
                raise UsageError(
                    f"{unlisted}: give its digest with --checksum, or --allow-unlisted to take it unchecked."
                )
        if self.required:
            raise UsageError(
                f"{printable(name)} has no known checksum, and one is required: give it with --checksum."
            )
        return f"{unlisted}, and is not verified." if unlisted else ""


def _parts(path: str) -> Parts:
    """Return the parts of a path, spelled as a server's names are when they are kept."""
    parts = path.replace("\\", "/").split("/")
    return tuple(sanitise(part, dotfiles=True) for part in parts if part.strip() not in {"", ".", ".."})


def _subject(source: str) -> str:
    """Return the file that a digest in *source* is of: ``f.bin`` for ``f.bin.sha256`` or ``f.bin.md5.txt``."""
    name = source
    while True:
        stem, dot, suffix = name.rpartition(".")
        if not (dot and stem and (suffix.lower() in _OF_DIGESTS or mentioned(suffix))):
            return name if name != source else ""
        name = stem


def _decoded(data: bytes) -> str:
    """Decode as UTF-16 behind its mark, else as UTF-8, and a line that is none as Latin-1: any bytes are."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "\n".join(map(_decoded_line, data.split(b"\n")))


def _decoded_line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
