"""The logger ``fetchq``: silent unless asked, and without secrets."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import fetchq

from .conftest import clean_env
from .origin import Origin, drop, generated, status

FILE = generated(2_000_000)
SETTINGS = fetchq.Settings(
    network=fetchq.Network(headers={"X-Key": "hunter2"}, bearer="hunter2", cookies={"a": "hunter2"}),
    retry=fetchq.Retry(backoff=0.01),
)


def test_debug_lines_tell_requests_plans_and_retries_without_secrets(
    origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = origin.serve("/a.bin", FILE, status(503), drop(after=1_000_000))
    caplog.set_level(logging.DEBUG, "fetchq")
    secret = f"{url.replace('//', '//me:hunter2@')}?sig=hunter2"
    fetchq.download(fetchq.Job(secret), dir=tmp_path, settings=SETTINGS)
    lines = [record.getMessage() for record in caplog.records if record.name == "fetchq"]
    text = "\n".join(lines)
    assert "hunter2" not in text
    assert f"GET {url}?***: 503 in " in text
    assert "again in " in text
    assert "answered 503" in text
    assert "a.bin: fresh from byte 0 of 2000000" in text
    assert "a.bin: resume from byte " in text
    assert "a.bin: done, 2000000 bytes" in text
    assert {record.levelname for record in caplog.records if record.name == "fetchq"} == {"DEBUG"}


def test_nothing_is_logged_or_printed_unasked(origin: Origin, tmp_path: Path) -> None:
    gone = origin.serve("/gone", FILE, status(404), repeat=True)
    code = (
        "import fetchq, logging\n"
        f"try: fetchq.download({gone!r})\n"
        "except fetchq.StatusError: pass\n"
        "print([type(each).__name__ for each in logging.getLogger('fetchq').handlers])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=tmp_path,
        env=clean_env(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "['NullHandler']\n"
    assert done.stderr == ""


def test_lines_hold_no_control_characters(
    origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fetchq")
    with pytest.raises(fetchq.UsageError):
        fetchq.download("http://127.0.0.1:9/a\x1b[2J\n2026 ERROR forged", dir=tmp_path)
    assert all(record.getMessage().isprintable() for record in caplog.records if record.name == "fetchq")
    assert caplog.records
