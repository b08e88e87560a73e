"""Answers that are not the file: a page in its place, and what a server says with an error."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import fetchq

from .conftest import RunFetchq
from .origin import Answer, Behaviour, Origin, drop, error_page, generated, header, status, well

FILE = generated(300_000)
PROTOCOL, STATUS = 7, 8
S3 = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>'
    b"<Message>Request has expired &amp; is void</Message><Expires>2025</Expires></Error>"
)


def says(code: int, body: bytes, kind: str = "application/json", *fields: tuple[str, str]) -> Behaviour:
    """An error whose body says why."""

    def apply(answer: Answer) -> None:
        answer.say(code, body, kind)
        for name, value in fields:
            answer.set(name, value)

    return apply


def failed(url: str, folder: Path, settings: fetchq.Settings | None = None) -> fetchq.StatusError:
    with pytest.raises(fetchq.StatusError) as caught:
        fetchq.download(url, dir=folder, settings=settings)
    return caught.value


# --- a page in a file's place


def test_a_page_is_warned_of_once_in_every_output(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq
) -> None:
    urls = [origin.serve(f"/{name}.zip", FILE, error_page, repeat=True) for name in "abc"]
    words = "sent a web page in place of"
    for progress in ("bar", "plain", "json"):
        folder = tmp_path / progress
        log = tmp_path / f"{progress}.log"
        done = run_fetchq("--progress", progress, "--log", log, "-d", folder, *urls)
        assert done.returncode == 0
        assert (done.stdout if progress == "json" else done.stderr).count(words) == 1
        assert log.read_text().count(words) == 1
    events: list[fetchq.Event] = []
    fetchq.download(urls[0], dir=tmp_path / "python", observers=[events.append])
    assert [words in event.message for event in events if isinstance(event, fetchq.Warned)] == [True]


def test_a_page_is_warned_of_where_another_type_was_asked(origin: Origin, tmp_path: Path) -> None:
    events: list[fetchq.Event] = []
    for accept in ("text/html, */*", "application/json"):
        job = fetchq.Job(origin.serve("/page", FILE, error_page), headers=(("Accept", accept),))
        fetchq.download(job, dir=tmp_path, observers=[events.append])
    assert len([event for event in events if isinstance(event, fetchq.Warned)]) == 1


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (("--no-html",), "text/html; charset=utf-8", "sent a web page, which --no-html refuses"),
        (("--no-html",), "application/xhtml+xml", "sent a web page, which --no-html refuses"),
        (("--no-html",), "application/zip", ""),
        (("--expect-type", "application/zip"), "text/html", "sent text/html, not the application/zip of"),
        (("--expect-type", "application/zip"), "Application/ZIP ;x=1", ""),
        (("--expect-type", "image/*"), "image/png", ""),
        (("--expect-type", "image/*"), "imagery/png", "sent imagery/png, not the image/* of --expect-type."),
        (("--expect-type", "image/*"), "", "sent no type, not the image/* of --expect-type."),
        (("--expect-type", "zip"), "application/zip", "--expect-type must be a media type such as"),
    ],
)
def test_what_is_not_wanted_is_refused(
    options: Sequence[str], kind: str, words: str, origin: Origin, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    done = run_fetchq(*options, origin.serve("/f.zip", FILE, header("Content-Type", kind)))
    expected = 0 if not words else 2 if "must be" in words else PROTOCOL
    assert done.returncode == expected, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "f.zip").exists() == (not words)


def test_a_refused_page_leaves_the_part_as_it_is(origin: Origin, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    url = origin.serve("/f.zip", FILE, drop(after=200_000), error_page)
    assert run_fetchq("--no-html", url).returncode == PROTOCOL
    assert (tmp_path / "f.zip.part").stat().st_size >= 100_000
    assert run_fetchq("--no-html", url).returncode == 0
    assert (tmp_path / "f.zip").read_bytes() == FILE.data
    assert origin.ranges("/f.zip")[-1] is not None


# --- what a server says with an error


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (S3, "application/xml", "AccessDenied: Request has expired & is void"),
        (b'{"message": "no such\\nkey", "code": 17}', "application/json", "17: no such key"),
        (b'{"error": {"code": "NoKey", "message": "gone"}}', "application/json", "NoKey: gone"),
        (b'{"errors": [{"code": "UNKNOWN", "message": "manifest"}]}', "", "UNKNOWN: manifest"),
        (b'{"error": "Repository not found"}', "application/json", "Repository not found"),
        (b'{"title": "Out", "detail": "of credit", "status": 403}', "", "403: of credit"),
        (b"come back\r\ntomorrow\n", "text/plain; charset=utf-8", "come back tomorrow"),
        ("für später".encode("latin-1"), "text/plain; charset=iso-8859-1", "für später"),
        (b"beware", "text/plain; charset=zip", "beware"),
        (b"\x1b[2Jclear\x07", "text/plain", "?[2Jclear?"),
        (b"<html><title>404 Not Found</title>", "text/html", ""),
        (b"<html><title>Error 404 - not found</title>", "text/html", ""),
        (b"<html><title></title>", "text/html", ""),
        (b"<html><head><title>400 No key &amp; no certificate</title>", "text/html", "No key & no certificate"),
        (b'{"message":', "application/json", ""),
        (b"[" * 2000, "application/json", ""),
        (b"", "application/json", ""),
    ],
)
def test_what_the_server_says(body: bytes, kind: str, said: str, origin: Origin, tmp_path: Path) -> None:
    error = failed(origin.serve("/f", FILE, says(404, body, kind)), tmp_path)
    assert error.said == said
    assert len(error.body) <= 2048
    assert not set("\x1b\x07\r") & set(error.body)


def test_a_long_or_packed_body_is_cut(origin: Origin, tmp_path: Path) -> None:
    packed = says(404, gzip.compress(b"x" * 50_000_000), "text/plain", ("Content-Encoding", "gzip"))
    assert failed(origin.serve("/f", FILE, packed), tmp_path).body == "x" * 2048
    long = failed(origin.serve("/g", FILE, says(404, b"y" * 9_000_000, "text/plain")), tmp_path)
    assert (long.body, long.said) == ("y" * 2048, "y" * 300)


def test_an_error_names_its_url_and_no_secret_that_the_server_repeats(origin: Origin, tmp_path: Path) -> None:
    repeated = b"key s3cr3t+of+the+query, s3cr3t of the query, token t0ken, pw hush, c00kie"
    url = origin.serve("/f", FILE, says(404, repeated, "text/plain"), repeat=True)
    network = fetchq.Network(
        headers=(("X-Token", "t0ken"),), user=("bob", "hush"), cookies=(("session", "c00kie"),)
    )
    error = failed(f"{url}?sig=s3cr3t+of+the+query", tmp_path, fetchq.Settings(network=network))
    assert error.url == f"{url}?***"
    assert error.body == "key ***, ***, token ***, pw ***, ***"


def test_the_message_is_shown_where_more_is_asked_for(origin: Origin, run_fetchq: RunFetchq) -> None:
    url = origin.serve("/f", FILE, says(403, S3, "application/xml"), repeat=True)
    usual, verbose = run_fetchq(url), run_fetchq("-v", url)
    told = "It said: AccessDenied: Request has expired & is void"
    assert (usual.returncode, verbose.returncode) == (STATUS, STATUS)
    assert told not in usual.stderr
    assert told in verbose.stderr
    events = map(json.loads, run_fetchq("--progress", "json", url).stdout.splitlines())
    error = next(event["error"] for event in events if event["event"] == "job_finished")
    assert (error["status"], error["url"]) == (403, url)
    assert error["said"] == "AccessDenied: Request has expired & is void"


def test_a_retry_shows_it_too_and_keeps_the_connection(origin: Origin, run_fetchq: RunFetchq) -> None:
    url = origin.serve("/f", FILE, status(503, body=b'{"error": "busy"}'), well)
    done = run_fetchq("-v", "--backoff", "0", url)
    assert done.returncode == 0
    assert "It said: busy" in done.stderr
