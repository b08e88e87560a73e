"""Who we are, told to servers that others wrote: Basic and client certificates to nginx, Digest to Apache."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import trustme

import fetchq
from fetchq._settings import Network

from . import servers
from .conftest import RunFetchq, fetching, run
from .servers import Server
from .test_http.test_tls import sealed

USER, PASSWORD = "Aladdin", "open: sesame"
LOGIN = f"{USER}:{PASSWORD}"
MIB = 1 << 20
FILES = {f"f{number}.bin": random.Random(number).randbytes(20_000) for number in range(30)}
LARGE = random.Random("large").randbytes(6 * MIB)
DIGEST = ("auth_digest", "authn_core", "authn_file", "authz_user")


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """What is served; not below pytest's folder, which others may not read: Apache gives up root's rights."""
    with tempfile.TemporaryDirectory(prefix="www-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for file, data in {**FILES, "large.bin": LARGE}.items():
            (folder / file).write_bytes(data)
            os.utime(folder / file, (1735689600, 1735689600))
        secret = b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        (folder / ".basic").write_text(f"{USER}:{{SHA}}{secret}\n")
        hashed = hashlib.md5(f"{USER}:caves:{PASSWORD}".encode()).hexdigest()
        (folder / ".digest").write_text(f"{USER}:caves:{hashed}\n")
        yield folder


@pytest.fixture(scope="module")
def basic(root: Path) -> Iterator[Server]:
    with servers.nginx(root, extra=f"auth_basic caves; auth_basic_user_file {root}/.basic;") as server:
        yield server


def apache(root: Path, *more: str) -> AbstractContextManager[Server]:
    lines = ["AuthType Digest", "AuthName caves", f"AuthUserFile {root}/.digest", "Require valid-user", *more]
    return servers.apache(root, modules=DIGEST, extra="\n    ".join(lines))


@pytest.fixture(scope="module")
def digest(root: Path) -> Iterator[Server]:
    with apache(root) as server:
        yield server


@pytest.fixture(params=["basic", "digest"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def fetch(folder: Path, urls: list[str], *, jobs: int = 8, **network: Any) -> list[fetchq.Result]:
    settings = fetchq.Settings(network=Network(env=False, **network))

    async def main() -> list[fetchq.Result]:
        async with fetchq.Downloader(settings, dir=folder, jobs=jobs) as downloader:
            return [result async for result in downloader.run(urls)]

    return run(main())


def new(server: Server, known: int) -> list[tuple[str, int]]:
    return [(entry.target, entry.status) for entry in server.entries()[known:]]


@pytest.mark.parametrize("way", ["-u", "url", "netrc", "queue"])
def test_each_way_to_name_the_user(server: Server, way: str, run_fetchq: RunFetchq, tmp_path: Path) -> None:
    url = server.url("f0.bin")
    (tmp_path / "netrc").write_text(f'machine 127.0.0.1 login {USER} password "{PASSWORD}"\n')
    (tmp_path / "netrc").chmod(0o600)
    (tmp_path / "list").write_text(f"{url}\n  http-user={USER}\n  http-passwd={PASSWORD}\n")
    words = {
        "-u": ["-u", LOGIN, url],
        "url": [url.replace("//", f"//{USER}:open%3A%20sesame@")],
        "netrc": ["--netrc-file", "netrc", url],
        "queue": ["-i", "list", "--no-store"],
    }[way]
    done = run_fetchq(*words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "f0.bin").read_bytes() == FILES["f0.bin"]
    assert "sesame" not in done.stdout + done.stderr


def test_a_wrong_password_is_refused_once(server: Server, run_fetchq: RunFetchq) -> None:
    known = len(server.entries())
    done = run_fetchq("-u", f"{USER}:guess", server.url("f0.bin"))
    assert done.returncode == 6
    assert "answered 401: it refused these credentials." in done.stderr
    assert "guess" not in done.stderr
    asked = new(server, known)
    assert {status for _, status in asked} == {401}
    assert len(asked) <= 2


def test_without_a_password_the_option_is_named(server: Server, run_fetchq: RunFetchq) -> None:
    done = run_fetchq(server.url("f0.bin"))
    assert done.returncode == 6
    assert "answered 401: give -u NAME:PASSWORD" in done.stderr


@pytest.mark.parametrize("jobs", [1, 8])
def test_a_queue_answers_one_challenge(digest: Server, tmp_path: Path, jobs: int) -> None:
    known = len(digest.entries())
    urls = [digest.url(f"{name}?turn={jobs}&x=a%2Fb") for name in FILES]
    results = fetch(tmp_path, urls, jobs=jobs, user=(USER, PASSWORD))
    assert [result.error for result in results] == [None] * len(FILES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES
    refused = [status for _, status in new(digest, known) if status == 401]
    # The first request of each connection may be under way before a challenge has come.
    assert 1 <= len(refused) <= jobs


def test_a_nonce_that_ends_within_the_queue_is_renewed(root: Path, tmp_path: Path) -> None:
    with apache(root, "AuthDigestNonceLifetime 1") as server:
        settings = fetchq.Settings(
            network=Network(env=False, user=(USER, PASSWORD)), queue=fetchq.Queue(wait=0.35)
        )

        async def main() -> list[fetchq.Result]:
            async with fetchq.Downloader(settings, dir=tmp_path, jobs=1) as downloader:
                return [
                    result async for result in downloader.run([server.url(name) for name in list(FILES)[:9]])
                ]

        assert [result.error for result in run(main())] == [None] * 9
        statuses = [status for _, status in new(server, 0)]
    # One for the first challenge, and one for each nonce that went stale: not one for each file.
    assert 2 <= statuses.count(401) <= 5
    assert statuses.count(200) == 9


def test_a_stopped_download_goes_on(server: Server, tmp_path: Path) -> None:
    words = ["-u", LOGIN, "-d", str(tmp_path), server.url("large.bin")]
    with fetching("--limit-rate", "8M", *words) as command:
        command.until("progressed", lambda event: bool(event["have"] >= MIB))
        command.process.send_signal(signal.SIGINT)
        command.ended(130)
    with fetching(*words) as command:
        finished = command.until("job_finished")
        command.ended(0)
    assert (tmp_path / "large.bin").read_bytes() == LARGE
    assert finished["status"] == "resumed"
    assert finished["received"] < len(LARGE) - MIB // 2


def test_over_several_connections(server: Server, tmp_path: Path, run_fetchq: RunFetchq) -> None:
    known = len(server.entries())
    done = run_fetchq("-u", LOGIN, "-x", "4", "--limit-rate", "30M", server.url("large.bin"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "large.bin").read_bytes() == LARGE
    assert [status for _, status in new(server, known)].count(206) >= 2


@pytest.mark.parametrize("proxy", [servers.squid, servers.tinyproxy, servers.microsocks])
def test_through_a_proxy(
    server: Server, proxy: Callable[[], AbstractContextManager[Server]], tmp_path: Path
) -> None:
    with proxy() as started:
        scheme = "socks5" if proxy is servers.microsocks else "http"
        through = f"{scheme}://127.0.0.1:{started.port}"
        urls = [server.url(f"{name}?a=b") for name in list(FILES)[:6]]
        results = fetch(tmp_path, urls, proxy=through, user=(USER, PASSWORD))
    assert [result.error for result in results] == [None] * 6
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict(
        itertools.islice(FILES.items(), 6)
    )


# --- client certificates


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``mine.pem``, ``encrypted``, ``server.*`` of one authority, ``theirs.pem`` of another."""
    folder = tmp_path_factory.mktemp("keys")
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    leaf = ours.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_pem.write_to_path(folder / "server.key")
    leaf.cert_chain_pems[0].write_to_path(folder / "server.pem")
    for name, issuer in (("mine", ours), ("theirs", theirs)):
        issuer.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    sealed(ours.issue_cert("me@example.com"), folder)
    return folder


