"""Which name a download gets: candidates, policies, parts of others, locks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fetchq._digests import Checksum
from fetchq._disk import Existing, Files, Finished, Identity, Journal, Part, Unproven
from fetchq._disk.journal import save
from fetchq._errors import DiskError, DiskFullError, ExistsError
from fetchq._models import Span
from fetchq._settings import IfExists

from .rig import (
    MTIME,
    OTHER,
    OURS,
    Roomy,
    claimed,
    disk,
    journal,
    names,
    never,
    no_check,
    opened,
    pattern,
    put,
    resource,
    run,
    sha256,
    write,
)
from .rig import policy as policy_of


def test_two_jobs_of_one_run_get_two_names(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            first, second = await claimed(parts, tmp_path), await claimed(parts, tmp_path)
            assert (first.name, second.name) == ("a.iso", "a.1.iso")

    run(work())


def test_a_name_is_one_name_however_its_folder_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    async def work() -> None:
        async with opened() as parts:
            first, second = await claimed(parts, tmp_path), await claimed(parts, tmp_path / "link")
            assert (first.name, second.name) == ("a.iso", "a.1.iso")

    run(work())


def test_a_name_is_free_again_once_its_part_is_closed(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            await (await claimed(parts, tmp_path)).close()
            assert names(tmp_path) == set()
            assert (await claimed(parts, tmp_path)).name == "a.iso"

    run(work())


def test_the_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(disk(fsync=True)) as parts:
            part = await claimed(parts, tmp_path / "x" / "y")
            assert part.path == tmp_path / "x" / "y" / "a.iso.part"
            assert part.path.exists()

    run(work())


@pytest.mark.parametrize("policy", ["rename", "skip", "overwrite", "error"])
def test_a_file_of_the_right_size_and_date_is_compared_before_it_is_believed(
    tmp_path: Path, policy: IfExists
) -> None:
    path = tmp_path / "a.iso"
    path.write_bytes(b"done")

    async def work() -> None:
        async with opened(disk(policy)) as parts:
            asked = policy_of(parts, same=lambda found: found.st_size == 4)
            assert await parts.claim(tmp_path, "a.iso", asked) == Unproven(path, 4)
            for said in (asked._replace(owned=lambda path: True), asked._replace(proven={path: True})):
                assert await parts.claim(tmp_path, "a.iso", said) == Existing(path, "already complete", 4)
            assert names(tmp_path) == {"a.iso"}

    run(work())


@pytest.mark.parametrize(("policy", "named"), [("rename", False), ("skip", False), ("overwrite", False)])
def test_the_file_of_another_job_is_never_this_download_nor_overwritten(
    tmp_path: Path, policy: IfExists, named: bool
) -> None:
    (tmp_path / "a.iso").write_bytes(b"done")

    async def work() -> None:
        async with opened(disk(policy)) as parts:
            asked = policy_of(parts, same=lambda found: True, owned=lambda path: False, named=named)
            part = await parts.claim(tmp_path, "a.iso", asked)
            assert isinstance(part, Part)
            assert part.name == "a.1.iso"

    run(work())


@pytest.mark.parametrize("policy", ["skip", "overwrite", "error"])
def test_a_target_that_the_user_gave_to_two_jobs(tmp_path: Path, policy: IfExists) -> None:
    (tmp_path / "a.iso").write_bytes(b"done")

    async def work() -> None:
        async with opened(disk(policy)) as parts:
            with pytest.raises(ExistsError, match=r"a\.iso is the target of two jobs"):
                await parts.claim(tmp_path, "a.iso", policy_of(parts, owned=lambda path: False, named=True))

    run(work())


def test_a_taken_name_by_policy(tmp_path: Path) -> None:
    (tmp_path / "a.iso").write_bytes(b"the user's")

    async def work() -> None:
        async with opened(disk("rename")) as parts:
            assert (await claimed(parts, tmp_path)).name == "a.1.iso"
        async with opened(disk("skip")) as parts:
            found = await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never))
            assert found == Existing(tmp_path / "a.iso", "exists", 10)
        async with opened(disk("overwrite")) as parts:
            assert (await claimed(parts, tmp_path)).name == "a.iso"
        async with opened(disk("error")) as parts:
            with pytest.raises(ExistsError, match=r"a\.iso exists"):
                await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never))
        assert names(tmp_path) == {"a.iso"}

    run(work())
    assert (tmp_path / "a.iso").read_bytes() == b"the user's"


@pytest.mark.parametrize("policy", ["rename", "skip", "overwrite", "error"])
def test_a_folder_has_the_name(tmp_path: Path, policy: IfExists) -> None:
    (tmp_path / "a.iso").mkdir()

    async def work() -> None:
        async with opened(disk(policy)) as parts:
            with pytest.raises(DiskError, match=r"a\.iso is a folder"):
                await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never))

    run(work())


def test_a_folder_that_has_a_later_name_is_passed_by(tmp_path: Path) -> None:
    (tmp_path / "a.iso").touch()
    (tmp_path / "a.1.iso").mkdir()

    async def work() -> None:
        async with opened() as parts:
            assert (await claimed(parts, tmp_path)).name == "a.2.iso"

    run(work())


def test_overwriting_is_for_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.iso")

    async def work() -> None:
        async with opened(disk("overwrite")) as parts:
            with pytest.raises(DiskError, match="not a regular file"):
                await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never))

    run(work())


async def leave_part(folder: Path, identity: Identity, body: bytes, etag: str | None = '"v1"') -> None:
    """Leave the part of a download that was killed."""
    async with opened() as parts:
        part = await claimed(parts, folder, identity=identity)
        await part.begin(resource(1000, etag), [])
        await write(part, 0, [body])
        await part.close()


def test_our_own_part_is_gone_on_with(tmp_path: Path) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OURS, b"x" * 100)
        async with opened() as parts:
            assert await parts.peek(tmp_path, "a.iso", OURS) == "a.iso"
            assert await parts.peek(tmp_path, "a.iso", OTHER) is None
            assert await parts.trusted(tmp_path, "a.iso", OURS) == 100
            assert await parts.trusted(tmp_path, "a.iso", OTHER) == 0
            part = await claimed(parts, tmp_path)
            assert part.spans == (Span(0, 100),)
            assert part.journal is not None
            assert (part.journal.length, part.journal.etag) == (1000, '"v1"')

    run(work())


def test_our_part_under_a_later_name_is_found(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "a.iso").touch()
        await leave_part(tmp_path, OURS, b"x" * 100)
        assert names(tmp_path) == {"a.iso", "a.1.iso.part", "a.1.iso.part.json"}
        async with opened() as parts:
            assert await parts.peek(tmp_path, "a.iso", OURS) == "a.1.iso"
            assert (await claimed(parts, tmp_path)).spans == (Span(0, 100),)

    run(work())


def test_our_part_is_gone_on_with_though_another_file_has_got_its_name(tmp_path: Path) -> None:
    async def work() -> Finished | Existing:
        await leave_part(tmp_path, OURS, b"x" * 100)
        (tmp_path / "a.iso").write_bytes(b"the user's")
        async with opened() as parts:
            assert await parts.peek(tmp_path, "a.iso", OURS) == "a.iso"
            part = await claimed(parts, tmp_path)
            assert part.spans == (Span(0, 100),)
            await part.begin(resource(101), [])
            await write(part, 100, [b"x"])
            return await part.finish(size=101, mtime=None, check=no_check)

    assert run(work()) == Finished(tmp_path / "a.1.iso", 101, {})
    assert names(tmp_path) == {"a.iso", "a.1.iso"}


@pytest.mark.parametrize("policy", ["rename", "skip", "overwrite"])
def test_our_part_beside_another_jobs_file_is_gone_on_with_where_that_costs_it_nothing(
    tmp_path: Path, policy: IfExists
) -> None:
    """One process has published its file under the name whose part another one has just begun."""

    async def work() -> None:
        (tmp_path / "a.iso").touch()
        await leave_part(tmp_path, OURS, b"x" * 100)
        sides = [tmp_path / side for side in ("a.1.iso.part", "a.1.iso.part.json")]
        for side in sides:
            side.rename(f"{side}.aside")
        async with opened() as parts:
            await put(parts, tmp_path, b"another", identity=OTHER)
        for side in sides:
            side.with_name(f"{side.name}.aside").rename(side)
        (tmp_path / "a.iso").unlink()
        await leave_finished(tmp_path, Identity("third", "https://host/third"))
        async with opened(disk(policy)) as parts:
            part = await claimed(parts, tmp_path)
            assert part.spans == ((Span(0, 100),) if policy == "rename" else ())
            await part.begin(resource(101), [])
            await write(part, 0, [b"x" * 101])
            await part.finish(size=101, mtime=None, check=no_check)

    run(work())
    assert (tmp_path / "a.1.iso").read_bytes() == b"another"
    assert (tmp_path / "a.2.iso").read_bytes() == b"x" * 101


async def leave_finished(folder: Path, identity: Identity) -> None:
    """Leave a finished file of another download."""
    async with opened() as parts:
        await put(parts, folder, b"third", identity=identity)


def test_what_another_process_has_left_since_is_found_after_another_look(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            await put(parts, tmp_path, b"ours", identity=OTHER)
            await leave_finished(tmp_path, Identity("third", "https://host/third"))
            await leave_part(tmp_path, OURS, b"x" * 100)
            assert names(tmp_path) >= {"a.iso", "a.1.iso", "a.2.iso.part"}
            parts.look_again()
            assert await parts.peek(tmp_path, "a.iso", OURS) == "a.2.iso"
            assert (await claimed(parts, tmp_path)).spans == (Span(0, 100),)

    run(work())


def test_a_part_of_another_process_is_found_behind_a_number_that_is_free_by_then(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened() as parts:
            await put(parts, tmp_path, b"ours", identity=OTHER)
            await put(parts, tmp_path, b"the next", identity=Identity("next", "https://host/next"))
            await leave_finished(tmp_path, Identity("third", "https://host/third"))
            await leave_part(tmp_path, OURS, b"x" * 100)
            assert names(tmp_path) >= {"a.iso", "a.1.iso", "a.2.iso", "a.3.iso.part"}
            (tmp_path / "a.2.iso").unlink()
            parts.look_again()
            assert (await claimed(parts, tmp_path)).spans == (Span(0, 100),)

    run(work())


@pytest.mark.parametrize("policy", ["rename", "skip", "overwrite"])
def test_a_journal_whose_part_is_gone_is_removed_and_vouches_for_nothing(
    tmp_path: Path, policy: IfExists
) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OURS, b"x" * 1000)
        (tmp_path / "a.iso.part").unlink()
        async with opened() as parts:
            assert await parts.peek(tmp_path, "a.iso", OURS) is None
        (tmp_path / "a.iso").write_bytes(b"y" * 1000)
        async with opened(disk(policy)) as parts:
            assert await parts.peek(tmp_path, "a.iso", OURS) == "a.iso"
            found = await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never))
            assert isinstance(found, Existing) == (policy == "skip")
            assert getattr(found, "reason", "") != "already complete"
            if isinstance(found, Part):
                assert found.spans == ()
                await found.close()
        assert names(tmp_path) == {"a.iso"}

    run(work())


def test_a_journal_of_another_download_is_left_to_it(tmp_path: Path) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OTHER, b"x" * 1000)
        (tmp_path / "a.iso.part").unlink()
        (tmp_path / "a.iso").write_bytes(b"y" * 1000)
        async with opened() as parts:
            found = await parts.claim(tmp_path, "a.iso", policy_of(parts, same=lambda found: True))
            assert isinstance(found, Unproven)

    run(work())
    assert names(tmp_path) == {"a.iso", "a.iso.part.json"}


def test_a_part_of_another_download_is_left_to_it(tmp_path: Path) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OTHER, b"theirs")
        async with opened() as parts:
            assert (await claimed(parts, tmp_path)).name == "a.1.iso"
        async with opened() as parts:
            theirs = await claimed(parts, tmp_path, identity=OTHER)
            assert (theirs.name, theirs.spans) == ("a.iso", (Span(0, 6),))

    run(work())


def test_only_for_a_target_of_the_users_own_is_anothers_part_taken_over_once_it_begins(tmp_path: Path) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OTHER, b"theirs")
        async with opened(disk("overwrite")) as parts:
            assert (await claimed(parts, tmp_path)).name == "a.1.iso"
            named = policy_of(parts, named=True)
            part = await parts.claim(tmp_path, "a.iso", named)
            assert isinstance(part, Part)
            assert (part.name, part.spans, part.journal) == ("a.iso", (), None)
            await part.close()
            assert (tmp_path / "a.iso.part").read_bytes() == b"theirs"
            part = await parts.claim(tmp_path, "a.iso", named)
            assert isinstance(part, Part)
            await part.begin(resource(3), [])
            assert (tmp_path / "a.iso.part").read_bytes() == b""
            written = journal(tmp_path)
            assert written is not None
            assert (written.key, written.spans) == (OURS.key, ())

    run(work())


def test_a_signed_url_finds_its_part_again_by_a_strong_etag_only(tmp_path: Path) -> None:
    before, after = (Identity(f"http://u:p@host.test/a.iso?signature={n}") for n in (1, 2))

    async def work() -> None:
        for etag, expected in (('"strong"', "a.iso"), ('W/"weak"', "a.1.iso"), (None, "a.1.iso")):
            folder = tmp_path / str(etag).replace("/", "_")
            await leave_part(folder, before, b"x", etag)
            async with opened() as parts:
                assert (await claimed(parts, folder, identity=after)).name == expected

    run(work())


@pytest.mark.parametrize("theirs", [{"a.iso.part"}, {"a.iso.part.json"}, {"a.iso.part", "a.iso.part.json"}])
def test_a_side_file_that_no_journal_of_ours_names_is_left_to_its_program(
    tmp_path: Path, theirs: set[str]
) -> None:
    """Firefox, yt-dlp and gallery-dl call an unfinished file NAME.part, too."""
    for name in theirs:
        (tmp_path / name).write_bytes(b"{}")

    async def work() -> None:
        async with opened() as parts:
            part = await claimed(parts, tmp_path)
            assert (part.name, part.path.name, part.spans) == ("a.iso", "a.iso.part.1", ())
            await part.begin(resource(6), [])
            await write(part, 0, [b"abc"])
            await part.close()
        assert names(tmp_path) == theirs | {"a.iso.part.1", "a.iso.part.1.json"}
        async with opened() as parts:
            assert await parts.peek(tmp_path, "a.iso", OURS) == "a.iso"
            part = await claimed(parts, tmp_path)
            assert part.spans == (Span(0, 3),)
            await part.begin(resource(6), [])
            await write(part, 3, [b"def"])
            await part.finish(size=6, mtime=None, check=no_check)
            await put(parts, tmp_path, b"abc", identity=OTHER)

    run(work())
    assert names(tmp_path) == theirs | {"a.iso", "a.1.iso"}
    assert (tmp_path / "a.iso").read_bytes() == b"abcdef"
    assert {(tmp_path / name).read_bytes() for name in theirs} == {b"{}"}


DEAD = 2**22 + 1


@pytest.mark.parametrize(
    ("pid", "part", "theirs"),
    [(DEAD, False, False), (DEAD, True, True), (os.getpid(), False, True)],
    ids=["died before it made the part", "noted no byte of it", "is about to make it"],
)
def test_a_journal_without_bytes_is_an_obstacle_while_its_part_is_there_or_may_come(
    tmp_path: Path, pid: int, part: bool, theirs: bool
) -> None:
    async def work() -> None:
        folder = os.open(tmp_path, os.O_RDONLY)
        save(Files(), "a.iso.part.json", folder, Journal.new(OTHER)._replace(pid=pid), durable=False)
        os.close(folder)
        if part:
            (tmp_path / "a.iso.part").write_bytes(b"theirs")
        async with opened() as parts:
            ours = await claimed(parts, tmp_path)
            assert ours.path.name == ("a.1.iso.part" if theirs else "a.iso.part")
            found = journal(tmp_path)
            assert found is not None
            assert found.key == (OTHER if theirs else OURS).key
        assert not part or (tmp_path / "a.iso.part").read_bytes() == b"theirs"

    run(work())


@pytest.mark.parametrize("right", [True, False])
def test_a_file_whose_part_is_still_there_must_have_the_checksum_too(tmp_path: Path, right: bool) -> None:
    """A process that died between name and tidying up; the checksum was added since."""
    digest = sha256(b"x" * 1000 if right else b"other")["sha256"]

    async def work() -> None:
        await leave_part(tmp_path, OURS, b"x" * 1000)
        os.link(tmp_path / "a.iso.part", tmp_path / "a.iso")
        async with opened() as parts:
            asked = policy_of(parts, checksums=[Checksum(digest, ("sha256",))])
            found = await parts.claim(tmp_path, "a.iso", asked)
            assert isinstance(found, Existing) == right

    run(work())


@pytest.mark.parametrize("size", [1000, 999])
def test_a_journal_without_a_part_proves_a_file_of_its_length_and_date(tmp_path: Path, size: int) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OURS, b"x" * 1000)
        (tmp_path / "a.iso.part").unlink()
        (tmp_path / "a.iso").write_bytes(b"x" * size)
        os.utime(tmp_path / "a.iso", (MTIME, MTIME))
        async with opened() as parts:
            found = await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never))
            assert isinstance(found, Existing) == (size == 1000)

    run(work())


def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(disk(min_free=1 << 20), files=Roomy(10 << 20)) as parts:
            with pytest.raises(DiskFullError, match=r"needs 9\.5 MiB .* 10\.0 MiB free, of which 1\.0 MiB"):
                await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never), length=19 << 19)
            with pytest.raises(DiskFullError):
                await put(parts, tmp_path, bytes(19 << 19))
            assert names(tmp_path) == set()
            assert isinstance(
                await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never), length=9 << 20), Part
            )

    run(work())


def test_what_is_there_already_needs_no_room(tmp_path: Path) -> None:
    async def work() -> None:
        await leave_part(tmp_path, OURS, pattern(64 << 10))
        async with opened(files=Roomy(36 << 10)) as parts:
            part = await parts.claim(tmp_path, "a.iso", policy_of(parts, same=never), length=100 << 10)
            assert isinstance(part, Part)
            with pytest.raises(DiskFullError):
                await part.begin(resource(101 << 10), [])

    run(work())


@pytest.mark.parametrize("begun", [False, True])
def test_a_part_that_is_a_second_name_of_a_file_is_not_written_to(tmp_path: Path, begun: bool) -> None:
    async def work() -> None:
        if begun:
            await leave_part(tmp_path, OURS, b"finished")
            os.link(tmp_path / "a.iso.part", tmp_path / "kept.iso")
        else:
            (tmp_path / "a.iso").write_bytes(b"finished")
            os.link(tmp_path / "a.iso", tmp_path / "a.iso.part")
        file = tmp_path / ("kept.iso" if begun else "a.iso")
        async with opened(disk("overwrite")) as parts:
            part = await claimed(parts, tmp_path)
            assert part.spans == ()
            await part.begin(resource(3), [])
            await write(part, 0, [b"abc"])
            assert file.read_bytes() == b"finished"
            await part.finish(size=3, mtime=None, check=no_check)
        assert (tmp_path / "a.iso").read_bytes() == b"abc"

    run(work())
