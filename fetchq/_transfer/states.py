"""The states of a transfer as values: each holds what the functions that take it require."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, TypeAlias

from .. import _ranges
from .._disk import Existing, Sink
from .._models import Resource
from .._ranges import Answer
from .body import Body
from .context import Reply

__all__ = ["Answered", "Begun", "Empty", "Kept", "State"]


class Empty(NamedTuple):
    """A locked part, or standard output, that holds nothing of use."""

    sink: Sink


class Kept(NamedTuple):
    """A finished file of this download that an earlier run has left: only a newer version is wanted.

    :param unless: its entity tag and date.
    """

    existing: Existing
    unless: tuple[str | None, str | None]


class Begun(NamedTuple):
    """A locked part, or standard output, with bytes of a known resource.

    :param known: what the bytes are of.
    :param plain: ask for ranges without If-Range, which the server mishandles.
    :param refused: why a range is of no use, so that the next request asks for the whole; else empty.
    :param framed: the body told where it ends; one that ends with the connection may be cut short unseen.
    """

    sink: Sink
    known: Resource
    plain: bool = False
    refused: str = ""
    framed: bool = True

    @property
    def complete(self) -> bool:
        """Whether every byte is here."""
        return self.known.length is not None and _ranges.covers(self.sink.spans, self.known.length)

    def after(self, answer: Answer, seen: Resource, have: int) -> Begun:
        """Return the state after an *answer* whose body is of no use: asked otherwise, or complete."""
        if answer.action == "ask_plain":
            same = _ranges.same_resource(self.known, seen) is not False
            return self._replace(plain=True, known=self.known if same else replace(self.known, etag=None))
        if answer.action == "ask_whole":
            return self._replace(refused=answer.reason)
        return self._replace(known=replace(self.known, length=have))

    def elsewhere(self) -> Begun:
        """Return the state for another mirror: the same bytes under validators of its own.

        What vouches for the bytes here is then their length and an overlap that is compared.
        """
        known = replace(self.known, etag=None, last_modified=None)
        return self._replace(known=known, plain=False, refused="")


State: TypeAlias = Empty | Begun


class Answered(NamedTuple):
    """An answer whose head is in: what it is of, and what its body means for the bytes here."""

    reply: Reply
    body: Body
    seen: Resource
    answer: Answer
