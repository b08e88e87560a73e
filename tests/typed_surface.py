"""The whole public surface as a program uses it: only type-checked, never run (see test_types)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import assert_never, assert_type

import httpx

import fetchq


async def hook(request: httpx.Request) -> None:
    request.headers["X"] = "y"


def new_link(job: fetchq.Job, error: fetchq.FetchError) -> str | None:
    return None if isinstance(error, fetchq.StatusError) else job.url


def arguments() -> fetchq.Settings:
    network = fetchq.Network(
        read_timeout=None,
        headers={"X-Key": "1"},
        cookies=[("a", "b")],
        user=("me", "pw"),
        cacert="ca.pem",
        add_cacert=[Path("more.pem"), "other.pem"],
        tls_min="1.3",
    )
    assert_type(network.headers, tuple[tuple[str, str], ...])
    assert_type(network.cacert, Path | None)
    retry = fetchq.Retry(retries=float("inf"), backoff=1, retry_on=frozenset({500}))
    disk = fetchq.Disk(dir="data", if_exists="rename", max_size=1 << 30)
    assert_type(disk.dir, Path)
    queue = fetchq.Queue(jobs=4, connections=2, limit_rate=1e6)
    assert_type(queue.per_file, int)
    fetchq.Disk(if_exists="overwite")  # type: ignore[arg-type]
    fetchq.Network(tls_min="2.0")  # type: ignore[arg-type]
    fetchq.Network(headers=5)  # type: ignore[arg-type]
    fetchq.Queue(jobs="4")  # type: ignore[arg-type]
    return fetchq.Settings(network=network, retry=retry, disk=disk, queue=queue)


def jobs() -> Iterator[str | fetchq.Job]:
    yield "https://example.org/a"
    yield fetchq.Job(httpx.URL("https://example.org/b"), Path("b"), dir="d", mirrors=["https://example.com/b"])
    job = fetchq.Job(
        "https://example.org/c",
        method="POST",
        headers=httpx.Headers({"A": "b"}),
        params={"page": 2},
        form={"field": "value", "file": fetchq.FormFile("x.txt", type="text/plain")},
        checksum="sha256:00",
        size=5,
        priority=-1,
        retries=3,
        timeout=5.0,
        user=("me", "password"),
        tls=fetchq.TLSOptions(cacert="ca.pem", insecure=False),
        id="c",
    )
    assert_type(job.url, str)
    assert_type(job.dir, Path | None)
    assert_type(job.headers, tuple[tuple[str, str], ...])
    fetchq.Job()  # type: ignore[call-arg]
    fetchq.Job(5)  # type: ignore[arg-type]
    fetchq.Job("u", nonsense=1)  # type: ignore[call-arg]
    yield job


def watch(event: fetchq.Event) -> str:
    match event:
        case fetchq.RunStarted():
            return f"{event.jobs} {event.directory}"
        case fetchq.JobStarted():
            return event.url
        case fetchq.Planned():
            return f"{event.kind} {event.reason} {event.start} {event.size}"
        case fetchq.Progressed():
            return f"{event.have} {event.delta} {event.connections}"
        case fetchq.AttemptFailed():
            return f"{event.error} {event.wait}"
        case fetchq.Waiting():
            return f"{event.host} {event.until}"
        case fetchq.QueueWaiting():
            return str(event.ended)
        case fetchq.Warned():
            return event.message
        case fetchq.JobFinished():
            return f"{event.name} {told(event.result)}"
        case fetchq.RunFinished():
            return f"{event.done} {event.left} {event.stopped}"
        case _:
            assert_never(event)


def observe(event: fetchq.Event) -> None:
    print(watch(event))


def told(result: fetchq.Result) -> str:
    assert_type(result.unwrap(), fetchq.Result)
    assert_type(result.path, Path | None)
    assert_type(result.sha256, str | None)
    assert_type(result.digests, Mapping[str, str])
    assert_type(result.error, fetchq.FetchError | None)
    return f"{result.status} {result.size} {result.attempts} {result.elapsed} {result.verified} {result.ok}"


def listed() -> fetchq.Manifest:
    return fetchq.Manifest(Path("SHA256SUMS").read_bytes(), "SHA256SUMS")


def blocking(settings: fetchq.Settings, observer: fetchq.Observer) -> None:
    with fetchq.Downloader(settings, observers=[observer], auth=("me", "pw")) as downloader:
        for result in downloader.run_sync(jobs()):
            assert_type(result, fetchq.Result)
        assert_type(downloader.fetch_sync(httpx.URL("https://example.org/a"), io.BytesIO()), fetchq.Result)
    assert_type(fetchq.download("https://example.org/a", "a", dir=Path("d"), checksum="md5:00"), fetchq.Result)
    with Path("x").open("wb") as file:
        fetchq.download("https://example.org/a", file)
    with Path("x").open("w") as text:
        fetchq.download("https://example.org/a", text)  # type: ignore[arg-type]
    assert_type(fetchq.fetch_bytes(httpx.URL("https://example.org/a"), max_size=10), bytes)


async def awaiting(settings: fetchq.Settings, manifest: fetchq.Manifest) -> None:
    async with (
        httpx.AsyncClient(transport=fetchq.Transport(max_head=1 << 20)) as client,
        fetchq.Downloader(
            settings,
            dir="d",
            client=client,
            auth=httpx.BasicAuth("me", "pw"),
            event_hooks={"request": [hook]},
            store=Path("store.db"),
            base_url="https://example.org",
            manifest=manifest,
            refresh=new_link,
            stdout=io.BytesIO(),
        ) as downloader,
    ):
        results = downloader.run(jobs())
        assert_type(results, fetchq.Results)
        async for result in results:
            assert_type(result, fetchq.Result)
        await results.aclose()
        async with downloader.run(several()) as more:
            assert_type(await anext(more), fetchq.Result)
        assert_type(await downloader.fetch("https://example.org/a", Path("a")), fetchq.Result)
        assert_type(await downloader.fetch_bytes("https://example.org/a", max_size=5), bytes)
        async with downloader.stream("https://example.org/a") as chunks:
            await consumed(chunks)
        async for preview in downloader.preview(["https://example.org/a"]):
            assert_type(preview, fetchq.Preview)
        downloader.stop()
    await downloader.aclose()
    async with fetchq.stream("https://example.org/a", auth=("me", "pw")) as chunks:
        await consumed(chunks)
    assert_type(await fetchq.adownload("https://example.org/a", io.BytesIO(), client=client), fetchq.Result)
    assert_type(await fetchq.afetch_bytes("https://example.org/a"), bytes)


async def several() -> AsyncIterator[str | fetchq.Job | fetchq.FetchError]:
    yield "https://example.org/a"
    yield fetchq.QueueFileError("line 3")


async def consumed(chunks: fetchq.Stream) -> None:
    assert_type(chunks.resource, fetchq.Resource)
    assert_type(chunks.headers, Mapping[str, str])
    assert_type(chunks.resource.length, int | None)
    async for chunk in chunks:
        assert_type(chunk, bytes)
    async for line in chunks.lines("latin-1"):
        assert_type(line, str)


def by_consequence(error: fetchq.FetchError) -> int:
    assert_type(error.url, str)
    assert_type(error.attempts, int)
    assert_type(error.transient, bool)
    assert_type(error.retry_after, float | None)
    match error:
        case fetchq.StatusError() | fetchq.AuthenticationError():
            return error.status
        case fetchq.LockedError():
            return error.pid or 0
        case fetchq.TimedOutError() | fetchq.TooSlowError() | fetchq.NetworkError() | fetchq.TLSError():
            return error.exit_code
        case fetchq.ChangedError() | fetchq.TooLargeError() | fetchq.ProtocolError():
            return error.exit_code
        case fetchq.DiskFullError() | fetchq.ExistsError() | fetchq.StoreError() | fetchq.DiskError():
            return error.exit_code
        case fetchq.ChecksumError() | fetchq.IntegrityError() | fetchq.StoppedError() | fetchq.UsageError():
            return error.exit_code
        case _:
            return len(fetchq.__version__)
