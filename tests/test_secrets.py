"""A secret reaches the origin that it was given for, and nothing else: no other origin, no line or file."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import fetchq

from .conftest import RunFetchq, clean_env, run, until
from .origin import (
    Behaviour,
    Origin,
    Request,
    chunked,
    drop,
    garbage,
    generated,
    hang,
    redirect,
    repr_digest,
    stall,
    status,
    together,
)

MIB = 1 << 20
FILE = generated(2 * MIB)
CUT = 1_500_000


# Nothing listens on port 1 of the loopback.
DEAD = 1


def secret(kind: str) -> str:
    """A secret that no other can be taken for, and that no encoding of a URL or JSON changes."""
    return f"zQ{kind}9x7"


def spellings(kind: str) -> set[str]:
    """How the secret of *kind* looks on the wire and in messages: itself, and as user and password."""
    plain = secret(kind)
    pairs = (f"bob:{plain}", f":{plain}")
    return {plain, *(base64.b64encode(pair.encode()).decode().rstrip("=") for pair in pairs)}


KINDS = {
    *(
        "url",
        "netrc",
        "user",
        "bearer",
        "authorization",
        "proxy",
        "header",
        "cookie",
        "referer",
        "query",
        "token",
    ),
    *("param", "body", "json", "form", "job", "jobcookie", "mirror", "location"),
}


def found_in(told: str | bytes) -> set[str]:
    """Which secrets *told* holds."""
    text = told if isinstance(told, str) else told.decode("latin-1")
    return {kind for kind in KINDS if any(spelling in text for spelling in spellings(kind))}


def wire(request: Request) -> str:
    """All that a request said."""
    fields = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    return f"{request.method} {request.target}\n{fields}\n\n{request.body.decode('latin-1')}"


def told_to(origins: Iterable[Origin]) -> dict[str, set[str]]:
    """Secrets by the origin that was told them: scheme, host and port as the requests named them."""
    told: dict[str, set[str]] = {}
    for origin in origins:
        scheme = origin.url("").partition("://")[0]
        for request in origin.requests:
            name = f"{scheme}://{request.headers.get('host')}"
            told[name] = told.get(name, set()) | found_in(wire(request))
    return told


def files_below(folder: Path, *names: str) -> dict[str, bytes]:
    """Every file below *folder* that fetchq wrote; *names* are the test's own."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in names)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def redirected(to: str, code: int = 302) -> Behaviour:
    """A redirect with cookies and a signature of the server's own making."""
    sign = "&" if "?" in to else "?"
    return redirect(f"{to}{sign}X-Amz-Signature={secret('location')}", code)


@pytest.fixture
def away() -> Iterator[Origin]:
    """Another origin: same machine, another port."""
    with Origin() as started:
        yield started


# --- whom they are told

# Options that everyone gives; what follows is one way each to say who one is.
COMMON = [
    *("-H", f"X-Api-Key: {secret('header')}", "-b", f"session={secret('cookie')}"),
    *("-e", f"http://other.example/?{secret('referer')}", "--param", f"p={secret('param')}"),
]
COMMON_KINDS = {"header", "cookie", "referer", "param", "query", "token"}
QUERY = f"?X-Amz-Signature={secret('query')}&token={secret('token')}"
QUICK = ["--backoff", "0", "--no-env", "-x", "1", "-v", "--log", "log", "--progress", "json"]
WHO: dict[str, list[str]] = {
    "url": [],
    "user": ["-u", f"bob:{secret('user')}"],
    "bearer": ["--bearer", secret("bearer")],
    "authorization": ["-H", f"Authorization: Custom {secret('authorization')}"],
    "netrc": ["--netrc"],
}


def with_login(url: str, kind: str) -> str:
    return url.replace("://", f"://bob:{secret(kind)}@", 1)


