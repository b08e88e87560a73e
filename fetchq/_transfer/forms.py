"""Which form of a coded body is the file: what it decodes to, or the body as it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from .._errors import ProtocolError
from .._models import Job
from .body import Body
from .checks import media_type
from .context import Warnings
from .decoder import GZIP_MAGIC, Decoder, decodable
from .states import Answered

__all__ = ["CodedForm"]

# Formats that are gzip themselves: servers label such files "Content-Encoding: gzip" and mean the file itself.
GZIP_NAMES = (".gz", ".tgz", ".gzip", ".bgz", ".svgz", ".crate", ".rds")
GZIP_TYPES = frozenset({"application/gzip", "application/x-gzip", "application/x-tgz"})


class CodedForm:
    """Decides about the coded bodies of one job.

    The caller's size decides, else the file's format, and where a digest refutes the choice, the other form is
    tried. A coding's label alone proves little: servers put it on files that are stored compressed.
    """

    def __init__(self, job: Job, warnings: Warnings) -> None:
        self._job = job
        self._warnings = warnings
        # Whether the last coded body was to be decoded; None: there was none.
        self._decoded: bool | None = None
        self._refuted: bool | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether there was a coded body, whose form a digest may yet refute."""
        return self._decoded is not None and self._refuted is None

    async def settle(self, answered: Answered, name: str) -> Answered:
        """Return *answered* as one without a coding where its body is the file as it was sent.

        :param name: of the target.
        """
        seen = answered.seen
        self._decoded = await self._decodes(answered, seen.encoding or "", name)
        return answered if self._decoded else answered._replace(seen=replace(seen, encoding=None))

    def refute(self) -> bool:
        """Try the other form of the next coded body; False where there is none, or it was refuted too."""
        other = self.in_doubt
        if other:
            self._refuted = self._decoded
        return other

    async def _decodes(self, answered: Answered, encoding: str, name: str) -> bool:
        if not decodable(encoding):
            host = answered.reply.host
            self._warnings.tell(
                host, encoding, f"sent {encoding!r}, which cannot be decoded: it is kept as it is"
            )
            return False
        if self._refuted is not None:
            return not self._refuted
        if self._job.size is not None and answered.seen.length is not None:
            return answered.seen.length != self._job.size
        if encoding in ("gzip", "x-gzip") and _is_gzip(answered, (name, self._job.url)):
            # nginx with "gzip_types *" compresses a .tar.gz once more.
            return await _decodes_to_gzip(answered.body, encoding)
        return True


def _is_gzip(answered: Answered, names: Sequence[str]) -> bool:
    """Whether the file's format is gzip, by its name or type."""
    return media_type(answered.reply) in GZIP_TYPES or any(
        _path(name).lower().endswith(GZIP_NAMES) for name in names
    )


def _path(name: str) -> str:
    try:
        return urlsplit(name).path
    except ValueError:
        return name


async def _decodes_to_gzip(body: Body, encoding: str) -> bool:
    """Whether the first bytes of *body*, decoded, are gzip's again."""
    start = (await body.peek(1))[:1024]
    try:
        first = next(Decoder(encoding, len(start) << 10).feed(start), b"")
    except ProtocolError:
        return False
    return first.startswith(GZIP_MAGIC)
