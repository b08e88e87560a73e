"""Whom we trust over TLS, and what is said when we do not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization as forms
from hypercorn.asyncio import serve
from hypercorn.config import Config

from fetchq._errors import TLSError, UsageError
from fetchq._http import HttpClient, variables
from fetchq._http import tls as _tls
from fetchq._http.transport import RoutingTransport
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import answer, redirect, serving
from .edge import body_of, opened, runs


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def cacert(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(made)
    return made


@runs
async def test_a_trusted_server(authority: trustme.CA, cacert: Path) -> None:
    async with serving(lambda _: answer(200, b"x" * 300_000), tls=server_side(authority)) as server:
        async with opened(Network(env=False, cacert=cacert)) as client:
            for _ in range(2):
                assert await body_of(await client.open(Job(server.url))) == b"x" * 300_000
        assert server.connections == 1


@runs
async def test_an_untrusted_server_is_refused_for_good_unless_told_otherwise(authority: trustme.CA) -> None:
    async with serving(lambda _: answer(200, b"x"), tls=server_side(authority)) as server:
        async with opened() as client:
            with pytest.raises(TLSError, match=r"not trusted.*--cacert FILE.* -k") as caught:
                await client.open(Job(server.url))
        assert (caught.value.transient, server.seen) == (False, [])
        async with opened(Network(env=False, insecure=True)) as client:
            assert await body_of(await client.open(Job(server.url))) == b"x"


@runs
async def test_a_certificate_of_another_name_is_refused(authority: trustme.CA, cacert: Path) -> None:
    async with (
        serving(lambda _: answer(), tls=server_side(authority, "other.example")) as server,
        opened(Network(env=False, cacert=cacert)) as client,
    ):
        with pytest.raises(TLSError, match=r"not trusted: .*(mismatch|not valid)"):
            await client.open(Job(server.url))


@runs
async def test_a_certificate_of_another_name_says_whose_it_is(authority: trustme.CA, cacert: Path) -> None:
    names = [*(f"{n}.example" for n in range(6)), "10.0.0.1"]
    async with (
        serving(lambda _: answer(), tls=server_side(authority, *names)) as server,
        opened(Network(env=False, cacert=cacert)) as client,
    ):
        with pytest.raises(TLSError) as caught:
            await client.open(Job(server.url))
    assert "; it is for 0.example, 1.example, 2.example, 3.example, 4.example and 2 more: check" in str(
        caught.value
    )
    assert server.connections == 0


@pytest.mark.parametrize(
    ("network", "unused"),
    [
        (Network(env=False), "HTTPS_PROXY, SSL_CERT_FILE"),
        (Network(env=False, proxy="http://127.0.0.1:1"), "SSL_CERT_FILE"),
        (Network(env=False, insecure=True, netrc=True), "HTTPS_PROXY, NETRC"),
        (Network(env=False, insecure=True, proxy="http://127.0.0.1:1"), ""),
    ],
)
def test_what_the_environment_would_have_set_is_told(
    network: Network, unused: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(os.environ):
        if name in _tls.BUNDLE_VARIABLES or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    (tmp_path / "netrc").touch()
    for name, value in {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a", "SSL_CERT_FILE": "ca.pem"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ", ".join(variables(network)) == unused


@contextmanager
def blocking(tls: ssl.SSLContext | None) -> Iterator[str]:
    """Take one connection on a blocking socket, which, unlike asyncio's, sends its TLS alerts."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                if tls is None:
                    connection.sendall(b"SSH-2.0-x\r\n")
                else:
                    with tls.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join()


@runs
async def test_a_server_that_speaks_no_tls() -> None:
    with blocking(None) as url:
        async with opened(Network(env=False, insecure=True)) as client:
            with pytest.raises(TLSError, match=r"perhaps this port is for http, not for https\.$"):
                await client.open(Job(url))