@pytest.mark.parametrize("who", WHO)
def test_over_redirects_only_the_own_origin_is_told(
    run_fetchq: RunFetchq,
    origin: Origin,
    away: Origin,
    secure: Origin,
    authority: Path,
    tmp_path: Path,
    who: str,
) -> None:
    """To another port and back, to another scheme and back, to another name of the host and back."""
    stops = [away.url("/1"), origin.url("/2"), secure.url("/3"), origin.url("/4")]
    stops += [origin.url("/5", host="localhost"), origin.url("/f.bin")]
    servers = [origin, away, origin, secure, origin, origin]
    for number, (server, stop) in enumerate(zip(servers, stops, strict=True)):
        server.serve(f"/{number}", FILE, redirected(stop, 302 if number % 2 else 307), repeat=True)
    origin.serve("/f.bin", FILE, drop(after=CUT))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login bob password {secret('netrc')}\n")
    (tmp_path / ".netrc").chmod(0o600)

    url = origin.url("/0") + QUERY
    words = [*COMMON, *WHO[who], *QUICK, "--cacert", str(authority / "ca.pem"), "-o", "f.bin"]
    done = run_fetchq(*words, with_login(url, "url") if who == "url" else url)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "f.bin").read_bytes() == FILE.data
    told = told_to([origin, away, secure])
    own = f"http://127.0.0.1:{origin.port}"
    assert told.pop(own) == {*COMMON_KINDS, who, "location"}
    assert set(told) == {
        f"http://127.0.0.1:{away.port}",
        f"https://127.0.0.1:{secure.port}",
        f"http://localhost:{origin.port}",
    }
    assert all(kinds == {"location"} for kinds in told.values())
    for request in origin.requests:
        if request.headers["host"].startswith("127.0.0.1"):
            assert found_in(wire(request)) >= {"header", "cookie", "referer", who}, "told again on return"
    assert found_in(done.stdout + done.stderr) == set()
    assert "f.bin" in (tmp_path / "log").read_text()
    assert all(found_in(data) == set() for data in files_below(tmp_path, ".netrc").values())


def test_a_secure_origins_secrets_are_not_told_in_the_clear(
    run_fetchq: RunFetchq, origin: Origin, secure: Origin, authority: Path, tmp_path: Path
) -> None:
    secure.serve("/0", FILE, redirect(origin.url("/1")))
    origin.serve("/1", FILE)
    url = with_login(secure.url("/0") + QUERY, "url")
    done = run_fetchq(*COMMON, *QUICK, "--cacert", authority / "ca.pem", url)
    assert done.returncode == 7, done.stderr
    assert told_to([secure]).popitem()[1] == {*COMMON_KINDS, "url"}
    assert origin.requests == []
    assert found_in(done.stdout + done.stderr) == set()


