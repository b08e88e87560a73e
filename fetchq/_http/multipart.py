"""A form with files as a request body: multipart/form-data (RFC 7578), read from disk as it is sent."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import secrets
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

import httpx

from .._errors import DiskError, UsageError
from .._models import FormFile, Pairs

__all__ = ["Multipart"]

# One hop to a thread takes 150 us: 256 KiB at a time is 1.7 GB/s.
_PIECE = 256 * 1024
# As browsers write a name that holds what would end the field (WHATWG HTML, section 4.10.22.7).
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})

_Part: TypeAlias = "bytes | tuple[Path, int]"


class Multipart(httpx.AsyncByteStream):
    """The body of a form with files; may be sent again, and is then read again.

    :param form: fields, which come first: some servers read nothing behind a file.
    :ivar content_type: with the boundary.
    :ivar length: in bytes.
    :ivar values: of the fields that are no files.
    :raises UsageError: a file is none, cannot be read, or may not be sent.
    """

    def __init__(self, form: Pairs, files: Sequence[tuple[str, FormFile]], *, confined: bool) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.values = [value for _, value in form if value]
        self._parts: list[_Part] = []
        for name, value in form:
            self._add(f"--{boundary}\r\n{_disposition(name)}\r\n\r\n")
            self._add(f"{value}\r\n")
        for name, file in files:
            self._add(f"--{boundary}\r\n{_disposition(name, file.shown)}\r\n")
            self._add(f"Content-Type: {_type(file)}\r\n\r\n")
            self._parts.append(_content(file, confined=confined and file.confined))
            self._add("\r\n")
        self._add(f"--{boundary}--\r\n")
        self.length = sum(len(part) if isinstance(part, bytes) else part[1] for part in self._parts)

    def _add(self, text: str) -> None:
        self._parts.append(text.encode("utf-8", "surrogateescape"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            path, size = part
            file = await asyncio.to_thread(_open, path)
            try:
                while size > 0:
                    piece = await asyncio.to_thread(_read, file, path, min(_PIECE, size))
                    size -= len(piece)
                    yield piece
            finally:
                file.close()


def _disposition(name: str, filename: str | None = None) -> str:
    more = "" if filename is None else f'; filename="{filename.translate(_ESCAPES)}"'
    return f'Content-Disposition: form-data; name="{name.translate(_ESCAPES)}"{more}'


def _type(file: FormFile) -> str:
    kind = file.type or mimetypes.guess_type(file.shown)[0] or "application/octet-stream"
    if not kind.isprintable():
        raise UsageError(f"{file.shown}: the type to send is no media type.")
    return kind


def _content(file: FormFile, *, confined: bool) -> _Part:
    """Return the bytes of *file*, or its path and how many bytes of it are sent.

    :param confined: it must lie below the current folder, whatever links lead to.
    """
    if file.content is not None:
        return file.content
    if confined and not Path(os.path.realpath(file.path)).is_relative_to(os.path.realpath("")):
        raise UsageError(f"{file.path} is outside the current folder: a queue file may not send it.")
    try:
        found = os.stat(file.path)
        regular = stat.S_ISREG(found.st_mode)
        if regular:
            _open(file.path).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file.path} cannot be read: {_reason(error)}.") from error
    except DiskError as error:
        raise UsageError(str(error)) from error
    if not regular:
        raise UsageError(f"{file.path} is no regular file: its length must be known before it is sent.")
    return file.path, found.st_size


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise DiskError(f"{path} cannot be read: {_reason(error)}.") from error


def _read(file: BinaryIO, path: Path, size: int) -> bytes:
    try:
        piece = file.read(size)
    except OSError as error:
        raise DiskError(f"{path} cannot be read: {_reason(error)}.") from error
    if not piece:
        raise DiskError(f"{path} has become shorter while it was sent.")
    return piece


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or "it is no file's name"
