"""The misbehaving origin does what its behaviours are named for, seen through a plain socket."""

from __future__ import annotations

import base64
import gzip
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from . import origin as o
from .conftest import until
from .origin import Behaviour, Origin, generated, literal

SIZE = 200_000
FILE = generated(SIZE, seed=1)
DATA = FILE.data
# Every test here talks to the same machine; what takes longer hangs.
WAIT = 10.0


def ask(
    origin: Origin, path: str, *lines: str, method: str = "GET", tls: ssl.SSLContext | None = None
) -> bytes:
    """Everything that comes back for one request, until the end of the connection."""
    request = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: o", "Connection: close", *lines, "", ""])
    with socket.create_connection(("127.0.0.1", origin.port), WAIT) as plain:
        sock = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        with sock:
            sock.sendall(request.encode())
            got = b""
            while chunk := sock.recv(65536):
                got += chunk
            return got


def split(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def chunks(sock: socket.socket, end: type[OSError]) -> Iterator[bytes]:
    """What arrives, until exactly this error ends it."""
    try:
        while chunk := sock.recv(65536):
            yield chunk
    except end:
        return
    pytest.fail(f"the connection ended without {end.__name__}")


def get(origin: Origin, path: str, *lines: str) -> tuple[int, dict[str, str], bytes]:
    return split(ask(origin, path, *lines))


@pytest.mark.parametrize(
    ("asked", "status", "content_range", "bounds"),
    [
        (None, 200, None, (0, SIZE)),
        ("bytes=0-", 206, f"bytes 0-{SIZE - 1}/{SIZE}", (0, SIZE)),
        ("bytes=100-", 206, f"bytes 100-{SIZE - 1}/{SIZE}", (100, SIZE)),
        ("bytes=65530-65545", 206, f"bytes 65530-65545/{SIZE}", (65530, 65546)),
        ("bytes=-10", 206, f"bytes {SIZE - 10}-{SIZE - 1}/{SIZE}", (SIZE - 10, SIZE)),
        ("bytes=5-999999999", 206, f"bytes 5-{SIZE - 1}/{SIZE}", (5, SIZE)),
        (f"bytes={SIZE}-", 416, f"bytes */{SIZE}", None),
        ("bytes=1-2,5-6", 200, None, (0, SIZE)),
        ("lines=1-2", 200, None, (0, SIZE)),
    ],
)
def test_well_answers_ranges_as_rfc_9110_says(
    origin: Origin, asked: str | None, status: int, content_range: str | None, bounds: tuple[int, int] | None
) -> None:
    origin.serve("/f", FILE)
    got, headers, body = get(origin, "/f", *([f"Range: {asked}"] if asked else []))
    assert (got, headers.get("content-range")) == (status, content_range)
    if bounds:
        assert body == DATA[slice(*bounds)]
        assert headers["content-length"] == str(len(body))
    assert origin.ranges("/f") == [asked]


@pytest.mark.parametrize(
    ("etag", "if_range", "status"),
    [
        ('"v1"', '"v1"', 206),
        ('"v1"', '"v2"', 200),
        ('W/"v1"', 'W/"v1"', 200),
        ('"v1"', "Wed, 01 Jan 2025 00:00:00 GMT", 206),
        ('"v1"', "Wed, 01 Jan 2025 00:00:01 GMT", 200),
    ],
)
def test_well_compares_if_range(origin: Origin, etag: str, if_range: str, status: int) -> None:
    origin.serve("/f", generated(100, etag=etag))
    assert get(origin, "/f", "Range: bytes=10-", f"If-Range: {if_range}")[0] == status
    assert origin.requests[0].if_range == if_range


def test_a_connection_is_kept_for_the_next_request(origin: Origin) -> None:
    origin.serve("/f", literal(b"abc"))
    connection = HTTPConnection("127.0.0.1", origin.port, timeout=WAIT)
    for _ in range(3):
        connection.request("GET", "/f")
        assert connection.getresponse().read() == b"abc"
    connection.request("HEAD", "/f")
    about = connection.getresponse()
    assert (about.headers["Content-Length"], about.read()) == ("3", b"")
    connection.request("POST", "/nowhere", body=b"hello")
    lost = connection.getresponse()
    assert (lost.status, lost.read()) == (404, b"nothing here")
    connection.close()
    assert origin.connections == 1
    assert origin.requests[-1].body == b"hello"
    assert [request.number for request in origin.requests] == [1, 2, 3, 4, 5]


def test_generated_content_is_the_same_from_everywhere() -> None:
    pieces = b"".join(FILE.content.read(at, at + 777) for at in range(0, SIZE, 777))
    assert pieces == DATA
    assert len(DATA) == SIZE
    assert generated(SIZE, seed=2).data != DATA
    assert FILE.sha256 == hashlib.sha256(DATA).hexdigest()


def test_generated_content_of_any_size_takes_no_memory() -> None:
    huge = generated(1 << 50)
    assert len(huge.content.read((1 << 50) - 10, 1 << 50)) == 10


def test_a_script_is_used_up_request_by_request(origin: Origin) -> None:
    origin.serve("/f", FILE, o.status(503, retry_after=7), (o.header("X-Two", "2"), o.drop(50)))
    status, headers, _ = get(origin, "/f")
    assert (status, headers["retry-after"]) == (503, "7")
    _, headers, body = get(origin, "/f")
    assert (headers["x-two"], headers["content-length"], body) == ("2", str(SIZE), DATA[:50])
    assert get(origin, "/f")[2] == DATA
    assert [request.sent for request in origin.requests] == [2, 50, SIZE]
    assert [request.status for request in origin.asked("/f")] == [503, 200, 200]
    assert origin.sent == 52 + SIZE


def test_the_last_behaviour_stays_when_asked_to(origin: Origin) -> None:
    origin.serve("/f", FILE, o.well, o.status(500), repeat=True)
    assert [get(origin, "/f")[0] for _ in range(4)] == [200, 500, 500, 500]


PART = DATA[1000:]
LABEL = f"bytes 1000-{SIZE - 1}/{SIZE}"


@pytest.mark.parametrize(
    ("behaviour", "status", "content_range", "body"),
    [
        (o.ignore_range, 200, None, DATA),
        (o.right_slice_as_200, 200, LABEL, PART),
        (o.early_start(512), 206, f"bytes 512-{SIZE - 1}/{SIZE}", DATA[512:]),
        (o.wrong_start(9), 206, f"bytes 1009-{SIZE - 1}/{SIZE}", DATA[1009:]),
        (o.shifted(-9), 206, LABEL, DATA[991:-9]),
        (o.wrong_total(5), 206, f"bytes 1000-{SIZE - 1}/{SIZE + 5}", PART),
        (o.wrong_end(1), 206, f"bytes 1000-{SIZE}/{SIZE}", PART),
        (o.unknown_total, 206, f"bytes 1000-{SIZE - 1}/*", PART),
        (o.no_content_range, 206, None, PART),
        (o.status_416(), 416, f"bytes */{SIZE}", b""),
        (o.status_416("none"), 416, None, b""),
        (o.status_416(12), 416, "bytes */12", b""),
        (o.page_as_206, 206, LABEL, b"<!doctype html><title>Bad gateway</title>"),
        (o.breaks_if_range, 200, None, DATA),
        (o.etag_per_request, 200, None, DATA),
        (o.http10, 200, None, DATA),
        (o.empty, 200, None, b""),
        (o.no_content, 204, None, b""),
        (o.short_length(10), 206, LABEL, PART[:-10]),
        (o.long_body(b"more"), 206, LABEL, PART + b"more"),
        (o.close_delimited, 206, LABEL, PART),
        (o.drop(0), 206, LABEL, b""),
        (o.drop(70_000), 206, LABEL, PART[:70_000]),
        (o.throttle(10_000_000), 206, LABEL, PART),
        (o.closes_idle, 206, LABEL, PART),
        (o.set_cookie("a=b"), 206, LABEL, PART),
        (o.slow_headers(50, 0.001), 206, LABEL, PART),
        (o.latency(0.01), 206, LABEL, PART),
    ],
)
def test_a_range_request_meets(
    origin: Origin, behaviour: Behaviour, status: int, content_range: str | None, body: bytes
) -> None:
    origin.serve("/f", FILE, behaviour)
    got, headers, came = get(origin, "/f", "Range: bytes=1000-", 'If-Range: "v1"')
    assert (got, headers.get("content-range")) == (status, content_range)
    assert came == body


def test_early_start_on_a_border_and_without_a_range_changes_nothing(origin: Origin) -> None:
    origin.serve("/f", FILE, o.early_start(500), o.early_start(500))
    assert get(origin, "/f", "Range: bytes=1000-")[1]["content-range"] == LABEL
    assert get(origin, "/f")[0] == 200


def test_multipart_byteranges_wraps_the_slice(origin: Origin) -> None:
    origin.serve("/f", FILE, o.multipart_byteranges)
    status, headers, body = get(origin, "/f", "Range: bytes=1000-")
    assert (status, headers["content-type"]) == (206, "multipart/byteranges; boundary=THIS")
    assert body == f"--THIS\r\nContent-Range: {LABEL}\r\n\r\n".encode() + PART + b"\r\n--THIS--\r\n"


def test_change_lasts(origin: Origin) -> None:
    new = generated(100, seed=9, etag='"v2"')
    origin.serve("/f", FILE, o.well, (o.change(new), o.drop(10)))
    assert [get(origin, "/f")[1]["etag"] for _ in range(3)] == ['"v1"', '"v2"', '"v2"']
    assert get(origin, "/f")[2] == new.data


def test_etag_per_request_never_repeats(origin: Origin) -> None:
    origin.serve("/f", FILE, o.etag_per_request, repeat=True)
    assert [get(origin, "/f")[1]["etag"] for _ in range(2)] == ['"edge-1"', '"edge-2"']


def test_reset_comes_after_exactly_so_many_bytes_even_if_they_are_read_slowly(origin: Origin) -> None:
    origin.serve("/f", FILE, o.reset(180_000))
    with socket.socket() as sock:
        sock.settimeout(WAIT)
        # Far less than what is sent, so that most of it waits at the origin.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect(("127.0.0.1", origin.port))
        sock.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        until(lambda: bool(origin.requests) and origin.requests[0].sent == 180_000)
        got = b"".join(chunks(sock, end=ConnectionResetError))
    assert split(got)[2] == DATA[:180_000]


@pytest.mark.parametrize(
    ("behaviour", "sent"), [(o.stall(5000), 5000), (o.hang, 0), (o.drip(1, 60), 1), (o.slow_headers(1, 60), 0)]
)
def test_silence_lasts_until_the_peer_leaves(origin: Origin, behaviour: Behaviour, sent: int) -> None:
    origin.serve("/f", FILE, behaviour)
    with socket.create_connection(("127.0.0.1", origin.port), WAIT) as sock:
        sock.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        until(lambda: bool(origin.requests) and origin.requests[0].sent == sent)
        sock.settimeout(0.05)
        list(chunks(sock, end=TimeoutError))
        assert not origin.requests[0].finished
    assert origin.requests[0].sent == sent


def test_a_peer_that_leaves_early_is_noted(origin: Origin) -> None:
    origin.serve("/f", generated(50_000_000), o.well, o.stall(10))
    for wanted in (1000, 10):
        with socket.create_connection(("127.0.0.1", origin.port), WAIT) as sock:
            sock.sendall(b"GET /f HTTP/1.1\r\n\r\n")
            assert sock.recv(wanted)
    origin.settle()
    assert [request.closed_early for request in origin.requests] == [True, True]
    assert origin.requests[0].sent < 50_000_000


def test_hang_and_close_at_once_send_nothing(origin: Origin) -> None:
    origin.serve("/f", FILE, o.close_at_once)
    assert ask(origin, "/f") == b""


@pytest.mark.parametrize(
    ("behaviour", "tail"),
    [
        (o.chunked(4), b"4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n"),
        (o.chunked(9, extension=";a=b"), b"9;a=b\r\n012345678\r\n1;a=b\r\n9\r\n0\r\n\r\n"),
        (o.chunked(10, trailers=(("X-Sum", "7"),)), b"a\r\n0123456789\r\n0\r\nX-Sum: 7\r\n\r\n"),
        (o.chunked_without_end, b"a\r\n0123456789\r\n"),
        (o.both_length_and_chunked(3), b"a\r\n0123456789\r\n0\r\n\r\n"),
        (o.together(o.chunked(4), o.drop(6)), b"4\r\n0123\r\n2\r\n45\r\n"),
    ],
)
def test_chunks_are_framed_as_named(origin: Origin, behaviour: Behaviour, tail: bytes) -> None:
    origin.serve("/f", b"0123456789", behaviour)
    _, headers, body = get(origin, "/f")
    assert body == tail
    assert headers["transfer-encoding"] == "chunked"
    assert ("content-length" in headers) == (behaviour.__qualname__.startswith("both"))


def test_heads_that_go_wrong(origin: Origin) -> None:
    origin.serve("/f", b"x", o.informational(103, 2), o.huge_headers(90_000), o.many_headers(300), o.garbage)
    assert ask(origin, "/f").split(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 200 OK")
    assert len(get(origin, "/f")[1]["x-large"]) == 90_000
    assert len(get(origin, "/f")[1]) > 300
    assert ask(origin, "/f").startswith(b"SSH-2.0")


@pytest.mark.parametrize("behaviour", [o.informational(100, None), o.endless_headers])
def test_endless_heads_stop_when_the_peer_leaves(origin: Origin, behaviour: Behaviour) -> None:
    origin.serve("/f", b"x", behaviour)
    with socket.create_connection(("127.0.0.1", origin.port), WAIT) as sock:
        sock.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        got = 0
        while got < 1_000_000:
            got += len(sock.recv(65536))
    origin.settle()
    assert origin.requests[0].closed_early


def test_raw_is_byte_exact(origin: Origin) -> None:
    origin.serve("/f", b"x", o.raw(b"HTTP/1.1 200 OK\r\n", b"Content-Length: -1\n\n\x00"))
    assert ask(origin, "/f") == b"HTTP/1.1 200 OK\r\nContent-Length: -1\n\n\x00"


def test_content_codings(origin: Origin) -> None:
    origin.serve(
        "/f", FILE, o.gzip_anyway(), o.gzip_anyway(2), o.gzip_anyway(bomb=1_000_000), o.range_of_gzip, o.well
    )
    _, headers, body = get(origin, "/f")
    assert (headers["content-encoding"], gzip.decompress(body)) == ("gzip", DATA)
    _, headers, body = get(origin, "/f")
    assert (headers["content-encoding"], gzip.decompress(gzip.decompress(body))) == ("gzip, gzip", DATA)
    _, _, body = get(origin, "/f")
    assert len(body) < 2000
    assert gzip.decompress(body) == bytes(1_000_000)
    status, headers, body = get(origin, "/f", "Range: bytes=100-")
    assert (status, body) == (206, gzip.compress(DATA, 6, mtime=0)[100:])
    assert get(origin, "/f")[2] == DATA


def test_promised_digests(origin: Origin) -> None:
    origin.serve("/f", FILE, o.repr_digest(), o.repr_digest(False), o.content_md5())
    sha = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert get(origin, "/f")[1]["repr-digest"] == f"sha-256=:{sha}:"
    assert get(origin, "/f")[1]["repr-digest"] != f"sha-256=:{sha}:"
    assert get(origin, "/f")[1]["content-md5"] == base64.b64encode(hashlib.md5(DATA).digest()).decode()


def test_redirects_signatures_and_passwords(origin: Origin) -> None:
    origin.serve("/go", b"", o.sign("/blob"), o.sign("/blob"), o.redirect("http://elsewhere/", 308))
    origin.serve("/blob", b"secret", o.signed(uses=1), repeat=True)
    origin.serve("/door", b"in", o.basic_auth("me", "pw"), repeat=True)
    where = [get(origin, "/go")[1]["location"] for _ in range(3)]
    assert where == ["/blob?X-Signature=1", "/blob?X-Signature=2", "http://elsewhere/"]
    assert [get(origin, target)[0] for target in (where[0], where[0], where[1], "/blob")] == [
        200,
        403,
        200,
        403,
    ]
    token = base64.b64encode(b"me:pw").decode()
    assert [get(origin, "/door")[0], get(origin, "/door", f"Authorization: Basic {token}")[0]] == [401, 200]


def test_crowded_turns_the_second_request_away(origin: Origin) -> None:
    origin.serve("/f", FILE, o.stall(10))
    origin.serve("/g", FILE, o.crowded(1, o.status(429)), repeat=True)
    with socket.create_connection(("127.0.0.1", origin.port), WAIT) as sock:
        sock.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        until(lambda: bool(origin.requests))
        assert get(origin, "/g")[0] == 429
    origin.settle()
    assert get(origin, "/g")[0] == 200
    assert origin.peak == 2


def test_a_black_hole_neither_takes_nor_refuses() -> None:
    with o.black_hole() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), 0.1)


