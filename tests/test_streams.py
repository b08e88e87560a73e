"""Bytes to the caller: streams with resume under them, into memory, and into file objects."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import lzma
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

import pytest

import fetchq
from fetchq._api.streams import StreamSink
from fetchq._scheduler import scheduler

from .conftest import run
from .origin import (
    Behaviour,
    Origin,
    change,
    chunked,
    drop,
    generated,
    gzip_anyway,
    hang,
    header,
    ignore_range,
    literal,
    stall,
    status,
    throttle,
    together,
    well,
)

FILE = generated(3_000_000)
DATA = FILE.content.read(0, FILE.size)
OTHER = generated(3_000_001)
SETTINGS = fetchq.Settings(
    network=fetchq.Network(read_timeout=0.5), retry=fetchq.Retry(retries=3, backoff=0.01)
)


async def joined(url: str | fetchq.Job, **how: Any) -> bytes:
    async with fetchq.stream(url, settings=SETTINGS, **how) as chunks:
        return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize(
    "behaviours",
    [
        pytest.param((), id="well"),
        pytest.param((drop(after=1_000_000),), id="broken off"),
        pytest.param(
            (drop(after=1_000_000), drop(after=700_001), drop(after=1)), id="broken off again and again"
        ),
        pytest.param((stall(after=500_000),), id="stalled"),
        pytest.param((status(503), hang), id="not ready"),
        pytest.param((chunked(),), id="chunked"),
        pytest.param((gzip_anyway(),), id="coded"),
    ],
)
def test_the_bytes_come_without_a_gap_or_a_repeat(
    behaviours: tuple[Behaviour, ...], origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = origin.serve("/a", FILE, *behaviours)
    assert run(joined(url)) == DATA
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("behaviour", [change(OTHER), ignore_range])
def test_what_cannot_go_on_is_an_error_after_the_bytes(behaviour: Behaviour, origin: Origin) -> None:
    script = (drop(after=1_000_000), (behaviour, drop(after=100)), (behaviour,))
    url = origin.serve("/a", FILE, *script, repeat=True)
    got = bytearray()

    async def work() -> None:
        async with fetchq.stream(url, settings=SETTINGS) as chunks:
            async for chunk in chunks:
                got.extend(chunk)

    with pytest.raises(fetchq.ChangedError, match=r"[Tt]he stream"):
        run(work())
    assert bytes(got) == DATA[: len(got)]
    assert len(got) >= 900_000


def test_a_wrong_checksum_is_told_at_the_end(origin: Origin) -> None:
    url = origin.serve("/a", FILE)
    good = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    assert run(joined(url, checksum=good)) == DATA
    with pytest.raises(fetchq.ChecksumError):
        run(joined(url, checksum=f"sha256:{'0' * 64}"))


def test_the_resource_is_known_on_entering_and_an_error_is_raised_there(origin: Origin) -> None:
    url, gone = origin.serve("/a?token=x".partition("?")[0], FILE), origin.serve("/gone", FILE, status(404))

    async def work() -> None:
        async with fetchq.Downloader(SETTINGS) as downloader:
            async with downloader.stream(f"{url}?token=x") as chunks:
                assert chunks.resource.length == FILE.size
                assert chunks.resource.etag
                assert chunks.resource.url == f"{url}?***"
            with pytest.raises(fetchq.StatusError):
                async with downloader.stream(gone):
                    pytest.fail("it was entered")
            with pytest.raises(fetchq.UsageError, match="async with"):
                await anext(downloader.stream(url))
            stream = downloader.stream(url)
            with pytest.raises(fetchq.UsageError, match="once it is entered"):
                print(stream.resource)
            async with stream:
                pass
            with pytest.raises(fetchq.UsageError, match="entered once"):
                await stream.__aenter__()

    run(work())


@pytest.mark.parametrize("behaviour", [well, gzip_anyway()], ids=["plain", "coded"])
def test_what_the_server_says_is_known(origin: Origin, behaviour: Behaviour) -> None:
    url = origin.serve("/a.bin", FILE, together(behaviour, header("Content-Type", "image/x-disk")))

    async def work() -> None:
        async with fetchq.stream(f"{url}?token=hunter2") as chunks:
            resource, headers = chunks.resource, chunks.headers
        assert (resource.url, resource.etag) == (f"{url}?***", FILE.etag)
        assert (resource.encoding, resource.length) == (
            (None, FILE.size) if behaviour is well else ("gzip", None)
        )
        assert headers["content-type"] == "image/x-disk"
        assert chunks.headers == headers
        with pytest.raises(fetchq.UsageError, match="once it is entered"):
            _ = fetchq.Downloader().stream(url).headers

    run(work())


def test_a_slow_caller_makes_the_server_wait(origin: Origin) -> None:
    url = origin.serve("/a", generated(80_000_000))

    async def work() -> int:
        async with fetchq.Downloader() as downloader, downloader.stream(url) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.5)
            return origin.sent

    # What is in flight: the sockets' buffers, one batch with the caller and two behind it.
    assert run(work()) < 40_000_000


def test_a_stream_that_is_left_frees_its_connection(origin: Origin) -> None:
    slow, other = origin.serve("/a", FILE, throttle(1e6), repeat=True), origin.serve("/b", FILE)

    async def taken(downloader: fetchq.Downloader) -> None:
        async with downloader.stream(slow) as chunks:
            async for _ in chunks:
                pass

    async def work() -> bytes:
        async with fetchq.Downloader(jobs=1) as downloader:
            async with downloader.stream(slow) as chunks:
                async for _ in chunks:
                    break
            with pytest.raises(ZeroDivisionError):
                async with downloader.stream(slow) as chunks:
                    raise ZeroDivisionError
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(taken(downloader), 0.3)
            return await downloader.fetch_bytes(other)

    assert run(work()) == DATA


def test_a_stream_ends_with_its_downloader(origin: Origin) -> None:
    url = origin.serve("/a", FILE, throttle(1e6), repeat=True)

    async def work() -> None:
        async with fetchq.Downloader() as downloader, downloader.stream(url) as chunks:
            await anext(chunks)
            downloader.stop()
            with pytest.raises(fetchq.StoppedError):
                async for _ in chunks:
                    pass

    run(work())


def test_closing_does_not_wait_for_a_caller_who_does_not_read(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = origin.serve("/a", generated(40_000_000))
    monkeypatch.setattr(scheduler, "CANCEL_TIMEOUT", 60.0)

    async def work() -> None:
        downloader = fetchq.Downloader()
        async with downloader.stream(url) as chunks:
            await anext(chunks)
            async with asyncio.timeout(20):
                await downloader.aclose()
            with pytest.raises(fetchq.StoppedError):
                async for _ in chunks:
                    pass

    run(work())


def test_a_stream_that_was_closed_does_not_look_complete(origin: Origin) -> None:
    url = origin.serve("/a", FILE, throttle(1e6), repeat=True)

    async def work() -> None:
        async with fetchq.Downloader() as downloader:
            async with downloader.stream(url) as chunks:
                await anext(chunks)
            with pytest.raises(fetchq.UsageError, match="has been closed"):
                async for _ in chunks:
                    pass
            async with downloader.stream(url) as chunks:
                asyncio.get_running_loop().call_later(0.3, asyncio.ensure_future, chunks.aclose())
                with pytest.raises(fetchq.UsageError, match="has been closed"):
                    async for _ in chunks:
                        pass

    run(work())


@pytest.mark.parametrize("pieces", [("one\r", "\ntwo\n", "", "\n", "three"), ("one\r\n", "two\n\nthr", "ee")])
def test_a_line_end_may_be_divided_between_chunks(pieces: tuple[str, ...]) -> None:
    async def fetch(sink: StreamSink) -> fetchq.Result:
        sink.answered(fetchq.Resource("http://h/"), {})
        for piece in pieces:
            await sink._take([piece.encode()])
        return fetchq.Result(fetchq.Job("http://h/"), "done")

    async def work() -> list[str]:
        async with fetchq.Stream(fetch, overlap=0) as chunks:
            return [line async for line in chunks.lines()]

    assert run(work()) == ["one", "two", "", "three"]


LINES = "one\r\ntwo\u2028still two\n\n\u00e9\u00e8 in pieces\nlast without an end"


def test_lines(origin: Origin) -> None:
    url = origin.serve("/a", LINES.encode(), chunked(1))

    async def work(text: str, encoding: str) -> list[str]:
        async with fetchq.stream(origin.serve("/b", text.encode(encoding), chunked(1))) as chunks:
            return [line async for line in chunks.lines(encoding)]

    expected = ["one", "two\u2028still two", "", "\u00e9\u00e8 in pieces", "last without an end"]
    assert url
    assert run(work(LINES, "utf-8")) == expected
    assert run(work(LINES, "utf-16")) == expected
    assert run(work("a\n", "utf-8")) == ["a"]
    assert run(work("", "utf-8")) == []


def test_a_line_without_an_end_is_bounded(origin: Origin) -> None:
    url = origin.serve("/a", literal(bytes(20_000_000)))

    async def work() -> None:
        async with fetchq.stream(url) as chunks:
            async for _ in chunks.lines("latin-1"):
                pass

    with pytest.raises(fetchq.TooLargeError, match="line"):
        run(work())


# Into memory


def test_into_memory(origin: Origin) -> None:
    url = origin.serve("/a", FILE, drop(after=1_000_000))
    assert fetchq.fetch_bytes(url, settings=SETTINGS) == DATA
    assert run(fetchq.afetch_bytes(url, settings=SETTINGS)) == DATA


@pytest.mark.parametrize("behaviours", [(), (chunked(),), (gzip_anyway(),)])
def test_memory_is_bounded(behaviours: tuple[Behaviour, ...], origin: Origin) -> None:
    url = origin.serve("/a", FILE, *behaviours)
    with pytest.raises(fetchq.TooLargeError):
        fetchq.fetch_bytes(url, max_size=FILE.size - 1, settings=SETTINGS)
    assert fetchq.fetch_bytes(url, max_size=FILE.size, settings=SETTINGS) == DATA


def test_memory_begins_again_where_a_stream_could_not(origin: Origin) -> None:
    url = origin.serve("/a", FILE, drop(after=1_000_000), change(OTHER))
    assert fetchq.fetch_bytes(url, settings=SETTINGS) == OTHER.content.read(0, OTHER.size)


def test_in_a_loop_that_runs_blocking_is_refused(origin: Origin) -> None:
    async def work() -> None:
        with pytest.raises(fetchq.UsageError, match="afetch_bytes"):
            fetchq.fetch_bytes("http://127.0.0.1:9/a")

    run(work())


# Into file objects


def unbuffered(folder: Path) -> IO[bytes]:
    return (folder / "x").open("w+b", buffering=0)


def buffered(folder: Path) -> IO[bytes]:
    return (folder / "x").open("w+b")


def spooled(folder: Path) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(1_000_000, dir=str(folder))


@pytest.mark.parametrize("make", [unbuffered, buffered, spooled, lambda _: io.BytesIO()])
@pytest.mark.parametrize("behaviours", [(), (drop(after=1_000_000),), (drop(after=1_000_000), change(OTHER))])
def test_a_file_object_is_written_from_where_it_stands(
    make: Callable[[Path], BinaryIO], behaviours: tuple[Behaviour, ...], origin: Origin, tmp_path: Path
) -> None:
    url = origin.serve("/a", FILE, *behaviours)
    wanted = OTHER.content.read(0, OTHER.size) if len(behaviours) > 1 else DATA
    with make(tmp_path) as file:
        file.write(b"before")
        result = fetchq.download(url, file, settings=SETTINGS)
        assert result.path is None
        assert result.sha256 == hashlib.sha256(wanted).hexdigest()
        file.write(b"behind")
        file.seek(0)
        assert file.read() == b"before" + wanted + b"behind"


@pytest.mark.parametrize("module", [gzip, lzma])
def test_a_compressing_file_compresses(module: Any, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE)
    with module.open(tmp_path / "a", "wb") as file:
        fetchq.download(url, file)
    with module.open(tmp_path / "a") as file:
        assert file.read() == DATA


def test_what_cannot_be_rewound_says_so(origin: Origin) -> None:
    class Socket:
        def __init__(self) -> None:
            self.got = bytearray()

        def write(self, data: Any) -> None:
            self.got += data

    url = origin.serve("/a", FILE, drop(after=1_000_000), change(OTHER))
    file: Any = Socket()
    with pytest.raises(fetchq.ChangedError, match=r"[Tt]he file object"):
        fetchq.download(url, file, settings=SETTINGS)
    assert bytes(file.got) == DATA[: len(file.got)]


class Failing(io.BytesIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, data: Any, /) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("file", "kind", "words"),
    [
        (io.StringIO(), fetchq.UsageError, "mode 'wb'"),
        (io.BufferedReader(io.BytesIO()), fetchq.UsageError, "not open for writing"),
        (7, fetchq.UsageError, "out must be text, a Path or a binary file object, not int"),
        (Failing(OSError(28, "No space left on device")), fetchq.DiskFullError, "file object"),
        (Failing(TypeError("write wants str")), fetchq.UsageError, "cannot be written: write wants str"),
    ],
)
def test_a_file_object_that_cannot_be_written(
    file: Any, kind: type[fetchq.FetchError], words: str, origin: Origin
) -> None:
    with pytest.raises(kind, match=words):
        fetchq.download(origin.serve("/a", FILE), file)


def test_a_closed_file_object_is_named(origin: Origin) -> None:
    file = io.BytesIO()
    file.close()
    with pytest.raises(fetchq.UsageError, match="closed"):
        fetchq.download(origin.serve("/a", FILE), file)
