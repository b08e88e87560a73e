"""Jobs written as lines of a queue file, which read again are the same jobs, or say what they lack."""

from __future__ import annotations

import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from fetchq._models import FormFile, Job, TLSOptions
from fetchq._queue_files import read
from fetchq._queue_files.write import LINE_FORMATS, LineFormat, format_line, line_fields

URL = "https://h.example/a"


def unheard(message: str) -> None:
    raise AssertionError(message)


def read_again(line: str) -> list[Any]:
    return list(read("-", warn=unheard, stdin=BytesIO(f"{line}\n".encode())))


JOBS = [
    Job(URL),
    Job(URL, "b c.iso"),
    Job(URL, mirrors=("https://i.example/a",)),
    Job(URL, "x", dir=Path("sub"), checksum="md5:" + "0" * 32, retries=3, headers=(("Accept", "*/*"),)),
    Job(URL, retries=math.inf, proxy="http://p:1"),
    Job(URL, size=5, priority=-1, id="7", timeout=2.5, deadline=9, redirects=False, if_exists="error"),
    Job(URL, user=("me", "p:w")),
    Job(URL, cookies={"a": "b"}, user=("me", "p:w"), retry_unsafe=True, expect_type="image/*"),
    Job(URL, bearer="t", tls=TLSOptions(insecure=True, tls_min="1.3")),
    Job(URL, tls=TLSOptions(cacert="ca.pem", cert="c.pem", key="/k.pem", key_password=" p ")),
    Job(URL, timeout={"connect": 1, "read": math.inf}),
    Job(URL, method="POST", json={"a": [1]}, params=(("p", "1"), ("p", "2"))),
    Job(URL, method="PUT", content="text €".encode()),
    Job(URL, method="GET", content=b"asked with a body"),
    Job(URL, cookies=(("a", "1"), ("b", "2"))),
    Job(URL, method="POST", files=[("f", FormFile(Path(name), confined=True)) for name in ("a", "b")]),
    Job("https://me:pw@h.example/a?sig=%2f", form=(("a", "b"),), method="POST", headers=(("X-Key", "k"),)),
]


@pytest.mark.parametrize("job", JOBS, ids=range(len(JOBS)))
def test_a_line_with_secrets_is_the_job_again(job: Job) -> None:
    line = format_line(line_fields(job, secrets=True), "jsonl", "")
    [again] = read_again(line)
    assert again == type(job)(**{**fields_of(job), "source": "stdin:1", "confined": True})


def fields_of(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__}


@pytest.mark.parametrize("form", ["text", "aria2"])
@pytest.mark.parametrize("job", JOBS, ids=range(len(JOBS)))
def test_in_another_format_it_is_the_job_or_a_comment_that_says_why(job: Job, form: LineFormat) -> None:
    line = format_line(line_fields(job, secrets=True), form, "q.txt:3")
    found = read_again(line)
    if line.startswith("#"):
        assert found == []
        assert "q.txt:3" in line
        assert "jsonl" in line
        assert "pw" not in line
    else:
        [again] = found
        # Lists have no place for these, which change nothing about the bytes.
        kept = fields_of(job) | {"source": "stdin:1", "confined": True, "id": None, "priority": 0, "size": None}
        assert again == Job(**kept)


def test_each_format_writes_what_it_can() -> None:
    written = {
        form: [
            number
            for number, job in enumerate(JOBS)
            if not format_line(line_fields(job, secrets=True), form, "").startswith("#")
        ]
        for form in LINE_FORMATS
    }
    assert written == {"text": [0, 1, 2], "jsonl": list(range(len(JOBS))), "aria2": [0, 1, 2, 3, 4, 6]}


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"url": "https://me:SECRET@h/a"}, "user or query of the URL"),
        ({"url": "https://h/a?k=SECRET"}, "user or query of the URL"),
        ({"mirrors": ("https://i/a?k=SECRET",)}, "user or query of the URL"),
        ({"headers": (("Authorization", "SECRET"), ("Accept", "*/*"))}, "headers"),
        ({"params": (("k", "SECRET"),)}, "params"),
        ({"form": (("k", "SECRET"),)}, "form"),
        ({"json": {"k": "SECRET"}}, "json"),
        ({"content": b"SECRET"}, "data"),
        ({"proxy": "http://me:SECRET@p"}, "proxy"),
        ({"cookies": (("k", "SECRET"),)}, "cookies"),
        ({"user": ("me", "SECRET")}, "user, password"),
        ({"bearer": "SECRET"}, "bearer"),
        ({"tls": TLSOptions(key_password="SECRET")}, "key_password"),
    ],
)
@pytest.mark.parametrize("form", LINE_FORMATS)
def test_a_line_says_what_is_missing(fields: dict[str, Any], missing: str, form: LineFormat) -> None:
    kept = line_fields(Job(**{"url": URL, **fields}), secrets=False)
    line = format_line(kept, form, "q.txt:3")
    assert "SECRET" not in json.dumps(kept) + line
    assert line.startswith("# https://h")
    assert f"(q.txt:3): {missing} not stored (--store-secrets)" in line


def test_what_is_no_secret_is_kept() -> None:
    job = Job(URL + "#part", headers=(("Accept", "*/*"),), proxy="http://p")
    assert line_fields(job, secrets=False) == {"url": URL, "headers": {"Accept": "*/*"}, "proxy": "http://p"}
