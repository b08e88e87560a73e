"""Which file each line of a queue gets: the list's order decides, and equal lines are one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._api import Downloader
from fetchq._api.equals import EqualJobs
from fetchq._errors import FetchError, UsageError
from fetchq._models import Job, Result
from fetchq._settings import Disk, Queue, Retry, Settings
from fetchq._templates import TREE, NameTemplate

from .conftest import RunFetchq, run
from .origin import Origin, latency, status

Items: TypeAlias = list[str | Job | FetchError]


def fetched(folder: Path, items: Items, *, disk: dict[str, Any] | None = None, **queue: Any) -> list[Result]:
    settings = Settings(
        disk=Disk(dir=folder, **(disk or {})), queue=Queue(**queue), retry=Retry(retries=0, patience=0)
    )

    async def work() -> list[Result]:
        async with Downloader(settings) as downloader:
            return [result async for result in downloader.run(items)]

    return run(work())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- names


@pytest.mark.parametrize("slow", [(0,), (1, 3), (0, 2, 4)])
def test_the_order_of_the_list_decides_among_equal_names(
    origin: Origin, tmp_path: Path, slow: tuple[int, ...]
) -> None:
    urls: Items = [
        origin.serve(f"/{number}/index.html", b"%d" % number, *[latency(0.15)] * (number in slow))
        for number in range(6)
    ]
    assert all(result.ok for result in fetched(tmp_path, urls, jobs=8))
    expected = {f"index.{number}.html" if number else "index.html": b"%d" % number for number in range(6)}
    assert files(tmp_path) == expected
    # And again, without a store: every file is found under its own name.
    again = fetched(tmp_path, urls, jobs=8)
    assert {result.status for result in again} == {"skipped"}
    assert files(tmp_path) == expected


def test_a_failed_line_keeps_its_name_for_the_next_run(origin: Origin, tmp_path: Path) -> None:
    urls: Items = [
        origin.serve(f"/{number}/a.bin", b"%d" % number, *[status(404)] * (number == 1)) for number in range(3)
    ]
    assert [result.job.url for result in fetched(tmp_path, urls, jobs=1) if not result.ok] == [urls[1]]
    assert files(tmp_path) == {"a.bin": b"0", "a.2.bin": b"2"}
    fetched(tmp_path, urls, jobs=8)
    assert files(tmp_path) == {"a.bin": b"0", "a.1.bin": b"1", "a.2.bin": b"2"}


def test_a_file_of_others_makes_way_for_no_line(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "a.1.bin").write_bytes(b"mine")
    urls: Items = [origin.serve(f"/{number}/a.bin", b"%d" % number) for number in range(3)]
    fetched(tmp_path, urls, jobs=1)
    found = files(tmp_path)
    assert found.pop("a.1.bin") == b"mine"
    assert found.pop("a.bin") == b"0"
    assert sorted(found.values()) == [b"1", b"2"]


def test_folders_count_their_names_apart(origin: Origin, tmp_path: Path) -> None:
    jobs: Items = [
        Job(origin.serve(f"/{folder}/a", folder.encode()), dir=Path(folder)) for folder in ("x", "y")
    ]
    fetched(tmp_path, jobs)
    assert files(tmp_path) == {"x/a": b"x", "y/a": b"y"}


def test_thousands_of_one_name_take_no_search(origin: Origin, tmp_path: Path) -> None:
    origin.serve("/a.bin", b"x")
    urls: Items = [f"{origin.url('/a.bin')}?{number}" for number in range(1500)]
    assert all(result.ok for result in fetched(tmp_path, urls, jobs=16))
    numbered = {f"a.{number}.bin" if number else "a.bin" for number in range(1500)}
    assert set(files(tmp_path)) == numbered


# --- equal lines


@pytest.mark.parametrize("jobs", [1, 8])
def test_equal_lines_are_one_transfer(origin: Origin, tmp_path: Path, jobs: int) -> None:
    url = origin.serve("/a.bin", b"bytes", latency(0.05))
    other = origin.serve("/b.bin", b"other")
    queue: Items = [
        Job(url, source="q:1"),
        url,
        Job(url, id="mine"),
        other,
        Job(url, source="q:4"),
    ]
    results = fetched(tmp_path, queue, jobs=jobs)
    assert files(tmp_path) == {"a.bin": b"bytes", "b.bin": b"other"}
    assert len(origin.asked("/a.bin")) == 1
    told = sorted((result.status, result.job.id or "", result.reason) for result in results)
    same = "the same as q:1"
    assert told == [
        ("done", "", ""),
        ("done", "", ""),
        ("skipped", "", same),
        ("skipped", "", same),
        ("skipped", "mine", same),
    ]
    assert {result.path for result in results if result.job.url == url} == {tmp_path / "a.bin"}


def test_equal_lines_look_again_when_the_first_has_ended_and_keep_none_from_starting(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    begin = EqualJobs.begin

    def noting(self: EqualJobs, key: str, number: int) -> str:
        looked.append(number)
        return begin(self, key, number)

    monkeypatch.setattr(EqualJobs, "begin", noting)
    slow = origin.serve("/a.bin", b"bytes", latency(0.5))
    others = [origin.serve(f"/{number}.bin", b"other") for number in range(3)]
    results = fetched(tmp_path, [*[slow] * 30, *others], jobs=2, waiting=3)
    assert {result.path for result in results[:3]} == {tmp_path / f"{number}.bin" for number in range(3)}
    assert len(results) == 33
    assert len(looked) == 1 + 2 * 29 + 3


def test_equal_lines_fail_together(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/gone", b"", status(404), repeat=True)
    results = fetched(tmp_path, [url] * 5)
    assert [str(result.error) for result in results] == [str(results[0].error)] * 5
    assert results[0].error is not None
    assert len(origin.asked("/gone")) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"out": "c"},
        {"dir": Path("sub")},
        {"checksum": "md5:" + "0" * 32},
        {"size": 99},
        {"headers": (("Accept", "text/csv"),)},
        {"params": (("a", "1"),)},
        {"method": "POST", "content": b"x"},
    ],
)
def test_lines_that_differ_in_what_counts_are_not_equal(
    origin: Origin, tmp_path: Path, other: dict[str, Any]
) -> None:
    url = origin.serve("/a.bin", b"bytes")
    fetched(tmp_path, [url, Job(url, **other)], jobs=1)
    assert len(origin.requests) >= 2


def test_jobs_of_one_id_and_other_urls_are_both_fetched(origin: Origin, tmp_path: Path) -> None:
    jobs: Items = [Job(origin.serve(f"/{name}", name.encode()), id="same") for name in ("a", "b")]
    fetched(tmp_path, jobs)
    assert files(tmp_path) == {"a": b"a", "b": b"b"}


def test_duplicates_are_kept_when_asked_for(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", b"bytes")
    for _ in range(2):
        results = fetched(tmp_path, [url] * 3, allow_duplicates=True)
        assert all(result.ok for result in results)
        assert files(tmp_path) == {"a.bin": b"bytes", "a.1.bin": b"bytes", "a.2.bin": b"bytes"}


def test_duplicates_that_were_kept_are_remembered(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq
) -> None:
    (tmp_path / "q.txt").write_text(f"{origin.serve('/a.bin', b'bytes')}\n" * 3)
    for said in ("3 done", "3 skipped"):
        assert said in run_fetchq("-i", "q.txt", "-d", "out", "--allow-duplicates").stderr
    assert len(origin.requests) == 3
    assert sorted(path.name for path in (tmp_path / "out").glob("*.bin")) == ["a.1.bin", "a.2.bin", "a.bin"]


def test_standard_output_gets_each_line(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    line = json.dumps({"url": origin.serve("/a", b"x"), "out": "-"})
    assert run_fetchq("-i", "-", "--no-store", input=f"{line}\n{line}\n").stdout == "xx"


# --- templates

URL = "https://me:pw@Host.example:8080/a/b%20c/file.tar.gz?q=/x#f"


@pytest.mark.parametrize(
    ("template", "url", "path"),
    [
        (TREE, URL, "host.example_8080/a/b c/file.tar.gz"),
        (TREE, "http://h/", "h/index.html"),
        (TREE, "http://h", "h/index.html"),
        (TREE, "http://h/docs/", "h/docs/index.html"),
        (TREE, "http://h/%2e%2e/../x", "h/x"),
        (TREE, "http://h/a%2f..%2fb/x", "h/a_.._b/x"),
        (TREE, "http://h/a//b", "h/a/b"),
        ("{stem}-{index:4}{suffix}", URL, "file-0007.tar.gz"),
        ("{id}{suffix}", URL, "in_7.tar.gz"),
        ("{sha256:8}", "http://h/a", "c43fa283"),
        ("../../{stem}", URL, "file"),
        ("/etc/{stem}", URL, "etc/file"),
        ("..", URL, "download"),
        ("{host}.part", URL, "host.example_8080.part_"),
    ],
)
def test_what_a_template_names(template: str, url: str, path: str) -> None:
    folder, name = NameTemplate(template).render(Job(url, id="in/7"), 7)
    assert str(folder / name) == path


@pytest.mark.parametrize("template", ["", " ", "{host}/", "{name}", "{stem", "{}", "{index:x}", "{stem:123}"])
def test_a_template_that_cannot_be_used(template: str) -> None:
    with pytest.raises(UsageError, match="name template"):
        NameTemplate(template)


def test_a_template_goes_before_the_servers_name_and_behind_the_jobs(
    origin: Origin, tmp_path: Path, run_fetchq: RunFetchq
) -> None:
    lines = [
        {"url": origin.serve("/x/a.bin", b"1"), "id": "one"},
        {"url": origin.serve("/y/a.bin", b"2"), "out": "own.bin"},
        {"url": origin.serve("/z/a.bin", b"3"), "dir": "deep"},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = run_fetchq("-i", "q.jsonl", "-d", "out", "--name-template", "n/{stem}-{index}{suffix}")
    assert done.returncode == 0, done.stderr
    found = files(tmp_path / "out")
    del found[".fetchq.db"]
    assert found == {"n/a-1.bin": b"1", "own.bin": b"2", "deep/n/a-3.bin": b"3"}


def test_a_tree_is_made_and_resumed_into(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    urls = [origin.serve(path, path.encode()) for path in ("/a/b/c.txt", "/a/c.txt", "/")]
    for said in ("3 done", "3 skipped"):
        assert said in run_fetchq("--tree", "-d", "out", *urls).stderr
    host = f"127.0.0.1_{origin.port}"
    assert files(tmp_path / "out") == {
        f"{host}/a/b/c.txt": b"/a/b/c.txt",
        f"{host}/a/c.txt": b"/a/c.txt",
        f"{host}/index.html": b"/",
    }


def test_a_template_follows_no_link_out(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path)
    done = run_fetchq("-d", "out", "--name-template", "{path}/{stem}", origin.serve("/a/b", b"x"))
    assert done.returncode == 3
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--tree", "--name-template", "{stem}"], "tree is a name template of its own"),
        (["--name-template", "{nmae}"], "it may have {host} {path}"),
        (
            ["--name-template", "{id}"],
            "http://127.0.0.1:1/a: The name template has {id}, and this job has no id.",
        ),
    ],
)
def test_a_mistake_in_a_template_is_one_sentence(run_fetchq: RunFetchq, words: list[str], says: str) -> None:
    done = run_fetchq(*words, "http://127.0.0.1:1/a")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_shows_the_names_that_a_run_gives(origin: Origin, run_fetchq: RunFetchq) -> None:
    urls = [origin.serve(f"/{number}/a.bin", b"x") for number in range(2)]
    assert [line.split()[-1] for line in run_fetchq("--dry-run", *urls).stdout.splitlines()[1:3]] == [
        "a.bin",
        "a.1.bin",
    ]


@given(st.text(min_size=1))
def test_a_plain_line_is_the_job_that_it_would_be_with_more_said(url: str) -> None:
    job = Job.of_line(url, "q:1")
    same = Job(url, out=None, mirrors=(), method="GET", source="q:1", confined=True)
    assert (job, job.is_plain, same.is_plain) == (same, True, False)
    assert job.fingerprint == same.fingerprint == Job(url).fingerprint
    assert not Job(url, "name").is_plain


def test_what_keys_a_plain_line_stays_what_it_is() -> None:
    assert Job("https://host/a").key == "487a0b447f24e4f1b547eb9729d457af"


def test_equal_lines_that_are_far_apart_are_one_transfer_through_the_store(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few are remembered, and the first has not ended yet when the second is read."""
    monkeypatch.setattr("fetchq._api.equals.MOST_ENDED", 1)
    monkeypatch.setattr("fetchq._api.intake.MOST_REMEMBERED", 1)
    urls = [origin.serve(f"/{number}", b"%d" % number, latency(0.01)) for number in range(6)]

    async def work() -> list[Result]:
        async with Downloader(Settings(disk=Disk(dir=tmp_path)), jobs=1, store=tmp_path / ".db") as downloader:
            return [result async for result in downloader.run([*urls, *urls])]

    assert sorted(result.status for result in run(work())) == ["done"] * 6 + ["skipped"] * 6
    assert len(origin.requests) == 6
    assert {name for name in files(tmp_path) if name != ".db"} == {f"{number}" for number in range(6)}
