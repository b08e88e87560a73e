"""A file of the download's size and date, of which nothing is on record, is the download if its ends are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fetchq
from fetchq._retry import http_date

from ..conftest import run
from ..origin import Origin, generated

SIZE, DATE = 1_500_000, "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("at", "status"), [(None, "skipped"), (0, "done"), (60_000, "done"), (SIZE - 60_000, "done"), (-1, "done")]
)
def test_a_file_is_compared_at_both_ends_before_it_is_taken_for_the_download(
    origin: Origin, tmp_path: Path, at: int | None, status: str
) -> None:
    resource = generated(SIZE, etag=None, last_modified=DATE)
    there = bytearray(resource.data)
    if at is not None:
        there[at] ^= 1
    path = tmp_path / "f.bin"
    path.write_bytes(there)
    date = http_date(DATE) or 0.0
    os.utime(path, (date, date))
    url = origin.serve("/f.bin", resource, repeat=True)
    settings = fetchq.Settings(network=fetchq.Network(env=False), queue=fetchq.Queue(connections=1))

    result = run(fetchq.adownload(url, dir=tmp_path, settings=settings))

    assert result.status == status
    assert result.path is not None
    assert result.path.read_bytes() == resource.data
    assert path.read_bytes() == there
