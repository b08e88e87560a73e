"""The disk: parts, journals, locks and atomic names.

All file work is plain synchronous code on a :class:`Files`, and each async method makes one call in a thread
through aiofiles. One exception: a small body is written in the event loop's thread where the folder is known to
be on a local file system, and for as long as that is quick::

    files.py      the system calls, and what their errors mean to people
    folders.py    what is known of each folder: left-over parts, the type of its file system
    journal.py    which bytes of a part can be trusted, in a file that checks itself
    names.py      which name a download gets, and the lock on its part
    publish.py    a complete part becomes the file of that name, and overwrites nothing unasked
    hashing.py    digests that follow the written prefix
    part.py       the unfinished file
    pipe.py       standard output in a part's place
    parts.py      the parts of one run
    sink.py       what a transfer may do with a part or a pipe
    threads.py    aiofiles
"""

from __future__ import annotations

from .files import Files
from .journal import Identity, Journal
from .names import Existing
from .part import Part
from .parts import Parts
from .pipe import Pipe, PipeClosedError
from .publish import Finished
from .sink import Sink

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