@runs
async def test_the_oldest_version_is_a_bound(authority: trustme.CA, cacert: Path) -> None:
    old = server_side(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with (
        serving(lambda _: answer(200, b"x"), tls=old) as server,
        opened(Network(env=False, cacert=cacert)) as client,
    ):
        assert await body_of(await client.open(Job(server.url))) == b"x"
    with blocking(old) as url:
        async with opened(Network(env=False, cacert=cacert, tls_min="1.3")) as client:
            with pytest.raises(TLSError, match="--tls-min"):
                await client.open(Job(url))


@runs
async def test_a_client_certificate(authority: trustme.CA, cacert: Path, tmp_path: Path) -> None:
    demanding = server_side(authority)
    # With TLS 1.3 the refusal comes after the handshake, and the end of the connection may overtake it.
    demanding.maximum_version = ssl.TLSVersion.TLSv1_2
    demanding.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(demanding)
    mine = authority.issue_cert("me@example.com")
    cert, key = tmp_path / "me.pem", tmp_path / "me.key"
    mine.cert_chain_pems[0].write_to_path(str(cert))
    mine.private_key_pem.write_to_path(str(key))
    async with (
        serving(lambda _: answer(200, b"x"), tls=demanding) as server,
        opened(Network(env=False, cacert=cacert, cert=cert, key=key)) as client,
    ):
        assert await body_of(await client.open(Job(server.url))) == b"x"
    with blocking(demanding) as url:
        async with opened(Network(env=False, cacert=cacert)) as client:
            with pytest.raises(TLSError, match="--cert FILE"):
                await client.open(Job(url))


def sealed(leaf: trustme.LeafCert, folder: Path) -> Path:
    """Write the leaf's key and certificate, the key under a password."""
    loaded: Any = forms.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    key = loaded.private_bytes(
        forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.BestAvailableEncryption(b"pw")
    )
    file = folder / "encrypted"
    file.write_bytes(key + leaf.cert_chain_pems[0].bytes())
    return file


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cacert": "missing"}, "missing"),
        ({"cacert": "garbled"}, "garbled"),
        ({"cacert": "empty"}, "empty"),
        ({"add_cacert": "empty"}, "empty"),
        ({"add_cacert": "missing"}, "missing"),
        ({"add_cacert": "garbled"}, "garbled"),
        ({"cert": "missing"}, "missing"),
        ({"cert": "garbled"}, "garbled"),
        ({"cert": "good", "key": "garbled"}, "garbled"),
        ({"cert": "good", "key": "missing"}, "missing"),
        ({"cert": "good", "key": "other"}, "other"),
        ({"cert": "good", "key": "encrypted"}, "encrypted: the key is encrypted: give --key-password"),
        ({"cert": "encrypted", "key_password": "no"}, "encrypted: --key-password is not the password"),
        ({"cert": "good", "key_password": "no"}, "no matching client certificate"),
        ({"key_password": "no"}, "--cert"),
        ({"key": "good"}, "--cert"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_used_is_named_at_once(
    settings: dict[str, str], named: str, authority: trustme.CA, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").write_text("no certificate")
    (tmp_path / "garbled").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    mine, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "good"))
    other.private_key_pem.write_to_path(str(tmp_path / "other"))
    sealed(mine, tmp_path)
    paths: dict[str, Any] = {
        name: value if name == "key_password" else tmp_path / value for name, value in settings.items()
    }
    if "add_cacert" in paths:
        paths["add_cacert"] = (paths["add_cacert"],)
    with pytest.raises(UsageError) as caught:
        HttpClient(Network(env=False, **paths), connections=1)
    assert named in str(caught.value)


def test_an_encrypted_key_asks_nobody_for_its_password(authority: trustme.CA, tmp_path: Path) -> None:
    key = sealed(authority.issue_cert("a.example"), tmp_path)
    code = (
        "import sys; from pathlib import Path; from fetchq._http import HttpClient; "
        "from fetchq._settings import Network; path = Path(sys.argv[1]); "
        "HttpClient(Network(cert=path, key=path), connections=1)"
    )
    # Without a terminal OpenSSL would take the password from stdin, and be content.
    ended = subprocess.run(
        [sys.executable, "-c", code, str(key)],
        input=b"pw\n",
        stderr=subprocess.PIPE,
        start_new_session=True,
        check=False,
    )
    assert b"UsageError" in ended.stderr


@runs
async def test_the_environments_authorities(
    authority: trustme.CA, cacert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(lambda _: answer(200, b"x"), tls=server_side(authority)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(cacert))
        monkeypatch.setenv("NO_PROXY", "*")
        async with opened(Network()) as client:
            assert await body_of(await client.open(Job(server.url))) == b"x"
        async with opened(Network(env=False)) as client:
            with pytest.raises(TLSError):
                await client.open(Job(server.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing"))
        async with opened(Network()) as client:
            with pytest.raises(UsageError, match="missing"):
                await client.open(Job(server.url))


def hash_into(folder: Path, pem: Path) -> None:
    """Lay out *folder* as OpenSSL looks for authorities: by the hash of their names."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(pem)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    folder.mkdir()
    (folder / f"{name}.0").symlink_to(pem)


@pytest.mark.parametrize(
    ("variables", "settings", "trusted"),
    [
        ({"SSL_CERT_FILE": "ca.pem"}, {}, True),
        ({"SSL_CERT_DIR": "hashed"}, {}, True),
        # Both count, whichever the authority is in.
        ({"SSL_CERT_FILE": "other.pem", "SSL_CERT_DIR": "hashed"}, {}, True),
        ({"SSL_CERT_FILE": "ca.pem", "SSL_CERT_DIR": "empty"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "ca.pem"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "hashed"}, {}, True),
        ({"CURL_CA_BUNDLE": "ca.pem"}, {}, True),
        ({"REQUESTS_CA_BUNDLE": "ca.pem", "CURL_CA_BUNDLE": "other.pem"}, {}, True),
        ({"SSL_CERT_FILE": "other.pem", "CURL_CA_BUNDLE": "ca.pem"}, {}, False),
        ({"SSL_CERT_FILE": "", "CURL_CA_BUNDLE": "ca.pem"}, {}, True),
        ({"CURL_CA_BUNDLE": "ca.pem"}, {"env": False}, False),
        ({"CURL_CA_BUNDLE": "ca.pem"}, {"cacert": Path("other.pem")}, False),
        ({}, {"add_cacert": (Path("other.pem"), Path("ca.pem"))}, True),
        ({}, {"cacert": Path("other.pem"), "add_cacert": (Path("ca.pem"),)}, True),
        ({}, {"add_cacert": (Path("other.pem"),)}, False),
        # OpenSSL reads the system's place for authorities from the same variable.
        ({"SSL_CERT_FILE": "ca.pem"}, {"ca_native": True, "env": False}, True),
        ({"SSL_CERT_FILE": "other.pem"}, {"ca_native": True, "env": False}, False),
    ],
    ids=str,
)
@runs
async def test_whose_certificates_are_trusted(
    variables: dict[str, str],
    settings: dict[str, Any],
    trusted: bool,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    (tmp_path / "empty").mkdir()
    hash_into(tmp_path / "hashed", tmp_path / "ca.pem")
    monkeypatch.chdir(tmp_path)
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    async with (
        serving(lambda _: answer(200, b"x"), tls=server_side(authority)) as server,
        opened(Network(**settings)) as client,
    ):
        try:
            assert await body_of(await client.open(Job(server.url))) == b"x"
        except TLSError:
            assert not trusted
        else:
            assert trusted


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_variable_that_names_no_file_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "/no/such.pem")
    with pytest.raises(UsageError, match=rf"/no/such\.pem \({name}\)"):
        _tls.context(Network())


@runs
async def test_an_old_device(authority: trustme.CA, cacert: Path) -> None:
    old = server_side(authority)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1
    async with (
        serving(lambda _: answer(200, b"x"), tls=old) as server,
        opened(Network(env=False, cacert=cacert, tls_min="1.0")) as client,
    ):
        assert await body_of(await client.open(Job(server.url))) == b"x"
        assert "can be broken" in client.warnings[0]
    modern = HttpClient(Network(env=False), connections=1)
    assert not [told for told in modern.warnings if "TLS" in told]


@pytest.mark.parametrize(
    ("name", "days", "known", "hint", "wrong"),
    [
        ("127.0.0.1", (-9, -2), True, "expired; check this computer's clock", "--cacert"),
        ("127.0.0.1", (2, 9), True, "not yet valid; check this computer's clock", "--cacert"),
        (
            "other.example",
            (-9, 9),
            True,
            "; it is for other.example: check the host",
            "--cacert",
        ),
        ("127.0.0.2", (-9, 9), True, "not valid for '127.0.0.1'; it is for 127.0.0.2: check", "--cacert"),
        ("127.0.0.1", (-9, 9), False, "name its authority with --cacert FILE", "clock"),
    ],
)
@runs
async def test_a_certificate_that_is_not_trusted_has_a_hint_by_cause(
    name: str,
    days: tuple[int, int],
    known: bool,
    hint: str,
    wrong: str,
    authority: trustme.CA,
    cacert: Path,
) -> None:
    issuer = authority if known else trustme.CA()
    start, end = (datetime.now(UTC) + timedelta(day) for day in days)
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issuer.issue_cert(name, not_before=start, not_after=end).configure_cert(made)
    async with (
        serving(lambda _: answer(), tls=made) as server,
        opened(Network(env=False, cacert=cacert)) as client,
    ):
        with pytest.raises(TLSError) as caught:
            await client.open(Job(server.url))
    assert hint in str(caught.value)
    assert wrong not in str(caught.value)
    assert "_ssl.c" not in str(caught.value)


@runs
async def test_certificates_are_loaded_when_https_comes(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Network] = []

    def counting(network: Network) -> ssl.SSLContext:
        made.append(network)
        return _tls.context(Network(env=False, insecure=True))

    monkeypatch.setattr("fetchq._http.transport.context", counting)
    async with (
        serving(lambda _: answer(200, b"x"), tls=server_side(authority)) as secure,
        serving(lambda seen: redirect(secure.url) if seen.target == "/go" else answer()) as plain,
        opened() as client,
    ):
        await (await client.open(Job(plain.url))).aclose()
        assert made == []
        for _ in range(2):
            assert await body_of(await client.open(Job(plain.url + "/go"))) == b"x"
        assert len(made) == 1


@runs
async def test_http2(authority: trustme.CA, cacert: Path, tmp_path: Path) -> None:
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    versions: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        versions.append(scope["http_version"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})

    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.certfile, config.keyfile = str(tmp_path / "cert"), str(tmp_path / "key")
    config.loglevel = "CRITICAL"
    sockets = config.create_sockets()
    sockets.secure_sockets[0].listen()
    port = sockets.secure_sockets[0].getsockname()[1]
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]  # so that the port is known
    stop = asyncio.Event()
    served = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    try:
        for http2, version in ((True, "HTTP/2"), (False, "HTTP/1.1")):
            async with opened(Network(env=False, cacert=cacert, http2=http2)) as client:
                reply = await client.open(Job(f"https://127.0.0.1:{port}/"))
                assert reply.version == version
                assert await body_of(reply) == b"hello"
    finally:
        stop.set()
        await served
    assert versions == ["2", "1.1"]


def test_named_files_are_read_before_the_first_request(cacert: Path) -> None:
    assert RoutingTransport(Network(env=False, cacert=cacert), connections=1)._contexts
