"""What Python programs pass, and what they are told: arguments by their names, errors with their facts."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

import fetchq
from fetchq import _errors, _models

from .conftest import run
from .origin import Origin, generated, hang, redirect, status

FILE = generated(1_000)


@pytest.fixture(autouse=True)
def arguments_named(options_named: None) -> Iterator[None]:
    """As in any program, and unlike in the other tests."""
    token = _errors._OPTIONS_NAMED.set(False)
    yield
    _errors._OPTIONS_NAMED.reset(token)


URL: Any = "http://127.0.0.1:9/a"
# As a program without types has it.
any_: Any = fetchq
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: any_.Job(3), r"url must be text, not int"),
    (lambda: any_.Job(URL, 5), r"out must be text or a Path, not int"),
    (lambda: any_.Job(URL, dir=5), r"dir must be text or a Path, not int"),
    (lambda: any_.Job(URL, mirrors="http://m/"), r"mirrors must be a list of texts, not str"),
    (
        lambda: any_.Job(URL, headers="K: V"),
        r"headers must be a mapping, or .*, not str",
    ),
    (lambda: any_.Job(URL, headers=("Te", "xy")), r"headers must be a mapping, or pairs"),
    (lambda: any_.Job(URL, headers={"K": None}), r"In headers, the value of 'K' must be text or a number"),
    (lambda: any_.Job(URL, content="text"), r"content must be bytes, not str"),
    (lambda: any_.Job(URL, size=-1), r"size must be 0 or more, not -1"),
    (lambda: any_.Job(URL, size=True), r"size must be a whole number, not bool"),
    (lambda: any_.Job(URL, timeout="3"), r"timeout must be a number, not str"),
    (lambda: any_.Job(URL, timeout={"read": "3"}), r"timeout read must be a number, not str"),
    (lambda: any_.Job(URL, deadline="3"), r"deadline must be a number, not str"),
    (lambda: any_.Job(URL, retries=float("nan")), r"retries must be 0 or more, not nan"),
    (
        lambda: any_.Disk(if_exists="overwite"),
        r"if_exists .* not 'overwite'\. Did you mean 'overwrite'\?",
    ),
    (lambda: any_.Network(tls_min="2"), r"tls_min must be '1\.0' or .*, not '2'\."),
    (lambda: any_.Network(read_timeout=-1), r"read_timeout must be 0 or more, not -1"),
    (lambda: any_.Network(user="me"), r"user must be 2 texts, not str"),
    (lambda: any_.Network(insecure="no"), r"insecure must be True or False, not str"),
    (lambda: any_.Network(cookies="a=b"), r"cookies must be a mapping"),
    (lambda: any_.Retry(retry_on=500), r"retry_on must be a set of numbers, not int"),
    (lambda: any_.Queue(jobs=2.5), r"jobs must be a whole number, not float"),
    (lambda: any_.Settings(network={}), r"network must be a fetchq.Network"),
    (lambda: any_.Downloader({}), r"settings must be a fetchq.Settings"),
    (lambda: any_.Downloader(dir=3), r"dir must be text or a Path, not int"),
    (lambda: any_.Downloader(jobs=0), r"jobs must be at least 1, not 0"),
    (lambda: any_.Downloader(store=3), r"store must be text or a Path, not int"),
    (lambda: any_.Downloader(base_url=3), r"base_url must be text, not int"),
    (lambda: any_.Downloader(manifest="SHA256SUMS"), r"manifest must be a fetchq.Manifest"),
    (lambda: any_.download(URL, checksum=3), r"checksum must be text, not int"),
    (lambda: any_.download([URL]), r"url must be text, not list"),
    (lambda: any_.Network(user=("me", "pw"), bearer="t"), "user and bearer are for the same servers"),
    (lambda: any_.Job(URL, user=("me", "pw"), bearer="t"), "user and bearer are for the same server:"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_what_does_not_fit_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(fetchq.UsageError, match=words):
        call()


def test_secrets_are_not_repeated() -> None:
    with pytest.raises(fetchq.UsageError) as raised:
        any_.Network(bearer=b"hunter2")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("jobs", [URL, fetchq.Job(URL), 7, [7], [URL, None]])
def test_a_queue_of_something_else_is_refused(jobs: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with fetchq.Downloader(dir=tmp_path) as downloader:
            async for _ in downloader.run(jobs):
                pass

    with pytest.raises(fetchq.UsageError, match=r"jobs must be an iterable|A queue holds URLs"):
        run(work())


def test_urls_paths_and_pairs_may_be_of_any_usual_type(origin: Origin, tmp_path: Path) -> None:
    url = httpx.URL(origin.serve("/a", FILE))
    job = fetchq.Job(
        url,
        tmp_path / "b.bin",
        mirrors=[httpx.URL("http://m.example/a")],
        dir=os.fspath(tmp_path),
        headers=httpx.Headers([("X-A", "1"), ("X-A", "2")]),
        params={"page": 2, "deep": True, "tag": ["x", "y"]},
    )
    settings = fetchq.Settings(network=fetchq.Network(headers={"Te": "x"}, cookies=httpx.Cookies({"c": "d"})))
    result = fetchq.download(job, settings=settings)
    assert result.path == tmp_path / "b.bin"
    [request] = origin.asked("/a")
    assert request.target == "/a?page=2&deep=true&tag=x&tag=y"
    assert request.headers["te"] == "x"
    assert request.headers["x-a"] == "1, 2"
    assert request.headers["cookie"] == "c=d"
    assert fetchq.download(url, tmp_path / "c.bin").size == FILE.size


def test_a_job_that_is_converted_equals_one_that_was_written_out() -> None:
    converted = fetchq.Job(httpx.URL("http://h/a"), Path("x"), headers={"A": "b"}, dir="d")
    assert converted == fetchq.Job("http://h/a", "x", headers=(("A", "b"),), dir=Path("d"))
    assert hash(converted.headers)


def test_type_checkers_see_every_field_of_job() -> None:
    source = textwrap.dedent(inspect.getsource(fetchq.Job))
    # The second is the one that runs.
    declared, _ = [node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == "__init__"]
    assert isinstance(declared, ast.FunctionDef)
    names = {arg.arg for arg in [*declared.args.args, *declared.args.kwonlyargs]}
    assert names == {"self", *(field.name for field in fields(_models.Job))}
    assert names == {"self", *inspect.signature(fetchq.Job).parameters}


def test_a_field_that_no_job_has_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'outt'"):
        fetchq.Job("http://h/a", outt="b")  # type: ignore[call-arg] # that is the point


WORDED = {
    "within the time limit (--read-timeout).": "within the time limit (read_timeout).",
    "give -u NAME:PASSWORD or --netrc.": "give user=(NAME, PASSWORD) or netrc=True.",
    "give --bearer TOKEN.": "give bearer=TOKEN.",
    "with --cacert FILE, or trust anything with -k": "with cacert=FILE, or trust anything with insecure=True",
    "more than the 5 allowed by --max-size.": "more than the 5 allowed by max_size.",
    "choose another name with --output.": "choose another name with out.",
    "use --no-store": "use store=None",
    "give the right one with --checksum.": "give the right one with checksum.",
    "--proxy http://USER:PASSWORD@HOST:PORT.": "proxy http://USER:PASSWORD@HOST:PORT.",
    "a file called a--b-c or x -- y, http://h/--max-size": "a file called a--b-c or x -- y, http://h/--max-size",
    "raise the limit with ulimit -n, or lower --jobs": "raise the limit with ulimit -n, or lower jobs",
}


@pytest.mark.parametrize("options", WORDED)
def test_sentences_name_arguments_in_python_and_options_on_the_command_line(options: str) -> None:
    error = fetchq.NetworkError(options)
    assert str(error) == WORDED[options]
    with _errors.options_named():
        assert str(error) == options


def test_an_error_carries_its_request(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE, status(503), repeat=True)
    settings = fetchq.Settings(retry=fetchq.Retry(retries=3, backoff=0.01))
    with pytest.raises(fetchq.StatusError) as raised:
        fetchq.download(f"{url}?token=hunter2", dir=tmp_path, settings=settings)
    assert raised.value.url == f"{url}?***"
    assert raised.value.attempts == 4
    assert raised.value.status == 503


def test_an_attempt_that_failed_tells_its_mirror(origin: Origin, tmp_path: Path) -> None:
    bad, good = origin.serve("/bad", FILE, status(404)), origin.serve("/good", FILE)
    failed: list[fetchq.AttemptFailed] = []

    def observer(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.AttemptFailed):
            failed.append(event)

    fetchq.download(fetchq.Job(bad, mirrors=[good]), dir=tmp_path, observers=[observer])
    assert [(event.error.url, event.error.attempts) for event in failed] == [(bad, 1)]


def test_an_error_before_any_request_has_none(tmp_path: Path) -> None:
    with pytest.raises(fetchq.UsageError) as raised:
        fetchq.download("ftp://h/a", dir=tmp_path)
    assert (raised.value.url, raised.value.attempts) == ("ftp://h/a", 0)


def test_timeouts_and_redirects_have_the_url_that_was_asked(origin: Origin, tmp_path: Path) -> None:
    settings = fetchq.Settings(network=fetchq.Network(read_timeout=0.1), retry=fetchq.Retry(retries=0))
    url = origin.serve("/a", FILE, redirect("/b"))
    origin.serve("/b", FILE, hang)
    with pytest.raises(fetchq.TimedOutError, match=r"\(read_timeout\)") as raised:
        fetchq.download(url, dir=tmp_path, settings=settings)
    assert raised.value.url == url