BODIES: dict[str, list[str]] = {
    "body": ["--data", f"k={secret('body')}"],
    "json": ["--json", json.dumps({"k": secret("json")})],
    "form": ["--form", f"k={secret('form')}"],
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_is_told_to_its_own_origin_only(
    run_fetchq: RunFetchq, origin: Origin, away: Origin, tmp_path: Path, kind: str
) -> None:
    away.serve("/g.bin", b"answer")
    origin.serve("/f.bin", b"answer")
    urls = [origin.serve(f"/{code}", b"", redirect(away.url("/g.bin"), code)) for code in (302, 303, 307, 308)]
    near = origin.serve("/near", b"", redirect("/f.bin", 307))
    done = run_fetchq(*BODIES[kind], *QUICK, "-j", "1", *urls, near)
    assert done.returncode == 7
    refused = re.findall(r"^failed .*/(\d+): .* redirects the request's body to ", done.stderr, re.MULTILINE)
    assert refused == ["307", "308"]
    assert [request.method for request in away.requests] == ["GET", "GET"]
    assert told_to([away]).popitem()[1] == set()
    assert [found_in(wire(request)) for request in origin.requests] == [{kind}] * 6
    assert found_in(done.stdout + done.stderr) == set()
    assert all(found_in(data) == set() for data in files_below(tmp_path).values())


def test_a_proxys_password_is_told_to_the_proxy_only(
    run_fetchq: RunFetchq, origin: Origin, away: Origin, tmp_path: Path
) -> None:
    """The second origin plays the proxy: for http it is asked for whole URLs."""
    url = away.serve("/f.bin", FILE, status(407), drop(after=CUT)).replace(str(away.port), str(origin.port))
    proxy = away.url("", user=f"bob:{secret('proxy')}")
    for code in (6, 0):
        done = run_fetchq("--proxy", proxy, *COMMON, *QUICK, url + QUERY)
        assert done.returncode == code, done.stderr
        assert found_in(done.stdout + done.stderr) == set()
    assert origin.requests == []
    assert found_in(wire(away.requests[-1])) == {*COMMON_KINDS, "proxy"}
    dead = proxy.replace(str(away.port), str(DEAD))
    for words, environment in ((["--proxy", dead], {}), ([], {"http_proxy": dead})):
        done = run_fetchq(*words, "-v", "--retries", "1", url, env=environment)
        assert done.returncode == 4
        assert found_in(done.stdout + done.stderr) == set()
    assert all(found_in(data) == set() for data in files_below(tmp_path).values())


# --- what is told of failures


def failing(origin: Origin, away: Origin, secure: Origin) -> dict[str, dict[str, object]]:
    """A queue's jobs, each of which fails in its own way: expected kind of error -> job."""
    served = origin.serve
    elsewhere = f"ftp://bob:{secret('location')}@127.0.0.1/?X-Amz-Signature={secret('location')}"
    resource = replace(FILE, headers=(("Set-Cookie", f"server={secret('location')}"),))
    jobs: dict[str, dict[str, object]] = {
        "network": {"url": f"http://127.0.0.1:{DEAD}/refused"},
        "network-broken": {"url": served("/broken.bin", resource, drop(after=CUT), drop(after=0), repeat=True)},
        # A time limit of their own: others must not fail for it on a busy machine.
        "timedout": {"url": served("/hang", FILE, hang, repeat=True), "timeout": 0.4},
        "timedout-late": {
            "url": served("/late.bin", resource, stall(after=CUT), hang, repeat=True),
            "timeout": 0.4,
        },
        "tls": {"url": secure.serve("/untrusted", FILE)},
        "authentication": {"url": served("/401", b"", status(401), repeat=True)},
        "protocol": {"url": served("/garbage", b"", garbage, repeat=True)},
        "protocol-location": {"url": served("/elsewhere", b"", redirect(elsewhere), repeat=True)},
        "protocol-empty": {"url": served("/nowhere", b"", redirect("//:/"), repeat=True)},
        "protocol-circle": {"url": served("/circle", b"", redirected("/circle"), repeat=True)},
        "status": {"url": served("/404", b"", status(404), repeat=True)},
        "status-again": {"url": served("/503", b"", status(503), repeat=True)},
        "status-signed": {"url": served("/signed", b"", redirected(away.url("/gone")), repeat=True)},
        "checksum": {"url": served("/wrong.bin", resource), "checksum": "md5:" + "0" * 32},
        "checksum-promised": {"url": served("/promised.bin", FILE, repr_digest(right=False), repeat=True)},
        "toolarge": {"url": served("/large.bin", generated(5 * MIB), together(chunked()), repeat=True)},
        "protocol-size": {"url": served("/size.bin", FILE), "size": 3},
        "disk": {"url": served("/taken.bin", FILE), "out": "folder"},
        "usage-scheme": {"url": f"gopher://127.0.0.1:{DEAD}/scheme"},
        "usage-port": {"url": "http://127.0.0.1:port/port"},
        "usage-out": {"url": served("/out.bin", FILE), "out": "../out.bin"},
        "usage-header": {"url": served("/header.bin", FILE), "headers": {"X-Bad": f"{secret('job')}\u20ac"}},
        "done": {"url": served("/good.bin", resource)},
    }
    return jobs


def dressed(number: int, job: dict[str, object]) -> dict[str, object]:
    """The job with a secret in every field that can hold one."""
    headers = {"X-Job": secret("job"), "Cookie": f"j={secret('jobcookie')}"}
    body = (
        {"data": secret("body")} if number % 4 == 1 else {"json": [secret("json")]} if number % 4 == 2 else {}
    )
    return {
        "headers": headers,
        "params": {"p": secret("param")},
        **body,
        **job,
        "url": with_login(str(job["url"]), "url") + QUERY,
    }


BAD_LINES = [
    f'{{"url": "http://bob:{secret("url")}@127.0.0.1/{QUERY}"',
    f'{{"url": "http://127.0.0.1/", "headers": "X: {secret("job")}"}}',
    f'{{"url": "http://127.0.0.1/", "headers": {{"X\\n": "{secret("job")}"}}}}',
    f'{{"url": "http://127.0.0.1/", "headers": {{"X": "{secret("job")}\\n"}}}}',
    f'{{"url": "http://127.0.0.1/", "data": "{secret("body")}", "json": "{secret("json")}"}}',
    f'{{"url": ["http://bob:{secret("url")}@127.0.0.1/"]}}',
    f'"http://bob:{secret("url")}@127.0.0.1/{QUERY}"',
    f"http://bob:{secret('url')}@127.0.0.1/{QUERY}",
]


def test_a_queue_of_failures_tells_no_secret(
    run_fetchq: RunFetchq, origin: Origin, away: Origin, secure: Origin, tmp_path: Path
) -> None:
    jobs = failing(origin, away, secure)
    lines = [
        json.dumps({"id": kind, **dressed(number, job)}) for number, (kind, job) in enumerate(jobs.items())
    ]
    (tmp_path / "q.jsonl").write_text("\n".join([*lines, *BAD_LINES]) + "\n")
    (tmp_path / "out/folder").mkdir(parents=True)

    words = ["-H", f"X-Api-Key: {secret('header')}", "-b", f"session={secret('cookie')}", "-d", "out"]
    done = run_fetchq(*words, *QUICK, "-i", "q.jsonl", "--retries", "2", "--max-size", "4M")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    ends = {event["id"]: event for event in events if event["event"] == "job_finished"}
    kinds = {kind: (ends[kind]["error"] or {"kind": ends[kind]["status"]})["kind"] for kind in jobs}
    assert kinds == {kind: kind.partition("-")[0] for kind in jobs}
    assert events[-1]["failed"] == len(jobs) - 1 + len(BAD_LINES)
    assert found_in(done.stdout) == set()
    assert found_in(done.stderr) == set()
    assert "Traceback" not in done.stderr
    assert told_to([away]).popitem()[1] == {"location"}
    assert secure.requests == []
    for request in origin.requests:
        assert found_in(wire(request)) >= {"header", "cookie", "job", "jobcookie", "url"}

    written = files_below(tmp_path, "q.jsonl")
    assert {
        "log",
        "out/.fetchq.db",
        "out/broken.bin.part.json",
        "out/late.bin.part",
        "out/wrong.bin.part.bad",
    } <= set(written)
    assert b"/broken.bin" in written["out/.fetchq.db"]
    assert b"/broken.bin" in written["out/broken.bin.part.json"]
    assert {name: found_in(data) for name, data in written.items() if found_in(data)} == {}
    shown = run_fetchq("status", "out", "--json")
    assert "/broken.bin" in shown.stdout
    assert found_in(shown.stdout + run_fetchq("status", "out").stdout) == set()
    preview = run_fetchq(*words, "--dry-run", "-i", "q.jsonl")
    assert "good.bin" in preview.stdout
    assert found_in(preview.stdout + preview.stderr) == set()


def test_what_a_killed_run_leaves_holds_no_secret(origin: Origin, tmp_path: Path) -> None:
    """The store's write-ahead log, the journal and the log, as they are in the middle of a run."""
    urls = [origin.serve("/done.bin", FILE), origin.serve("/stuck.bin", FILE, stall(after=CUT), repeat=True)]
    lines = [json.dumps(dressed(0, {"url": url})) for url in urls]
    (tmp_path / "q.jsonl").write_text("\n".join(lines) + "\n")
    words = [*COMMON, *QUICK, "-i", "q.jsonl", "-d", "out"]
    with (tmp_path / "told").open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "fetchq", *words],
            cwd=tmp_path,
            env=clean_env({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}),
            stdout=told,
            stderr=told,
        )
        try:
            log = tmp_path / "out/.fetchq.db-wal"
            journal = tmp_path / "out/stuck.bin.part.json"
            until(lambda: log.exists() and b"/done.bin" in log.read_bytes() and journal.exists())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    written = files_below(tmp_path, "q.jsonl")
    assert b"/done.bin" in written["out/.fetchq.db-wal"]
    assert b"job_started" in written["told"]
    assert {name: found_in(data) for name, data in written.items() if found_in(data)} == {}


