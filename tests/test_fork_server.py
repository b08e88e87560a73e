"""``fetchq`` forked from a server is the command that ``python -m fetchq`` is."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from . import fork_server
from .conftest import clean_env, until
from .origin import Origin, generated, stall

TIMES = re.compile(r"""[\d.]+ .iB/s|"(time|elapsed)": [\d.]+""")


def start(command: list[str], *words: str, cwd: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "--no-env", *words],
        cwd=cwd,
        env=clean_env({"HOME": str(cwd), **env}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "given", "code"),
    [
        (["--version"], "", 0),
        (["-o", "-", "URL"], "", 0),
        (
            ["-i", "-", "--progress", "json", "--no-store", "--retries", "0", "--patience", "0"],
            "file:///no\nhttp://127.0.0.1:1/ü\n",
            2,
        ),
        (["-o", "ü/", "http://127.0.0.1:1/", "-j", "0"], "", 2),
        (["--retries", "0", "--patience", "0", "http://127.0.0.1:1/"], "", 4),
        ([], "", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_command_is_the_same(
    origin: Origin, tmp_path: Path, words: list[str], given: str, code: int
) -> None:
    words = [word.replace("URL", origin.serve("/a", b"data" * 50_000)) for word in words]
    ended = []
    for command in (fork_server.command(), fork_server.PYTHON_M):
        with start(command, *words, cwd=tmp_path, COLUMNS="70") as process:
            out, err = process.communicate(given, timeout=20)
        ended.append((process.returncode, TIMES.sub("", out), TIMES.sub("", err)))
    assert ended[0] == ended[1]
    assert ended[0][0] == code


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (fork_server.KILL, 137),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_signals_reach_it(origin: Origin, tmp_path: Path, number: signal.Signals, code: int) -> None:
    url = origin.serve("/f.bin", generated(1 << 20), stall(after=100_000))
    with start(fork_server.command(), url, cwd=tmp_path) as process:
        until((tmp_path / "f.bin.part").exists)
        process.send_signal(number)
        assert process.wait(20) == code
    origin.settle()
    assert origin.requests[0].closed_early


@pytest.mark.parametrize("name", ["PYTHONIOENCODING", "LC_ALL"])
def test_what_only_python_m_obeys_is_refused(tmp_path: Path, name: str) -> None:
    with start(fork_server.command(), "--version", cwd=tmp_path, **{name: "ascii"}) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err == f"['{name}'] are read when Python starts: PYTHON_M is the command for this test\n"
