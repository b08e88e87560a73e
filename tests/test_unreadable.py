"""Files that the user may not read: one sentence that names the file and what refused it, and no request."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NOBODY = 65534
# Nobody listens there: a request would end with exit code 4.
URL = "https://127.0.0.1:1/x"
CASES = {
    "-i secret": (2, "The queue file secret cannot be read: Permission denied."),
    "-i secret.jsonl": (2, "The queue file secret.jsonl cannot be read: Permission denied."),
    "-i locked/q.txt": (2, "The queue file locked/q.txt cannot be read: Permission denied."),
    "--follow -i secret": (2, "The queue file secret cannot be read: Permission denied."),
    f"--checksums secret {URL}": (2, "secret cannot be read: Permission denied."),
    f"--netrc-file secret {URL}": (2, "'secret' is not readable."),
    f"--load-cookies secret {URL}": (2, "'secret' is not readable."),
    f"--cacert secret {URL}": (2, "'secret' is not readable."),
    f"--cert secret {URL}": (2, "'secret' is not readable."),
    f"--config secret {URL}": (2, "'secret' is not readable."),
    f"--data @secret {URL}": (2, "--data @secret: Permission denied."),
    f"--bearer @secret {URL}": (2, "--bearer @secret: Permission denied."),
    f"--form a=@secret {URL}": (2, "secret cannot be read: Permission denied."),
    f"--report locked/r.csv {URL}": (2, "locked/r.csv cannot be written: Permission denied."),
    f"--log locked/log {URL}": (2, "locked/log cannot be written: Permission denied."),
    f"-d locked {URL}": (2, "locked cannot be used as the folder: permission denied"),
    "status locked": (3, "The store locked/.fetchq.db cannot be read (permission denied): name another file."),
    "list locked": (3, "The store locked/.fetchq.db cannot be read (permission denied): name another file."),
    "verify locked": (3, "The store locked/.fetchq.db cannot be read (permission denied): name another file."),
    "status closed": (3, "The store closed/.fetchq.db cannot be read (permission denied): name another file."),
}
# The modules are imported first: where Python itself is installed another user may not look.
CHILD = """
import contextlib, importlib, io, json, os, pkgutil, sys
import fetchq
for module in pkgutil.walk_packages(fetchq.__path__, "fetchq."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from fetchq._cli import main
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
ended = {}
for words in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        ended[words] = main(words.split()), said.getvalue()
print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def ended() -> Iterator[dict[str, tuple[int, str]]]:
    """How each of the cases ended, in a folder whose secrets are root's, or may be read by nobody."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    for name in ("secret", "secret.jsonl"):
        (folder / name).write_text(URL)
        (folder / name).chmod(0)
    (folder / "locked").mkdir(mode=0)
    (folder / "closed").mkdir(mode=0o755)
    (folder / "closed/.fetchq.db").write_text("")
    (folder / "closed/.fetchq.db").chmod(0)
    done = subprocess.run(
        [sys.executable, "-c", CHILD.replace("NOBODY", str(NOBODY))],
        input=json.dumps([*CASES]),
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "HOME": str(folder)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    yield json.loads(done.stdout)
    (folder / "locked").chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize("words", CASES)
def test_what_may_not_be_read_is_named(words: str, ended: dict[str, tuple[int, str]]) -> None:
    code, told = CASES[words]
    assert ended[words][0] == code, ended[words][1]
    assert told in ended[words][1]
    assert "Traceback" not in ended[words][1]
