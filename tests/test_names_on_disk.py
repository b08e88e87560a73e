"""Whose file is it: equal names, sizes and dates, reruns with and without a memory, other programs' files."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import fetchq
from fetchq._disk import Files
from fetchq._settings import IfExists

from .conftest import RunFetchq, run, running, until
from .origin import Behaviour, Origin, Resource, generated, latency, literal, status, throttle, well

SMALL, LARGE = 65, 1_500_000
# Every file of one deployment has one date; a tag made of date and size, as nginx's, is one tag then.
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
# What can remember whose a file is: the store, a record on the file, neither, a file system without attributes.
MEMORIES = ["store", "record", "neither", "refused"]

BASE = fetchq.Settings(network=fetchq.Network(env=False), retry=fetchq.Retry(retries=0))


def deployed(size: int, count: int, *, etag: str | None = None) -> list[Resource]:
    """Files that differ in nothing but their bytes."""
    return [generated(size, seed, etag=etag, last_modified=DATE) for seed in range(count)]


def served(origin: Origin, name: str, files: Sequence[Resource], *script: Behaviour) -> list[str]:
    """Offer *files* under one *name* in folders of their own; the last one begins with *script*."""
    last = len(files) - 1
    return [
        origin.serve(f"/{at}/{name}", file, *(script if at == last else ())) for at, file in enumerate(files)
    ]


@dataclass
class Disk:
    """A folder that one kind of memory is used for."""

    folder: Path
    memory: str
    at_once: int = 2

    def fetch(
        self, *jobs: str | fetchq.Job, if_exists: IfExists | None = None, xattr: bool = True
    ) -> list[fetchq.Result]:
        """Run *jobs*, and return their results in the order of the jobs."""
        return run(self.fetched(jobs, if_exists, xattr))

    async def fetched(
        self, jobs: Sequence[str | fetchq.Job], if_exists: IfExists | None = None, xattr: bool = True
    ) -> list[fetchq.Result]:
        disk = fetchq.Disk(if_exists=if_exists, xattr=xattr and self.memory not in ("store", "neither"))
        store = self.folder / ".fetchq.db" if self.memory == "store" else None
        settings = replace(BASE, disk=disk, queue=fetchq.Queue(jobs=self.at_once, connections=1))
        async with fetchq.Downloader(settings, dir=self.folder, store=store) as downloader:
            results = [result async for result in downloader.run(jobs)]
        urls = [job if isinstance(job, str) else job.url for job in jobs]
        return sorted(results, key=lambda result: urls.index(result.job.url))

    @property
    def contents(self) -> dict[str, bytes]:
        """What is in the folder, but for the store."""
        files = (path for path in self.folder.iterdir() if not path.name.startswith(".fetchq.db"))
        return {path.name: path.read_bytes() for path in files}


@pytest.fixture(params=MEMORIES)
def there(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no attributes")

    if request.param == "refused":
        monkeypatch.setattr(Files, "set_attribute", refuse)
    folder = tmp_path / "out"
    folder.mkdir()
    return Disk(folder, request.param)


def right(results: Sequence[fetchq.Result], files: Sequence[Resource]) -> bool:
    """Whether each result names a file of its own, with the bytes of its URL."""
    assert [result.error for result in results] == [None] * len(files)
    paths = [result.path for result in results]
    assert len({*paths}) == len(paths)
    return [path.read_bytes() for path in paths if path is not None] == [file.data for file in files]


# --- equal names, sizes and dates


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("etag", [None, '"65a-1"'])
@pytest.mark.parametrize("count", [2, 3])
def test_a_file_of_another_job_is_not_taken_for_this_jobs(
    origin: Origin, there: Disk, size: int, etag: str | None, count: int
) -> None:
    files = deployed(size, count, etag=etag)
    urls = served(origin, "x.sum", files, status(503))
    assert there.fetch(*urls)[-1].status == "failed"
    assert right(there.fetch(*urls), files)
    whole = origin.sent
    assert right(there.fetch(*urls), files)
    assert there.contents.keys() == {"x.sum", *(f"x.{number}.sum" for number in range(1, count))}
    # Elsewhere they are found again under the numbered names by their bytes.
    assert origin.sent == whole or there.memory in ("neither", "refused")


def test_a_run_that_was_interrupted(origin: Origin, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    files = deployed(200_000, 3)
    urls = served(origin, "data.bin", files, throttle(100_000))
    (tmp_path / "list").write_text("\n".join(urls))
    for words in (["-i", "list"], ["-i", "list", "--no-store"]):
        folder = tmp_path / f"{len(words)}"
        served(origin, "data.bin", files, throttle(100_000))
        with running(*words, "-d", folder, "--no-env", cwd=tmp_path) as process:
            until(lambda: origin.sent > 400_000)
            process.send_signal(signal.SIGINT)
            process.wait(20)
        assert run_fetchq(*words, "-d", folder, "--no-env").returncode == 0
        there = Disk(folder, "")
        assert sorted(there.contents.values()) == sorted(file.data for file in files)
        origin.requests.clear()


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_two_runs_side_by_side(origin: Origin, there: Disk, size: int) -> None:
    files = deployed(size, 4)
    urls = served(origin, "x.sum", files)

    async def both() -> tuple[list[fetchq.Result], list[fetchq.Result]]:
        return await asyncio.gather(there.fetched(urls[:2]), there.fetched(urls[2:]))

    first, second = run(both())
    assert right([*first, *second], files)


@pytest.mark.parametrize("if_exists", ["overwrite", "skip", "rename"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_no_file_of_a_queue_replaces_another_one(
    origin: Origin, there: Disk, size: int, if_exists: IfExists
) -> None:
    files = [*deployed(size, 2), generated(size + 1, 7)]
    urls = served(origin, "x.sum", files, status(503))
    assert there.fetch(*urls, if_exists=if_exists)[-1].status == "failed"
    # Nothing may tell the files of the first run from those of the user.
    forgotten = there.memory in ("neither", "refused")
    if not (forgotten and if_exists == "skip"):
        assert right(there.fetch(*urls, if_exists=if_exists), files)
        assert len(there.contents) == 3 or (forgotten and if_exists == "overwrite")


@pytest.mark.parametrize("if_exists", [None, "overwrite", "skip", "error"])
@pytest.mark.parametrize("at_once", [1, 2])
def test_two_jobs_with_one_target_that_the_user_gave(
    origin: Origin, there: Disk, if_exists: IfExists | None, at_once: int
) -> None:
    files = [*deployed(SMALL, 1), generated(SMALL + 1, 7)]
    # The second one's answer comes late, so that the first one is the first where they come in turn.
    script = [latency(0.1), latency(0.1)] if at_once == 1 else []
    jobs = [fetchq.Job(url, "y.bin") for url in served(origin, "x.sum", files, *script)]
    there.at_once = at_once
    # Which of the two comes first is certain only where they come one after the other.
    for _ in range(3 - at_once):
        results = there.fetch(*jobs, if_exists=if_exists)
        [failed] = [result.error for result in results if result.error is not None]
        assert isinstance(failed, fetchq.ExistsError)
        assert "y.bin is the target of two jobs" in str(failed)
        [kept] = [file for result, file in zip(results, files, strict=True) if result.error is None]
        assert there.contents == {"y.bin": kept.data}


def test_verify_reports_two_jobs_with_one_file(origin: Origin, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    for at, file in enumerate(deployed(SMALL, 2)):
        url = origin.serve(f"/{at}.bin", file)
        (tmp_path / "list").write_text(f"{url}?signature={at}\n  out=y.bin\n")
        (tmp_path / "y.bin").unlink(missing_ok=True)
        assert run_fetchq("-i", "list", "--no-env").returncode == 0
    # A URL that was signed anew is the same file.
    (tmp_path / "list").write_text(f"{url}?signature=9\n  out=y.bin\n")
    assert run_fetchq("-i", "list", "--no-env").returncode == 0
    for target in (".", "y.bin"):
        done = run_fetchq("verify", target)
        assert done.returncode != 0
        assert "y.bin is on record as the file of" in done.stderr
        assert "/0.bin" in done.stderr
        assert "/1.bin" in done.stderr


# --- folders that fold case


class Folding(Files):
    """A file system that does not tell upper from lower case."""

    def open(self, name: str | Path, flags: int, dir_fd: int | None = None) -> int:
        return super().open(self._folded(name), flags, dir_fd)

    def link_unnamed(self, fd: int, name: str, dir_fd: int) -> None:
        super().link_unnamed(fd, name.lower(), dir_fd)

    def stat(self, name: str | Path, dir_fd: int | None = None) -> os.stat_result | None:
        return super().stat(self._folded(name), dir_fd)

    def link(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        super().link(source.lower(), target.lower(), dir_fd)

    def replace(self, source: str, target: str, dir_fd: int, source_fd: int | None = None) -> None:
        super().replace(source.lower(), target.lower(), dir_fd)

    def ignores_case(self, dir_fd: int) -> bool:
        return True

    def unlink(self, name: str, dir_fd: int) -> None:
        super().unlink(name.lower(), dir_fd)

    def _folded(self, name: str | Path) -> str | Path:
        return name.lower() if isinstance(name, str) else name.with_name(name.name.lower())


@pytest.fixture
def casefolding(tmp_path: Path) -> Iterator[Path]:
    """A real folder that folds case."""
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    made = ["mkfs.ext4", "-q", "-O", "casefold", str(image)], ["mount", "-o", "loop", str(image), str(folder)]
    try:
        for words in made:
            subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system that folds case needs root, mkfs.ext4 and a kernel with casefold")
    try:
        inner = folder / "inner"
        inner.mkdir()
        subprocess.run(["chattr", "+F", str(inner)], check=True)
        yield inner
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def case_variants(origin: Origin, size: int) -> tuple[list[Resource], list[str]]:
    files = deployed(size, 3)
    spellings = ["Data.bin", "data.bin", "DATA.BIN"]
    return files, [origin.serve(f"/{name}", file) for name, file in zip(spellings, files, strict=True)]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_names_that_differ_only_in_case_where_the_folder_folds_them(
    origin: Origin, there: Disk, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchq._disk.parts.Files", Folding)
    files, urls = case_variants(origin, size)
    for _ in range(2):
        there.fetch(*urls)
        assert sorted(there.contents.values()) == sorted(file.data for file in files)


def test_names_that_differ_only_in_case_in_a_real_folder(origin: Origin, casefolding: Path) -> None:
    there = Disk(casefolding, "record")
    files, urls = case_variants(origin, SMALL)
    for _ in range(2):
        assert right(there.fetch(*urls), files)
        assert len(there.contents) == 3


def test_names_that_differ_only_in_case_are_kept_where_the_folder_tells_them_apart(
    origin: Origin, there: Disk
) -> None:
    files, urls = case_variants(origin, SMALL)
    assert right(there.fetch(*urls), files)
    assert there.contents.keys() == {"Data.bin", "data.bin", "DATA.BIN"}


# --- a target that the user named

NEW, OLD = literal(b"the new one", last_modified=DATE), b"the old one"


@pytest.mark.parametrize(
    ("if_exists", "contents"),
    [
        (None, {"x.bin": NEW.data}),
        ("overwrite", {"x.bin": NEW.data}),
        ("rename", {"x.bin": OLD, "x.1.bin": NEW.data}),
        ("skip", {"x.bin": OLD}),
        ("error", {"x.bin": OLD}),
    ],
)
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_target_that_the_user_gave_is_replaced_unless_told_otherwise(
    origin: Origin, there: Disk, size: int, if_exists: IfExists | None, contents: dict[str, bytes]
) -> None:
    new = generated(size, 5)
    (there.folder / "x.bin").write_bytes(OLD)
    [result] = there.fetch(fetchq.Job(origin.serve("/n.bin", new), "x.bin"), if_exists=if_exists)
    wanted = {name: new.data if data == NEW.data else data for name, data in contents.items()}
    assert there.contents == wanted
    if if_exists == "error":
        assert isinstance(result.error, fetchq.ExistsError)
    else:
        assert result.path is not None
        assert result.path.name == next(reversed(contents))


@pytest.mark.parametrize(
    ("if_exists", "contents"),
    [
        (None, {"x.bin": OLD, "x.1.bin": NEW.data}),
        ("rename", {"x.bin": OLD, "x.1.bin": NEW.data}),
        ("overwrite", {"x.bin": NEW.data}),
    ],
)
def test_a_name_that_the_url_suggests_overwrites_nothing_unasked(
    origin: Origin, there: Disk, if_exists: IfExists | None, contents: dict[str, bytes]
) -> None:
    (there.folder / "x.bin").write_bytes(OLD)
    there.fetch(origin.serve("/x.bin", NEW), if_exists=if_exists)
    assert there.contents == contents


def test_the_command_and_its_queues_name_targets_too(
    origin: Origin, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    url = origin.serve("/n.bin", NEW)
    (tmp_path / "list").write_text(f"{url}\n  out=q.bin\n")
    checksum = ["--checksum", f"sha256:{NEW.sha256}"]
    for target, words in (
        ("x.bin", ["-o", "x.bin", url]),
        ("c.bin", ["-o", "c.bin", *checksum, url]),
        ("q.bin", ["-i", "list"]),
    ):
        (tmp_path / target).write_bytes(OLD)
        done = run_fetchq(*words, "--no-env")
        assert done.returncode == 0, done.stderr
        assert target in done.stderr
        assert (tmp_path / target).read_bytes() == NEW.data
    assert {path.name for path in tmp_path.iterdir()} == {"list", "x.bin", "c.bin", "q.bin", ".fetchq.db"}


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("spoil", ["digest", "status"])
def test_the_old_file_stays_until_the_new_one_is_verified(
    origin: Origin, there: Disk, size: int, spoil: str
) -> None:
    (there.folder / "x.bin").write_bytes(OLD)
    url = origin.serve("/n.bin", generated(size), *([status(500)] if spoil == "status" else []))
    checksum = f"sha256:{'0' * 64}" if spoil == "digest" else None
    [result] = there.fetch(fetchq.Job(url, "x.bin", checksum=checksum))
    assert result.status == "failed"
    assert there.contents["x.bin"] == OLD


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_every_report_names_the_file_that_was_written(
    origin: Origin, run_fetchq: RunFetchq, tmp_path: Path, size: int
) -> None:
    (tmp_path / "x.bin").write_bytes(OLD)
    done = run_fetchq("--progress", "json", "--log", "log", "--no-env", origin.serve("/x.bin", generated(size)))
    assert done.returncode == 0, done.stderr
    last = [line for line in done.stdout.splitlines() if "job_finished" in line]
    assert '"name": "x.1.bin"' in last[0] or '"name":"x.1.bin"' in last[0]
    assert "x.1.bin" in (tmp_path / "log").read_text()


# --- the same command again


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("validators", [('"a"', DATE), ('"a"', None), (None, DATE), ('W/"a"', None)])
def test_the_same_command_again_moves_no_body(
    origin: Origin, tmp_path: Path, size: int, named: bool, validators: tuple[str | None, str | None]
) -> None:
    there = Disk(tmp_path, "record")
    file = generated(size, etag=validators[0], last_modified=validators[1])
    job = fetchq.Job(origin.serve("/x.bin", file), "y.bin" if named else None)
    there.fetch(job)
    origin.settle()
    sent = origin.sent
    [again] = there.fetch(job)
    assert (again.status, again.reason) == ("skipped", "not modified on the server")
    origin.settle()
    assert origin.sent == sent
    assert origin.requests[-1].status == 304
    assert len(there.contents) == 1


def test_a_newer_version_is_fetched_when_the_same_command_is_given_again(origin: Origin, there: Disk) -> None:
    old, new = generated(LARGE), generated(LARGE, 2, etag='"2"', last_modified=DATE)
    for job, target in ((None, "x.1.bin"), ("y.bin", "y.bin")):
        url = origin.serve("/x.bin", old)
        there.fetch(fetchq.Job(url, job), xattr=True)
        origin.serve("/x.bin", new)
        [result] = Disk(there.folder, "record").fetch(fetchq.Job(url, job))
        assert result.path is not None
        assert (result.path.name, result.path.read_bytes()) == (target, new.data)


def test_a_record_is_believed_only_while_the_file_is_as_it_was(origin: Origin, tmp_path: Path) -> None:
    there = Disk(tmp_path, "record")
    url = origin.serve("/x.bin", generated(SMALL))
    there.fetch(url)
    (tmp_path / "x.bin").write_bytes(b"edited")
    [result] = there.fetch(url)
    assert result.path == tmp_path / "x.1.bin"
    assert (tmp_path / "x.bin").read_bytes() == b"edited"


def test_a_record_holds_no_secret(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/x.bin", generated(SMALL)).replace("://", "://me:hunter2@") + "?token=hunter2"
    Disk(tmp_path, "record").fetch(url)
    path = tmp_path / "x.bin"
    values = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    assert not any(b"hunter2" in value for value in values.values())
    assert values["user.xdg.origin.url"].endswith(b"/x.bin")


def test_no_xattr_writes_no_attribute(origin: Origin, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    for words, records in ((["--no-xattr"], False), ([], True)):
        assert run_fetchq("-d", f"{records}", "--no-env", *words, origin.serve("/x.bin", NEW)).returncode == 0
        assert bool(os.listxattr(tmp_path / f"{records}" / "x.bin")) is records


def test_what_was_finished_before_a_kill_does_not_travel_again(
    origin: Origin, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    """The store's records wait for half a second; those on the files do not."""
    files = deployed(SMALL, 15)
    urls = [
        origin.serve(f"/{at}.bin", file, *([throttle(10)] if at == 14 else [])) for at, file in enumerate(files)
    ]
    (tmp_path / "list").write_text("\n".join(urls))
    out = tmp_path / "out"
    with running("-i", "list", "-d", out, "--no-env", cwd=tmp_path) as process:
        until(lambda: out.exists() and len([*out.glob("*.bin")]) == 14)
        process.kill()
        process.wait(10)
    origin.settle()
    sent = origin.sent
    assert run_fetchq("-i", "list", "-d", "out", "--no-env").returncode == 0
    assert origin.sent - sent <= SMALL
    assert len([*out.glob("*.bin")]) == 15


