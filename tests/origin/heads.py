"""What stands before the body and should not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .answer import Answer, Behaviour


def header(name: str, value: str | None) -> Behaviour:
    """Sends this header; None leaves it out."""

    def apply(answer: Answer) -> None:
        answer.remove(name)
        if value is not None:
            answer.headers.append((name, value))

    return apply


def informational(code: int = 103, count: int | None = 1) -> Behaviour:
    """1xx answers before the real one: early hints. ``count=None`` never comes to the point."""

    def endless() -> Iterator[bytes]:
        said = f"HTTP/1.1 {code} Wait\r\nLink: </style.css>; rel=preload\r\n\r\n".encode()
        return itertools.repeat(said) if count is None else itertools.repeat(said, count)

    def apply(answer: Answer) -> None:
        answer.prologue = endless()

    return apply


def huge_headers(size: int) -> Behaviour:
    """One header of so many bytes: cookies gone wild, an attack."""
    return header("X-Large", "x" * size)


def many_headers(count: int) -> Behaviour:
    """So many headers: a proxy chain that adds its own in a loop."""

    def apply(answer: Answer) -> None:
        answer.headers += [(f"X-Hop-{number}", "1") for number in range(count)]

    return apply


def endless_headers(answer: Answer) -> None:
    """A head that never ends: an attack."""
    answer.prologue = itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X-More: more\r\n"))


def garbage(answer: Answer) -> None:
    """Something that is not HTTP: another service behind the port."""
    answer.raw = (b"SSH-2.0-OpenSSH_9.2p1\r\n\x00\xff\xfe not http\r\n\r\n",)


def raw(*chunks: bytes) -> Behaviour:
    """Exactly these bytes, then the end of the connection."""

    def apply(answer: Answer) -> None:
        answer.raw = chunks

    return apply
