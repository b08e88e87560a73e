"""``--update``: finished files are asked about, and only what changed is moved."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from .conftest import RunFetchq
from .origin import Origin, drop, generated, literal, status

NEW = b"new and longer"


def serve(origin: Origin, path: str, body: bytes, tag: str, *, name: str = "") -> str:
    heads = (("Content-Disposition", f'attachment; filename="{name}"'),) if name else ()
    return origin.serve(path, literal(body, etag=tag, headers=heads))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize("store", [True, False])
def test_only_what_changed_is_moved(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, store: bool) -> None:
    urls = [serve(origin, f"/{number}.bin", b"old%d" % number, f'"{number}"') for number in range(20)]
    (tmp_path / "q.txt").write_text("\n".join(urls))
    words = ["-i", "q.txt", "-d", "out", "--update", *([] if store else ["--no-store"])]
    assert "20 done" in run_fetchq(*words).stderr
    sent = origin.sent
    assert "20 skipped" in run_fetchq(*words).stderr
    assert len(origin.requests) == 40
    assert {request.status for request in origin.requests[20:]} == {304}
    assert origin.sent == sent
    serve(origin, "/7.bin", NEW, '"7b"')
    assert "1 done, 19 skipped" in run_fetchq(*words).stderr
    assert origin.sent == sent + len(NEW)
    expected = {f"{number}.bin": b"old%d" % number for number in range(20)} | {"7.bin": NEW}
    assert files(tmp_path / "out") == expected
    assert "20 skipped" in run_fetchq(*words).stderr


def test_a_file_that_the_server_named_is_found_by_its_record(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    url = serve(origin, "/download", b"old", '"1"', name="report.csv")
    words = ["-i", "-", "-d", "out", "--update"]
    run_fetchq(*words, input=url)
    run_fetchq(*words, input=url)
    assert [request.status for request in origin.requests] == [200, 304]
    serve(origin, "/download", NEW, '"2"', name="report-2.csv")
    assert run_fetchq(*words, input=url).returncode == 0
    assert files(tmp_path / "out") == {"report.csv": NEW}


def test_without_the_option_nothing_is_asked(run_fetchq: RunFetchq, origin: Origin) -> None:
    url = serve(origin, "/a.bin", b"old", '"1"')
    run_fetchq("-i", "-", input=url)
    run_fetchq("-i", "-", input=url)
    assert len(origin.requests) == 1


def test_a_file_is_whole_while_its_newer_version_fails(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    url = serve(origin, "/a.bin", b"old", '"1"')
    words = ["-i", "-", "-d", "out", "--update", "--retries", "0", "--patience", "0"]
    assert run_fetchq(*words, input=url).returncode == 0
    origin.serve("/a.bin", b"", status(404), repeat=True)
    assert run_fetchq(*words, input=url).returncode == 8
    assert files(tmp_path / "out") == {"a.bin": b"old"}
    new = generated(3 << 20, etag='"2"')
    origin.serve("/a.bin", new, drop(2 << 20))
    assert run_fetchq(*words, input=url).returncode == 4
    assert (tmp_path / "out/a.bin").read_bytes() == b"old"
    # The next run goes on with the newer version.
    assert run_fetchq(*words, input=url).returncode == 0
    assert new.sha256 == sha256((tmp_path / "out/a.bin").read_bytes()).hexdigest()
    assert set(files(tmp_path / "out")) == {"a.bin"}
    assert origin.ranges("/a.bin")[-1] is not None


def test_a_file_that_was_altered_by_hand_is_not_taken_for_the_servers(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    line = json.dumps({"url": serve(origin, "/a.bin", b"old", '"1"'), "out": "a.bin"})
    words = ["-i", "-", "-d", "out", "--update"]
    run_fetchq(*words, input=line)
    (tmp_path / "out/a.bin").write_bytes(b"mine")
    assert run_fetchq(*words, input=line).returncode == 0
    assert (tmp_path / "out/a.bin").read_bytes() == b"old"
