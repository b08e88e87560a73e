"""Queue files: each format as people write it, any bytes at all, memory that does not grow with the file."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import json
import lzma
import math
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._errors import QueueFileError
from fetchq._http import with_scheme
from fetchq._models import Job
from fetchq._naming import printable
from fetchq._queue_files import read
from fetchq._queue_files.fields import FIELDS
from fetchq._queue_files.lines import MAX_LINE

QUEUES = Path(__file__).parent.parent / "fixtures" / "queues"
HELLO = "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"

# A job of a queue file may not lead out of the run's directory.
Queued = partial(Job, confined=True)
Items = list[Job | QueueFileError]


def unheard(message: str) -> None:
    raise AssertionError(message)


def ignored(_: str) -> None:
    """Take a warning that another test looks at."""


def parsed(data: bytes, warn: Callable[[str], None] = unheard) -> Items:
    return list(read("-", warn=warn, stdin=io.BytesIO(data)))


def urls(items: Items) -> list[str]:
    return [item.url if isinstance(item, Job) else f"! {item}" for item in items]


def only_error(data: bytes) -> str:
    (item,) = parsed(data)
    assert isinstance(item, QueueFileError)
    return str(item)


def test_a_plain_list() -> None:
    path = str(QUEUES / "plain.txt")
    assert list(read(path, warn=unheard)) == [
        Queued("https://images.example/nightly/base.img", source=f"{path}:2"),
        Queued("https://images.example/nightly/extra.img?token=a=b", source=f"{path}:4"),
        Queued("https://images.example/nightly/data%20set.tar.gz", source=f"{path}:5"),
        Queued(
            "https://images.example/nightly/mirrored.iso",
            mirrors=("https://mirror.example/mirrored.iso",),
            source=f"{path}:6",
        ),
    ]


def test_an_aria2_list() -> None:
    path = str(QUEUES / "list.aria2")
    warnings: list[str] = []
    assert list(read(path, warn=warnings.append)) == [
        Queued(
            "https://one.example/a.iso",
            "iso/a.iso",
            mirrors=("https://two.example/a.iso",),
            dir=Path("/srv/images"),
            checksum=HELLO,
            headers=(
                ("X-Api-Key", "key"),
                ("Accept", "*/*"),
                ("Referer", "https://one.example/"),
                ("User-Agent", "images/1.0"),
            ),
            retries=math.inf,
            timeout=7.5,
            source=f"{path}:2",
        ),
        Queued("https://one.example/b.iso", retries=2, source=f"{path}:14"),
        Queued("https://one.example/c.iso", source=f"{path}:18"),
    ]
    assert warnings == [
        f"{path}:13: the option 'piece-length' is not known and is ignored.",
        f"{path}:2: the mirror ftp://three.example/a.iso is passed over: only http and https are fetched.",
    ]


def test_json_lines() -> None:
    path = str(QUEUES / "jobs.jsonl")
    warnings: list[str] = []
    assert list(read(path, warn=warnings.append)) == [
        Queued("https://one.example/a.iso", source=f"{path}:1"),
        Queued(
            "https://one.example/b.iso",
            "iso/b.iso",
            mirrors=("https://two.example/b.iso",),
            dir=Path("/srv/images"),
            size=11,
            priority=5,
            retries=math.inf,
            timeout=2.5,
            id="17",
            checksum=HELLO,
            source=f"{path}:3",
        ),
        Queued(
            "https://one.example/report",
            method="POST",
            headers=(("X-Api-Key", "key"), ("Accept", "text/csv"), ("Accept", "text/plain")),
            params=(("page", "2"), ("all", "true")),
            json={"since": ["2024", None]},
            source=f"{path}:4",
        ),
        Queued(
            "https://one.example/form",
            method="POST",
            form=(("a", "1"), ("b", "2"), ("b", "3")),
            source=f"{path}:5",
        ),
        Queued("https://one.example/data", method="POST", content="plain text €".encode(), source=f"{path}:6"),
    ]
    assert warnings == [f"{path}:5: the field 'colour' is not known and is ignored."]


@pytest.mark.parametrize("name", ["plain.txt", "list.aria2", "jobs.jsonl"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bom_line_ends_and_gzip_make_no_difference(
    tmp_path: Path, name: str, bom: bytes, end: bytes, packed: bool, suffix: str
) -> None:
    original = QUEUES / name
    data = bom + original.read_bytes().replace(b"\n", end).removesuffix(end)
    copy = tmp_path / f"{name}{suffix if packed else ''}"
    copy.write_bytes(gzip.compress(data) if packed else data)
    found = [item for item in read(str(copy), warn=ignored) if isinstance(item, Job)]
    meant = [item for item in read(str(original), warn=ignored) if isinstance(item, Job)]
    assert [item.key for item in found] == [item.key for item in meant]
    assert [item.headers for item in found] == [item.headers for item in meant]
    assert {item.source.rpartition(":")[0] for item in found} == {str(copy)}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b"\n\r\n \n# only\n", []),
        (b"https://h/a", ["https://h/a"]),
        (b"https://h/a\r\n", ["https://h/a"]),
        (b"  https://h/a  \n\thttps://h/b=c\t\n", ["https://h/a", "https://h/b=c"]),
        (b"relative/a.iso\n", ["relative/a.iso"]),
        (b'# a comment\n{"url": "https://h/a"}\n', ["https://h/a"]),
        (b"https://h/a\n # indented comment\n\n  out=x\n", ["https://h/a"]),
    ],
)
def test_what_a_line_is(data: bytes, found: list[str]) -> None:
    assert urls(parsed(data)) == found


def test_options_are_found_behind_blank_lines_and_comments() -> None:
    (job,) = parsed(b"https://h/a\n # why\n\n  out=x\n")
    assert isinstance(job, Job)
    assert job.out == "x"


def test_a_name_decides_where_the_content_does_not(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.NDJSON", "a.jsonl.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(b"https://h/a\n") if name.endswith("gz") else b"https://h/a\n")
        (item,) = read(str(path), warn=unheard)
        assert isinstance(item, QueueFileError)
        assert "not JSON" in str(item)


BAD_BYTES = b"https://h/\xff"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (BAD_BYTES, "not UTF-8"),
        (b"https://h/" + b"x" * MAX_LINE, "longer than 1 MiB"),
        (b"https://h/ \0", "a NUL byte"),
    ],
)
def test_a_bad_line_fails_alone(line: bytes, says: str) -> None:
    # 2 KiB ahead of it, so that the NUL is no sign of a binary file.
    good = b"https://h/first?" + b"y" * 2048
    first, bad, last = parsed(good + b"\n" + line + b"\nhttps://h/last")
    assert urls([first, last]) == [good.decode(), "https://h/last"]
    assert str(bad) == f"stdin:2: {says}."


def test_a_line_of_just_1_mib_is_good() -> None:
    line = b"https://h/".ljust(MAX_LINE, b"x")
    assert urls(parsed(line + b"\n" + line)) == [line.decode()] * 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (b"  checksum=sha-256=abc", "2: checksum: The sha256 checksum 'abc' must be 64"),
        (b"  checksum=nonsense", "2: checksum: .* not understood"),
        (b"  header=X-Evil: a\r b", "2: header: a header holds a line break"),
        (b"  header=nocolon", "2: header: a header is written"),
        (b"  header=: x", "2: header: a header needs a name"),
        (b"  out=a\n  max-tries=many", "3: max-tries: 'many' is not a number"),
        (b"  max-tries=-1", "2: max-tries: it must be 0 or more"),
        (b"  timeout=0", "2: timeout: it must be 0.001 seconds or more"),
        (b"  timeout=nan", "2: timeout: it must be"),
        (b"  timeout=\x1b[2J", "2: timeout: '.*' is not a number"),
        (b"  dir=\x1b[2J", "2: dir: a directory's name"),
        (b"  out=\xff", "2: not UTF-8"),
        (b"  out=" + b"x" * MAX_LINE, "2: longer than 1 MiB"),
        (b"  header=a: b\n" * 9000, "too many options for one download"),
    ],
)
def test_a_bad_option_fails_its_own_download_only(options: bytes, says: str) -> None:
    first, bad, last = parsed(b"https://h/bad\n%b\n  out=x\nhttps://h/good\nhttps://h/better" % options)[-3:]
    assert isinstance(bad, Job)
    assert isinstance(first, QueueFileError)
    assert isinstance(last, Job)
    with pytest.raises(QueueFileError, match=says):
        raise first
    assert printable(str(first)) == str(first)
    assert str(first).startswith("stdin:")


def test_an_option_before_any_url_is_an_error() -> None:
    assert only_error(b"  out=x\n  dir=y\n") == "stdin:1: an option before any URL."


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{,", "not JSON: Expecting property name"),
        ('{"out": "x"}', "'url' is missing"),
        ('{"urls": []}', "'url' is missing"),
        ('{"url": ""}', "url: it must be text"),
        ('{"url": 5}', "url: it must be text"),
        ('{"url": "h", "urls": ["i"]}', "'url' and 'urls' are both given"),
        ('{"url": "h", "url": "i"}', "'url' is given twice"),
        ('{"urls": "h"}', "urls: it must be a list"),
        ('{"urls": [null]}', "urls: it must be text"),
        ('{"url": "h", "headers": ["a: b"]}', "headers: it must be an object"),
        ('{"url": "h", "headers": {"a": {}}}', "headers: a value must be"),
        ('{"url": "h", "headers": {"a": "b\\r\\nc: d"}}', "headers: a header holds a line break"),
        ('{"url": "h", "headers": {"a\\nb": "c"}}', "headers: a header holds a line break"),
        ('{"url": "h", "headers": {"": "c"}}', "headers: a header needs a name"),
        ('{"url": "h", "size": -1}', "size: it must be 0 or more"),
        ('{"url": "h", "size": 1.5}', "size: it must be a whole number"),
        ('{"url": "h", "size": true}', "size: it must be a whole number"),
        ('{"url": "h", "priority": "5"}', "priority: it must be a whole number"),
        ('{"url": "h", "retries": "many"}', "retries: it must be a number"),
        ('{"url": "h", "retries": -1}', "retries: it must be 0 or more"),
        ('{"url": "h", "timeout": 0}', "timeout: it must be 0.001"),
        ('{"url": "h", "timeout": 1e999}', "timeout: it must be 0.001"),
        ('{"url": "h", "timeout": NaN}', "NaN is not JSON"),
        ('{"url": "h", "size": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"url": "h", "checksum": "md5:00"}', "checksum: The md5 checksum '00' must be 32"),
        ('{"url": "h", "dir": "a\\u0000"}', "dir: a directory's name"),
        ('{"url": "h", "data": {}}', "data: it must be text"),
        ('{"url": "h", "data": "", "json": {}}', "only one of 'data', 'json' and 'form'"),
        ('{"url": "h", "user": "me", "bearer": "t"}', "only one of 'user' and 'bearer'"),
        ('{"url": "h", "json": 1e999}', "json: Out of range"),
        ('{"url": "h", "json": ' + "[" * 70 + "]" * 70 + "}", "json: nested more than 64 deep"),
        ('{"url": "h", "json": ' + "[" * 300_000 + "}", "JSON nested too deeply"),
        ('{"url": "h", "out": "a\\ud800"}', "half of a surrogate pair"),
        ('{"url": "h", "id": true}', "id: it must be text"),
    ],
)
def test_a_bad_field_is_named(line: str, says: str) -> None:
    bad, good = parsed(f'{line}\n{{"url": "https://h/good"}}\n'.encode())
    assert isinstance(good, Job)
    assert str(bad).startswith(f"stdin:1: {says}")


def test_another_value_than_an_object_fails_its_line() -> None:
    good, bad = parsed(b'{"url": "https://h/good"}\n["http://h"]\n')
    assert isinstance(good, Job)
    assert str(bad) == "stdin:2: not a JSON object."


def test_null_is_a_field_that_is_not_given() -> None:
    fields = dict.fromkeys(["urls", "out", "dir", "headers", "json", "data", "checksum", "size", "id"])
    assert parsed(json.dumps({"url": "h", **fields}).encode()) == [Queued("h", source="stdin:1")]


def test_each_unknown_name_is_told_once_and_not_without_end() -> None:
    warnings: list[str] = []
    lines = (json.dumps({"url": "h", f"\x1b{number}": 1, "x": 2}) for number in range(1000))
    assert len(parsed("\n".join(lines).encode(), warnings.append)) == 1000
    assert len(warnings) == 100
    assert sum("'x'" in warning for warning in warnings) == 1
    assert all(printable(warning) == warning for warning in warnings)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x7fELF\x02\x01\x01\0\0\0", "a"),
        ("https://h/a\n".encode("utf-16"), "a.txt"),
        (gzip.compress(b"\0\0\0", mtime=0), "a.gz"),
        (b"no gzip", "a.gz"),
    ],
)
def test_a_file_that_is_no_queue_is_refused_as_a_whole(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(QueueFileError, match=name):
        read(str(path), warn=unheard)


def one(text: str, warn: Callable[[str], None] = unheard) -> Job:
    (job,) = parsed(text.encode(), warn)
    assert isinstance(job, Job), job
    return job


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("referer=*", {"headers": (("Referer", "http://h/a?b#c".partition("#")[0]),)}),
        ("http-user=me\n http-passwd=a:b/c@", {"user": ("me", "a:b/c@")}),
        ("http-user=me", {"user": ("me", "")}),
        ("http-passwd=alone", {}),
        ("all-proxy=http://p:1", {"proxy": "http://p:1"}),
        ("http-proxy=p:1\n all-proxy=q:2", {"proxy": "p:1"}),
        ("https-proxy=p:1\n all-proxy=", {}),
        ("allow-overwrite=true", {"if_exists": "overwrite"}),
        ("allow-overwrite=true\n auto-file-renaming=false", {"if_exists": "overwrite"}),
        ("allow-overwrite=false", {"if_exists": "rename"}),
        ("auto-file-renaming=true", {"if_exists": "rename"}),
        ("auto-file-renaming=false", {"if_exists": "error"}),
        ("continue=true", {}),
    ],
)
def test_what_options_of_aria2_mean(options: str, fields: dict[str, Any]) -> None:
    assert one(f"http://h/a?b#c\n {options}") == Queued(
        **{"url": "http://h/a?b#c", "source": "stdin:1", **fields}
    )


def test_a_referer_of_the_url_itself_holds_no_password() -> None:
    assert one("http://me:pw@h/a@b#c\n referer=*").headers == (("Referer", "http://h/a@b"),)


@pytest.mark.parametrize("option", ["allow-overwrite", "auto-file-renaming"])
def test_a_word_that_is_no_boolean_is_told(option: str) -> None:
    assert only_error(f"http://h\n {option}=yes".encode()) == f"stdin:2: {option}: it must be true or false."


@pytest.mark.parametrize("number", ["ten", "1e", "0x10", "", "--5"])
def test_a_bad_number_is_told_in_our_words(number: str) -> None:
    told = [item for item in parsed(f"http://h\n max-tries={number}".encode()) if not isinstance(item, Job)]
    assert [str(item) for item in told] == (
        [f"stdin:2: max-tries: {number!r} is not a number."] if number else []
    )


@pytest.mark.parametrize("foreign", ["ftp://m/a", "SFTP://m/a", "magnet:?xt=urn:btih:00", "s3://m/a"])
def test_mirrors_of_other_schemes_are_passed_over(foreign: str) -> None:
    warnings: list[str] = []
    data = f"{foreign}\thttp://h/a\nhttp://h/b\t{foreign}\n".encode()
    assert parsed(data, warnings.append) == [
        Queued("http://h/a", source="stdin:1"),
        Queued("http://h/b", source="stdin:2"),
    ]
    assert len(warnings) == 1
    assert "passed over: only http and https are fetched" in warnings[0]
    (job,) = parsed(json.dumps({"urls": [foreign, "http://h/a"]}).encode(), warnings.append)
    assert job == Queued("http://h/a", source="stdin:1")
    # Alone it stays, and its own attempt says that it cannot be fetched.
    assert urls(parsed(foreign.encode())) == [foreign]


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("http://h/a\tb.iso", Queued("http://h/a", "b.iso")),
        ("http://h/a\tfolder/b c.iso \t", Queued("http://h/a", "folder/b c.iso")),
        ("http://h/a\thttp://i/b", Queued("http://h/a", mirrors=("http://i/b",))),
        ("a.iso\tb.iso", Queued("a.iso", mirrors=("b.iso",))),
    ],
)
def test_a_name_may_follow_a_url_after_a_tab(line: str, job: Job) -> None:
    assert one(line) == replace(job, source="stdin:1")


def test_an_option_goes_before_the_name_on_the_line() -> None:
    assert one("http://h/a\tb.iso\n out=c.iso").out == "c.iso"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_of_jobs(delimiter: str) -> None:
    warnings: list[str] = []
    rows = [
        ["URL", "name", "size", "retries", "timeout", "headers", "colour"],
        ["http://h/a", f'"one {delimiter} ""two"""', "5", "inf", "1.5", '"{""X"": 1}"', "red"],
        ["http://h/b", "", "", "3"],
        ["http://h/c", "c", "five"],
        ["http://h/d", '"open'],
        [f'http://h/e"{delimiter}'],
        ["1", "2", "3", "4", "5", "6", "7", "8"],
        ["", "no"],
        ["http://h/f", "007"],
    ]
    *found, last = parsed("\r\n".join(map(delimiter.join, rows)).encode(), warnings.append)
    assert found[:2] == [
        Queued(
            "http://h/a",
            f'one {delimiter} "two"',
            size=5,
            retries=math.inf,
            timeout=1.5,
            headers=(("X", "1"),),
            source="stdin:2",
        ),
        Queued("http://h/b", retries=3, source="stdin:3"),
    ]
    assert [str(item) for item in found[2:4]] == [
        "stdin:4: size: it must be a whole number.",
        "stdin:5: not CSV: unexpected end of data.",
    ]
    assert str(found[5]) == "stdin:7: 8 columns, and the header names 7."
    assert str(found[6]) == "stdin:8: 'url' is missing."
    assert last == Queued("http://h/f", "007", source="stdin:9")
    assert warnings == ["stdin:2: the field 'colour' is not known and is ignored."]


