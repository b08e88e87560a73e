"""What is a setting of the run and of a job: the job's own counts, for itself alone."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import fetchq
from fetchq import Job, TLSOptions
from fetchq._cli.options import OPTIONS
from fetchq._http.transport import RoutingTransport
from fetchq._queue_files.fields import FIELDS
from fetchq._settings import Network, Queue, Retry

from .conftest import RunFetchq, run
from .origin import Origin, close_at_once, generated, header, together
from .servers import Server

FILE = b"the file\n"
# The field of a job that stands for an option of another name.
NAMED = {
    "header": "headers",
    "cookie": "cookies",
    "no_redirects": "redirects",
    "referer": "headers",
    "user_agent": "headers",
    **dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout", "pool_timeout"), "timeout"),
}
# What is the run's alone, as `fetchq help queue-files` says.
OF_THE_RUN = {
    *("jobs", "connections", "per_host", "keep_alive", "keep_alive_expiry", "limit_rate", "min_speed", "wait"),
    *("backoff", "patience", "host_patience", "max_wait", "max_failures", "retry_on", "http2", "no_env"),
    *("netrc", "netrc_file", "load_cookies", "save_cookies", "add_cacert", "ca_native", "no_html"),
    *("update", "allow_duplicates", "trust_store", "store_secrets"),
}


def test_each_setting_is_a_field_of_a_job_or_the_runs_alone() -> None:
    groups = (Network, Retry, Queue)
    for option in OPTIONS:
        name = str(option.name)
        if option.group in groups or name in NAMED:
            assert (NAMED.get(name, name) in FIELDS) is (name not in OF_THE_RUN), name


def jsonl(folder: Path, *lines: Mapping[str, Any]) -> str:
    path = folder / "queue.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def python(jobs: list[Job], folder: Path, **network: Any) -> list[fetchq.Result]:
    settings = fetchq.Settings(network=Network(env=False, **network), retry=Retry(retries=0, backoff=0))

    async def main() -> list[fetchq.Result]:
        async with fetchq.Downloader(settings, dir=folder, jobs=1) as downloader:
            return [result async for result in downloader.run(jobs)]

    return run(main())


# --- TLS


def test_each_job_has_its_own_trust_and_connections(
    run_fetchq: RunFetchq, secure: Origin, authority: Path, tmp_path: Path
) -> None:
    urls = [secure.serve(f"/{name}", FILE, repeat=True) for name in "abcde"]
    own: list[dict[str, Any]] = [
        {"cacert": str(authority / "ca.pem")},
        {},
        {"insecure": True},
        {"insecure": True},
        {"insecure": False},
    ]
    queue = jsonl(tmp_path, *({**more, "url": url} for url, more in zip(urls, own, strict=True)))
    done = run_fetchq("-j", "1", "--retries", "0", "-d", "out", "-i", queue)
    assert done.returncode == 5, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("[a-e]")) == ["a", "c", "d"]
    # One for the authority, one for two jobs alike, and those that were refused in their handshakes.
    assert len(secure.requests) == 3
    assert len({request.connection for request in secure.requests}) == 2


def test_a_jobs_trust_narrows_that_of_the_run(secure: Origin, authority: Path, tmp_path: Path) -> None:
    url = secure.serve("/a", FILE, repeat=True)
    jobs = [Job(url, "kept"), Job(url, "refused", tls=TLSOptions(insecure=False))]
    kept, refused = python(jobs, tmp_path, insecure=True)
    assert kept.error is None
    assert isinstance(refused.error, fetchq.TLSError)


def test_a_certificate_does_not_go_with_the_key_of_the_run(tmp_path: Path, authority: Path) -> None:
    mine, other = authority / "server.pem", tmp_path / "other.pem"
    other.write_bytes((authority / "server.key").read_bytes() + mine.read_bytes())
    job = Job("https://127.0.0.1:1/", tls=TLSOptions(cert=mine))
    [result] = python([job], tmp_path, cert=str(mine), key=str(authority / "server.key"))
    assert "no matching client certificate and key" in str(result.error)
    [result] = python([Job("https://127.0.0.1:1/", tls=TLSOptions(cert=other))], tmp_path)
    assert isinstance(result.error, fetchq.NetworkError)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"cacert": "missing.pem"},
            "Cannot read certificate authorities from missing.pem: No such file or directory.",
        ),
        (
            {"cert": "missing.pem"},
            "Cannot read a client certificate from missing.pem: No such file or directory.",
        ),
        ({"key": "missing.pem"}, "A client key needs its certificate: give --cert FILE too."),
        ({"tls_min": "1.4"}, "tls_min: it must be one of 1.0, 1.1, 1.2, 1.3"),
        ({"insecure": "yes"}, "insecure: it must be true or false"),
        ({"password": "x"}, "'password' needs 'user'"),
        ({"expect_type": "zip"}, "expect_type: it must be a media type such as application/zip or image/*"),
        ({"retry_unsafe": 1}, "retry_unsafe: it must be true or false"),
        ({"bearer": "a\nb"}, "holds"),
    ],
)
def test_what_cannot_be_used_fails_its_job_in_one_sentence(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    good = origin.serve("/good", FILE)
    queue = jsonl(tmp_path, {"url": "https://127.0.0.1:1/x", **fields}, {"url": good})
    done = run_fetchq("--retries", "0", "-i", queue)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "good").read_bytes() == FILE


def test_more_ways_of_tls_than_a_run_holds_pools_for_are_refused(tmp_path: Path) -> None:
    transport = RoutingTransport(Network(env=False), connections=1)
    for number in range(64):
        transport.check(None, TLSOptions(insecure=True, cacert=tmp_path / str(number)))
    with pytest.raises(fetchq.UsageError, match="more than 64 different settings for TLS"):
        transport.check(None, TLSOptions(insecure=True))
    transport.check(None, TLSOptions(insecure=True, cacert=tmp_path / "0"))


def test_a_clients_own_tls_is_the_clients(tmp_path: Path) -> None:
    async def main() -> None:
        async with httpx.AsyncClient() as client, fetchq.Downloader(client=client, dir=tmp_path) as downloader:
            with pytest.raises(fetchq.UsageError, match="A job's TLS and your own httpx client exclude"):
                await downloader.fetch(Job("https://127.0.0.1:1/", tls=TLSOptions(insecure=True)))

    run(main())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tls": "insecure"}, "tls must be a fetchq.TLSOptions."),
        ({"user": "me"}, "user must be 2 texts"),
        ({"expect_type": "zip"}, "--expect-type must be a media type"),
    ],
)
def test_arguments_that_do_not_fit(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(fetchq.UsageError, match=told):
        Job("https://h/a", **fields)
    with pytest.raises(fetchq.UsageError, match="tls_min must be"):
        TLSOptions(tls_min="2")  # type: ignore[arg-type]


# --- authentication


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"user": "me", "password": "p:w "}, basic("me", "p:w ")),
        ({"user": "me:p:w"}, basic("me", "p:w")),
        ({"user": "me"}, basic("me", "")),
        ({"bearer": "tok"}, "Bearer tok"),
        ({"headers": {"Authorization": "mine"}, "user": "me"}, "mine"),
        ({}, basic("run", "pw")),
    ],
)
def test_a_jobs_user_goes_before_the_runs_and_stays_with_its_origin(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, fields: dict[str, Any], sent: str
) -> None:
    with Origin() as mirror:
        urls = [origin.serve("/a", FILE, close_at_once), mirror.serve("/a", FILE)]
        queue = jsonl(tmp_path, {"urls": urls, **fields})
        done = run_fetchq("-u", "run:pw", "--backoff", "0", "-v", "-i", queue)
        assert done.returncode == 0, done.stderr
        assert [request.headers.get("authorization") for request in origin.requests] == [sent]
        assert [request.headers.get("authorization") for request in mirror.requests] == [None]
    assert "p:w" not in done.stderr
    assert b"p:w" not in (tmp_path / ".fetchq.db").read_bytes()


def test_the_urls_own_user_goes_first(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE).replace("//", "//url:pw@")
    assert run_fetchq("-i", jsonl(tmp_path, {"url": url, "user": "me", "password": "no"})).returncode == 0
    assert origin.requests[0].headers["authorization"] == basic("url", "pw")


def test_lines_for_two_users_are_two_jobs(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE, repeat=True)
    lines = [{"url": url, "user": name} for name in ("one", "two", "two")]
    assert run_fetchq("-j", "1", "--no-store", "-i", jsonl(tmp_path, *lines)).returncode == 0
    assert [request.headers["authorization"] for request in origin.requests] == [
        basic("one", ""),
        basic("two", ""),
    ]


# --- the rest


@pytest.mark.parametrize(("run_wide", "own", "code"), [(False, True, 0), (True, False, 4), (True, None, 0)])
def test_a_post_is_repeated_as_its_job_says(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, run_wide: bool, own: bool | None, code: int
) -> None:
    url = origin.serve("/a", FILE, close_at_once, lambda answer: None)
    line = {"url": url, "data": "x", "method": "POST", "out": "a"} | (
        {} if own is None else {"retry_unsafe": own}
    )
    words = ["--backoff", "0", *(["--retry-unsafe"] if run_wide else [])]
    assert run_fetchq(*words, "-i", jsonl(tmp_path, line)).returncode == code


@pytest.mark.parametrize("connections", ["1", "4"])
def test_an_answer_has_the_type_that_its_job_expects(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, connections: str
) -> None:
    image = together(header("Content-Type", "image/png"))
    urls = [origin.serve(f"/{name}", generated(3 << 20), image, repeat=True) for name in "ab"]
    lines = [{"url": urls[0], "expect_type": "image/*"}, {"url": urls[1]}]
    done = run_fetchq("--expect-type", "application/zip", "-x", connections, "-i", jsonl(tmp_path, *lines))
    assert done.returncode == 7, done.stderr
    assert (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_csv_has_these_columns_too(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE)
    (tmp_path / "q.csv").write_text(f"url,user,password,insecure\n{url},me,1234,true\n")
    assert run_fetchq("-i", "q.csv").returncode == 0
    assert origin.requests[0].headers["authorization"] == basic("me", "1234")


@pytest.mark.parametrize("base", [False, True])
def test_a_line_without_a_scheme_is_asked_over_https_unless_there_is_a_base(
    run_fetchq: RunFetchq, secure: Origin, authority: Path, tmp_path: Path, base: bool
) -> None:
    url = secure.serve("/localhost/a" if base else "/a", FILE)
    (tmp_path / "q.txt").write_text("localhost/a\n" if base else f"{url.removeprefix('https://')}\n")
    words = ["--base-url", url.removesuffix("/localhost/a")] if base else []
    done = run_fetchq("--cacert", authority / "ca.pem", *words, "-i", "q.txt")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == FILE


def test_over_http2_a_job_has_its_own_trust_too(
    run_fetchq: RunFetchq, hypercorn: Server, www: Path, authority: Path, tmp_path: Path
) -> None:
    (www / "f.bin").write_bytes(FILE)
    url = hypercorn.url("f.bin", tls=True)
    ours = {"cacert": str(authority / "ca.pem"), "out": "ours"}
    queue = jsonl(tmp_path, {"url": url, **ours}, {"url": url, "out": "refused"})
    done = run_fetchq("--http2", "-j", "1", "--retries", "0", "-i", queue)
    assert done.returncode == 5, done.stderr
    assert (tmp_path / "ours").read_bytes() == FILE
    assert not (tmp_path / "refused").exists()
    assert hypercorn.entries()[-1].protocol == "HTTP/2"


@pytest.mark.parametrize("body", [{"content": b""}, {"json": 0}, {"form": {"a": "b"}}, {"files": {"f": "n"}}])
def test_a_body_makes_it_a_post(body: dict[str, Any]) -> None:
    assert Job("http://h/", **body).method == "POST"
    assert Job("http://h/", method="PUT", **body).method == "PUT"
    assert replace(Job("http://h/", method="GET", **body), id="1").method == "GET"
    assert Job("http://h/", json=None, form=()).method == "GET"
