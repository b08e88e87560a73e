"""``server.py SOCKET``: fork for each command of a client, until standard input ends.

Only the worker holds the other end of that, so the server ends with it.
"""

from __future__ import annotations

import array
import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, TextIO

import fetchq

from . import KILL

# Python reads these when it starts: a fork has its server's.
AT_START = ("PYTHON", "LC_", "LANG")


class Request(NamedTuple):
    """What a client asks for; the descriptors are its streams and its folder."""

    words: list[str]
    env: dict[str, str]
    descriptors: Sequence[int]


def received(client: socket.socket) -> Request:
    descriptors = array.array("i")
    size, ancillary, _, _ = client.recvmsg(8, socket.CMSG_SPACE(4 * descriptors.itemsize))
    if not size:
        raise EOFError
    descriptors.frombytes(ancillary[0][2])
    told = b""
    while len(told) < int(size):
        more = client.recv(int(size) - len(told))
        if not more:
            raise EOFError
        told += more
    env, *words = os.fsdecode(told).split("\0\0")
    variables = dict(variable.split("=", 1) for variable in env.split("\0"))
    return Request(words, variables, descriptors)


class Server:
    """One process with one thread, so that a fork is whole."""

    def __init__(self, path: str) -> None:
        self._clients: dict[int, socket.socket] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._reaping, self._died = socket.socketpair()
        self._died.setblocking(False)
        signal.set_wakeup_fd(self._died.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector = selectors.DefaultSelector()
        for each in (sys.stdin, self._listener, self._reaping):
            self._selector.register(each, selectors.EVENT_READ)

    def serve(self) -> Request | None:
        """Return a command's request in its own process, and None in this one when the worker has ended."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is self._listener:
                    if request := self._fork():
                        return request
                elif key.fileobj is self._reaping:
                    self._reap()
                elif key.data in self._clients:
                    self._pass_on(key.data)

    def _fork(self) -> Request | None:
        client, _ = self._listener.accept()
        try:
            request = received(client)
        except EOFError:
            client.close()
            return None
        process = os.fork()
        if not process:
            client.close()
            self._close()
            return request
        for descriptor in request.descriptors:
            os.close(descriptor)
        self._clients[process] = client
        self._selector.register(client, selectors.EVENT_READ, process)
        return None

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for each in (self._listener, self._reaping, self._died, *self._clients.values()):
            each.close()

    def _pass_on(self, process: int) -> None:
        """Send a command the signal that its client was sent; KILL too where the client itself was killed."""
        told = self._clients[process].recv(8)
        number = int(told or signal.SIGKILL)
        os.kill(process, signal.SIGKILL if number == KILL else number)
        if not told:
            self._selector.unregister(self._clients[process])

    def _reap(self) -> None:
        self._reaping.recv(1024)
        while self._clients:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            with self._clients.pop(process) as client, suppress(KeyError):
                self._selector.unregister(client)
                client.sendall(b"%d" % os.waitstatus_to_exitcode(status))


def become(request: Request) -> None:
    """Make this fork what ``python -m fetchq`` is when it comes to ``main``."""
    *streams, folder = request.descriptors
    for stream, given in enumerate(streams):
        os.dup2(given, stream)
    os.fchdir(folder)
    for descriptor in request.descriptors:
        os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        # What the old ones know, such as whether they can seek, is about other files.
        old: TextIO = getattr(sys, name)
        buffering = 1 if name == "stderr" or old.isatty() else -1
        new = open(old.fileno(), mode, buffering, old.encoding, old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, new)
    wrong = {
        name
        for name in {*os.environ, *request.env}
        if name.startswith(AT_START) and os.environ.get(name) != request.env.get(name)
    }
    if wrong:
        sys.exit(f"{sorted(wrong)} are read when Python starts: PYTHON_M is the command for this test")
    os.environ.clear()
    os.environ.update(request.env)
    time.tzset()
    sys.argv = ["fetchq", *request.words]


def main() -> int:
    for module in pkgutil.walk_packages(fetchq.__path__, "fetchq."):
        importlib.import_module(module.name)
    importlib.import_module("aiofiles")  # which every run that writes a file imports
    server = Server(sys.argv[1])
    print("ready", flush=True)
    gc.collect()
    gc.freeze()
    request = server.serve()
    if request is None:
        return 0
    become(request)
    from fetchq.__main__ import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
