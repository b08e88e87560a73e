"""Where a body ends, and in which coding it comes."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace

from .answer import Answer, Behaviour
from .resource import Literal


def chunked(size: int = 8192, *, trailers: tuple[tuple[str, str], ...] = (), extension: str = "") -> Behaviour:
    """Sends in chunks, as everything that streams does; with trailers and chunk extensions if asked."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in trailers)

    def apply(answer: Answer) -> None:
        answer.remove("Content-Length")
        answer.set("Transfer-Encoding", "chunked")
        answer.chunk, answer.extension = size, extension.encode()
        answer.ending = f"0\r\n{fields}\r\n".encode()

    return apply


def chunked_without_end(answer: Answer) -> None:
    """Sends chunks and closes without the last one: an application that died while it streamed."""
    chunked()(answer)
    answer.ending, answer.close = b"", True


def both_length_and_chunked(length: int | None = None) -> Behaviour:
    """Content-Length, perhaps of another size, and chunks together: proxies that re-frame badly."""

    def apply(answer: Answer) -> None:
        told = answer.stop - answer.start if length is None else length
        chunked()(answer)
        answer.set("Content-Length", str(told))

    return apply


def close_delimited(answer: Answer) -> None:
    """No length: the end of the connection is the end of the body. CGI scripts, old proxies."""
    answer.remove("Content-Length")
    answer.set("Connection", "close")
    answer.close = True


def http10(answer: Answer) -> None:
    """Answers HTTP/1.0 without a length: embedded servers, python -m http.server's ancestors."""
    answer.whole()
    answer.version = "HTTP/1.0"
    answer.remove("Content-Length")
    answer.close = True


def short_length(missing: int) -> Behaviour:
    """Content-Length promises more than is sent: a file that is truncated while it is served."""

    def apply(answer: Answer) -> None:
        answer.set("Content-Length", str(answer.stop - answer.start))
        answer.stop, answer.close = max(answer.stop - missing, answer.start), True

    return apply


def long_body(extra: bytes) -> Behaviour:
    """Sends more than Content-Length: a file that grows while it is served, a stray newline."""

    def apply(answer: Answer) -> None:
        data = answer.content.read(answer.start, answer.stop)
        answer.content, answer.start, answer.stop = Literal(data + extra), 0, len(data) + len(extra)
        answer.close = True

    return apply


def gzip_anyway(times: int = 1, *, bomb: int = 0, broken: bool = False) -> Behaviour:
    """Encodes though identity was asked for: CDNs that store the encoded form.

    ``times=2`` is gzip in gzip, as doubly configured proxies do; *bomb* sends that many zeros instead of the
    content; *broken* cuts the encoded form in half and is honest about the length.
    """

    def apply(answer: Answer) -> None:
        answer.whole()
        data = bytes(bomb) if bomb else answer.resource.data
        # Stored as it is where the size does not matter: compressing takes longer than some clients wait.
        level = 0 if broken else 6
        for _ in range(times):
            data = gzip.compress(data, level, mtime=0)
        data = data[: len(data) // 2] if broken else data
        answer.content, answer.start, answer.stop = Literal(data), 0, len(data)
        answer.set("Content-Length", str(len(data)))
        answer.set("Content-Encoding", ", ".join(["gzip"] * times))

    return apply


def coded(make: Callable[[bytes], bytes], label: str) -> Behaviour:
    """Sends what *make* makes of the content, and calls it *label*."""

    def apply(answer: Answer) -> None:
        answer.whole()
        data = make(answer.resource.data)
        answer.content, answer.start, answer.stop = Literal(data), 0, len(data)
        answer.set("Content-Length", str(len(data)))
        answer.set("Content-Encoding", label)

    return apply


def range_of_gzip(answer: Answer) -> None:
    """Applies the Range to the encoded form: CDNs that answer a range of what they store."""
    data = gzip.compress(answer.resource.data, 6, mtime=0)
    encoded = replace(answer.resource, content=Literal(data))
    answer.resource, kept = encoded, answer.resource
    answer.well()
    answer.resource = kept
    answer.set("Content-Encoding", "gzip")