@pytest.fixture(scope="module")
def demanding(keys: Path, root: Path) -> Iterator[Server]:
    """nginx, which shows files to those alone who have a certificate of its authority."""
    extra = f"ssl_client_certificate {keys}/ca.pem; ssl_verify_client on;"
    with servers.nginx(root, keys, extra=extra) as server:
        yield server


def url_of(server: Server, name: str) -> str:
    return server.url(name, tls=True)


@pytest.mark.parametrize(
    "words",
    [["--cert", "mine.pem"], ["--cert", "encrypted", "--key-password", "pw"]],
    ids=["plain", "encrypted"],
)
@pytest.mark.parametrize("proxy", [None, servers.squid, servers.tinyproxy, servers.microsocks])
def test_a_client_certificate(
    demanding: Server,
    keys: Path,
    words: list[str],
    proxy: Callable[[], AbstractContextManager[Server]] | None,
    run_fetchq: RunFetchq,
    tmp_path: Path,
) -> None:
    settings = ["--cacert", "ca.pem", "-d", str(tmp_path)]
    if proxy is None:
        done = run_fetchq(*settings, *words, url_of(demanding, "f1.bin"), cwd=keys)
    else:
        with proxy() as started:
            scheme = "socks5" if proxy is servers.microsocks else "http"
            through = f"{scheme}://127.0.0.1:{started.port}"
            done = run_fetchq("--proxy", through, *settings, *words, url_of(demanding, "f1.bin"), cwd=keys)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "f1.bin").read_bytes() == FILES["f1.bin"]