# --- other programs' files


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("target", [None, "x.bin"])
def test_side_files_of_other_programs_stay_as_they_are(
    origin: Origin, there: Disk, size: int, target: str | None
) -> None:
    theirs = {"x.bin.part": b"Firefox", "x.bin.part.json": b'{"fetchq_journal": 1}', "x.bin.part.json.tmp": b""}
    for name, text in theirs.items():
        (there.folder / name).write_bytes(text)
    file = generated(size)
    job = fetchq.Job(origin.serve("/x.bin", file, well if size == SMALL else throttle(1e8)), target)
    for _ in range(2):
        [result] = there.fetch(job)
        assert result.error is None
        assert there.contents == theirs | {"x.bin": file.data}


@contextmanager
def interrupted(origin: Origin, folder: Path, url: str) -> Iterator[None]:
    """A download of *url* that was killed half-way."""
    with running("-d", folder, "--no-env", "-x", "1", url, cwd=folder) as process:
        until(lambda: origin.sent > LARGE // 2)
        process.kill()
        process.wait(10)
    yield


def test_a_download_beside_another_programs_part_is_resumed(
    origin: Origin, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    (tmp_path / "x.bin.part").write_bytes(b"Firefox")
    file = generated(LARGE)
    url = origin.serve("/x.bin", file, throttle(3e6))
    with interrupted(origin, tmp_path, url):
        done = run_fetchq("--no-env", url)
    assert done.stderr.startswith("resumed  x.bin"), done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"x.bin", "x.bin.part"}
    assert (tmp_path / "x.bin.part").read_bytes() == b"Firefox"
    assert (tmp_path / "x.bin").read_bytes() == file.data