# --- what is told of mistakes

S = secret("header")
MISTAKES: dict[str, list[str]] = {
    "header without colon": ["-H", f"X-Api-Key {S}", "http://h/"],
    "header with a line break": ["-H", f"X-Api-Key: {S}\nX: y", "http://h/"],
    "header beyond latin-1": ["-H", f"X-Api-Key: {S}\u20ac", "http://127.0.0.1:1/"],
    "cookie without name": ["-b", S, "http://h/"],
    "bearer with a line break": ["--bearer", f"{S}\nX: y", "http://127.0.0.1:1/"],
    "parameter without name": ["--param", S, "http://h/"],
    "form without name": ["--form", S, "http://h/"],
    "json that is none": ["--json", f'{{"k": "{S}', "http://h/"],
    "two bodies": ["--json", f'"{S}"', "--data", S, "http://h/"],
    "a file for a body that is missing": ["--data", "@missing", "-H", f"X: {S}", "http://h/"],
    "port that is none": [f"http://bob:{S}@h:port/"],
    "scheme that is none": [f"htp://bob:{S}@127.0.0.1/?{S}"],
    "no scheme": [f"bob:{S}@127.0.0.1/x?{S}"],
    "no host": [f"http://bob:{S}@/?{S}"],
    "control character": [f"http://bob:{S}@127.0.0.1/\x01?{S}"],
    "mistyped option": [f"--beerer={S}", "http://h/"],
    "referer with a line break": ["-e", f"http://h/{S}\n", "http://127.0.0.1:1/"],
    "base URL that is none": ["--base-url", f"bob:{S}@h", "x"],
    "base URL with a bad port": ["--base-url", f"http://bob:{S}@h:port/?{S}", "x"],
    "proxy that is none": ["--proxy", f"bob:{S}@", "http://127.0.0.1:1/"],
    "proxy of another kind": ["--proxy", f"gopher://bob:{S}@h", "http://127.0.0.1:1/"],
    "proxy with a bad port": ["--proxy", f"http://bob:{S}@h:port", "http://127.0.0.1:1/"],
    "user without a terminal": ["-u", S, "http://h/"],
}  # fmt: skip


