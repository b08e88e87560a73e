"""``--update`` against real servers: what did not change is not moved, and no file is lost for what did."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from .conftest import RunFetchq
from .servers import Server, apache, caddy, nginx

OLD = 1_600_000_000


def bare_nginx(root: Path) -> AbstractContextManager[Server]:
    """Sends neither ETag nor date."""
    return nginx(root, extra='etag off; if_modified_since off; add_header Last-Modified "";')


def dated_nginx(root: Path) -> AbstractContextManager[Server]:
    return nginx(root, extra="etag off;")


def weak_nginx(root: Path) -> AbstractContextManager[Server]:
    """Makes its ETags weak, as it does where it may compress, and compresses what may be."""
    return nginx(root, compress=True)


def unconditional_nginx(root: Path) -> AbstractContextManager[Server]:
    """Sends validators, and 200 with the body whatever is asked."""
    return nginx(root, extra="if_modified_since off; etag off; add_header ETag '\"same\"';")


Make = Callable[[Path], AbstractContextManager[Server]]


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Server]:
    make: Make = request.param
    with tempfile.TemporaryDirectory() as folder:  # Apache's user may not look into pytest's
        root = Path(folder)
        root.chmod(0o755)
        for number in range(12):
            publish(root, number, f"bytes of {number}")
        with make(root) as server:
            yield server


def publish(root: Path, number: int, text: str, date: int = OLD) -> None:
    path = root / f"{number}.bin"
    path.write_text(text * 50)
    os.utime(path, (date, date))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.*") if not path.name.startswith(".")}


@pytest.mark.parametrize("store", [True, False], ids=["store", "no store"])
@pytest.mark.parametrize(
    "served",
    [nginx, apache, caddy, dated_nginx, weak_nginx],
    indirect=True,
    ids=lambda make: make.__name__,
)
def test_what_did_not_change_is_not_moved(
    run_fetchq: RunFetchq, served: Server, tmp_path: Path, store: bool
) -> None:
    (tmp_path / "q.txt").write_text("".join(served.url(f"{number}.bin\n") for number in range(12)))
    words = ["-i", "q.txt", "-d", "out", "--update", *([] if store else ["--no-store"])]
    assert "12 done" in run_fetchq(*words).stderr
    moved = served.body_bytes
    assert "12 skipped" in run_fetchq(*words).stderr
    assert [entry.status for entry in served.entries()[12:]] == [304] * 12
    publish(served.root, 3, "a newer and longer text", OLD + 100)
    (served.root / "4.bin").unlink()
    (tmp_path / "out/5.bin").write_text("mine")
    done = run_fetchq(*words)
    assert (done.returncode, "2 done, 9 skipped, 1 failed" in done.stderr) == (8, True), done.stderr
    here = contents(tmp_path / "out")
    assert (here["3.bin"], here["4.bin"]) == ("a newer and longer text" * 50, "bytes of 4" * 50)
    # What the user altered stays, and the server's is beside it.
    assert (here["5.bin"], here["5.1.bin"]) == ("mine", "bytes of 5" * 50)
    assert served.body_bytes == moved + len(here["3.bin"]) + len(here["5.1.bin"])
    again = run_fetchq(*words)
    assert (again.returncode, "11 skipped, 1 failed" in again.stderr) == (8, True), again.stderr
    assert served.body_bytes == moved + len(here["3.bin"]) + len(here["5.1.bin"])
    assert contents(tmp_path / "out") == here


@pytest.mark.parametrize(
    "served", [bare_nginx, unconditional_nginx], indirect=True, ids=lambda make: make.__name__
)
def test_without_conditions_the_file_is_fetched_and_stays_one(
    run_fetchq: RunFetchq, served: Server, tmp_path: Path
) -> None:
    words = ["-d", "out", "--update", "-i", "-"]
    for _ in range(3):
        assert run_fetchq(*words, input=served.url("1.bin")).returncode == 0
        assert contents(tmp_path / "out") == {"1.bin": "bytes of 1" * 50}
    publish(served.root, 1, "new")
    assert run_fetchq(*words, input=served.url("1.bin")).returncode == 0
    assert contents(tmp_path / "out") == {"1.bin": "new" * 50}
