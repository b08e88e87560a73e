"""A link that has expired is replaced by a new one, and the same bytes go on."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._api import refresh as _refresh
from fetchq._settings import MIB

from .conftest import RunFetchq, run
from .origin import Answer, Origin, drop, generated, ignore_range, redirect, status

FILE = generated(3 * MIB)
CUT = MIB
QUICK = fetchq.Settings(
    network=fetchq.Network(env=False),
    retry=fetchq.Retry(retries=1, backoff=0.0),
    queue=fetchq.Queue(connections=1),
)
Link = str | fetchq.Job | None


def fetched(
    job: fetchq.Job,
    folder: Path,
    refresh: Callable[[fetchq.Job, fetchq.FetchError], Link | Awaitable[Link]],
    settings: fetchq.Settings = QUICK,
) -> tuple[fetchq.Result, list[fetchq.Event]]:
    events: list[fetchq.Event] = []

    async def main() -> fetchq.Result:
        async with fetchq.Downloader(
            settings, dir=folder, refresh=refresh, observers=[events.append]
        ) as downloader:
            (result,) = [result async for result in downloader.run([job])]
            return result

    return run(main()), events


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_in_mid_download_only_what_is_missing_is_fetched(origin: Origin, tmp_path: Path, code: int) -> None:
    old = origin.serve("/old.bin", FILE, drop(after=CUT), status(code), repeat=True)
    # Another server may have other validators for the same bytes.
    new = origin.serve("/new.bin", replace(FILE, etag='"another"', last_modified=None))
    asked: list[tuple[fetchq.Job, fetchq.FetchError]] = []

    def refresh(job: fetchq.Job, error: fetchq.FetchError) -> str:
        asked.append((job, error))
        return new

    result, _ = fetched(fetchq.Job(old, id="7"), tmp_path, refresh)
    assert result.error is None
    assert (tmp_path / "old.bin").read_bytes() == FILE.data
    assert [(job.id, getattr(error, "status", 0)) for job, error in asked] == [("7", code)]
    (request,) = origin.asked("/new.bin")
    start = int(request.headers["range"].removeprefix("bytes=").partition("-")[0])
    assert CUT - 64 * 1024 <= start < CUT, "an overlap is compared"
    assert "if-range" not in request.headers


def test_a_part_of_an_earlier_run_goes_on_with_the_new_link(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq
) -> None:
    old = origin.serve("/f.bin", FILE, drop(after=CUT), status(403), repeat=True)
    new = origin.serve("/signed", FILE)
    assert run_fetchq("--retries", "0", f"{old}?sig=1").returncode == 4
    done = run_fetchq("--refresh", f"echo {new}", f"{old}?sig=1")
    assert done.returncode == 0, done.stderr
    assert "resumed  f.bin" in done.stderr
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert [path.name for path in tmp_path.glob("*")] == ["f.bin"]
    assert origin.asked("/signed")[0].headers["range"]


def test_a_large_file_over_several_connections(origin: Origin, tmp_path: Path) -> None:
    file = generated(24 * MIB)
    uses = 0

    def expires(answer: Answer) -> None:
        nonlocal uses
        uses += 1
        (status(403) if uses > 2 else drop(after=2 * MIB))(answer)

    old = origin.serve("/f.bin", file, expires, repeat=True)
    new = origin.serve("/new.bin", file)
    settings = replace(QUICK, queue=fetchq.Queue(connections=4))
    result, _ = fetched(fetchq.Job(old), tmp_path, lambda job, error: new, settings)
    assert result.error is None
    assert (tmp_path / "f.bin").read_bytes() == file.data
    assert sum(request.sent for request in origin.asked("/new.bin")) < file.size


@pytest.mark.parametrize("ranges", [True, False])
def test_a_link_to_another_length_is_not_followed(origin: Origin, tmp_path: Path, ranges: bool) -> None:
    old = origin.serve("/f.bin", FILE, drop(after=CUT), status(403), repeat=True)
    script = [] if ranges else [ignore_range]
    new = origin.serve("/other.bin", generated(2 * MIB), *script, repeat=True)
    result, _ = fetched(fetchq.Job(old), tmp_path, lambda job, error: new)
    assert isinstance(result.error, fetchq.ChangedError)
    assert "leads to another file than what is here, which is kept" in str(result.error)
    assert (tmp_path / "f.bin.part").stat().st_size >= CUT
    assert not (tmp_path / "f.bin").exists()


def test_a_link_to_other_bytes_of_that_length_is_not_followed(origin: Origin, tmp_path: Path) -> None:
    old = origin.serve("/f.bin", FILE, drop(after=CUT), status(403), repeat=True)
    new = origin.serve("/other.bin", generated(3 * MIB, seed=9))
    result, _ = fetched(fetchq.Job(old), tmp_path, lambda job, error: new)
    assert isinstance(result.error, fetchq.ChangedError)
    assert "which is kept" in str(result.error)
    # The right link, later, goes on with what was kept.
    result, _ = fetched(fetchq.Job(old), tmp_path, lambda job, error: origin.serve("/right.bin", FILE))
    assert (result.status, (tmp_path / "f.bin").read_bytes()) == ("resumed", FILE.data)


def test_a_server_without_ranges_sends_all_again(origin: Origin, tmp_path: Path) -> None:
    old = origin.serve("/f.bin", FILE, drop(after=CUT), status(403), repeat=True)
    new = origin.serve("/new.bin", FILE, ignore_range, repeat=True)
    result, _ = fetched(fetchq.Job(old), tmp_path, lambda job, error: new)
    assert (result.error, (tmp_path / "f.bin").read_bytes()) == (None, FILE.data)


def test_links_that_do_not_work_either_are_three_in_a_row(origin: Origin, tmp_path: Path) -> None:
    old = origin.serve("/f.bin", FILE, status(403), repeat=True)
    asked: list[str] = []

    def refresh(job: fetchq.Job, error: fetchq.FetchError) -> str:
        asked.append(origin.serve(f"/{len(asked)}.bin", FILE, status(403), repeat=True))
        return asked[-1]

    result, _ = fetched(fetchq.Job(old), tmp_path, refresh)
    assert isinstance(result.error, fetchq.StatusError)
    assert len(asked) == 3


def test_links_that_expire_one_after_the_other(origin: Origin, tmp_path: Path) -> None:
    old = origin.serve("/f.bin", FILE, drop(after=CUT // 2), status(403), repeat=True)
    asked: list[str] = []

    def refresh(job: fetchq.Job, error: fetchq.FetchError) -> str:
        asked.append(origin.serve(f"/{len(asked)}.bin", FILE, drop(after=CUT // 2), status(410), repeat=True))
        return asked[-1]

    result, _ = fetched(fetchq.Job(old), tmp_path, refresh)
    assert (result.error, (tmp_path / "f.bin").read_bytes()) == (None, FILE.data)
    assert len(asked) == 6  # each brings half a MiB but for its overlap


@pytest.mark.parametrize("code", [400, 451, 500])
def test_other_errors_are_no_expired_link(origin: Origin, tmp_path: Path, code: int) -> None:
    old = origin.serve("/f.bin", FILE, status(code), repeat=True)
    settings = replace(QUICK, retry=fetchq.Retry(retries=0))
    result, _ = fetched(fetchq.Job(old), tmp_path, lambda job, error: pytest.fail("not asked"), settings)
    assert isinstance(result.error, fetchq.StatusError)


def test_mirrors_come_first(origin: Origin, tmp_path: Path) -> None:
    old = origin.serve("/f.bin", FILE, status(404), repeat=True)
    mirror = origin.serve("/mirror.bin", FILE)
    job = fetchq.Job(old, mirrors=(mirror,))
    assert fetched(job, tmp_path, lambda job, error: pytest.fail("not asked"))[0].ok


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_request_with_a_body_goes_on_at_its_own_server_alone(
    origin: Origin, tmp_path: Path, method: str
) -> None:
    old = origin.serve("/up", FILE, status(401), repeat=True)
    new = origin.serve("/new", FILE)
    job = fetchq.Job(old, "answer", method=method, content=b"body", params={"p": "1"})
    result, _ = fetched(job, tmp_path, lambda job, error: fetchq.Job(new, headers={"X-Token": "fresh"}))
    assert result.error is None
    (asked,) = origin.asked("/new")
    assert (asked.method, asked.body, asked.headers["x-token"]) == (method, b"body", "fresh")
    with Origin() as other:
        elsewhere = other.serve("/new", FILE)
        result, events = fetched(replace(job, out="another"), tmp_path, lambda job, error: elsewhere)
        assert isinstance(result.error, fetchq.AuthenticationError)
        assert not other.requests
    told = "it leads to another server, which the request's body is not sent to."
    assert [told in event.message for event in events if isinstance(event, fetchq.Warned)] == [True]


def test_a_post_that_a_redirect_answered_is_not_sent_again(origin: Origin, tmp_path: Path) -> None:
    old = origin.serve("/up", FILE, redirect(origin.serve("/gone", FILE, status(404)), 303), repeat=True)
    job = fetchq.Job(old, "answer", method="POST", content=b"body")
    result, _ = fetched(job, tmp_path, lambda job, error: pytest.fail("not asked"))
    assert isinstance(result.error, fetchq.StatusError)
    assert len(origin.asked("/up")) == 1


@pytest.mark.parametrize("door", ["download", "adownload", "fetch_bytes", "afetch_bytes", "stream"])
def test_each_function_takes_it(origin: Origin, tmp_path: Path, door: str) -> None:
    old = origin.serve("/f.bin", FILE, status(403), repeat=True)
    new = origin.serve("/new.bin", FILE)
    how: dict[str, Any] = {"settings": QUICK, "refresh": lambda job, error: new}

    async def streamed() -> bytes:
        async with fetchq.stream(old, **how) as chunks:
            return b"".join([chunk async for chunk in chunks])

    doors: dict[str, Callable[[], fetchq.Result | bytes]] = {
        "download": lambda: fetchq.download(old, dir=tmp_path, **how),
        "adownload": lambda: run(fetchq.adownload(old, dir=tmp_path, **how)),
        "fetch_bytes": lambda: fetchq.fetch_bytes(old, **how),
        "afetch_bytes": lambda: run(fetchq.afetch_bytes(old, **how)),
        "stream": lambda: run(streamed()),
    }
    found = doors[door]()
    assert (found if isinstance(found, bytes) else (tmp_path / "new.bin").read_bytes()) == FILE.data


def test_a_dry_run_looks_behind_the_new_link(origin: Origin, run_fetchq: RunFetchq) -> None:
    old = origin.serve("/f.bin", FILE, status(403), repeat=True)
    new = origin.serve("/new.bin", FILE)
    done = run_fetchq("--dry-run", "--refresh", f"echo {new}", old)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split() == ["3.0", "MiB", "fresh,", "resumable", "new.bin"]
    done = run_fetchq("--dry-run", "--refresh", "false", old)
    assert done.returncode == 8
    assert "answered 403 (forbidden)" in done.stdout


# --- secrets


def test_secrets_stay_with_the_job_and_the_links_headers_with_the_link(origin: Origin, tmp_path: Path) -> None:
    with Origin() as other, Origin() as third:
        old = origin.serve("/f.bin", FILE, drop(after=CUT), status(403), repeat=True)
        new = other.serve("/new.bin", FILE, redirect(third.serve("/there.bin", FILE)), repeat=True)
        settings = replace(
            QUICK, network=replace(QUICK.network, bearer="token", headers=(("X-Run", "hunter2"),))
        )
        link = fetchq.Job(new, headers=(("X-Link", "swordfish"), ("Cookie", "a=1")))
        result, _ = fetched(
            fetchq.Job(old, headers=(("X-Job", "hunter3"),)), tmp_path, lambda job, error: link, settings
        )
        assert result.error is None
        at_home, on_the_way = origin.asked("/f.bin")[-1].headers, other.asked("/new.bin")[0].headers
        assert {"x-run", "x-job", "authorization"} <= set(at_home)
        assert "x-link" not in at_home
        assert on_the_way["x-link"] == "swordfish"
        assert on_the_way["cookie"] == "a=1"
        assert not {"x-run", "x-job", "authorization"} & set(on_the_way)
        there = third.asked("/there.bin")[0].headers
        assert not {"x-run", "x-job", "authorization", "x-link", "cookie"} & set(there)
        assert there["range"]


# --- the function, and the command


def test_an_async_function(origin: Origin, tmp_path: Path) -> None:
    async def refresh(job: fetchq.Job, error: fetchq.FetchError) -> Link:
        return origin.serve("/new.bin", FILE)

    result, _ = fetched(fetchq.Job(origin.serve("/f.bin", FILE, status(403), repeat=True)), tmp_path, refresh)
    assert result.error is None


def hangs(job: fetchq.Job, error: fetchq.FetchError) -> str:
    threading.Event().wait(20)
    return ""


def broken(job: fetchq.Job, error: fetchq.FetchError) -> str:
    raise KeyError("token")


@pytest.mark.parametrize(
    ("refresh", "told"),
    [
        (lambda job, error: None, "refresh returned none."),
        (lambda job, error: "ftp://host.example/a", "ftp"),
        (lambda job, error: "no URL", "must begin with http"),
        (broken, "refresh failed: KeyError: 'token'"),
        (hangs, "refresh did not return within 0.2 s."),
    ],
    ids=["none", "ftp", "nonsense", "broken", "hangs"],
)
def test_a_function_that_finds_none_is_a_warning_and_the_error_stays(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refresh: Callable[..., Link], told: str
) -> None:
    monkeypatch.setattr(_refresh, "LONGEST", 0.2 if refresh is hangs else 10.0)
    old = origin.serve("/f.bin", FILE, status(403), repeat=True)
    result, events = fetched(fetchq.Job(f"{old}?token=hunter2"), tmp_path, refresh)
    assert isinstance(result.error, fetchq.StatusError)
    warnings = [event.message for event in events if isinstance(event, fetchq.Warned)]
    (warning,) = [message for message in warnings if "link" in message]
    assert warning.startswith(f"No new link for {old}?***: ")
    assert told in warning
    assert len(origin.asked("/f.bin")) == 1


def test_it_must_be_a_function() -> None:
    with pytest.raises(fetchq.UsageError, match="give a function, not str"):
        fetchq.Downloader(refresh="https://host.example")  # type: ignore[arg-type]


def test_the_command_may_print_headers_too(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    old = origin.serve("/f.bin", FILE, status(403), repeat=True)
    new = origin.serve("/new.bin", FILE)
    link = json.dumps({"url": f"{new}?sig=hunter2", "headers": {"X-Link": "hunter3"}})
    command = f"echo asked for $1 $JOB_STATUS >&2; echo {shlex.quote(link)}"
    done = run_fetchq("-v", "--refresh", command, f"{old}?sig=hunter1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new.bin").read_bytes() == FILE.data
    assert origin.asked("/new.bin")[0].headers["x-link"] == "hunter3"
    assert f"asked for {old}?*** 403" in done.stderr
    assert "hunter" not in done.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "it ended with exit code 3."),
        ("true", "refresh returned none."),
        ("echo '{\"link\": 1}'", "no JSON object"),
        ("kill -9 $$", "signal 9 ended it."),
        ("yes", "it printed more than a link."),
    ],
)
def test_a_command_that_finds_none(origin: Origin, run_fetchq: RunFetchq, command: str, told: str) -> None:
    done = run_fetchq("--refresh", command, origin.serve("/f.bin", FILE, status(403), repeat=True))
    assert done.returncode == 8
    assert told in done.stderr
    assert "Traceback" not in done.stderr
