"""HTTP/2 from a server that misbehaves, one named behaviour at a time: the file comes, and comes right."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

import fetchq

from .. import http2_origin as origin
from ..conftest import run

BODY = os.urandom(3_000_000)


def fetched(
    authority: Path,
    folder: Path,
    behaviours: Sequence[origin.Behaviour],
    content: bytes | None = None,
    **fields: Any,
) -> tuple[fetchq.Result, origin.Http2Origin]:
    network = fetchq.Network(
        http2=True, cacert=authority / "ca.pem", env=False, read_timeout=1.0, write_timeout=1.0
    )
    settings = fetchq.Settings(network=network, retry=fetchq.Retry(backoff=0.01, retries=3))
    closed: origin.Settings = {SettingCodes.INITIAL_WINDOW_SIZE: 0} if content else {}

    async def work() -> tuple[fetchq.Result, origin.Http2Origin]:
        async with origin.serving(authority, BODY, *behaviours, settings=closed) as server:
            method = "POST" if content or fields else "GET"
            wanted = fetchq.Job(server.url, content=content, method=method, **fields)
            async with fetchq.Downloader(settings, dir=folder) as downloader:
                results = [result async for result in downloader.run([wanted])]
        return results[0], server

    return run(work())


@pytest.mark.parametrize(
    "behaviour",
    [origin.changes_settings, origin.trails, origin.informs, origin.pads, origin.bows_out, origin.well],
    ids=lambda each: each.__name__,
)
def test_what_is_odd_and_right_costs_no_attempt(
    behaviour: origin.Behaviour, authority: Path, tmp_path: Path
) -> None:
    result, server = fetched(authority, tmp_path, [behaviour])
    assert result.error is None
    assert (tmp_path / "file").read_bytes() == BODY
    assert (result.attempts, server.connections) == (1, 1)
    # The windows are opened again and again: 3 MB pass where 64 KiB were offered at first.
    assert server.updates >= 1


@pytest.mark.parametrize(
    "behaviour",
    [origin.goes_away, origin.cuts, origin.ends_early, origin.pauses],
    ids=lambda each: each.__name__,
)
def test_what_breaks_off_is_resumed(behaviour: origin.Behaviour, authority: Path, tmp_path: Path) -> None:
    result, server = fetched(authority, tmp_path, [behaviour])
    assert result.error is None
    assert (tmp_path / "file").read_bytes() == BODY
    assert result.attempts == 2
    assert server.asked[0] is None
    assert str(server.asked[1]).startswith("bytes=")


def test_a_frame_that_is_too_large_is_not_waited_for(authority: Path, tmp_path: Path) -> None:
    result, _ = fetched(authority, tmp_path, [origin.swells])
    assert isinstance(result.error, fetchq.ProtocolError)
    assert "not proper http/2" in str(result.error)


@pytest.mark.parametrize("code", list(ErrorCodes), ids=lambda code: code.name)
@pytest.mark.parametrize("make", [origin.resets, origin.refuses], ids=lambda each: each.__name__)
def test_a_stream_that_is_reset_is_asked_again(
    make: Callable[[ErrorCodes], origin.Behaviour], code: ErrorCodes, authority: Path, tmp_path: Path
) -> None:
    result, server = fetched(authority, tmp_path, [make(code)])
    assert result.error is None, result.error
    assert (tmp_path / "file").read_bytes() == BODY
    assert len(server.asked) == 2


@pytest.mark.parametrize(("code", "asked"), [(ErrorCodes.REFUSED_STREAM, 2), (ErrorCodes.CANCEL, 1)])
def test_a_form_that_was_refused_unread_is_read_from_disk_again(
    code: ErrorCodes, asked: int, authority: Path, tmp_path: Path
) -> None:
    (tmp_path / "up.bin").write_bytes(bytes(1000))
    result, server = fetched(authority, tmp_path, [origin.refuses(code)], files={"f": tmp_path / "up.bin"})
    assert (result.error is None) is (asked == 2)
    assert len(server.asked) == asked


@pytest.mark.parametrize(("method", "asked"), [("GET", 3), ("POST", 2)])
def test_a_kept_connection_that_ends_is_no_reason_to_post_twice(
    method: str, asked: int, authority: Path, tmp_path: Path
) -> None:
    async def work() -> tuple[list[fetchq.Result], int]:
        network = fetchq.Network(http2=True, cacert=authority / "ca.pem", env=False)
        settings = fetchq.Settings(network=network, retry=fetchq.Retry(retries=0), queue=fetchq.Queue(jobs=1))
        async with origin.serving(authority, BODY, origin.well, origin.vanishes) as server:
            jobs = [fetchq.Job(server.url, name, method=method) for name in ("first", "second")]
            async with fetchq.Downloader(settings, dir=tmp_path) as downloader:
                return [result async for result in downloader.run(jobs)], len(server.asked)

    results, count = run(work())
    # In the order of ending, and the first file may still be on its way to the disk.
    failed = [result.job.out for result in results if result.error is not None]
    assert (failed, count) == ([] if asked == 3 else ["second"], asked)


def test_a_window_that_never_opens_ends_at_the_time_limit(authority: Path, tmp_path: Path) -> None:
    result, _ = fetched(authority, tmp_path, [origin.pauses] * 9, bytes(200_000))
    assert isinstance(result.error, fetchq.NetworkError)
    assert not list(tmp_path.iterdir())