def told_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the command line in this process: a mistake ends before anything that could matter elsewhere."""
    from fetchq._cli import main

    with contextlib.suppress(OSError):
        capsys.readouterr()
    code = main([*words, "--retries", "1", "-v"])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_without_the_secret(
    mistake: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, told = told_by(MISTAKES[mistake], capsys)
    assert code == 2, told
    assert told.count("\n") >= 1
    assert found_in(told) == set()
    assert files_below(tmp_path) == {}


# --- what a program sees


def everything(value: object) -> str:
    """What a program could log of a value: repr, str, and for an error its traceback with all causes."""
    trace = traceback.format_exception(value) if isinstance(value, BaseException) else []
    return f"{value!r} {value} {''.join(trace)}"


LIBRARY = fetchq.Settings(
    network=fetchq.Network(
        headers=(("X-Api-Key", secret("header")),),
        user=("bob", secret("user")),
        cookies=(("session", secret("cookie")),),
        referer=f"http://h/?{secret('referer')}",
        env=False,
    ),
    retry=fetchq.Retry(retries=2, backoff=0),
    disk=fetchq.Disk(max_size=4 * MIB),
    queue=fetchq.Queue(connections=1),
)
JOB_FIELDS = {"headers", "params", "out", "size", "checksum", "timeout"}


def library_job(number: int, kind: str, job: dict[str, object]) -> fetchq.Job:
    told = dressed(number, job)
    fields = {name: value for name, value in told.items() if name in JOB_FIELDS}
    for name in ("headers", "params"):
        fields[name] = tuple(dict(told[name]).items())  # type: ignore[call-overload]  # it was built as one above
    if "data" in told:
        fields["content"] = str(told["data"]).encode()
    mirrors = (f"http://bob:{secret('mirror')}@127.0.0.1:{DEAD}/mirror?{secret('mirror')}",)
    chosen = mirrors if kind == "network" else ()
    return fetchq.Job(str(told["url"]), id=kind, json=told.get("json"), mirrors=chosen, **fields)  # type: ignore[arg-type]  # names and values are a Job's


TOKEN = replace(LIBRARY, network=replace(LIBRARY.network, user=None, bearer=secret("bearer")))


@pytest.mark.parametrize("settings", [LIBRARY, TOKEN], ids=["user", "bearer"])
def test_nothing_that_a_program_could_log_holds_a_secret(
    origin: Origin,
    away: Origin,
    secure: Origin,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    settings: fetchq.Settings,
) -> None:
    jobs = [
        library_job(number, kind, job)
        for number, (kind, job) in enumerate(failing(origin, away, secure).items())
    ]
    (tmp_path / "folder").mkdir()
    seen: list[object] = [settings, settings.network, *jobs]

    async def main() -> None:
        async with fetchq.Downloader(settings, dir=tmp_path, observers=[seen.append]) as downloader:
            seen.append(downloader)
            async for result in downloader.run(jobs):
                seen.extend([result, result.job, result.error])
            async for preview in downloader.preview(jobs):
                seen.extend([preview, preview.error])

    with caplog.at_level(logging.WARNING):
        run(main())
    kinds = {type(value).__name__ for value in seen}
    assert {
        "Planned",
        "AttemptFailed",
        "JobFinished",
        "Result",
        "Preview",
        "TLSError",
        "ChecksumError",
    } <= kinds
    leaks = {f"{type(value).__name__} {value!s:.80}": found_in(everything(value)) for value in seen}
    assert {name: kinds for name, kinds in leaks.items() if kinds} == {}
    assert found_in(caplog.text) == set()


def test_a_settings_repr_masks_a_proxy() -> None:
    settings = fetchq.Settings(network=fetchq.Network(proxy=f"http://bob:{secret('proxy')}@h:1"))
    assert found_in(repr(settings)) == set()
    with pytest.raises(fetchq.FetchError) as caught:
        fetchq.download(
            f"http://127.0.0.1:{DEAD}/x?{secret('query')}",
            settings=replace(settings, retry=fetchq.Retry(retries=1)),
            auth=("bob", secret("user")),
        )
    assert found_in(everything(caught.value)) == set()
