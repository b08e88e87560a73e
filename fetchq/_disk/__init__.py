"""The disk: parts, journals, locks and atomic names.

All file work is plain synchronous code on a :class:`Files`, and each async method makes one call in a thread
through aiofiles. One exception: a small body is written in the event loop's thread where the folder is known to
be on a local file system, and for as long as that is quick::

    files.py      the system calls, and what their errors mean to people
    fallbacks.py  what is done where a file system lacks a call
    room.py       whether a download fits
    folders.py    what is known of each folder: left-over parts, the type of its file system
    threads.py    calls in threads, through aiofiles
    journal.py    which bytes of a part can be trusted, in a file that checks itself
    entry.py      a name in an open folder, with its part and its journal
    lock.py       the part, open and locked
    names.py      which name a download gets
    numbered.py   the numbered names beside one name
    existing.py   what has a name already: whose it is, and whether it is the download
    record.py     whose a finished file is, in its extended attributes
    copying.py    a part on another file system than its target is copied beside that
    publish.py    a complete part becomes the file of that name
    hashing.py    digests computed while the file is written
    part.py       the unfinished file
    complete.py   a body that arrived whole, which needs no journal
    pipe.py       standard output, or a file object, in the place of a part
    parts.py      the parts of one run
    overflow.py   what does not fit into memory for now
    sink.py       what a transfer may do with a part or a pipe
    context.py    what all of them share
"""

from __future__ import annotations

from .complete import CompleteBody
from .existing import Existing, ExistingPolicy, Unproven
from .files import Files, reason, require_usable
from .journal import Identity, Journal
from .overflow import Overflow
from .part import Part
from .parts import Parts
from .pipe import Pipe, PipeClosedError, SequentialSink
from .publish import Finished
from .record import FileRecord
from .sink import Sink
from .threads import NO_THREAD

__all__ = [
    "NO_THREAD",
    "CompleteBody",
    "Existing",
    "ExistingPolicy",
    "FileRecord",
    "Files",
    "Finished",
    "Identity",
    "Journal",
    "Overflow",
    "Part",
    "Parts",
    "Pipe",
    "PipeClosedError",
    "SequentialSink",
    "Sink",
    "Unproven",
    "reason",
    "require_usable",
]
