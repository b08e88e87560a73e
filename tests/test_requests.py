"""What a request can be, through the doors: the command line, a line of a queue file, Python."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped] # it has no types
import pytest
import trustme

import fetchq
from fetchq._cli import main
from fetchq._http.multipart import Multipart
from fetchq._settings import Network

from .conftest import RunFetchq, clean_env
from .origin import (
    Behaviour,
    Origin,
    Request,
    basic_auth,
    drop,
    generated,
    gzip_anyway,
    hang,
    header,
    redirect,
    stall,
    status,
)
from .test_http.test_tls import hash_into, sealed

FILE = b"the file\n"


def on_disk(folder: Path, line: dict[str, Any]) -> str:
    """Write a queue of one line; return its path."""
    path = folder / "queue.jsonl"
    path.write_text(json.dumps(line) + "\n")
    return str(path)


def fetched(url: str | fetchq.Job, **network: Any) -> fetchq.Result:
    """Fetch *url* from Python to the target that it names, and return how it ended."""

    async def work() -> fetchq.Result:
        settings = fetchq.Settings(network=Network(env=False, **network))
        async with fetchq.Downloader(settings) as downloader:
            (result,) = [each async for each in downloader.run([url])]
            return result

    return asyncio.run(work())


# --- redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_unless_they_are_not_to_be(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, code: int
) -> None:
    to = origin.serve("/to", FILE)
    url = origin.serve("/from", FILE, redirect("to?sig=hunter2", code), repeat=True)
    assert run_fetchq("-o", "a", url).returncode == 0
    assert (tmp_path / "a").read_bytes() == FILE
    refused = [
        run_fetchq("--no-redirects", "-o", "b", url),
        run_fetchq("-i", on_disk(tmp_path, {"url": url, "out": "b", "redirects": False})),
    ]
    for done in refused:
        assert done.returncode == 8
        assert f"answered {code} and redirects to {to}?***, which was not to be followed" in done.stderr
        assert "hunter2" not in done.stderr
    followed = on_disk(tmp_path, {"url": url, "out": "c", "redirects": True})
    assert run_fetchq("--no-redirects", "-i", followed, "--no-store").returncode == 0
    assert not (tmp_path / "b").exists()
    error = fetched(fetchq.Job(url, str(tmp_path / "d"), redirects=False)).error
    assert isinstance(error, fetchq.StatusError)
    assert error.status == code
    assert not error.transient


@pytest.mark.parametrize(
    "words",
    [
        ["--bearer", "t"],
        ["-u", "me:pw"],
        ["-H", "X-Api-Key: k"],
        ["-b", "session=1"],
        ["-e", "https://r/"],
    ],
    ids=lambda words: words[0],
)
def test_a_request_with_secrets_does_not_leave_tls(
    run_fetchq: RunFetchq, origin: Origin, secure: Origin, authority: Path, tmp_path: Path, words: Sequence[str]
) -> None:
    url = secure.serve("/from", FILE, redirect(origin.serve("/to", FILE)), repeat=True)
    trust = ["--cacert", str(authority / "ca.pem")]
    done = run_fetchq(*trust, *words, "-o", "a", url)
    assert done.returncode == 7
    assert "over http" in done.stderr
    assert not origin.requests
    harmless = run_fetchq(*trust, "-H", "Accept: */*", "-U", "me", "-o", "b", url)
    assert harmless.returncode == 0
    assert (tmp_path / "b").read_bytes() == FILE


# --- HEAD


def test_the_result_of_a_head_is_the_head(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a.bin", FILE, header("X-Odd", "1"), repeat=True)
    out = run_fetchq("-X", "HEAD", "-o", "-", url).stdout
    first, *fields = out.splitlines()
    assert first == "HTTP/1.1 200 OK"
    assert {"X-Odd: 1", f"Content-Length: {len(FILE)}"} <= set(fields)
    assert out.endswith("\n")
    assert run_fetchq("-X", "head", url).returncode == 0
    assert run_fetchq("-i", on_disk(tmp_path, {"url": url, "method": "HEAD", "out": "b"})).returncode == 0
    assert [(tmp_path / name).read_text() for name in ("a.bin.head", "b")] == [out, out]
    assert {request.method for request in origin.requests} == {"HEAD"}
    result = fetched(fetchq.Job(url, str(tmp_path / "c"), method="HEAD"))
    assert (result.headers["x-odd"], result.headers["content-length"]) == ("1", str(len(FILE)))
    assert (result.status, result.size, result.received) == ("done", len(out), len(out))
    assert "x-odd" not in repr(result)


def test_the_head_of_a_page_a_coded_body_a_redirect_and_an_error(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path
) -> None:
    coded = origin.serve("/a.gz", FILE, (gzip_anyway(), header("Content-Type", "text/html")), repeat=True)
    done = run_fetchq("-X", "HEAD", "-o", "-", coded)
    assert "Content-Encoding: gzip" in done.stdout
    assert "web page" not in done.stderr
    moved = origin.serve("/moved", FILE, redirect("/a.gz", 302), repeat=True)
    assert run_fetchq("-X", "HEAD", "-o", "-", moved).stdout.startswith("HTTP/1.1 200 ")
    shown = run_fetchq("-X", "HEAD", "--no-redirects", "-o", "-", moved)
    assert shown.returncode == 0
    assert "Location: /a.gz" in shown.stdout
    gone = origin.serve("/gone", FILE, status(404), repeat=True)
    assert run_fetchq("-X", "HEAD", "-o", "-", gone).returncode == 8
    result = fetched(fetchq.Job(gone, str(tmp_path / "x"), method="HEAD"))
    assert (result.status, result.headers["content-type"]) == ("failed", "text/plain")


def test_the_headers_of_a_result_stay_out_of_the_events(run_fetchq: RunFetchq, origin: Origin) -> None:
    url = origin.serve("/a", FILE, header("Set-Cookie", "session=hunter2"))
    done = run_fetchq("--progress", "json", "-v", url)
    assert "job_finished" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


# --- forms


def parts_of(request: Request) -> list[tuple[Any, ...]]:
    """The parts of a multipart body as Python's own parser reads them: name, file name, type, content."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert not message.defects
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