def test_a_table_without_a_header_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "queue.csv"
    path.write_text("http://h/a,b.iso\n")
    assert list(read(str(path), warn=unheard)) == [Queued("http://h/a", "b.iso", source=f"{path}:1")]


@pytest.mark.parametrize("line", ["http://h/?a=1,url", "url", "relative/url,name", "http://h/a,b"])
def test_a_comma_in_a_url_makes_no_table(line: str) -> None:
    assert urls(parsed(line.encode())) == [line]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'[{"url": "http://h"}]', "a JSON array; a queue file has an object a line: jq -c"),
        (b"[\n", "a JSON array"),
        (b"[1, 2]\n", "a JSON array"),
        (b'["http://h:80/"]\n', "a JSON array"),
        (b'{\n  "url": "http://h"\n}\n', "a JSON document over several lines"),
        (b"\n <!DOCTYPE html>\n<p>", "an HTML page, not a list: write the addresses"),
        (b"<HTML><a href=x>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<metalink>', "an XML document"),
    ],
)
@pytest.mark.parametrize("name", ["queue", "queue.jsonl", "queue.txt"])
def test_another_kind_of_file_is_named_once(tmp_path: Path, data: bytes, says: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(QueueFileError, match=f"{name} is {says}"):
        read(str(path), warn=unheard)


@pytest.mark.parametrize("line", ["[::1]/x", "[2001:DB8::7]:8080/x", "[fe80::1%eth0]/x", "[::ffff:10.0.0.1]/x"])
def test_an_address_in_brackets_is_no_json(line: str) -> None:
    first, second = parsed(f"{line}\nhttp://h/b\n".encode())
    assert isinstance(first, Job)
    assert isinstance(second, Job)


PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("named", [True, False])
def test_a_packed_file_of_several_members_is_one(tmp_path: Path, suffix: str, named: bool) -> None:
    pack = PACKED[suffix]
    path = tmp_path / f"queue{suffix if named else ''}"
    path.write_bytes(pack(b"http://h/a\nhttp://h") + b"\0" * 512 + pack(b"/b\n") + b"\0" * 4)
    assert urls(list(read(str(path), warn=unheard))) == ["http://h/a", "http://h/b"]


@pytest.mark.parametrize("suffix", PACKED)
def test_what_unpacks_without_end_is_read_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"queue{suffix}"
    path.write_bytes(PACKED[suffix](b"http://h/a\n" + b"#" * (96 << 20)))
    gc.collect()
    tracemalloc.start()
    try:
        first, error = read(str(path), warn=unheard)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [urls([first]), str(error)] == [["http://h/a"], f"{path}:2: longer than 1 MiB."]
    assert peak < 16 << 20


@pytest.mark.parametrize("suffix", PACKED)
def test_a_packed_file_that_is_cut_off_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"queue{suffix}"
    path.write_bytes(PACKED[suffix](os.urandom(1 << 21).hex().encode() + b"\nhttp://h/a\n")[: -1 << 10])
    *_, error = read(str(path), warn=unheard)
    assert "cannot be read any further: it is cut off" in str(error)


def test_a_dictionary_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.xz"
    # The header of a block (.xz specification, section 3.1): its filter's property is the dictionary's size.
    packed = bytearray(lzma.compress(b"http://h/a\n", preset=0))
    packed[16] = 36  # 1 GiB
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    path.write_bytes(packed)
    with pytest.raises(QueueFileError, match="Memory usage limit exceeded"):
        list(read(str(path), warn=unheard))


def test_a_file_that_cannot_be_opened_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for path, says in [
        (tmp_path / "missing", "No such file"),
        (tmp_path, "Is a directory"),
        ("a\0b", "null byte"),
    ]:
        with pytest.raises(QueueFileError, match=says) as caught:
            read(str(path), warn=unheard)
        assert str(caught.value).startswith("The queue file ")


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_gives_what_is_whole_and_then_an_error(tmp_path: Path, damage: str) -> None:
    lines = [f"https://h/{os.urandom(24).hex()}\n  out={number}\n" for number in range(2000)]
    data = bytearray(gzip.compress("".join(lines).encode()))
    if damage == "cut":
        del data[-len(data) // 2 :]
    else:
        data[-6] ^= 0xFF
    path = tmp_path / "queue.gz"
    path.write_bytes(data)
    *jobs, error = read(str(path), warn=unheard)
    assert isinstance(error, QueueFileError)
    assert "cannot be read any further" in str(error)
    # The last entry may have lost its options, so it is not among the jobs.
    assert 500 < len(jobs) < 2000
    assert all(isinstance(job, Job) and job.out == str(number) for number, job in enumerate(jobs))


class Endless(io.RawIOBase):
    """A queue file that is made while it is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest or next(self._chunks, b"")
        count = min(len(data), len(buffer))
        buffer[:count], self._rest = data[:count], data[count:]
        self.given += count
        return count


def endless(chunks: Iterator[bytes]) -> BinaryIO:
    return io.BufferedReader(Endless(chunks))


@pytest.mark.parametrize(
    "form", ["https://h/%d\n", "https://h/%d\n  out=%d\n  x%d=1\n", '{"url": "h", "id": %d, "x%d": 1}\n']
)
def test_memory_does_not_grow_with_the_file(form: str) -> None:
    chunks = (form.replace("%d", str(number)).encode() for number in range(10_000))
    jobs = read("-", warn=ignored, stdin=endless(chunks))
    for _ in islice(jobs, 2000):
        pass
    gc.collect()
    tracemalloc.start()
    try:
        count = sum(isinstance(job, Job) for job in jobs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count >= 8000
    assert peak < 512 * 1024


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    chunks = chain([b"https://h/a\n"], (b"x" * 65536 for _ in range(640)), [b"\nhttps://h/b\n"])
    tracemalloc.start()
    try:
        items = list(read("-", warn=unheard, stdin=endless(chunks)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert urls(items) == ["https://h/a", "! stdin:2: longer than 1 MiB.", "https://h/b"]
    assert peak < 6 * MAX_LINE


def test_reading_is_lazy_and_the_file_is_closed_when_it_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "queue.txt"
    path.write_text("".join(f"https://h/{number}\n" for number in range(100_000)))
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    unread, begun = read(str(path), warn=unheard), read(str(path), warn=unheard)
    assert next(begun) == Queued("https://h/0", source=f"{path}:1")
    # A file left open would end in a ResourceWarning, which is an error here.
    del unread, begun
    gc.collect()
    assert not before or set(os.listdir("/proc/self/fd")) == before


def test_stdin_stays_open() -> None:
    for stream in (io.BytesIO(b"https://h/a\n"), io.BufferedReader(Endless(iter([b"https://h/a\n"])))):
        assert urls(list(read("-", warn=unheard, stdin=stream))) == ["https://h/a"]
        gc.collect()
        assert not stream.closed


LINES = st.sampled_from(
    [
        "https://h/a",
        "https://h/a\thttps://i/a",
        "  out=x",
        "\tchecksum=md5=00",
        "  header=a: b",
        "# c",
        "",
        '{"url": "https://h/a"}',
        '{"url": "h", "json": [[{}]]}',
        "{",
        "[1]",
        "\ufeff",
        "  ",
        "\t",
        "\x85",
        "\r",
    ]
)
FIELD_NAMES = st.sampled_from([*FIELDS, "unknown"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(FIELD_NAMES, JSON, max_size=5).map(lambda value: json.dumps({"url": "h", **value}))
OPTIONS = st.tuples(
    st.sampled_from(["out", "dir", "header", "timeout", "max-tries", "checksum"]), st.text(max_size=9)
)
ANY_LINE = LINES | OBJECTS | OPTIONS.map(lambda pair: f" {pair[0]}={pair[1]}") | st.text(max_size=20)


def assert_jobs_or_errors(data: bytes) -> None:
    try:
        items = parsed(data, assert_printable)
    except QueueFileError as error:
        assert_printable(str(error))
        return
    for item in items:
        if isinstance(item, QueueFileError):
            assert_printable(str(item))
            assert str(item).startswith("stdin:")
        else:
            assert item.url.strip() == item.url != ""
            assert item.source.startswith("stdin:")
            assert item.key


def assert_printable(text: str) -> None:
    assert printable(text) == text


@given(st.binary(max_size=300))
def test_any_bytes_give_jobs_or_errors(data: bytes) -> None:
    assert_jobs_or_errors(data)
    assert_jobs_or_errors(gzip.compress(data)[:-3])


@given(st.lists(ANY_LINE, max_size=8), st.sampled_from(["\n", "\r\n"]), st.binary(max_size=3))
def test_any_lines_give_jobs_or_errors(lines: list[str], end: str, tail: bytes) -> None:
    assert_jobs_or_errors(end.join(lines).encode("utf-8", "surrogatepass") + tail)


HOSTS = ["example.com/a", "EXAMPLE.co.uk", "localhost/a", "server.lan:8443/a?b", "10.0.0.1/a"]
NO_HOSTS = ["queue.txt", "a/b.txt", "name", "http://h/a", "file.tar.gz"]


@pytest.mark.parametrize("word", [*HOSTS, *NO_HOSTS])
@pytest.mark.parametrize(
    "line",
    [
        "{}\n",
        "https://h/x\t{}\thttps://i/z\n",
        '{{"url": "{}"}}\n',
        '{{"urls": ["{}"]}}\n',
        "url,name\n{},b\n",
    ],
)
def test_what_looks_like_a_host_is_asked_over_https(word: str, line: str) -> None:
    [job] = read("-", warn=unheard, stdin=io.BytesIO(line.format(word).encode()), absolute=with_scheme)
    assert isinstance(job, Job)
    assert (f"https://{word}" if word in HOSTS else word) in (job.url, *job.mirrors)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("example.com/a\tb.iso", ("https://example.com/a", (), "b.iso")),
        ("example.com/a\tb.com", ("https://example.com/a", (), "b.com")),
        ("example.com/a\tsub/b.iso", ("https://example.com/a", (), "sub/b.iso")),
        ("example.com/a\texample.org/a", ("https://example.com/a", ("https://example.org/a",), None)),
        ("example.com/a\thttp://h/a", ("https://example.com/a", ("http://h/a",), None)),
        ("https://example.com/a\texample.com/a", ("https://example.com/a", (), "example.com/a")),
    ],
)
def test_a_name_behind_a_url_without_its_scheme(
    line: str, found: tuple[str, tuple[str, ...], str | None]
) -> None:
    [job] = read("-", warn=unheard, stdin=io.BytesIO(line.encode()), absolute=with_scheme)
    assert isinstance(job, Job)
    assert (job.url, job.mirrors, job.out) == found
