"""Every class of error as it comes to a program: with the request, the number of requests, and nothing lost."""

from __future__ import annotations

import asyncio
import copy
import pickle
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import fetchq
from fetchq import Disk, Network, Retry, Settings
from fetchq._settings import Queue

from .conftest import run
from .origin import Behaviour, Origin, garbage, generated, hang, status

FILE = generated(3_000_000)
QUICK = Settings(
    network=Network(env=False),
    retry=Retry(retries=2, backoff=0.0, patience=0),
    queue=Queue(connections=1),
)


@pytest.fixture(scope="module")
def untrusted(authority: Path) -> Iterator[Origin]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    with Origin(context) as started:
        yield started


@dataclass
class Case:
    """How an error comes about.

    :param attempts: requests that are made for it.
    :param behaviour: of the server, at every request.
    :param job: fields of the job; default for its URL: the server's.
    """

    attempts: int = 0
    behaviour: Behaviour | None = None
    network: dict[str, Any] = field(default_factory=dict)
    disk: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Path], Any] = lambda folder: None


def taken(folder: Path) -> None:
    (folder / "out").write_bytes(b"another file")


def no_folder(folder: Path) -> None:
    (folder / "file").touch()


CASES: dict[type[fetchq.FetchError], Case] = {
    fetchq.UsageError: Case(job={"url": "ftp://host/f.bin"}),
    fetchq.DiskError: Case(1, job={"out": "file/out"}, prepare=no_folder),
    fetchq.DiskFullError: Case(1, disk={"min_free": 1 << 60}),
    fetchq.ExistsError: Case(1, disk={"if_exists": "error"}, prepare=taken),
    fetchq.NetworkError: Case(3, job={"url": "http://127.0.0.1:1/f.bin"}),
    fetchq.TimedOutError: Case(3, hang, network={"read_timeout": 0.2}),
    fetchq.TLSError: Case(1),
    fetchq.AuthenticationError: Case(1, status(401)),
    fetchq.ProtocolError: Case(1, garbage),
    fetchq.TooLargeError: Case(1, disk={"max_size": 1000}),
    fetchq.StatusError: Case(3, status(503)),
    fetchq.ChecksumError: Case(2, job={"checksum": "md5:" + "0" * 32}),
    fetchq.StoppedError: Case(1, hang),
}
# Shown elsewhere: of a line, another process, the store, a part, a fault in fetchq. A server that is too slow
# brings bytes, so that no number of attempts ends it.
OTHERS = {
    fetchq.QueueFileError,
    fetchq.LockedError,
    fetchq.StoreError,
    fetchq.ChangedError,
    fetchq.IntegrityError,
    fetchq.TooSlowError,
}


def test_the_table_is_whole() -> None:
    public = {
        thing
        for thing in map(fetchq.__dict__.get, fetchq.__all__)
        if isinstance(thing, type) and issubclass(thing, fetchq.FetchError)
    }
    assert public - {fetchq.FetchError} == set(CASES) | OTHERS


@pytest.mark.parametrize("door", ["run", "fetch", "fetch_bytes", "stream", "run_sync", "observer"])
@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_an_error_has_its_request(
    origin: Origin, untrusted: Origin, tmp_path: Path, kind: type[fetchq.FetchError], door: str
) -> None:
    case = CASES[kind]
    if (case.disk or "out" in case.job) and door in {"fetch_bytes", "stream"}:
        pytest.skip("nothing goes to the disk")
    if kind is fetchq.StoppedError and door not in {"fetch", "stream"}:
        pytest.skip("a run that is stopped ends without a result")
    case.prepare(tmp_path)
    server = untrusted if kind is fetchq.TLSError else origin
    served = server.serve("/f.bin", FILE, *([case.behaviour] if case.behaviour else []), repeat=True)
    url = case.job.get("url", served)
    fields = {"out": None if door in {"fetch_bytes", "stream"} else "out", **case.job}
    job = fetchq.Job(**{**fields, "url": f"{url}?token=hunter2"})
    settings = replace(
        QUICK,
        network=replace(QUICK.network, **case.network),
        disk=Disk(dir=tmp_path, **case.disk),
    )
    error = failed(settings, job, door, stop=kind is fetchq.StoppedError)
    assert type(error) is kind
    assert error.url == f"{url}?***"
    # What has been handed over cannot be taken back.
    once = kind is fetchq.ChecksumError and door == "stream"
    assert error.attempts == (1 if once else case.attempts)
    assert "hunter2" not in f"{error} {error!r} {vars(error)}"
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(again), again.args, vars(again)) == (kind, error.args, vars(error))


def failed(settings: Settings, job: fetchq.Job, door: str, *, stop: bool) -> fetchq.FetchError:
    """Return the error that *door* raises, or has in its result or its last event."""
    events: list[fetchq.Event] = []

    async def main() -> None:
        async with fetchq.Downloader(settings, observers=[events.append]) as downloader:
            if stop:
                asyncio.get_running_loop().call_later(0.5, downloader.stop)
            if door == "stream":
                async with downloader.stream(job) as chunks:
                    async for _ in chunks:
                        pass
            elif door == "fetch_bytes":
                await downloader.fetch_bytes(job)
            elif door == "fetch":
                await downloader.fetch(job)
            else:
                async for result in downloader.run([job]):
                    result.unwrap()

    try:
        if door == "run_sync":
            with fetchq.Downloader(settings) as downloader:
                next(iter(downloader.run_sync([job]))).unwrap()
        else:
            run(main())
    except fetchq.FetchError as error:
        if door != "observer":
            return error
    (finished,) = [event for event in events if isinstance(event, fetchq.JobFinished)]
    assert finished.result.error
    return finished.result.error