@pytest.fixture
def upload(tmp_path: Path) -> bytes:
    """Write ``data;1.bin`` and ``note.txt`` into the test's folder; return what is in the first."""
    data = bytes(range(256)) * 1500 + b"\r\n--"
    (tmp_path / "data;1.bin").write_bytes(data)
    (tmp_path / "note.txt").write_text("a note")
    return data


def test_a_form_with_files_is_multipart(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, upload: bytes
) -> None:
    url = origin.serve("/up", FILE)
    words = ["--form", "a=1", "--form", 'f=@data;1.bin;type=image/x-raw;filename=n"ew', "--form", "t=@note.txt"]
    assert run_fetchq(*words, "--form", 'd"ü=2', "-o", "a", url).returncode == 0
    assert (tmp_path / "a").read_bytes() == FILE
    (request,) = origin.requests
    assert request.method == "POST"
    assert int(request.headers["content-length"]) == len(request.body)
    assert parts_of(request) == [
        ("a", None, "text/plain", b"1"),
        ("d%22ü", None, "text/plain", b"2"),
        ("f", "n%22ew", "image/x-raw", upload),
        ("t", "note.txt", "text/plain", b"a note"),
    ]


def test_a_form_without_files_is_urlencoded_and_stdin_may_be_a_file(
    run_fetchq: RunFetchq, origin: Origin
) -> None:
    url = origin.serve("/up", FILE)
    assert run_fetchq("--form", "a=1", "--form", "b=x y@", url).returncode == 0
    assert origin.requests[0].body == b"a=1&b=x+y%40"
    assert run_fetchq("--form", "f=@-", url, input="from stdin").returncode == 0
    assert parts_of(origin.requests[1]) == [("f", "stdin", "application/octet-stream", b"from stdin")]


