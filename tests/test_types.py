"""Type checkers accept what a program may write, and refuse what it may not."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
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
def test_pyright_agrees(tmp_path: Path) -> None:
    # basedpyright is pyright with a Node of its own: pyright's package fetches both when it is first run.
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps({"typeCheckingMode": "strict", "include": [str(SURFACE)]}))
    words = [
        sys.executable,
        "-m",
        "basedpyright",
        "--project",
        str(config),
        "--pythonpath",
        sys.executable,
    ]
    done = subprocess.run(words, cwd=SURFACE.parent.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
