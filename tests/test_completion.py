"""Completion as shells do it: the scripts are run, and keys are pressed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect  # type: ignore[import-untyped] # it has no types
import pytest

from fetchq._cli.completion import SHELLS
from fetchq._cli.options import OPTIONS

from .conftest import RunFetchq

# What is typed before the TAB, and the arguments then.
TYPED = [
    ("--prog", ["--progress"]),
    ("--progress pl", ["--progress", "plain"]),
    ("--progress=pl", ["--progress=plain"]),
    ("--if-exists over", ["--if-exists", "overwrite"]),
    ("--no-xa", ["--no-xattr"]),
    ("-i que", ["-i", "queue file.txt"]),
    ("https://host.example/a -i que", ["https://host.example/a", "-i", "queue file.txt"]),
    ("-d fol", ["-d", "folder"]),
    ("demo --ke", ["demo", "--keep"]),
    ("veri", ["verify"]),
    ("verify --allow-u", ["verify", "--allow-unlisted"]),
    ("get --no-xa", ["get", "--no-xattr"]),
    ("help coming", ["help", "coming-from"]),
    ("completion z", ["completion", "zsh"]),
    ("--no-such-opt", ["--no-such-opt"]),
]


def need(shell: str) -> str:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    return path


@pytest.fixture
def here(tmp_path: Path, run_fetchq: RunFetchq) -> Path:
    """A folder with files to complete, and the scripts."""
    folder = tmp_path / "here"
    (folder / "folder").mkdir(parents=True)
    (folder / "folded.txt").write_text("")
    (folder / "queue file.txt").write_text("")
    for shell in SHELLS:
        (tmp_path / shell).write_text(run_fetchq("completion", shell).stdout)
    return folder


def typed(command: str, words: list[str], setup: str, here: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what was typed, the arguments that were wanted, and those that a shell passed on."""
    env = {**os.environ, "TERM": "dumb", "HOME": str(here.parent), "PS1": "> ", "INPUTRC": "/dev/null"}
    shell = pexpect.spawn(command, words, cwd=here, env=env, encoding="utf-8", timeout=20, dimensions=(50, 400))
    try:
        shell.sendline(f"{setup}; fetchq() {{ printf '<%s>' \"$@\"; echo; echo end; }}; echo rea''dy")
        shell.expect("ready")
        for text, wanted in TYPED:
            shell.send(f"fetchq {text}\t")
            shell.send("\r")
            shell.expect(r"[\r\n](<[^\r\n]*>)\r+\nend")
            yield text, wanted, re.findall("<([^>]*?)/?>", shell.match[1])
    finally:
        shell.close(force=True)


def test_bash_completes(here: Path) -> None:
    setup = f"bind 'set enable-bracketed-paste off'; source {here.parent}/bash"
    for text, wanted, found in typed(need("bash"), ["--norc", "--noprofile", "-i"], setup, here):
        assert found == wanted, text


def test_zsh_completes(here: Path) -> None:
    setup = f"unsetopt zle_bracketed_paste prompt_cr 2>/dev/null; source {here.parent}/zsh"
    for text, wanted, found in typed(need("zsh"), ["-f", "-i"], setup, here):
        assert found == wanted, text


def test_fish_completes(here: Path) -> None:
    for text, wanted in TYPED:
        script = f"source {here.parent}/fish; complete -C 'fetchq {text}'"
        done = subprocess.run(
            [need("fish"), "--no-config", "-c", script], cwd=here, capture_output=True, text=True, check=True
        )
        found = [line.partition("\t")[0].replace("\\ ", " ").rstrip("/") for line in done.stdout.splitlines()]
        if wanted[-1] == "--no-such-opt":
            assert found == []
        else:
            assert wanted[-1] in found, text


@pytest.mark.parametrize("shell", SHELLS)
def test_every_option_is_in_each_script(run_fetchq: RunFetchq, shell: str) -> None:
    done = run_fetchq("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    for option in OPTIONS:
        for name in option.shown:
            shown = (
                name if shell != "fish" else f"-l {name[2:]} " if name.startswith("--") else f"-s {name[1:]} "
            )
            assert shown in done.stdout


def test_a_shell_must_be_named(run_fetchq: RunFetchq) -> None:
    for words in (["completion"], ["completion", "tcsh"]):
        done = run_fetchq(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "bash" in done.stderr