def test_a_line_of_a_queue_sends_files_of_this_folder_only(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, upload: bytes
) -> None:
    url = origin.serve("/up", FILE)
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "note.txt").rename(here / "note.txt")
    (here / "link").symlink_to("../data;1.bin")
    line: dict[str, Any] = {"url": url, "method": "PUT", "form": {"a": 1}, "files": {"f": "note.txt"}}
    assert run_fetchq("-i", on_disk(here, line), cwd=here).returncode == 0
    assert (origin.requests[0].method, parts_of(origin.requests[0])[1][3]) == ("PUT", b"a note")
    for path in ("../data;1.bin", "link", str(tmp_path / "data;1.bin")):
        outside = on_disk(here, {**line, "files": {"f": {"path": path, "type": "a/b"}}})
        refused = run_fetchq("--no-store", "-i", outside, cwd=here)
        assert refused.returncode == 2
        assert "is outside the current folder: a queue file may not send it" in refused.stderr
    assert len(origin.requests) == 1
    allowed = on_disk(here, {**line, "files": {"f": {"path": "link", "filename": "n"}}})
    assert run_fetchq("--allow-outside", "--no-store", "-i", allowed, cwd=here).returncode == 0
    assert parts_of(origin.requests[1])[1] == ("f", "n", "application/octet-stream", upload)


def test_a_form_from_python(origin: Origin, tmp_path: Path, upload: bytes) -> None:
    url = origin.serve("/up", FILE)
    files: dict[str, Path | fetchq.FormFile] = {
        "f": tmp_path / "note.txt",
        "g": fetchq.FormFile("x.png", content=b"mem"),
    }
    assert fetched(fetchq.Job(url, str(tmp_path / "a"), method="POST", form={"k": 1}, files=files)).ok
    assert [part[:3] for part in parts_of(origin.requests[0])] == [
        ("k", None, "text/plain"),
        ("f", "note.txt", "text/plain"),
        ("g", "x.png", "image/png"),
    ]
    with pytest.raises(fetchq.UsageError, match="files must be a mapping"):
        fetchq.Job(url, files=["note.txt"])  # type: ignore[list-item]
    with pytest.raises(fetchq.UsageError, match="one body"):
        fetched(fetchq.Job(url, content=b"x", files=files)).unwrap()


@pytest.mark.parametrize("code", [307, 308])
def test_a_body_from_disk_is_read_again_for_a_redirect_and_a_retry(
    run_fetchq: RunFetchq, origin: Origin, upload: bytes, code: int
) -> None:
    to = origin.serve("/to", FILE, status(503))
    url = origin.serve("/up", FILE, redirect(to, code), repeat=True)
    words = ["-X", "PUT", "--form", "f=@data;1.bin", "--backoff", "0", "-o", "a"]
    assert run_fetchq(*words, url).returncode == 0
    assert [request.path for request in origin.requests] == ["/up", "/to", "/up", "/to"]
    assert {parts_of(request)[0][3] for request in origin.requests} == {upload}


def test_a_file_is_sent_in_pieces(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 << 20)
    body = Multipart((), [("f", fetchq.FormFile(large))], confined=False)

    async def sizes() -> list[int]:
        return [len(piece) async for piece in body]

    pieces = asyncio.run(sizes())
    assert sum(pieces) == body.length > 64 << 20
    assert max(pieces) <= 256 * 1024


def test_a_file_that_shrinks_while_it_is_sent_is_named(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"12345")
    body = Multipart((), [("f", fetchq.FormFile(file))], confined=False)
    file.write_bytes(b"123")

    async def read() -> None:
        async for _ in body:
            pass

    with pytest.raises(fetchq.DiskError, match="has become shorter"):
        asyncio.run(read())


def test_a_form_that_an_error_repeats_is_not_shown(
    run_fetchq: RunFetchq, origin: Origin, upload: bytes
) -> None:
    url = origin.serve("/up", FILE, status(400, body=b"bad password hunter2"), repeat=True)
    done = run_fetchq("-v", "--form", "password=hunter2", "--form", "f=@note.txt", url)
    assert done.returncode == 8
    assert "bad password" in done.stderr
    assert "hunter2" not in done.stderr


# --- another attempt


