"""How downloads go wrong in the field: server script -> requests made -> bytes on disk -> exit code.

Every row is one way in which real servers have spoiled real files. ``drop(after=CUT)`` as the first step makes
the second request a resumption, so most rows ask: what is made of this answer when half the file is here?
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq._settings import MIB

from .conftest import run
from .origin import (
    Answer,
    Behaviour,
    Origin,
    Resource,
    backwards,
    both_length_and_chunked,
    breaks_if_range,
    change,
    chunked,
    chunked_without_end,
    close_at_once,
    close_delimited,
    coded,
    content_md5,
    drip,
    drop,
    early_start,
    empty,
    endless_headers,
    error_page,
    etag_per_request,
    garbage,
    generated,
    gzip_anyway,
    hang,
    header,
    http10,
    huge_headers,
    ignore_range,
    informational,
    literal,
    long_body,
    many_headers,
    multipart_byteranges,
    no_content,
    no_content_range,
    page_as_206,
    range_of_gzip,
    raw,
    redirect,
    refuses_if_range,
    refuses_range,
    repr_digest,
    reset,
    right_slice_as_200,
    shifted,
    short_length,
    sign,
    signed,
    slow_headers,
    stall,
    status,
    status_416,
    unknown_total,
    well,
    wrong_end,
    wrong_start,
    wrong_total,
)

SIZE, CUT = 300_000, 100_000
FILE = generated(SIZE)
NEWER = replace(generated(SIZE, seed=2), etag='"newer"', last_modified="Tue, 02 Jan 2024 00:00:00 GMT")
LONGER = replace(generated(SIZE + 5, seed=3), etag='"longer"')
SAME_TAG = replace(NEWER, etag=FILE.etag)
SHORTER = replace(generated(CUT - 1, seed=4), etag='"shorter"')
TEXT = literal(b"the same words again and again\n" * 10_000)
GZIPPED = literal(gzip.compress(TEXT.data, 6, mtime=0))
OVERLAP = 16 * 1024
# Each resumption asks for some bytes again, to compare them.
REST = f"bytes={CUT - OVERLAP}-"

# Waits are cut short by settings, never by sleeping less than asked.
QUICK = fetchq.Settings(
    network=fetchq.Network(
        connect_timeout=2, read_timeout=0.3, write_timeout=2, min_speed=50_000, min_speed_window=0.3, env=False
    ),
    retry=fetchq.Retry(retries=2, backoff=0.0),
    queue=fetchq.Queue(jobs=2, connections=1),
)


@dataclass(frozen=True)
class Case:
    """A row of the table: *script* is what the server does, the rest is what must come of it."""

    name: str
    script: Sequence[Behaviour | tuple[Behaviour, ...]]
    ranges: Sequence[str | None] = (None,)
    right: Resource | None = FILE
    error: type[fetchq.FetchError] | None = None
    resource: Resource = FILE
    verified: str = "length"
    repeat: bool = False
    job: dict[str, Any] = field(default_factory=dict)
    settings: fetchq.Settings = QUICK


def sha256(resource: Resource) -> dict[str, str]:
    """A job that names the digest of *resource*."""
    return {"checksum": f"sha256:{resource.sha256}"}


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def bare_deflate(data: bytes) -> bytes:
    """What some servers send as "deflate": without the zlib header."""
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeezed.compress(data) + squeezed.flush()


def said(code: int) -> Behaviour:
    """The answer under another status."""

    def apply(answer: Answer) -> None:
        answer.status = code

    return apply


def blank_line(answer: Answer) -> None:
    answer.prologue = [b"\r\n"]


WEAK = replace(FILE, etag='W/"weak"', last_modified=None)
DATED = replace(FILE, etag=None)
BARE = replace(FILE, etag=None, last_modified=None)
AWS_CHUNKED = header("Content-Encoding", "aws-chunked")
ODD_LINE = header("PHP Warning", " x in /a.php:3")
EQUALS = header("Content-Range", f"bytes={CUT - OVERLAP}-{SIZE - 1}/{SIZE}")
OTHER_DATE = replace(FILE, last_modified=NEWER.last_modified)
TWICE = (None, REST)
# Fewer bytes are compared after a resumption that made no progress: the next one may break off within them.
AGAIN = f"bytes={CUT - OVERLAP // 4}-"

RESUMED = [
    Case("connection dropped", [drop(after=CUT)], TWICE),
    Case("connection reset", [reset(after=CUT)], TWICE),
    Case("stalled for longer than the read timeout", [stall(after=CUT)], TWICE),
    Case("dropped before the first byte", [drop(after=0)], (None, None)),
    Case("closed without an answer", [close_at_once], (None, None)),
    Case("hangs and never answers", [hang], (None, None)),
    Case("date only", [drop(after=CUT)], TWICE, resource=DATED),
    Case("weak entity tag only: compared", [drop(after=CUT)], (None, REST), resource=WEAK),
    Case("no validator: compared", [drop(after=CUT)], (None, REST), resource=BARE),
    Case(
        "entity tag differs per request",
        [(etag_per_request, drop(after=CUT)), etag_per_request, etag_per_request],
        (None, REST, REST),
    ),
    Case("204 on resumption", [drop(after=CUT), no_content], (None, REST, AGAIN)),
    Case("no bytes at all on resumption", [drop(after=CUT), empty], (None, REST, AGAIN)),
    Case("page for people under 200 on resumption", [drop(after=CUT), error_page], (None, REST, AGAIN)),
    Case("206 starts early at a block", [drop(after=CUT), early_start(65_536)], TWICE),
    Case("total unknown in Content-Range", [drop(after=CUT), unknown_total], TWICE),
    Case("right slice under status 200", [drop(after=CUT), right_slice_as_200], TWICE),
    Case("If-Range is answered with 200", [drop(after=CUT), breaks_if_range], (None, REST, REST)),
    *[
        Case(
            f"{code} to If-Range",
            [drop(after=CUT), *[refuses_if_range(code)] * 2],
            (None, REST, REST),
        )
        for code in (304, 400, 403, 405, 412, 501)
    ],
    Case("an entity tag without quotes", [drop(after=CUT)], TWICE, resource=replace(FILE, etag="bare")),
    Case(
        "an entity tag without quotes, no date",
        [drop(after=CUT)],
        (None, REST),
        resource=replace(BARE, etag="bare"),
    ),
    Case("other date, same tag and bytes", [drop(after=CUT), change(OTHER_DATE)], TWICE),
    Case(
        "what is no content coding",
        [(c := header("Content-Encoding", "aws-chunked"), drop(after=CUT)), c],
        TWICE,
    ),
    Case("odd header lines", [(o := header("PHP Warning", " x in /a.php:3"), drop(after=CUT)), o], TWICE),
    Case(
        "a unit with a colon",
        [drop(after=CUT), header("Content-Range", f"bytes={CUT - OVERLAP}-{SIZE - 1}/{SIZE}")],
        TWICE,
    ),
    Case("500 on resumption", [drop(after=CUT), status(500)], (None, REST, AGAIN)),
    Case("503 with Retry-After 0", [status(503, retry_after=0)], (None, None)),
    Case("403 with Retry-After 0", [status(403, retry_after=0)], (None, None)),
    Case(
        "403 with Retry-After 0 to a range", [drop(after=CUT), status(403, retry_after=0)], (None, REST, AGAIN)
    ),
    Case("202 until it is ready", [status(202)], (None, None)),
    Case(
        "broken off within the bytes that are compared",
        [drop(after=CUT), drop(after=10_000), drop(after=10_000)],
        (None, REST, AGAIN, "further"),
    ),
    Case(
        "slice shorter than asked",
        [drop(after=CUT), drop(after=50_000)],
        (None, REST, f"bytes={CUT - OVERLAP + 50_000 - OVERLAP}-"),
    ),
]
RESTARTED = [
    Case("ranges ignored", [drop(after=CUT), ignore_range, ignore_range], (None, REST, REST)),
    Case("changed: 200 to If-Range", [drop(after=CUT), change(NEWER)], TWICE, right=NEWER),
    Case(
        "changed: longer, same tag",
        [drop(after=CUT), change(replace(LONGER, etag=FILE.etag))],
        right=LONGER,
        ranges=(None, REST, None),
    ),
    Case(
        "changed: same length, tag and date",
        [drop(after=CUT), change(replace(NEWER, etag=FILE.etag, last_modified=FILE.last_modified))],
        (None, REST, None),
        right=NEWER,
    ),
    Case(
        "changed, date only",
        [drop(after=CUT), change(replace(NEWER, etag=None))],
        TWICE,
        right=NEWER,
        resource=DATED,
    ),
    Case(
        "changed, no validator, same length",
        [drop(after=CUT), change(replace(NEWER, etag=None, last_modified=None))],
        (None, REST, None),
        right=NEWER,
        resource=BARE,
    ),
    Case("206 starts later than asked", [drop(after=CUT), wrong_start(+1000)], (None, REST, None)),
    Case("total differs in Content-Range", [drop(after=CUT), wrong_total()], (None, REST, None)),
    Case("end does not fit the body", [drop(after=CUT), wrong_end(-1)], (None, REST, None)),
    Case("206 without Content-Range", [drop(after=CUT), no_content_range], (None, REST, None)),
    Case("multipart/byteranges for one range", [drop(after=CUT), multipart_byteranges], (None, REST, None)),
    Case("416 naming the total", [drop(after=CUT), status_416()], (None, REST, None)),
    Case("416 naming no total", [drop(after=CUT), status_416("none")], (None, REST, None)),
    Case("416 naming what is here as total", [drop(after=CUT), status_416(CUT)], (None, REST, None)),
    *[
        Case(
            f"{code} to every range",
            [drop(after=CUT), *[refuses_range(code)] * 3],
            (None, REST, REST, None),
        )
        for code in (304, 400, 403, 405, 412, 501)
    ],
    Case(
        "400 to a range beyond a file that is shorter now",
        [drop(after=CUT), (change(SHORTER), refuses_range(400)), refuses_range(400)],
        (None, REST, REST, None),
        right=SHORTER,
    ),
    Case(
        "lengths below nothing for a range beyond the end",
        [drop(after=CUT), (change(SHORTER), backwards)],
        (None, REST, None),
        right=SHORTER,
    ),
    Case(
        "changed, same tag and length: compared",
        [drop(after=CUT), change(SAME_TAG)],
        (None, REST, None),
        right=SAME_TAG,
    ),
    Case("range of the gzip form", [drop(after=CUT), range_of_gzip], (None, REST, None)),
    Case(
        "wrong bytes where no validator is, found by comparing",
        [drop(after=CUT), shifted(-500)],
        (None, REST, None),
        resource=BARE,
    ),
]
FRAMED = [
    Case("whole in one piece", []),
    Case("chunked", [chunked()]),
    Case("chunked with trailers and extensions", [chunked(trailers=(("X-After", "1"),), extension=";a=b")]),
    Case("chunked without its end", [chunked_without_end], (None, f"bytes={SIZE - OVERLAP}-")),
    Case("Content-Length and chunked together", [both_length_and_chunked(1000)]),
    Case("ends with the connection", [close_delimited], verified="nothing"),
    Case("HTTP/1.0 without a length", [http10], verified="nothing"),
    Case(
        "Content-Length larger than the body", [short_length(1000)], (None, f"bytes={SIZE - 1000 - OVERLAP}-")
    ),
    Case("more bytes than Content-Length", [long_body(b"surplus")]),
    Case("1xx before the answer", [informational(count=3)]),
    Case("204 is an empty file", [no_content], right=literal(b"")),
    Case("no bytes at all", [empty], right=literal(b"")),
    Case("gzip though identity was asked for", [gzip_anyway()]),
    Case("gzip in gzip", [gzip_anyway(times=2)]),
    *[
        Case(f"{label} that is none", [coded(bytes, label)])
        for label in ("UTF-8", "utf8", "none", "binary", "8bit", "foo", "gzip", "x-gzip")
    ],
    Case("aws-chunked, gzip", [coded(packed, "aws-chunked,gzip")]),
    Case("deflate", [coded(zlib.compress, "deflate")]),
    Case("deflate without its header", [coded(bare_deflate, "deflate")]),
    Case("gzip called deflate", [coded(packed, "deflate")]),
    Case("zeros behind gzip", [coded(lambda data: packed(data) + bytes(512), "gzip")]),
    Case("a page behind gzip", [coded(lambda data: packed(data) + b"<!-- 3 ms -->", "gzip")]),
    Case("gzip in two members", [coded(lambda data: packed(data[:9]) + packed(data[9:]), "gzip")]),
    *[
        Case(f"{label} of nothing", [coded(lambda _: b"", label)], right=literal(b""))
        for label in ("gzip", "deflate", "br")
    ],
    Case(
        "gzip, and the digest is the file's",
        [gzip_anyway()],
        job=sha256(TEXT),
        resource=TEXT,
        right=TEXT,
        verified="digest",
    ),
    Case(
        "gzip, and the digest is of what was sent",
        [gzip_anyway()],
        (None, None),
        job=sha256(GZIPPED),
        resource=TEXT,
        right=GZIPPED,
        verified="digest",
        repeat=True,
    ),
    Case(
        "gzip, and the size is of what was sent",
        [gzip_anyway()],
        job={"size": GZIPPED.size},
        resource=TEXT,
        right=GZIPPED,
    ),
    Case(
        "gzip, and the size is the file's", [gzip_anyway()], job={"size": TEXT.size}, resource=TEXT, right=TEXT
    ),
    Case(
        "a gzip file by its type, called gzip",
        [(gzip_anyway(), header("Content-Type", "application/x-gzip"))],
        resource=TEXT,
        right=GZIPPED,
    ),
    Case(
        "a gzip file by its type, and gzip again",
        [(gzip_anyway(), header("Content-Type", "application/gzip"))],
        resource=GZIPPED,
        right=GZIPPED,
    ),
    Case("an unknown success", [said(299)]),
    Case("205 is empty", [said(205)], right=literal(b"")),
    Case("an empty line before the answer", [blank_line]),
    Case("Content-Range under 200 means nothing", [header("Content-Range", "bytes 0-9/10")]),
    Case("Content-Range under 200, chunked", [(header("Content-Range", "bytes 0-9/10"), chunked())]),
    Case("gzip cut short, with an honest length", [gzip_anyway(broken=True)], (None, None)),
]
REFUSED = [
    Case("404", [status(404)], error=fetchq.StatusError),
    Case("error page under 503, always", [status(503)], (None,) * 3, error=fetchq.StatusError, repeat=True),
    Case("401", [status(401)], error=fetchq.AuthenticationError),
    Case(
        "a bomb",
        [gzip_anyway(bomb=5 * MIB)],
        error=fetchq.TooLargeError,
        settings=replace(QUICK, network=replace(QUICK.network, max_decoded=MIB)),
    ),
    Case("gzip, and the size is another", [gzip_anyway()], error=fetchq.ProtocolError, job={"size": SIZE + 1}),
    Case(
        "gzip, and the digest is of neither form",
        [gzip_anyway()],
        (None, None),
        error=fetchq.ChecksumError,
        job={"checksum": "md5:" + "0" * 32},
        repeat=True,
    ),
    Case(
        "a part of the file under 200",
        [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/10\r\n\r\nhello")],
        error=fetchq.ProtocolError,
    ),
    Case(
        "403 with every request after the first",
        [drop(after=CUT), status(403)],
        (None, REST, REST, None),
        error=fetchq.StatusError,
        repeat=True,
    ),
    Case(
        "larger than --max-size",
        [],
        error=fetchq.TooLargeError,
        settings=replace(QUICK, disk=fetchq.Disk(max_size=1000)),
    ),
    Case(
        "larger than --max-size, no length",
        [chunked()],
        error=fetchq.TooLargeError,
        settings=replace(QUICK, disk=fetchq.Disk(max_size=1000)),
    ),
    Case("not the size that was announced", [], error=fetchq.ProtocolError, job={"size": SIZE + 1}),
    Case("not HTTP", [garbage], error=fetchq.ProtocolError),
    Case("one huge header", [huge_headers(200_000)], error=fetchq.ProtocolError),
    Case("too many headers", [many_headers(5000)], error=fetchq.ProtocolError),
    Case("a head without end", [endless_headers], error=fetchq.FetchError),
    Case("1xx without end", [informational(count=None)], error=fetchq.FetchError),
    Case(
        "Content-Length of two kinds",
        [raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")],
        error=fetchq.ProtocolError,
    ),
    Case(
        "a slice nobody asked for",
        [raw(b"HTTP/1.1 206 OK\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/10\r\n\r\nhello")],
        error=fetchq.ProtocolError,
    ),
    Case("redirects in a circle", [redirect("/f.bin")], (None,) * 21, error=fetchq.ProtocolError, repeat=True),
    Case("redirect to another scheme", [redirect("ftp://127.0.0.1/f.bin")], error=fetchq.ProtocolError),
    Case(
        "wrong digest asked for, twice",
        [],
        (None, None),
        error=fetchq.ChecksumError,
        job={"checksum": "md5:" + "0" * 32},
    ),
    Case(
        "wrong digest promised, twice",
        [repr_digest(right=False)],
        (None, None),
        error=fetchq.ChecksumError,
        repeat=True,
    ),
]
VERIFIED = [
    Case("digest promised and kept", [repr_digest()], verified="digest"),
    Case("MD5 promised and kept", [content_md5()], verified="digest"),
    Case("MD5 of the whole beside a 206", [drop(after=CUT), content_md5()], TWICE, verified="length"),
    Case("wrong bytes once, right the second time", [repr_digest(right=False)], (None, None)),
    Case(
        "page for people under 206, digest known",
        [drop(after=CUT), page_as_206],
        (None, REST, None),
        job={"checksum": "sha256:" + hashlib.sha256(FILE.data).hexdigest()},
        verified="digest",
    ),
]


def fetch_all(
    jobs: Sequence[str], folder: Path, settings: fetchq.Settings = QUICK
) -> tuple[list[fetchq.Result], list[str]]:
    """Fetch one after the other, and collect what was warned about."""
    warned: list[str] = []

    def watch(event: fetchq.Event) -> None:
        if isinstance(event, fetchq.Warned):
            warned.append(event.message)

    async def main() -> list[fetchq.Result]:
        one = replace(settings, queue=fetchq.Queue(jobs=1))
        async with fetchq.Downloader(one, dir=folder, observers=[watch]) as downloader:
            return [result async for result in downloader.run(jobs)]

    return run(main()), warned


def fetch(job: fetchq.Job, folder: Path, settings: fetchq.Settings = QUICK) -> fetchq.Result:
    async def main() -> fetchq.Result:
        async with fetchq.Downloader(settings, dir=folder) as downloader:
            results = [result async for result in downloader.run([job])]
        assert len(results) == 1
        return results[0]

    return run(main())


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name) for c in [*RESUMED, *RESTARTED, *FRAMED, *REFUSED, *VERIFIED]]
)
def test_fault(case: Case, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", case.resource, *case.script, repeat=case.repeat)
    result = fetch(fetchq.Job(url, **case.job), tmp_path, case.settings)

    final = tmp_path / "f.bin"
    assert list(case.ranges)[:3] == origin.ranges("/f.bin")[:3]
    assert len(case.ranges) == len(origin.ranges("/f.bin"))
    if case.error is not None:
        assert isinstance(result.error, case.error)
        assert not final.exists()
        return
    assert result.error is None
    assert case.right is not None
    assert final.read_bytes() == case.right.data
    assert result.path == final
    assert result.sha256 in (hashlib.sha256(case.right.data).hexdigest(), None)
    assert result.verified == case.verified
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".bad")] == ["f.bin"]


def test_a_total_that_the_file_does_not_reach_costs_no_attempt(origin: Origin, tmp_path: Path) -> None:
    # Where the first answer told no length, this one is believed until there is no range for its end.
    script: list[Behaviour | tuple[Behaviour, ...]] = [
        (chunked(), drop(after=CUT)),
        wrong_total(5),
        status_416("none"),
        chunked(),
    ]
    url = origin.serve("/f.bin", FILE, *script)
    once = replace(QUICK, retry=fetchq.Retry(retries=0), queue=fetchq.Queue(jobs=2))
    assert isinstance(fetch(fetchq.Job(url), tmp_path, once).error, fetchq.NetworkError)
    assert fetch(fetchq.Job(url), tmp_path, once).unwrap().size == SIZE
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert origin.ranges("/f.bin") == [None, REST, f"bytes={SIZE}-", None]


@pytest.mark.parametrize(
    ("refuses", "first", "second"),
    [
        (refuses_if_range(412), (None, REST, REST), (None, REST)),
        (refuses_range(403), (None, REST, REST, None), (None, None)),
    ],
    ids=["If-Range", "Range"],
)
def test_how_a_host_must_be_asked_is_remembered(
    refuses: Behaviour,
    first: Sequence[str | None],
    second: Sequence[str | None],
    origin: Origin,
    tmp_path: Path,
) -> None:
    script = [drop(after=CUT), *[refuses] * 3]
    urls = [origin.serve(f"/{name}.bin", FILE, *script) for name in "ab"]
    results, _ = fetch_all(urls, tmp_path)
    assert [result.unwrap().sha256 for result in results] == [FILE.sha256] * 2
    assert [origin.ranges("/a.bin"), origin.ranges("/b.bin")] == [[*first], [*second]]


@pytest.mark.parametrize(
    ("behaviour", "warning"),
    [
        (AWS_CHUNKED, "names 'aws-chunked' as content coding"),
        (ODD_LINE, "sent a header line that is none, which is skipped: 'PHP Warning"),
        (coded(lambda data: packed(data) + bytes(9), "gzip"), "behind the end of a compressed body"),
        (coded(bytes, "gzip"), "says gzip of a body that is not"),
        (coded(bytes, "compress"), "'compress', which cannot be decoded"),
        (well, None),
    ],
)
def test_what_is_odd_is_said_once(
    behaviour: Behaviour, warning: str | None, origin: Origin, tmp_path: Path
) -> None:
    urls = [origin.serve(f"/{name}.bin", FILE, behaviour, repeat=True) for name in "abc"]
    results, warned = fetch_all(urls, tmp_path)
    assert [result.unwrap().sha256 for result in results] == [FILE.sha256] * 3
    if warning is None:
        assert warned == []
    else:
        [message] = warned
        assert message.startswith("127.0.0.1")
        assert warning in message


@pytest.mark.parametrize(
    ("path", "warns"), [("/f.zip", True), ("/f.html", False), ("/f.PHP", False), ("/page", False)]
)
def test_a_web_page_in_place_of_a_file_is_told(path: str, warns: bool, origin: Origin, tmp_path: Path) -> None:
    results, warned = fetch_all([origin.serve(path, FILE, error_page)], tmp_path)
    assert results[0].ok
    assert ["sent a web page in place of f.zip" in message for message in warned] == [True] * warns


def test_a_drip_is_broken_off_and_resumed(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, drip(10, 0.02))
    result = fetch(fetchq.Job(url), tmp_path)
    assert result.unwrap().attempts == 2
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert str(origin.ranges("/f.bin")[1]).startswith("bytes=")


def test_a_head_that_drips_is_bounded(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, slow_headers(1, 0.05))
    assert fetch(fetchq.Job(url), tmp_path).unwrap().attempts == 2


def test_an_expired_signature_goes_back_to_the_first_url(origin: Origin, tmp_path: Path) -> None:
    origin.serve("/cdn.bin", FILE, (signed(), drop(after=CUT)), signed(), signed(), repeat=True)
    url = origin.serve("/f.bin", FILE, sign("/cdn.bin"), repeat=True)
    assert fetch(fetchq.Job(url), tmp_path).error is None
    assert (tmp_path / "cdn.bin").read_bytes() == FILE.data


@pytest.mark.parametrize("right", [True, False])
def test_the_digest_of_what_a_redirect_leads_to_is_kept(right: bool, origin: Origin, tmp_path: Path) -> None:
    linked = header("X-Linked-ETag", f'"{FILE.sha256 if right else "0" * 64}"')
    led = (redirect(origin.url("/f.bin")), linked, header("X-Linked-Size", str(SIZE)))
    origin.serve("/f.bin", FILE, drop(after=CUT))
    result = fetch(fetchq.Job(origin.serve("/linked", FILE, led, repeat=True), "f.bin"), tmp_path)
    assert isinstance(result.error, fetchq.ChecksumError) is not right
    assert result.verified == ("digest" if right else "nothing")


def test_a_redirect_whose_target_changes_between_attempts_does_not_splice(
    origin: Origin, tmp_path: Path
) -> None:
    origin.serve("/one.bin", FILE, drop(after=CUT))
    origin.serve("/two.bin", NEWER)
    url = origin.serve("/f.bin", FILE, redirect(origin.url("/one.bin")), redirect(origin.url("/two.bin")))
    result = fetch(fetchq.Job(url, "f.bin"), tmp_path)
    assert result.error is None
    assert (tmp_path / "f.bin").read_bytes() == NEWER.data


def test_gzip_is_kept_where_the_name_says_so(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.txt.gz", literal(b"a" * 50_000), gzip_anyway())
    assert fetch(fetchq.Job(url), tmp_path).error is None
    assert gzip.decompress((tmp_path / "f.txt.gz").read_bytes()) == b"a" * 50_000


def test_wrong_bytes_are_put_aside_by_name(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE)
    result = fetch(fetchq.Job(url, checksum="sha256:" + "0" * 64), tmp_path)
    assert isinstance(result.error, fetchq.ChecksumError)
    assert FILE.sha256 in str(result.error)
    assert "0" * 64 in str(result.error)
    assert (tmp_path / "f.bin.part.bad").read_bytes() == FILE.data
    assert not (tmp_path / "f.bin").exists()


def test_an_earlier_run_is_resumed_and_the_same_again_is_skipped(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, drop(after=CUT))
    once = replace(QUICK, retry=fetchq.Retry(retries=0))
    assert fetch(fetchq.Job(url), tmp_path, once).error is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.bin.part", "f.bin.part.json"]
    assert fetch(fetchq.Job(url), tmp_path, once).status == "resumed"
    assert origin.ranges("/f.bin") == [None, REST]
    assert fetch(fetchq.Job(url), tmp_path, once).status == "skipped"


def test_a_part_under_the_servers_own_name_is_found_too(origin: Origin, tmp_path: Path) -> None:
    named = replace(FILE, headers=(("Content-Disposition", 'attachment; filename="real name.bin"'),))
    url = origin.serve("/get", named, drop(after=CUT))
    once = replace(QUICK, retry=fetchq.Retry(retries=0), disk=fetchq.Disk(buffer=65_536))
    assert fetch(fetchq.Job(url), tmp_path, once).error is not None
    result = fetch(fetchq.Job(url), tmp_path, once)
    assert result.status == "resumed"
    assert (tmp_path / "real name.bin").read_bytes() == FILE.data
    assert origin.ranges("/get") == [None, None, REST]


def test_a_mirror_goes_on_where_the_first_broke_off(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a/f.bin", FILE, drop(after=CUT), status(404), repeat=True)
    mirror = origin.serve(
        "/b/f.bin", replace(FILE, etag='"other"', last_modified="Fri, 03 Jan 2025 00:00:00 GMT")
    )
    result = fetch(fetchq.Job(url, mirrors=(mirror,)), tmp_path)
    assert result.error is None
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert origin.ranges("/b/f.bin") == [REST]


def test_a_dead_mirror_is_left_for_the_next(origin: Origin, tmp_path: Path) -> None:
    dead = origin.serve("/a/f.bin", FILE, status(404), repeat=True)
    result = fetch(fetchq.Job(dead, mirrors=(origin.serve("/b/f.bin", FILE),)), tmp_path)
    assert result.error is None
    assert len(origin.asked("/a/f.bin")) == 1


def test_a_mirror_whose_bytes_are_wrong_twice_is_left_for_the_next(origin: Origin, tmp_path: Path) -> None:
    wrong = origin.serve("/a/f.bin", NEWER, repeat=True)
    job = fetchq.Job(wrong, mirrors=(origin.serve("/b/f.bin", FILE),), checksum=f"sha256:{FILE.sha256}")
    assert fetch(job, tmp_path).error is None
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    assert (len(origin.asked("/a/f.bin")), len(origin.asked("/b/f.bin"))) == (2, 1)


def test_a_page_for_people_is_refused_where_the_size_is_known(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE, error_page, repeat=True)
    result = fetch(fetchq.Job(url, size=SIZE), tmp_path)
    assert isinstance(result.error, fetchq.ProtocolError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("buffer", [MIB, 65_536], ids=["in one piece", "streamed"])
def test_a_file_that_is_there_must_have_the_digest_too(buffer: int, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE)
    settings = replace(QUICK, disk=fetchq.Disk(buffer=buffer))
    assert fetch(fetchq.Job(url), tmp_path, settings).ok
    right = fetch(fetchq.Job(url, checksum=f"sha256:{FILE.sha256}"), tmp_path, settings)
    assert right.status == "skipped"
    wrong = fetch(fetchq.Job(url, checksum="sha256:" + "0" * 64), tmp_path, settings)
    assert isinstance(wrong.error, fetchq.ChecksumError)


def test_wrong_bytes_of_a_streamed_file_leave_only_what_was_put_aside(origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/f.bin", FILE)
    settings = replace(QUICK, disk=fetchq.Disk(buffer=65_536))
    result = fetch(fetchq.Job(url, checksum="sha256:" + "0" * 64), tmp_path, settings)
    assert isinstance(result.error, fetchq.ChecksumError)
    assert [path.name for path in tmp_path.iterdir()] == ["f.bin.part.bad"]
    assert len(origin.requests) == 2
