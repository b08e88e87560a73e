"""Runs that die, parts that are cut, journals that lie: no byte is trusted that was not written for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from fetchq._disk import Finished, Identity, Part, Parts
from fetchq._disk.files import Files
from fetchq._disk.journal import load
from fetchq._models import Resource, Span

from .rig import Clock, abandon, disk, no_check, pattern, policy, write

SIZE = 120
URLS = ("http://host.test/a.iso", "http://other.test/a.iso")


def body(url: str, version: int) -> bytes:
    """What the server has at *url* in its *version*."""
    return pattern(SIZE - version % 3, 10 * version + URLS.index(url))


class Lies(RuleBasedStateMachine):
    """One name, two downloads that want it, and a world that does not play fair.

    A journal that was put back after its part was emptied or cut is the one lie that nothing in it can
    show; what protects then are the validators that it names. So old journals are put back only
    where the part has not become less since.
    """

    old_journals = Bundle("old_journals")

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lies-"))
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.version = dict.fromkeys(URLS, 0)
        self.url = URLS[0]
        self.part: Part | None = None
        self.finals: dict[str, bytes] = {}
        # Raised whenever a part becomes less than a journal in the drawer may say.
        self.ages: dict[str, int] = {}
        self.open_parts()

    def open_parts(self) -> None:
        self.parts = Parts(disk(), threads=2, clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.parts.aclose())
            self.loop.close()
            shutil.rmtree(self.folder)

    # --- a run

    @precondition(lambda self: self.part is None)
    @rule(url=st.sampled_from(URLS))
    def claim(self, url: str) -> None:
        claiming = self.parts.claim(self.folder, "a.iso", policy(self.parts, Identity(url)))
        part = self.loop.run_until_complete(claiming)
        assert isinstance(part, Part)
        assert part.name not in self.finals
        self.part, self.url = part, url
        if part.spans:
            assert part.journal is not None
            assert part.journal.key == Identity(url).key
            self.check(part, int((part.journal.etag or "").strip('"')))
        self.begin()

    def begin(self) -> None:
        """Go on, or start over where the server has another version now."""
        part, version = self.part, self.version[self.url]
        assert part is not None
        if not part.spans or part.journal is None or part.journal.etag != f'"{version}"':
            self.ages[part.name] = self.ages.get(part.name, 0) + 1
            if part.spans:
                self.loop.run_until_complete(part.reset())
        facts = Resource(self.url, len(body(self.url, version)), f'"{version}"')
        self.loop.run_until_complete(part.begin(facts, ["sha256"]))

    @precondition(lambda self: self.part is not None)
    @rule(offset=st.integers(0, SIZE - 1), size=st.integers(1, SIZE), cuts=st.lists(st.integers(0, SIZE)))
    def write(self, offset: int, size: int, cuts: list[int]) -> None:
        assert self.part is not None
        data = body(self.url, self.version[self.url])[offset : offset + size]
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        chunks = [data[a:b] for a, b in pairwise(edges)]
        self.loop.run_until_complete(write(self.part, offset, chunks))

    @precondition(lambda self: self.part is not None)
    @rule()
    def the_next_write_is_a_checkpoint(self) -> None:
        self.clock.now += 1

    @precondition(lambda self: self.part is not None)
    @rule()
    def the_resource_changes(self) -> None:
        self.version[self.url] += 1
        self.begin()

    @precondition(lambda self: self.part is not None)
    @rule()
    def finish(self) -> None:
        assert self.part is not None
        whole = body(self.url, self.version[self.url])
        for start in range(0, len(whole), 50):
            self.loop.run_until_complete(write(self.part, start, [whole[start : start + 50]]))
        kept = self.loop.run_until_complete(self.part.finish(size=len(whole), mtime=None, check=no_check))
        if isinstance(kept, Finished):
            assert kept.path.name not in self.finals
            self.finals[kept.path.name] = whole
        else:
            assert kept.reason == "identical file already there"
            assert self.finals[kept.path.name] == whole
        self.part = None

    @precondition(lambda self: self.part is not None)
    @rule(politely=st.booleans())
    def end(self, politely: bool) -> None:
        assert self.part is not None
        if politely:
            self.loop.run_until_complete(self.part.close())
        else:
            abandon(self.part)
            self.loop.run_until_complete(self.parts.aclose())
            self.open_parts()
        self.part = None

    # --- the world between two runs

    def leftovers(self, suffix: str) -> list[Path]:
        return sorted(self.folder.glob(f"*{suffix}"))

    @precondition(lambda self: self.part is None)
    @rule(size=st.integers(0, SIZE))
    def parts_are_cut(self, size: int) -> None:
        for path in self.leftovers(".part"):
            if size < path.stat().st_size:
                os.truncate(path, size)
                self.ages[path.stem] = self.ages.get(path.stem, 0) + 1

    @precondition(lambda self: self.part is None)
    @rule(garbage=st.binary(max_size=SIZE))
    def parts_are_padded(self, garbage: bytes) -> None:
        """Behind what the journal vouches for: within that, nobody could tell garbage from what was cut."""
        for path in self.leftovers(".part"):
            found = load(Files(), path.with_name(f"{path.name}.json"))
            if found is None or all(span.stop <= path.stat().st_size for span in found.spans):
                with path.open("ab") as part:
                    part.write(garbage)
                self.ages[path.stem] = self.ages.get(path.stem, 0) + (found is None)

    @precondition(lambda self: self.part is None)
    @rule(at=st.integers(0, 400), text=st.binary(max_size=30))
    def journals_are_scribbled_over(self, at: int, text: bytes) -> None:
        for path in self.leftovers(".json"):
            whole = path.read_bytes()
            path.write_bytes(whole[:at] + text + whole[at + len(text) :])

    @precondition(lambda self: self.part is None)
    @rule(size=st.integers(0, 400), zeros=st.booleans())
    def journals_are_cut(self, size: int, zeros: bool) -> None:
        for path in self.leftovers(".json"):
            whole = path.read_bytes()
            path.write_bytes(whole[:size] + (bytes(len(whole) - size) if zeros and size < len(whole) else b""))

    @precondition(lambda self: self.part is None)
    @rule()
    def journals_are_lost(self) -> None:
        for path in self.leftovers(".json"):
            path.unlink()

    @rule(target=old_journals)
    def journals_are_copied(self) -> object:
        return multiple(
            *(
                (path, self.ages.get(path.name.removesuffix(".part.json"), 0), path.read_bytes())
                for path in self.leftovers(".json")
            )
        )

    @precondition(lambda self: self.part is None)
    @rule(old=consumes(old_journals))
    def an_old_journal_is_put_back(self, old: tuple[Path, int, bytes]) -> None:
        path, age, text = old
        name = path.name.removesuffix(".part.json")
        if age == self.ages.get(name, 0) and path.with_suffix("").exists():
            path.write_bytes(text)

    @precondition(lambda self: self.part is None)
    @rule()
    def journals_change_places(self) -> None:
        """Those of different downloads: each then vouches for a part of the other."""
        found = {path: load(Files(), path) for path in self.leftovers(".json")}
        keys = {journal.key for journal in found.values() if journal is not None}
        if len(found) == 2 and len(keys) == 2:
            first, second = found
            one, two = first.read_bytes(), second.read_bytes()
            first.write_bytes(two)
            second.write_bytes(one)

    @precondition(lambda self: self.part is None)
    @rule()
    def a_part_is_deleted(self) -> None:
        for path in self.leftovers(".part")[:1]:
            path.unlink()
            self.ages[path.stem] = self.ages.get(path.stem, 0) + 1

    # --- what holds at all times

    def check(self, part: Part, version: int) -> None:
        text, expected = part.path.read_bytes(), body(self.url, version)
        for span in part.spans:
            assert text[span.start : span.stop] == expected[span.start : span.stop], (span, version)
            assert span.stop <= len(text)

    @invariant()
    def trusted_bytes_are_true(self) -> None:
        if getattr(self, "part", None) is not None:
            assert self.part is not None
            self.check(self.part, self.version[self.url])
            assert self.part.spans == () or isinstance(self.part.spans[0], Span)

    @invariant()
    def finals_are_whole_and_stay_as_they_are(self) -> None:
        if hasattr(self, "folder"):
            there = {path.name: path.read_bytes() for path in self.folder.glob("*.iso")}
            assert there == self.finals


TestLies = Lies.TestCase
TestLies.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