@pytest.mark.parametrize(
    "failure",
    [status(503), drop(after=0), drop(after=4), hang],
    ids=["status", "no answer", "mid-body", "late"],
)
def test_what_the_server_may_have_acted_on_is_not_repeated_unasked(
    run_fetchq: RunFetchq, origin: Origin, failure: Behaviour
) -> None:
    url = origin.serve("/a", FILE, failure)
    words = ["--backoff", "0", "--read-timeout", "0.3", "--data", "x", "-o", "a"]
    done = run_fetchq(*words, url)
    assert done.returncode in {4, 8}
    assert "POST is not repeated, since the server may have acted on it: --retry-unsafe" in done.stderr
    assert len(origin.requests) == 1
    again = origin.serve("/b", FILE, failure)
    assert run_fetchq(*words, "--retry-unsafe", again).returncode == 0
    assert [request.body for request in origin.asked("/b")] == [b"x", b"x"]
    put = origin.serve("/c", FILE, failure)
    assert run_fetchq(*words, "-X", "PUT", put).returncode == 0
    assert [request.body for request in origin.asked("/c")] == [b"x", b"x"]


def test_what_was_not_sent_is_sent_again(run_fetchq: RunFetchq) -> None:
    done = run_fetchq("-v", "--backoff", "0", "--retries", "2", "--data", "x", "http://127.0.0.1:1/")
    assert done.returncode == 4
    assert "not repeated" not in done.stderr
    assert done.stderr.count("retry ") == 2


def test_a_request_that_a_redirect_answered_was_sent(run_fetchq: RunFetchq, origin: Origin) -> None:
    url = origin.serve("/a", FILE, redirect("http://127.0.0.1:1/", 303), repeat=True)
    done = run_fetchq("--backoff", "0", "--data", "x", url)
    assert done.returncode == 4
    assert "POST is not repeated" in done.stderr
    assert len(origin.requests) == 1


# --- time


@pytest.mark.parametrize("way", ["option", "field", "python"])
def test_a_deadline_counts_waits_and_keeps_what_arrived(
    run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, way: str
) -> None:
    url = origin.serve("/a.bin", generated(200_000), stall(after=100_000), drop(after=100_000))
    if way == "python":
        error = fetched(fetchq.Job(url, str(tmp_path / "a.bin"), deadline=0.6)).error
        assert isinstance(error, fetchq.TimedOutError)
        assert not error.transient
    else:
        words = ["--deadline", "0.6", url]
        if way == "field":
            words = ["-i", on_disk(tmp_path, {"url": url, "deadline": 0.6}), "--deadline", "none"]
        done = run_fetchq(*words)
        assert done.returncode == 4
        assert "not done within 0.6 s (--deadline); what arrived is kept." in done.stderr
    assert run_fetchq(url).returncode == 0
    assert (tmp_path / "a.bin").read_bytes() == generated(200_000).data
    assert origin.ranges("/a.bin")[1] is not None, "what arrived was used"


def test_a_wait_beyond_the_deadline_is_not_begun(run_fetchq: RunFetchq, origin: Origin) -> None:
    url = origin.serve("/a", FILE, status(503, retry_after=60), repeat=True)
    done = run_fetchq("--deadline", "20", url, timeout=10)
    assert done.returncode == 4
    assert "not done within 20 s" in done.stderr
    assert "answered 503" in done.stderr


def test_each_job_has_timeouts_of_its_own(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE, hang, repeat=True)
    lines: list[dict[str, Any]] = [
        {"timeout": 0.2},
        {"timeout": {"read": 0.2}},
        {"timeout": {"read": 0.2, "connect": "none", "write": 5, "pool": 5}},
    ]
    for line in lines:
        done = run_fetchq("--retries", "0", "-i", on_disk(tmp_path, {"url": url, **line}), timeout=10)
        assert done.returncode == 4
        assert "--read-timeout" in done.stderr
    listed = tmp_path / "list.txt"
    listed.write_text(f"{url}\n  timeout=0.2\n  connect-timeout=5\n")
    assert "--read-timeout" in run_fetchq("--retries", "0", "-i", listed, timeout=10).stderr
    result = fetched(fetchq.Job(url, str(tmp_path / "a"), timeout={"read": 0.2}, retries=0, deadline=20))
    assert isinstance(result.error, fetchq.TimedOutError)
    with pytest.raises(fetchq.UsageError, match="'raed' is no timeout: there are connect, read, write, pool"):
        fetched(fetchq.Job(url, timeout={"raed": 1})).unwrap()
    with pytest.raises(fetchq.UsageError, match="The read timeout must be more than 0"):
        fetched(fetchq.Job(url, timeout={"read": 0})).unwrap()


