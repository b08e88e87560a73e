"""Type checkers accept what a program may write, and refuse what it may not."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fetchq

SURFACE = Path(__file__).with_name("typed_surface.py")


def test_every_public_name_is_used_by_the_typed_program() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(SURFACE.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fetchq"
    }
    assert set(fetchq.__all__) <= used


@pytest.mark.timeout(300)
def test_mypy_agrees(tmp_path: Path) -> None:
    # As for an installed package, nothing is said about its own modules: its stubs may not be there.
    words = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-incremental",
        "--follow-imports=silent",
        str(SURFACE),
    ]
    done = subprocess.run(words, cwd=SURFACE.parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_pyright_agrees() -> None:
    pyright = shutil.which("pyright") or shutil.which("pyright", path=sysconfig.get_path("scripts"))
    if pyright is None:
        pytest.skip("pyright is not installed")
    words = [pyright, "--pythonpath", sys.executable, str(SURFACE)]
    done = subprocess.run(words, cwd=SURFACE.parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