def test_a_queue_shows_each_server_the_certificate_of_its_line(
    demanding: Server, keys: Path, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    ours: dict[str, Any] = {"cacert": "ca.pem", "cert": "encrypted", "key_password": "pw"}
    queue = tmp_path / "queue.jsonl"
    lines = [
        {"url": url_of(demanding, "f1.bin"), **ours},
        {"url": url_of(demanding, "f2.bin"), "cacert": "ca.pem"},
    ]
    queue.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_fetchq("-d", str(tmp_path), "-i", str(queue), cwd=keys)
    assert done.returncode == 8
    assert "answered 400" in done.stderr
    assert (tmp_path / "f1.bin").read_bytes() == FILES["f1.bin"]
    assert not list(tmp_path.glob("f2*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param([], "No required SSL certificate was sent", id="none"),
        pytest.param(["--cert", "theirs.pem"], "The SSL certificate error", id="another authority's"),
    ],
)
def test_what_nginx_says_of_certificates_is_shown(
    demanding: Server, keys: Path, words: list[str], told: str, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    url = url_of(demanding, "f1.bin")
    done = run_fetchq("-v", "--cacert", "ca.pem", "-d", str(tmp_path), *words, url, cwd=keys)
    assert done.returncode == 8
    assert "answered 400 (bad request)" in done.stderr
    assert told in done.stderr
    assert not list(tmp_path.glob("f1*"))


@pytest.mark.parametrize("words", [["-u", LOGIN], ["-H", "X-Key: open sesame"], ["-b", "key=sesame"], []])
def test_a_redirect_out_of_tls_is_refused_to_secrets(
    keys: Path, root: Path, words: list[str], run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    with servers.nginx(root) as plain:
        extra = f"location /down {{ return 302 {plain.url('f2.bin')}; }}"
        with servers.nginx(root, keys, extra=extra) as server:
            url = url_of(server, "down")
            done = run_fetchq("--cacert", "ca.pem", "-d", str(tmp_path), *words, url, cwd=keys)
        assert bool(plain.entries()) is not bool(words)
    assert done.returncode == (7 if words else 0), done.stderr
    assert ("http" in done.stderr) is bool(words)
    assert "sesame" not in done.stderr


def test_a_client_certificate_from_python_serves_a_queue(demanding: Server, keys: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {"cacert": keys / "ca.pem", "cert": keys / "encrypted", "key_password": "pw"}
    results = fetch(tmp_path, [url_of(demanding, name) for name in FILES], **names)
    assert [result.error for result in results] == [None] * len(FILES)


def test_a_wrong_password_of_the_key_is_a_mistake(demanding: Server, keys: Path, run_fetchq: RunFetchq) -> None:
    words = ["--cacert", "ca.pem", "--cert", "encrypted", "--key-password", "guess"]
    done = run_fetchq(*words, url_of(demanding, "f1.bin"), cwd=keys)
    assert done.returncode == 2
    assert "guess" not in done.stderr
    assert "--key-password" in done.stderr