# --- who we say we are


def test_a_netrc_file_is_named(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE, basic_auth("me", "pw"), repeat=True)
    (tmp_path / ".netrc").write_text("default login other password no\n")
    mine = tmp_path / "mine"
    mine.write_text("machine 127.0.0.1 login me password pw\n")
    mine.chmod(0o600)
    assert run_fetchq("--netrc", "-o", "a", url).returncode == 6
    assert run_fetchq("--netrc-file", mine, "-o", "a", url).returncode == 0
    assert run_fetchq("-o", "b", url, env={"FETCHQ_NETRC_FILE": str(mine)}).returncode == 0
    assert fetched(fetchq.Job(url, str(tmp_path / "c")), netrc_file=mine).ok
    with pytest.raises(fetchq.UsageError, match=r"netrc file .*missing"):
        fetched(url, netrc_file=tmp_path / "missing")


@pytest.mark.parametrize("way", ["literal", "file", "stdin", "environment", "environment file", "config"])
def test_where_a_token_comes_from(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path, way: str) -> None:
    url = origin.serve("/a", FILE)
    (tmp_path / "token").write_text("t0ken\r\n")
    config = tmp_path / "config" / "fetchq" / "config.toml"
    if way == "config":
        config.parent.mkdir(parents=True)
        config.write_text('bearer = "@token"\n')
    words: dict[str, list[str]] = {
        "literal": ["--bearer", "t0ken"],
        "file": ["--bearer", "@token"],
        "stdin": ["--bearer", "@-"],
    }
    env = {"environment": {"FETCHQ_BEARER": "t0ken"}, "environment file": {"FETCHQ_BEARER": "@token"}}
    done = run_fetchq(*words.get(way, []), "-o", "a", url, env=env.get(way), input="t0ken\n")
    assert done.returncode == 0
    assert origin.requests[-1].headers["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(("text", "reason"), [("", "one line"), ("a\nb\n", "one line"), (None, "No such file")])
def test_a_file_that_holds_no_token(
    run_fetchq: RunFetchq, tmp_path: Path, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / "token").write_text(text)
    done = run_fetchq("--bearer", "@token", "http://127.0.0.1:1/")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"--bearer @token: {reason}" in done.stderr


# --- cookies


def test_cookies_are_loaded_and_saved(run_fetchq: RunFetchq, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/a", FILE, header("Set-Cookie", "new=hunter2; Max-Age=1000"), repeat=True)
    jar = tmp_path / "jar"
    jar.write_text("127.0.0.1\tFALSE\t/\tFALSE\t0\told\t1\n")
    words = ["--load-cookies", "jar", "--save-cookies", "jar", "-v", "--no-xattr", "-o", "-"]
    for _ in range(2):
        done = run_fetchq(*words, url)
        assert done.returncode == 0
        assert "hunter2" not in done.stderr
    assert [request.headers.get("cookie") for request in origin.requests] == ["old=1", "old=1; new=hunter2"]
    assert jar.stat().st_mode & 0o777 == 0o600
    assert "\tnew\thunter2\n" in jar.read_text()
    other = on_disk(tmp_path, {"url": url, "cookies": {"mine": 1}, "out": "c"})
    assert run_fetchq("-b", "all=2", "-i", other).returncode == 0
    assert origin.requests[-1].headers["cookie"] == "all=2; mine=1"


def test_a_cookie_file_with_secrets_does_not_leave_tls(
    run_fetchq: RunFetchq, origin: Origin, secure: Origin, authority: Path, tmp_path: Path
) -> None:
    url = secure.serve("/from", FILE, redirect(origin.serve("/to", FILE)), repeat=True)
    (tmp_path / "jar").write_text("127.0.0.1\tFALSE\t/\tFALSE\t0\told\t1\n")
    done = run_fetchq("--cacert", authority / "ca.pem", "--load-cookies", "jar", url)
    assert done.returncode == 7
    assert not origin.requests


# --- TLS


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that wants a client certificate; its URL and a folder with ``ca.pem`` and ``encrypted``."""
    folder = tmp_path_factory.mktemp("demanding")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    sealed(authority.issue_cert("me@example.com"), folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Origin(context) as started:
        yield started.serve("/a", FILE), folder


@pytest.mark.parametrize("way", ["option", "file", "environment", "python"])
def test_the_password_of_a_client_key(
    run_fetchq: RunFetchq, demanding: tuple[str, Path], tmp_path: Path, way: str
) -> None:
    url, folder = demanding
    (tmp_path / "pw").write_text("pw\n")
    if way == "python":
        names = {"cacert": folder / "ca.pem", "cert": folder / "encrypted", "key_password": "pw"}
        assert fetched(fetchq.Job(url, str(tmp_path / "a")), **names).ok
        assert "pw" not in repr(Network(key_password="pw"))
        return
    words = {"option": ["--key-password", "pw"], "file": ["--key-password", "@pw"]}.get(way, [])
    env = {"FETCHQ_KEY_PASSWORD": "pw"} if way == "environment" else {}
    trust = ["--cacert", str(folder / "ca.pem"), "--cert", str(folder / "encrypted")]
    done = run_fetchq(*trust, *words, "-o", "a", url, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == FILE


def test_the_password_of_a_client_key_is_asked_for_on_a_terminal(
    run_fetchq: RunFetchq, demanding: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = demanding
    words = ["--cacert", str(folder / "ca.pem"), "--cert", str(folder / "encrypted"), "-o", "a", url]
    env = clean_env({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    child = pexpect.spawn(sys.executable, ["-m", "fetchq", *words], env=env, cwd=str(tmp_path), timeout=20)
    child.expect("Password of the key .*encrypted: ")
    child.sendline("pw")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert b"pw" not in child.before.replace(str(tmp_path).encode(), b"")
    unattended = run_fetchq(*words)
    assert unattended.returncode == 2
    assert "the key is encrypted: give --key-password" in unattended.stderr


@pytest.mark.parametrize("layout", ["plain", "hashed"])
def test_a_folder_of_authorities(
    run_fetchq: RunFetchq, secure: Origin, authority: Path, tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "authorities"
    if layout == "hashed":
        hash_into(folder, authority / "ca.pem")
    else:
        folder.mkdir()
        (folder / "mine.crt").write_bytes((authority / "ca.pem").read_bytes())
        trustme.CA().cert_pem.write_to_path(folder / "another.pem")
        (folder / "README").write_text("what these are for")
    url = secure.serve("/a", FILE)
    assert run_fetchq("-o", "a", url).returncode == 5
    assert run_fetchq("--cacert", folder, "-o", "a", url).returncode == 0
    assert run_fetchq("--add-cacert", folder, "-o", "b", url).returncode == 0
    assert fetched(fetchq.Job(url, str(tmp_path / "c")), cacert=folder).ok


# --- bad input

URL = "http://127.0.0.1:1/a"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--key", "key"], "A client key needs its certificate: give --cert FILE too."),
        (["--key-password", "x"], "A client key needs its certificate: give --cert FILE too."),
        (["--cacert", "empty"], "empty: no file of this folder holds certificate authorities"),
        (["--netrc-file", "missing"], "'missing' does not exist"),
        (["--data", "@-", "--bearer", "@-"], "stdin can be read once: --data @- and --bearer @- both want it."),
        (["-i", "-", "--key-password", "@-"], "stdin can be read once: -i - and --key-password @- both"),
        (["--data", "@\0"], "it is no file's name"),
        (["--load-cookies", "key"], "key is no cookie file in Netscape's format"),
        (["--load-cookies", "empty"], "'empty' is a directory"),
        (["--save-cookies", "key"], "key is no cookie file in Netscape's format"),
        (["--save-cookies", "missing/jar"], "missing/jar cannot be written"),
        (["-b", "cookies.txt"], "a file of cookies is given with --load-cookies"),
        (["--form", "a=@missing"], "missing cannot be read: No such file"),
        (["--form", "a=@empty"], "empty is no regular file"),
        (["--form", "a=@"], "a file is written NAME=@FILE"),
        (["--form", "a=@key", "--data", "x"], "one body"),
        (["--form", "a=@-", "--form", "b=@-"], "stdin can be read once"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "key").write_text("a key")
    (tmp_path / "empty").mkdir()
    assert main([*words, URL]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert told in said.err
