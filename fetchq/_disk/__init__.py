"""The disk: parts, journals, locks and atomic names.

All file work is plain synchronous code on a :class:`Files`, and each async method makes one hop into a thread
of its own pool through aiofiles::

    _files.py      the system calls, and what their errors mean to people
    _journal.py    which bytes of a part can be trusted, in a file that checks itself
    _claims.py     which name a download gets, and the lock on its part
    _publish.py    a complete part becomes the file of that name, and overwrites nothing unasked
    _prefix.py     digests that follow the written prefix
    _part.py       the unfinished file
    _pipe.py       standard output in a part's place
    _parts.py      the parts of one run
    _sink.py       what a transfer may do with a part or a pipe
    _threads.py    aiofiles
"""

from __future__ import annotations

from ._claims import Existing
from ._files import Files
from ._journal import Identity, Journal
from ._part import Part
from ._parts import Parts
from ._pipe import Pipe, PipeClosedError
from ._publish import Finished
from ._sink import Sink

__all__ = [
    "Existing",
    "Files",
    "Finished",
    "Identity",
    "Journal",
    "Part",
    "Parts",
    "Pipe",
    "PipeClosedError",
    "Sink",
]
