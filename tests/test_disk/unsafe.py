"""A file layer that remembers what a disk would still hold after the power has gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

from fetchq._disk import Files
from fetchq._models import Buffer


class DiedError(Exception):
    """The process, or the machine, stopped at this very call."""


@dataclass(eq=False)
class Node:
    """A file: its bytes on the platter, and what was written since the last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Callable[[bytearray], None]] = field(default_factory=list)

    def sync(self, keep: Callable[[], bool] = lambda: True) -> None:
        """Bring pending writes to the platter, those that *keep* keeps."""
        for change in self.pending:
            if keep():
                change(self.durable)
        self.pending.clear()


Names: TypeAlias = dict[str, Node]


class Unsafe(Files):
    """One folder on a disk with a write cache: only what was synced is sure to be there again.

    Of the rest, any part may have got there: each write and each change of a name for itself.

    :param calls: how many calls go well before :class:`DiedError`.
    """

    def __init__(self, folder: Path, calls: int) -> None:
        self.folder = folder
        self.left = calls
        self.names: Names = {}
        self.pending: list[Callable[[Names], None]] = []
        self.nodes: dict[int, Node] = {}

    def power_loss(self, random: Random) -> None:
        """Make the folder what is found after the power has come back."""
        for change in self.pending:
            if random.random() < 0.5:
                change(self.names)
        for node in set(self.nodes.values()) | set(self.names.values()):
            node.sync(lambda: random.random() < 0.5)
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        first: dict[Node, Path] = {}
        for name, node in self.names.items():
            path = self.folder / name
            if node in first:
                os.link(first[node], path)
            else:
                path.write_bytes(node.durable)
                first[node] = path

    def _step(self) -> None:
        if self.left <= 0:
            raise DiedError
        self.left -= 1

    def _node(self, name: str, dir_fd: int) -> Node:
        return self.nodes[os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_ino]

    def open(self, name: str | Path, flags: int, dir_fd: int | None = None) -> int:
        self._step()
        fd = super().open(name, flags, dir_fd)
        if flags & os.O_CREAT:
            node = self.nodes[os.fstat(fd).st_ino] = Node()
            self.pending.append(lambda names: names.update({str(name): node}))
        return fd

    def open_unnamed(self, dir_fd: int) -> int:
        self._step()
        fd = super().open_unnamed(dir_fd)
        self.nodes[os.fstat(fd).st_ino] = Node()
        return fd

    def link_unnamed(self, fd: int, name: str, dir_fd: int) -> None:
        self._step()
        node = self.nodes[os.fstat(fd).st_ino]
        super().link_unnamed(fd, name, dir_fd)
        self.pending.append(lambda names: names.update({name: node}))

    def pwritev(self, fd: int, chunks: Sequence[Buffer], offset: int) -> int:
        self._step()
        data = b"".join(chunks)

        def change(durable: bytearray) -> None:
            durable.extend(bytes(max(0, offset - len(durable))))
            durable[offset : offset + len(data)] = data

        self.nodes[os.fstat(fd).st_ino].pending.append(change)
        return super().pwritev(fd, chunks, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._step()

        def change(durable: bytearray) -> None:
            del durable[size:]
            durable.extend(bytes(size - len(durable)))

        self.nodes[os.fstat(fd).st_ino].pending.append(change)
        super().truncate(fd, size)

    def fdatasync(self, fd: int) -> None:
        self.fsync(fd)

    def fsync(self, fd: int) -> None:
        self._step()
        node = self.nodes.get(os.fstat(fd).st_ino)
        if node is not None:
            node.sync()
            return
        for change in self.pending:
            change(self.names)
        self.pending.clear()

    def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        self._step()
        node = self._node(source, dir_fd if source_fd is None else source_fd)
        super().link(source, target, dir_fd, source_fd)
        self.pending.append(lambda names: names.update({target: node}))

    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        self._step()
        node = self._node(source, dir_fd if source_fd is None else source_fd)
        super().replace(source, target, dir_fd, source_fd)

        def change(names: Names) -> None:
            names.pop(source, None)
            names[target] = node

        self.pending.append(change)

    def unlink(self, name: str, dir_fd: int) -> None:
        self._step()
        super().unlink(name, dir_fd)

        def change(names: Names) -> None:
            names.pop(name, None)

        self.pending.append(change)