def test_tls(authority: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(authority / "server.pem", authority / "server.key")
    client = ssl.create_default_context(cafile=authority / "ca.pem")
    with Origin(tls=server) as origin:
        url = origin.serve("/f", FILE, o.well, o.drop(1000))
        assert url.startswith("https://")
        assert split(ask(origin, "/f", tls=client))[2] == DATA
        assert split(ask(origin, "/f", tls=client))[2] == DATA[:1000]


def test_an_origin_ends_with_its_block_whatever_goes_on() -> None:
    before = threading.active_count()
    with Origin() as origin:
        origin.serve("/f", FILE, o.stall(10), o.hang)
        socks = [socket.create_connection(("127.0.0.1", origin.port), WAIT) for _ in range(3)]
        for sock in socks[:2]:
            sock.sendall(b"GET /f HTTP/1.1\r\n\r\n")
        until(lambda: len(origin.requests) == 2)
    for sock in socks:
        with sock:
            while sock.recv(65536):
                pass
    assert threading.active_count() == before


def test_http_client_reads_what_is_well_framed(origin: Origin) -> None:
    origin.serve("/f", FILE, o.chunked(1000), o.close_delimited, o.http10, o.well)
    for _ in range(4):
        connection = HTTPConnection("127.0.0.1", origin.port, timeout=WAIT)
        connection.request("GET", "/f")
        assert connection.getresponse().read() == DATA
        connection.close()
