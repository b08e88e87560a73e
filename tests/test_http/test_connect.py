"""Host and port to socket: which address is used, and that no socket is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fetchq._http.http11 import connect as _connect
from fetchq._http.http11.connect import SocketAddress

from ..conftest import run
from .sites import step


def listening(*ports: int) -> Callable[[str, int], Coroutine[Any, Any, list[SocketAddress]]]:
    """A resolver that finds these ports of this machine under any name."""

    async def resolve(_host: str, _port: int) -> list[SocketAddress]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]

    return resolve


def test_the_first_address_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(silent: int, refusing: int, answering: int) -> None:
        monkeypatch.setattr(_connect, "_ATTEMPT_DELAY", 0.01)
        for ports in ((refusing, answering), (silent, answering), (silent, refusing, answering)):
            monkeypatch.setattr(_connect, "_resolve", listening(*ports))
            with await _connect.dial("host", 80) as sock:
                assert sock.getpeername()[1] == answering
        monkeypatch.setattr(_connect, "_resolve", listening(refusing, refusing))
        with pytest.raises(ConnectionRefusedError):
            await _connect.dial("host", 80)

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket() as unused,
        contextlib.ExitStack() as stack,
    ):
        unused.bind(("127.0.0.1", 0))
        for _ in range(4):  # once its queue is full, a listener leaves further connections waiting
            sock = stack.enter_context(socket.socket())
            sock.settimeout(0)
            sock.connect_ex(full.getsockname())
        run(work(full.getsockname()[1], unused.getsockname()[1], listener.getsockname()[1]))
    gc.collect()


def test_the_families_take_turns() -> None:
    def at(family: int, number: int) -> SocketAddress:
        return (family, socket.SOCK_STREAM, 0, "", number)

    six = [at(socket.AF_INET6, number) for number in range(3)]
    four = [at(socket.AF_INET, number) for number in range(2)]
    assert list(_connect._interleaved([*six, *four])) == [six[0], four[0], six[1], four[1], six[2]]


def test_cancelling_while_connecting_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(port: int) -> None:
        monkeypatch.setattr(_connect, "_resolve", listening(port, port))
        for turns in range(20):
            task = asyncio.create_task(_connect.dial("host", port))
            await step(task, turns)
            task.cancel()
            for result in await asyncio.gather(task, return_exceptions=True):
                if isinstance(result, socket.socket):
                    result.close()

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        run(work(listener.getsockname()[1]))
    gc.collect()  # an open socket would be a ResourceWarning, which is an error here
