"""Disks that are full, read-only, too small, gone or booby-trapped: one sentence, exit 3, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import fetchq
from fetchq._settings import IfExists

from .conftest import RunFetchq, run, running, until
from .origin import Origin, chunked, drop, generated, throttle

MIB = 1 << 20
QUICK = ["--backoff", "0", "--no-env", "-x", "1", "--retries", "2"]
DISK = 3


def mount(*words: str | Path) -> None:
    """Run mount(8); skip where it is refused."""
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount is refused here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "fetchq-test", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    mount("-o", f"remount,{options}", folder)


def started(
    *words: str | Path, cwd: Path, limit: str = "unlimited"
) -> AbstractContextManager[subprocess.Popen[str]]:
    """``fetchq``, still running; *limit* is the largest file it may write, in KiB."""
    limited = ["bash", "-c", f'ulimit -f {limit}; exec "$@"', "bash"]
    return running(*QUICK, *words, cwd=cwd, before=limited)


def fetch(url: str, folder: Path, policy: IfExists = "rename") -> fetchq.Result:
    """The same from Python, where a process of its own would show nothing more."""
    settings = fetchq.Settings(
        network=fetchq.Network(env=False),
        retry=fetchq.Retry(retries=2, backoff=0),
        disk=fetchq.Disk(dir=folder, if_exists=policy),
    )

    async def main() -> fetchq.Result:
        async with fetchq.Downloader(settings) as downloader:
            (result,) = [result async for result in downloader.run([url])]
            return result

    return run(main())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- full


def test_a_full_disk_fails_what_does_not_fit_and_the_same_command_goes_on_when_there_is_room(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    """The files have no length, so no look at the free space can see it coming."""
    files = {f"{number}.bin": generated(3 * MIB, seed=number) for number in range(10)}
    slow = (chunked(), throttle(5e6))
    urls = [origin.serve(f"/{name}", file, slow) for name, file in files.items()]
    (tmp_path / "q.txt").write_text("\n".join(urls) + "\n")
    words = (*QUICK, "--min-free", "0", "-j", "2", "-i", "q.txt", "-d", str(small_disk))

    done = run_fetchq(*words)

    assert done.returncode == DISK
    assert "Traceback" not in done.stderr
    failures = re.findall(r"^failed +(.*)", done.stderr, re.MULTILINE)
    assert all("cannot be written: no space is left on the disk." in line for line in failures)
    assert f"10 files: 2 done, {len(failures)} failed" in done.stderr
    assert len(failures) == 8
    assert "Run the same command again to resume" in done.stderr
    assert len(origin.requests) <= 5, "for a full disk nothing is asked"
    assert all(path.read_bytes() == files[path.name].data for path in small_disk.glob("*.bin"))
    parts = {path.name.removesuffix(".part") for path in small_disk.glob("*.part")}
    assert parts

    origin.requests.clear()
    for name, file in files.items():
        origin.serve(f"/{name}", file, chunked(), repeat=True)
    remount(small_disk, "size=64m")
    again = run_fetchq(*words)
    assert again.returncode == 0, again.stderr
    assert all((small_disk / name).read_bytes() == file.data for name, file in files.items())
    assert names(small_disk) == {*files, ".fetchq.db"}
    resumed = {request.path.removeprefix("/") for request in origin.requests if request.range}
    assert resumed
    assert resumed <= parts


def test_a_full_disk_is_no_reason_to_stop_the_jobs_of_another(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    """One disk is below the other's folder, as a mounted stick is."""
    endless = origin.serve("/endless.bin", generated(30 * MIB), chunked())
    jobs = [{"url": endless, "out": "disk/endless.bin"}]
    jobs += [{"url": origin.serve(f"/{n}", generated(MIB)), "out": f"disk/{n}.bin"} for n in range(3)]
    jobs += [{"url": origin.serve(f"/{n}", generated(MIB)), "out": f"{n}.bin"} for n in range(3, 6)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, jobs)) + "\n")
    done = run_fetchq(*QUICK, "--no-store", "-j", "1", "-i", "q.jsonl", "-d", tmp_path)
    assert done.returncode == DISK
    assert "7 files: 3 done, 4 failed" in done.stderr, done.stderr
    assert all((tmp_path / f"{number}.bin").stat().st_size == MIB for number in range(3, 6))
    assert {request.path for request in origin.requests} == {"/endless.bin", "/3", "/4", "/5"}


