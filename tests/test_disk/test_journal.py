"""The journal: what it says is believed only as far as it can be true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._disk import Files, Identity, Journal
from fetchq._disk.folders import open_directory
from fetchq._disk.journal import _checksum, _decode, _encode, load, save
from fetchq._models import Span

FILES = Files()
NAME = "a.part.json"
GOOD = Journal(
    "http://h/a", "k" * 32, 1000, '"e"', "Sun, 09 Sep 2001 01:46:40 GMT", (Span(0, 10), Span(20, 30)), 4711
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = open_directory(FILES, tmp_path, durable=False)
    for journal in (GOOD, Journal("http://h/ü\ud800"[:10], "", None, None, None, (), 0)):
        save(FILES, NAME, folder, journal, durable=False)
        assert load(FILES, NAME, folder) == journal
    FILES.close(folder)


@given(st.binary(max_size=300))
def test_garbage_is_no_journal(text: bytes) -> None:
    assert _decode(text, NAME) is None


@given(st.data())
def test_a_journal_with_any_byte_changed_is_the_same_or_none(data: st.DataObject) -> None:
    text = bytearray(_encode(GOOD, NAME))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255))
    assert _decode(bytes(text), NAME) in (GOOD, None)


@given(st.integers(0, len(_encode(GOOD, NAME)) - 1), st.booleans())
def test_a_journal_cut_short_or_filled_with_zeros_is_none(size: int, zeros: bool) -> None:
    whole = _encode(GOOD, NAME)
    cut = whole[:size]
    assert _decode(cut + bytes(len(whole) - size) if zeros else cut, NAME) is None


def facts(**changed: Any) -> bytes:
    """A journal with a right check, in which something is wrong all the same."""
    part = json.loads(_encode(GOOD, NAME))["part"] | changed
    return json.dumps({"fetchq_journal": 1, "crc32": _checksum(part), "part": part}).encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"spans": [[0, True]]},
        {"spans": [[-1, 5]]},
        {"spans": [[9, 5]]},
        {"spans": [[0.0, 5]]},
        {"spans": [["0", "5"]]},
        {"spans": [[0, 5, 9]]},
        {"spans": 7},
        {"spans": [3]},
        {"spans": None},
        {"length": "1000"},
        {"length": -1},
        {"pid": None},
        {"url": 3},
        {"key": None},
        {"etag": ["x"]},
        {"last_modified": 5},
        {"unknown": 1},
        {"name": "b.part.json"},
    ],
)
def test_wrong_types_are_none(changed: dict[str, Any]) -> None:
    assert _decode(facts(), NAME) == GOOD
    assert _decode(facts(**changed), NAME) is None


def test_a_journal_of_another_version_is_none() -> None:
    assert _decode(facts().replace(b'"fetchq_journal": 1', b'"fetchq_journal": 2'), NAME) is None


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"part": ' + b"9" * 5000 + b"}", b"[]", b"null", b'"x"', b"\xff\xfe"]
)
def test_hostile_json_is_none(text: bytes) -> None:
    assert _decode(text, NAME) is None


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.part.json"
    path.write_bytes(_encode(GOOD, NAME) + b" " * 100)
    assert load(FILES, path) == GOOD
    path.write_bytes(_encode(GOOD, NAME) + b" " * (1 << 20))
    assert load(FILES, path) is None


@pytest.mark.parametrize(
    ("spans", "length", "size", "trusted"),
    [
        ([(0, 10), (20, 30)], 1000, 25, [(0, 10), (20, 25)]),
        ([(0, 10), (20, 30)], 1000, 0, []),
        ([(20, 30), (0, 10), (5, 22)], 1000, 1000, [(0, 30)]),
        ([(0, 50)], 40, 1000, [(0, 40)]),
        ([(0, 50)], None, 20, [(0, 20)]),
        ([(70, 90)], 1000, 60, []),
    ],
)
def test_spans_are_believed_within_the_part_only(
    spans: list[tuple[int, int]], length: int | None, size: int, trusted: list[tuple[int, int]]
) -> None:
    journal = Journal("u", "k", length, None, None, tuple(Span(*pair) for pair in spans), 1)
    assert journal.within(size).spans == tuple(Span(*pair) for pair in trusted)


def test_neither_journal_nor_identity_holds_a_secret(tmp_path: Path) -> None:
    identity = Identity("https://user:hunter2@host.test/a.iso?token=geheim#frag")
    assert identity.url == "https://host.test/a.iso"
    assert not {"hunter2", "geheim", "frag"} & set(identity.key)
    assert Identity("https://host.test/a.iso?token=b").key != identity.key
    text = _encode(Journal(identity.url, identity.key, 1, None, None, (), 1), NAME).decode()
    assert not any(secret in text for secret in ("hunter2", "geheim", "frag", "user"))
