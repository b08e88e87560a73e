"""``fetchq`` as a process of its own, without the time that Python takes to start and to import it.

Each worker of the tests has one :mod:`server <tests.fork_server.server>`, which has imported ``fetchq`` and
forks for each command. What a test starts is the small :mod:`client <tests.fork_server.client>`: it hands its
words, environment, folder and standard streams over, waits, and ends with the command's exit code.

The command cannot tell: it runs :func:`fetchq.__main__.main` in a fresh process and ends as Python ends, and
signals are passed on to it. But the client's process id is not the command's, user and limits are the server's,
and nothing is seen of the start. Where a test needs one of these, :data:`PYTHON_M` is the command.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYTHON_M = [sys.executable, "-m", "fetchq"]
# Sent to the client, it is SIGKILL for the command.
KILL = signal.SIGUSR2


def command() -> list[str]:
    """Return the words that run ``fetchq``; further words are its arguments."""
    _, path = _server()
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("client.py")), str(path)]


def kill(process: subprocess.Popen[Any]) -> None:
    """Kill the command whose client *process* is, and wait until it is dead."""
    process.send_signal(KILL)
    process.wait()


def end() -> None:
    """End this process's server, if it has one."""
    if _server.cache_info().currsize:
        process, path = _server()
        process.communicate()
        shutil.rmtree(path.parent)
        _server.cache_clear()


@cache
def _server() -> tuple[subprocess.Popen[bytes], Path]:
    from ..conftest import clean_env

    path = Path(tempfile.mkdtemp(prefix="fork-server-")) / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", f"{__name__}.server", str(path)],
        cwd=ROOT,
        env=clean_env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process, path