def test_one_file_that_cannot_fit_does_not_stop_those_that_do(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    sizes = {"large.bin": 30 * MIB, **{f"{number}.bin": 100_000 for number in range(40)}}
    urls = [origin.serve(f"/{name}", generated(size)) for name, size in sizes.items()]
    (tmp_path / "q.txt").write_text("\n".join(urls) + "\n")
    done = run_fetchq(*QUICK, "-j", "1", "-i", "q.txt", "-d", small_disk)
    assert done.returncode == DISK
    assert "41 files: 40 done, 1 failed" in done.stderr
    assert names(small_disk) == {*sizes, ".fetchq.db"} - {"large.bin"}


def test_of_two_files_that_fit_one_at_a_time_one_is_done_and_one_says_why(
    run_fetchq: RunFetchq, origin: Origin, small_disk: Path
) -> None:
    urls = [origin.serve(f"/{number}.bin", generated(5 * MIB), throttle(8e6)) for number in range(2)]
    done = run_fetchq(*QUICK, "-j", "2", "-d", small_disk, *urls)
    assert done.returncode == DISK
    assert "2 files: 1 done, 1 failed" in done.stderr
    assert re.search(r"needs 5\.0 MiB more, and the disk of .* has .* free, .* of it for other", done.stderr)
    assert len(names(small_disk)) == 1
    assert [path.stat().st_size for path in small_disk.iterdir()] == [5 * MIB]


def test_a_disk_that_fills_up_meanwhile_is_noticed_before_it_is_full(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    """Another program writes as well: what is to stay free stays free, and the part goes on later."""
    file = generated(4 * MIB)
    url = origin.serve("/f.bin", file, throttle(4e6))
    words = ("--min-free", "2M", "-d", small_disk, url)
    with started(*words, cwd=tmp_path) as process:
        part = small_disk / "f.bin.part"
        until(lambda: part.exists() and part.stat().st_size > MIB // 2)
        (small_disk / "other").write_bytes(bytes(5 * MIB))
        _, err = process.communicate(timeout=20)
    assert process.returncode == DISK, err
    assert "--min-free keeps" in err
    assert part.stat().st_size < 3 * MIB
    (small_disk / "other").unlink()
    again = run_fetchq(*QUICK, *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.startswith("resumed ")
    assert (small_disk / "f.bin").read_bytes() == file.data


def test_what_cannot_fit_is_refused_before_its_body(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    large, small = origin.serve("/large.bin", generated(30 * MIB)), origin.serve("/small.bin", b"small")
    for words in (["--min-free", "0", large], ["--min-free", "10M", small], [large]):
        done = run_fetchq(*QUICK, "-d", small_disk, *words)
        assert done.returncode == DISK
        assert re.search(r"needs .* more, and the disk of .* has 8\.0 MiB free, of which", done.stderr)
    assert list(small_disk.iterdir()) == []
    origin.settle()
    assert len(origin.requests) == 3, "a full disk is not asked again"
    assert origin.sent < 16 * MIB, "what the system buffers of two answers of 30 MiB"
    assert run_fetchq(*QUICK, "-d", small_disk, small).returncode == 0, "1 % of a small disk stays free"


def test_a_disk_of_any_size_can_be_kept_free(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    done = run_fetchq(*QUICK, "--min-free", "900T", "-d", "out", origin.serve("/f.bin", generated(20 * MIB)))
    assert done.returncode == DISK
    assert "must stay free" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
    origin.settle()
    assert origin.sent < 15 * MIB


def test_a_limit_on_file_sizes_fails_the_larger_file_only(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    """``ulimit -f``, or FAT's 4 GiB: the smaller file fits, and the larger one goes on without the limit."""
    file = generated(3 * MIB)
    url = origin.serve("/f.bin", file)
    small = origin.serve("/small.bin", generated(MIB // 2))
    with started("-j", "1", "-d", "out", url, small, cwd=tmp_path, limit="1024") as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == DISK
    assert "f.bin.part cannot be written: the file is larger than" in err
    assert "ulimit -f" in err
    assert "2 files: 1 done, 1 failed" in err
    part = tmp_path / "out/f.bin.part"
    assert part.read_bytes() == file.data[: part.stat().st_size]
    done = run_fetchq(*QUICK, "-d", "out", url)
    assert done.returncode == 0
    assert (tmp_path / "out/f.bin").read_bytes() == file.data


def test_a_disk_without_room_for_the_store_loses_no_file(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, small_disk: Path
) -> None:
    (small_disk / "other").write_bytes(bytes(8 * MIB - 4096))
    (tmp_path / "q.txt").write_text(origin.serve("/f.bin", b"small") + "\n")
    done = run_fetchq(*QUICK, "--min-free", "0", "-i", "q.txt", "-d", small_disk)
    assert done.returncode == 0, done.stderr
    assert ".fetchq.db has no space left on its disk: this run goes on without a store." in done.stderr
    assert (small_disk / "f.bin").read_bytes() == b"small"
    asked = len(origin.requests)
    named = run_fetchq(*QUICK, "--store", small_disk / ".fetchq.db", "-i", "q.txt", "-d", small_disk)
    assert named.returncode == DISK
    assert "has no space left on its disk: free some, or use --no-store." in named.stderr
    assert len(origin.requests) == asked


# --- not writable


def test_a_read_only_disk(run_fetchq: RunFetchq, origin: Origin, small_disk: Path) -> None:
    urls = [origin.serve(f"/{number}.bin", generated(size)) for number, size in enumerate((100, 3 * MIB))]
    remount(small_disk, "ro")
    for folder in (small_disk, small_disk / "new"):
        done = run_fetchq(*QUICK, "--min-free", "0", "-d", folder, *urls)
        assert done.returncode == DISK
        assert done.stderr.count("failed   ") == 2
        assert len(re.findall(r"cannot be (?:written|used): the file system is read-only\.", done.stderr)) == 4
    remount(small_disk, "rw")
    assert run_fetchq(*QUICK, "--min-free", "0", "-d", small_disk, *urls).returncode == 0


def test_a_folder_without_permission(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    if os.geteuid() == 0:
        # Root may write everywhere but where nobody may.
        change = shutil.which("chattr") or "true"
        done = subprocess.run([change, "+i", folder], check=False, capture_output=True)
        if change == "true" or done.returncode:
            pytest.skip("root may write everywhere, and chattr +i is refused here")
    else:
        folder.chmod(0o500)
    try:
        told = run_fetchq(*QUICK, "-d", "out", origin.serve("/f.bin", generated(3 * MIB)))
        assert told.returncode == DISK
        assert "f.bin cannot be written: permission denied." in told.stderr
        assert list(folder.iterdir()) == []
    finally:
        if os.geteuid() == 0:
            subprocess.run(["chattr", "-i", folder], check=True)


def test_a_folder_that_vanishes_meanwhile(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    file = generated(4 * MIB)
    url = origin.serve("/f.bin", file, throttle(3e6))
    with started("-d", "out", url, cwd=tmp_path) as process:
        part = tmp_path / "out/f.bin.part"
        until(lambda: part.exists() and part.stat().st_size > MIB // 2)
        shutil.rmtree(tmp_path / "out")
        _, err = process.communicate(timeout=20)
    assert process.returncode == DISK
    assert "f.bin.part cannot be written: the folder vanished." in err
    assert len(err.splitlines()) == 1
    assert run_fetchq(*QUICK, "-d", "out", url).returncode == 0
    assert (tmp_path / "out/f.bin").read_bytes() == file.data


def test_a_part_that_vanishes_meanwhile_gives_no_wrong_file(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    file = generated(2 * MIB)
    url = origin.serve("/f.bin", file, throttle(4e6))
    with started(url, cwd=tmp_path) as process:
        part = tmp_path / "f.bin.part"
        until(lambda: part.exists() and part.stat().st_size > MIB // 4)
        part.unlink()
        _, err = process.communicate(timeout=20)
    assert process.returncode == DISK
    assert "was moved or removed while it was written" in err
    assert not (tmp_path / "f.bin").exists()
    assert run_fetchq(*QUICK, url).returncode == 0
    assert (tmp_path / "f.bin").read_bytes() == file.data


# --- in the way


def test_a_file_where_a_folder_should_be(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    url = origin.serve("/f.bin", generated(3 * MIB))
    done = run_fetchq(*QUICK, "-d", "file", url)
    assert (done.returncode, origin.requests) == (2, [])
    assert "file is a file: give a directory" in done.stderr
    done = run_fetchq(*QUICK, "-o", "file/f.bin", url)
    assert (done.returncode, origin.requests) == (2, [])
    assert "file is a file: give a directory" in done.stderr
    done = run_fetchq(*QUICK, "-d", "file/below", url)
    assert done.returncode == DISK
    assert "file/below cannot be used: a folder on its path is a file." in done.stderr
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert names(tmp_path) == {"file"}


POLICIES: tuple[IfExists, ...] = ("rename", "skip", "overwrite", "error")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_a_name_that_a_folder_has(origin: Origin, tmp_path: Path, policy: IfExists, size: int) -> None:
    (tmp_path / "f.bin").mkdir()
    (tmp_path / "f.bin/mine").write_bytes(b"mine")
    result = fetch(origin.serve("/f.bin", generated(size)), tmp_path, policy)
    assert type(result.error) is fetchq.DiskError
    assert "f.bin is a folder; choose another name with --output." in str(result.error)
    assert names(tmp_path) == {"f.bin"}
    assert (tmp_path / "f.bin/mine").read_bytes() == b"mine"


def test_too_large_a_file_is_refused(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    told = origin.serve("/told.bin", generated(20 * MIB))
    untold = origin.serve("/untold.bin", generated(3 * MIB), chunked())
    for url in (told, untold):
        done = run_fetchq(*QUICK, "--max-size", "1M", "-d", "out", url)
        assert done.returncode == 7
        assert "allowed by --max-size" in done.stderr
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.bin"))
    origin.settle()
    assert len(origin.asked("/told.bin")) == len(origin.asked("/untold.bin")) == 1
    assert origin.asked("/told.bin")[0].sent < 15 * MIB
    assert run_fetchq(*QUICK, "--max-size", "20M", "-d", "out", told).returncode == 0


# --- links


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that no download is meant for, with a file of the user's."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "victim").write_bytes(b"mine")
    return folder


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "inside"
    folder.mkdir()
    return folder


def unharmed(outside: Path) -> bool:
    return names(outside) == {"victim"} and (outside / "victim").read_bytes() == b"mine"


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize("target", ["victim", "missing"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_link_under_the_files_name_is_not_followed(
    origin: Origin, inside: Path, outside: Path, policy: IfExists, target: str, size: int
) -> None:
    link = inside / "f.bin"
    link.symlink_to(outside / target)
    file = generated(size)
    result = fetch(origin.serve("/f.bin", file), inside, policy)
    assert unharmed(outside)
    assert isinstance(result.error, fetchq.ExistsError) is (policy == "error")
    assert link.is_symlink() is (policy != "overwrite")
    assert names(inside) == ({"f.bin", "f.1.bin"} if policy == "rename" else {"f.bin"})
    if policy in {"rename", "overwrite"}:
        assert result.path == inside / ("f.1.bin" if policy == "rename" else "f.bin")
        assert result.path.read_bytes() == file.data


@pytest.mark.parametrize("size", [100, 3 * MIB])
@pytest.mark.parametrize("target", ["victim", "missing"])
@pytest.mark.parametrize("name", ["f.bin.part", "f.bin.part.json", "f.bin.part.json.tmp"])
def test_a_link_under_a_side_files_name_is_neither_followed_nor_replaced(
    origin: Origin, inside: Path, outside: Path, name: str, target: str, size: int
) -> None:
    (inside / name).symlink_to(outside / target)
    file = generated(size)
    assert fetch(origin.serve("/f.bin", file, drop(after=size // 3)), inside).ok
    assert unharmed(outside)
    assert names(inside) == {name, "f.bin"}
    assert (inside / name).is_symlink()
    assert (inside / "f.bin").read_bytes() == file.data


LEAVES = ["../f.bin", "a/../../f.bin", "..", "a/..", "/f.bin", "~/f.bin", "", "a\0b"]


def test_an_out_that_would_leave_is_refused_and_the_queue_goes_on(
    run_fetchq: RunFetchq, origin: Origin, inside: Path, outside: Path, tmp_path: Path
) -> None:
    url = origin.serve("/f.bin", b"good")
    jobs = [{"url": f"{url}?{number}", "out": out} for number, out in enumerate(LEAVES)]
    jobs += [
        {"url": f"{url}?dir{number}", "dir": leaving}
        for number, leaving in enumerate(("..", "/", "~", "a/../.."))
    ]
    bad = len(jobs)
    jobs += [{"url": url, "out": out} for out in ("a/b/good.bin", "a/", str(inside / "a/whole.bin"))]
    (outside / "q.jsonl").write_text("\n".join(map(json.dumps, jobs)) + "\n")
    done = run_fetchq(*QUICK, "-d", inside, "-i", outside / "q.jsonl", "--no-store")
    (outside / "q.jsonl").unlink()
    assert done.returncode == 2
    assert f"{len(jobs)} files: 3 done, {bad} failed" in done.stderr
    assert names(inside) == {"a"}
    assert names(inside / "a") == {"b", "f.bin", "whole.bin"}
    assert (inside / "a/b/good.bin").read_bytes() == b"good"
    assert names(tmp_path) == {"inside", "outside"}
    assert unharmed(outside)


def test_the_users_own_target_is_where_the_user_says(
    run_fetchq: RunFetchq, origin: Origin, inside: Path, outside: Path, tmp_path: Path
) -> None:
    url = origin.serve("/f.bin", b"good")
    for out, path in (
        (str(outside / "a.bin"), outside / "a.bin"),
        ("../b.bin", tmp_path / "b.bin"),
        ("../outside/new/", outside / "new/f.bin"),
        ("..", tmp_path / "f.bin"),
        ("~/home.bin", tmp_path / "home.bin"),
    ):
        done = run_fetchq(*QUICK, "-d", inside, f"--output={out}", url)
        assert done.returncode == 0, done.stderr
        assert path.read_bytes() == b"good"
    assert names(inside) == set()


def test_a_queue_that_may_leads_out(
    run_fetchq: RunFetchq, origin: Origin, inside: Path, outside: Path, tmp_path: Path
) -> None:
    url = origin.serve("/f.bin", b"good")
    (inside / "link").symlink_to(outside)
    jobs = [{"out": "../a.bin"}, {"out": str(outside / "b.bin")}, {"dir": "..", "out": "c"}, {"out": "link/d"}]
    lines = [json.dumps({"url": f"{url}?{number}", **job}) for number, job in enumerate(jobs)]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    (tmp_path / "q.txt").write_text(f"{url}?4\n  dir=~\n  out=e\n")
    words = (*QUICK, "-d", str(inside), "-i", "q.jsonl", "-i", "q.txt", "--no-store")
    done = run_fetchq(*words)
    assert done.stderr.count("--allow-outside") == 2 * 5
    assert done.returncode == 2
    assert unharmed(outside)
    assert run_fetchq(*words, "--allow-outside").returncode == 0
    assert {"a.bin", "c", "e"} <= names(tmp_path)
    assert names(outside) == {"victim", "b.bin", "d"}


@pytest.mark.parametrize("out", ["sub/f", "{}/f", "../f", "sub/", "{}/", ".."])
@pytest.mark.parametrize("kind", [str, Path])
def test_python_takes_the_same_paths(
    origin: Origin, inside: Path, outside: Path, out: str, kind: type[str | Path]
) -> None:
    out = out.format(outside)
    if kind is Path and out.endswith("/"):
        pytest.skip("a Path has no final slash")
    settings = fetchq.Settings(network=fetchq.Network(env=False))
    result = fetchq.download(origin.serve("/f.bin", b"good"), kind(out), dir=inside, settings=settings)
    expected = inside / out / ("f.bin" if out.endswith(("/", "..")) else "")
    assert result.path == expected
    assert expected.read_bytes() == b"good"


@pytest.mark.parametrize("where", ["dir", "settings", "job", "out"])
def test_python_knows_the_home_folder(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    url, network = origin.serve("/f.bin", b"good"), fetchq.Network(env=False)
    if where == "dir":
        result = fetchq.download(url, dir="~/sub", settings=fetchq.Settings(network=network))
    elif where == "settings":
        disk = fetchq.Disk(dir=Path("~/sub"))
        result = fetchq.download(url, settings=fetchq.Settings(network=network, disk=disk))
    elif where == "job":
        job = fetchq.Job(url, dir=Path("~/sub"))
        result = fetchq.download(job, settings=fetchq.Settings(network=network))
    else:
        result = fetchq.download(url, "~/sub/f.bin", settings=fetchq.Settings(network=network))
    assert result.path == tmp_path / "sub/f.bin"
    assert names(tmp_path) == {"sub"}


def test_a_run_folder_that_is_a_link_is_the_users_choice(
    run_fetchq: RunFetchq, origin: Origin, inside: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(inside)
    assert run_fetchq(*QUICK, "-d", "link", origin.serve("/f.bin", b"good")).returncode == 0
    assert (inside / "f.bin").read_bytes() == b"good"


@pytest.mark.parametrize("size", [100, 3 * MIB])
def test_a_linked_folder_on_the_way_is_followed_for_the_user_and_not_for_a_queue(
    run_fetchq: RunFetchq, origin: Origin, inside: Path, outside: Path, tmp_path: Path, size: int
) -> None:
    (inside / "link").symlink_to(outside)
    url = origin.serve("/f.bin", generated(size))
    (tmp_path / "q.txt").write_text(f"{url}\n  out=link/f.bin\n")
    done = run_fetchq("-d", inside, "-i", "q.txt", "--no-store")
    assert done.returncode == DISK
    assert "leads out of" in done.stderr
    assert unharmed(outside)
    assert run_fetchq("-d", inside, "-o", "link/f.bin", url).returncode == 0
    assert names(outside) == {"victim", "f.bin"}


def test_a_log_on_a_full_disk_spoils_nothing(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    run = run_fetchq("--log", "/dev/full", origin.serve("/f.bin", generated(100)))
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "f.bin").exists()
