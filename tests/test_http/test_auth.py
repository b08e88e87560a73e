"""Who we say we are: users, tokens, challenges and cookies."""

from __future__ import annotations

import functools
import hashlib
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchq._errors import ProtocolError, UsageError
from fetchq._http import HttpClient, digest, netrc
from fetchq._models import Job
from fetchq._retry import error_for
from fetchq._settings import Network, Retry

from ..raw_server import Seen, answer, redirect, serving
from .edge import asked, body_of, mocked, opened, runs

# --- who we say we are

BASIC_ME = "Basic bWU6cHc="


@pytest.mark.parametrize(
    ("url", "settings", "authorization"),
    [
        ("http://me:pw@{host}/", {"user": ("other", "x")}, BASIC_ME),
        ("http://me:pw@{host}/", {"bearer": "t"}, BASIC_ME),
        ("http://{host}/", {"user": ("me", "pw")}, BASIC_ME),
        ("http://{host}/", {"bearer": "t"}, "Bearer t"),
        ("http://m%40e:p%3Aw@{host}/", {}, "Basic bUBlOnA6dw=="),
        ("http://{host}/", {"user": ("me", "pw"), "headers": (("Authorization", "Mine x"),)}, "Mine x"),
    ],
)
@runs
async def test_the_most_specific_credentials_are_sent(
    url: str, settings: dict[str, Any], authorization: str
) -> None:
    seen = await asked(Job(url), Network(env=False, **settings), auth=httpx.BasicAuth("least", "x"))
    assert seen.get("authorization") == authorization
    assert "@" not in str(seen.get("host"))


@runs
async def test_the_callers_auth_is_used_where_nothing_else_was_given() -> None:
    assert (await asked(Job("http://{host}/"), auth=httpx.BasicAuth("me", "pw"))).get(
        "authorization"
    ) == BASIC_ME


def write_netrc(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / ".netrc"
    file.write_text(text)
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(folder))


@runs
async def test_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_netrc(tmp_path, "machine 127.0.0.1 login me password pw\n", monkeypatch)
    network = Network(env=False, netrc=True, bearer=None)
    assert (await asked(Job("http://{host}/"), network, auth=httpx.BasicAuth("x", "y"))).get(
        "authorization"
    ) == BASIC_ME
    assert (await asked(Job("http://{host}/"), Network(env=False))).get("authorization") is None


@pytest.mark.parametrize(
    ("text", "user", "login", "warnings"),
    [
        ("machine h login me password pw", None, ("me", "pw"), 0),
        ("machine h\n  login me\n  password pw\n", None, ("me", "pw"), 0),
        ("machine H.EXAMPLE login x password y\nMACHINE h LOGIN me PASSWORD pw", None, ("me", "pw"), 0),
        ("machine h user me passwd pw account a", None, ("me", "pw"), 0),
        ("machine h password pw login me", None, ("me", "pw"), 0),
        ("machine other login x password y", None, None, 0),
        ("machine other login x password y default login me password pw", None, ("me", "pw"), 0),
        ("default login x password y machine h login me password pw", None, ("me", "pw"), 0),
        ('machine h login "m e" password "p\\"w\\\\"', None, ("m e", 'p"w\\'), 0),
        ('machine h login me password p"w', None, ("me", 'p"w'), 0),
        ('machine h login me password "pw', None, ("me", '"pw'), 0),
        ("machine h login me password #pw", None, ("me", "#pw"), 0),
        ("machine h login login password password", None, ("login", "password"), 0),
        ("#old machine h login x password y\nmachine h login me password pw # new", None, ("me", "pw"), 0),
        ("# machine h\n\nmachine h login me password pw", None, ("me", "pw"), 0),
        (
            "machine h login me password pw\nmacdef init\ncd x\nmachine h login no password no",
            None,
            ("me", "pw"),
            0,
        ),
        ("macdef init\ncd x\n\nmachine h login me password pw", None, ("me", "pw"), 0),
        ("macdef\n\nmachine h login me password pw", None, ("me", "pw"), 0),
        ("machine h port 21 login me password pw", None, ("me", "pw"), 1),
        ("nonsense here\nmachine h login me password pw\nmore", None, ("me", "pw"), 2),
        ("login x password y\nmachine h login me password pw", None, ("me", "pw"), 0),
        ("machine h login me login x password pw password y", None, ("me", "pw"), 0),
        ("machine h login me password pw machine h login x password y", None, ("me", "pw"), 0),
        ("machine h login me password pw machine h login you password y", "you", ("you", "y"), 0),
        ("machine h login me password pw", "you", None, 0),
        ("machine h password pw", "you", ("you", "pw"), 0),
        ("machine h login me", None, None, 0),
        ("machine h login me password", None, None, 0),
        ("machine h login", None, None, 0),
        ("machine", None, None, 0),
        ("\ufeff", None, None, 1),
        ("machine h login m\udcff password pw", None, ("m\udcff", "pw"), 0),
        ("", None, None, 0),
    ],
)
def test_what_a_netrc_says(
    text: str,
    user: str | None,
    login: tuple[str, str] | None,
    warnings: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "mine"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    found = netrc.read(environ=True)
    assert found.login("h", user, default=True) == login
    assert len(found.warnings) == warnings
    assert not [word for word in ("nonsense", "pw", "me") if word in " ".join(found.warnings).split()]


def test_a_netrc_that_is_missing_is_no_error_and_one_that_cannot_be_read_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert netrc.read(environ=False).login("h", default=True) is None
    (tmp_path / ".netrc").mkdir()
    with pytest.raises(UsageError, match="netrc"):
        HttpClient(Network(netrc=True), connections=1)


def test_passwords_that_others_may_read_are_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_netrc(tmp_path, "machine h login me password s3cret\n", monkeypatch)
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)  # what --no-env leaves out is told too
    assert HttpClient(Network(netrc=True, env=False), connections=1).warnings == ()
    (tmp_path / ".netrc").chmod(0o644)
    [warning] = HttpClient(Network(netrc=True, env=False), connections=1).warnings
    assert "chmod 600" in warning
    assert "s3cret" not in warning


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


# Who is told what: a chain of redirects over three names of one machine.
@pytest.mark.parametrize(
    ("settings", "netrc_text", "told"),
    [
        # Each host of the chain has its own entry, and no other host's.
        (
            {"netrc": True},
            "machine 127.0.0.1 login a password 1 machine localhost login b password 2",
            [("a", "1"), ("b", "2"), ("a", "1")],
        ),
        ({"netrc": True}, "machine localhost login b password 2", [None, ("b", "2"), None]),
        ({"netrc": True}, "machine 127.0.0.1 login a password 1", [("a", "1"), None, ("a", "1")]),
        # The entry for any machine is for those that the user named, not for those that a redirect names.
        ({"netrc": True}, "default login a password 1", [("a", "1"), None, ("a", "1")]),
        ({"user": ("a", "1")}, "", [("a", "1"), None, ("a", "1")]),
        ({"logins": (("localhost", "b", "2"),)}, "", [None, ("b", "2"), None]),
        (
            {"user": ("a", "1"), "logins": (("LOCALHOST", "b", "2"), ("elsewhere.example", "c", "3"))},
            "",
            [("a", "1"), ("b", "2"), ("a", "1")],
        ),
        (
            {"user": ("a", "1"), "logins": (("127.0.0.1", "b", "2"),)},
            "",
            [("b", "2"), None, ("b", "2")],
        ),
        (
            {"bearer": "token", "netrc": True},
            "machine localhost login b password 2 default login a password 1",
            ["Bearer token", ("b", "2"), "Bearer token"],
        ),
    ],
)
@runs
async def test_each_hop_is_told_its_own_credentials(
    settings: dict[str, Any],
    netrc_text: str,
    told: list[tuple[str, str] | str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_netrc(tmp_path, netrc_text, monkeypatch)

    def respond(seen: Seen) -> bytes:
        to = {"/": "http://localhost:{}/1", "/1": "http://127.0.0.1:{}/2"}.get(seen.target)
        return answer() if to is None else redirect(to.format(server.port))

    async with serving(respond) as server, opened(Network(env=False, **settings)) as client:
        await (await client.open(Job(server.url))).aclose()
    expected = [basic(*each) if isinstance(each, tuple) else each for each in told]
    assert [seen.get("authorization") for seen in server.seen] == expected


@runs
async def test_credentials_of_a_name_do_not_leave_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_netrc(tmp_path, "machine h.example login a password 1", monkeypatch)
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        to = {
            "/": "http://h.example/1",
            "/1": "https://other.example/2",
            "/2": "https://h.example/3",
            "/u": "https://h.example/v",
            "/v": "https://h.example:8443/w",
            "/y": "http://h.example/z",
        }
        location = to.get(request.url.path)
        return httpx.Response(302, headers={"Location": location}) if location else httpx.Response(200)

    async with mocked(handle) as theirs, opened(Network(netrc=True), client=theirs) as client:
        with pytest.raises(ProtocolError, match="over http"):
            await client.open(Job("https://h.example/"))
        first = ("http://other.example/1", "http://h.example/9", "http://h.example/u")
        for url in (*first, "https://other.example/y"):
            await (await client.open(Job(url))).aclose()
    assert ["authorization" in request.headers for request in requests] == [
        True,
        *(False, False, True),
        True,
        # To TLS at its own port, and not to another one.
        *(True, True, False),
        *(False, False),
    ]


@pytest.mark.parametrize(
    ("url", "netrc_text", "authorization"),
    [
        ("http://me@{host}/", "machine 127.0.0.1 login me password pw", BASIC_ME),
        ("http://me@{host}/", "machine 127.0.0.1 login x password y default login me password pw", BASIC_ME),
        ("http://me@{host}/", "machine 127.0.0.1 login x password y", "Basic bWU6"),
        ("http://me:@{host}/", "machine 127.0.0.1 login me password pw", "Basic bWU6"),
        ("http://me:pw@{host}/", "machine 127.0.0.1 login me password y", BASIC_ME),
    ],
)
@runs
async def test_a_user_in_the_url_without_password_has_the_one_of_the_netrc(
    url: str, netrc_text: str, authorization: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_netrc(tmp_path, netrc_text, monkeypatch)
    seen = await asked(Job(url), Network(env=False, netrc=True))
    assert seen.get("authorization") == authorization


# --- challenges


def digest_server(seen: Seen) -> bytes:
    if (seen.get("authorization") or "").startswith("Digest "):
        return answer(200, b"in")
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
    return answer(401, b"x" * 4_000_000, headers=("WWW-Authenticate: Negotiate", challenge))


@runs
async def test_a_digest_challenge_is_answered_and_remembered() -> None:
    network = Network(env=False, user=("me", "pw"))
    async with serving(digest_server) as server, opened(network) as client:
        for path in ("/a?q=%2f", "/b"):
            reply = await client.open(Job(server.url + path))
            assert (reply.status, await body_of(reply)) == (200, b"in")
    assert [(seen.get("authorization") or "").split()[0] for seen in server.seen] == [
        "Basic",
        "Digest",
        "Digest",
    ]
    # The long body of the challenge was not read: its connection went instead.
    assert [seen.connection for seen in server.seen] == [1, 2, 2]
    assert 'uri="/a?q=%2f"' in str(server.seen[1].get("authorization"))


@pytest.mark.parametrize(
    "challenge",
    [
        'Digest realm="r"',
        "Digest x",
        'Digest realm="r", nonce="n", algorithm=FOO',
        'Digest realm="r", nonce="n", qop="auth-int"',
        'Digest realm="r", nonce="n',
        'realm="r", nonce="n"',
        'Basic realm="Digest nonce=n"',
        "Negotiate abc==",
        "",
    ],
)
@runs
async def test_a_challenge_that_cannot_be_answered_stays_a_401(challenge: str) -> None:
    network = Network(env=False, user=("me", "pw"))
    respond = functools.partial(answer, 401, b"no", headers=(f"WWW-Authenticate: {challenge}",))
    async with serving(lambda _: respond()) as server, opened(network) as client:
        reply = await client.open(Job(server.url))
        assert (reply.status, await body_of(reply), len(server.seen)) == (401, b"no", 1)


def field(authorization: str, name: str) -> str | None:
    found = re.search(rf'[ ,]{re.escape(name)}=("(?:[^"\\]|\\.)*"|[^ ,]*)', authorization)
    return found and found[1].strip('"')


def digest_matches(seen: Seen, user: bytes, password: bytes, algorithm: str, hashed: str) -> bool:
    """Whether the answer to a challenge is what RFC 7616 section 3.4.1 says."""
    told = seen.get("authorization") or ""

    def hashing(*parts: bytes) -> bytes:
        return hashlib.new(hashed, b":".join(parts)).hexdigest().encode()

    def value(name: str) -> bytes:
        return (field(told, name) or "").encode("latin-1")

    secret = hashing(user, value("realm"), password)
    if algorithm.endswith("-sess"):
        secret = hashing(secret, value("nonce"), value("cnonce"))
    request = hashing(seen.method.encode(), seen.target.encode())
    if field(told, "qop") is None:
        return value("response") == hashing(secret, value("nonce"), request)
    middle = (value("nonce"), value("nc"), value("cnonce"), value("qop"))
    return value("response") == hashing(secret, *middle, request)


@pytest.mark.parametrize(
    ("fields", "algorithm", "hashed"),
    [
        (['Digest realm="r", nonce="n"'], "MD5", "md5"),
        (['Digest realm="r", nonce="n", algorithm=MD5-sess, qop="auth"'], "MD5-sess", "md5"),
        (['Digest realm="r", nonce="n", algorithm="SHA-256", qop=auth'], "SHA-256", "sha256"),
        (
            ['Digest realm="r",nonce="n",algorithm=SHA-512-256,qop="auth-int, auth"'],
            "SHA-512-256",
            "sha512_256",
        ),
        # Behind another scheme in one line, with leading commas, with blanks round the sign.
        (['Basic realm="a, b", Digest realm="r", nonce="n", qop="auth"'], "MD5", "md5"),
        (['Negotiate, Digest realm="r", nonce="n", qop="auth"'], "MD5", "md5"),
        (['NTLM TlRMTVNTUAAC=, Digest realm="r", nonce="n", qop="auth"'], "MD5", "md5"),
        ([', ,Digest realm = "r" , nonce="n",\tqop = "auth"'], "MD5", "md5"),
        (['DIGEST REALM="r", NONCE="n", QOP="auth"'], "MD5", "md5"),
        (['Digest realm="a \\"b\\", c=d", nonce="n", qop="auth"'], "MD5", "md5"),
        (['Digest realm="\xe9", nonce="n", opaque="", domain="/ /x", unknown=1, qop="auth"'], "MD5", "md5"),
        # The strongest that is known, of all fields.
        (
            [
                'Digest realm="r", nonce="1", algorithm=MD5, qop="auth"',
                'Digest realm="r", nonce="2", algorithm=SHA-256, qop="auth"',
                'Basic realm="r", Digest realm="r", nonce="3", algorithm=SHA-512-256, qop="auth"',
                'Digest realm="r", nonce="4", algorithm=SHA3-999, qop="auth"',
            ],
            "SHA-512-256",
            "sha512_256",
        ),
        (
            ['Digest realm="r", nonce="1", algorithm=FOO, Digest realm="r", nonce="2", algorithm=MD5-SESS'],
            "MD5-sess",
            "md5",
        ),
        (['Digest realm="r", nonce="1", qop="auth-int"', 'Digest realm="r", nonce="2"'], "MD5", "md5"),
    ],
)
@pytest.mark.parametrize("user", ["me", 'm"e\\', "J\u00e4s\u00f8n"])
@runs
async def test_digest_challenges(fields: list[str], algorithm: str, hashed: str, user: str) -> None:
    def respond(seen: Seen) -> bytes:
        if (seen.get("authorization") or "").startswith("Digest "):
            return answer(200 if digest_matches(seen, user.encode(), b"p:w", algorithm, hashed) else 401)
        return answer(401, headers=tuple(f"WWW-Authenticate: {field}" for field in fields))

    async with serving(respond) as server, opened(Network(env=False, user=(user, "p:w"))) as client:
        for path in ("/a?q=%2f", "/b"):
            reply = await client.open(Job(server.url + path))
            await reply.aclose()
            assert reply.status == 200
    told = [seen.get("authorization") or "" for seen in server.seen][1:]
    assert len(told) == 2
    quoted = user.encode().decode("latin-1").replace("\\", "\\\\").replace('"', '\\"')
    assert all(f'username="{quoted}"' in each for each in told)
    if "qop=auth" in told[0]:
        assert [field(each, "nc") for each in told] == ["00000001", "00000002"]


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_example_of_rfc_7616_section_3_9_1(
    algorithm: str, response: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    monkeypatch.setattr("secrets.token_hex", lambda _: cnonce)
    challenge = (
        'Digest realm="http-auth@example.org", qop="auth, auth-int", '
        f'algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    known = digest.offered([challenge.encode()])
    assert known is not None
    told = known.answer(b"Mufasa", b"Circle of Life", b"GET", b"/dir/index.html").decode()
    assert field(told, "response") == response
    assert field(told, "opaque") == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


HASHED_USER = hashlib.sha256("J\u00e4s\u00f8n:r".encode()).hexdigest()


@pytest.mark.parametrize(
    ("extra", "user", "name"),
    [
        (", charset=UTF-8", "J\u00e4s\u00f8n Doe", "username*=UTF-8''J%C3%A4s%C3%B8n%20Doe,"),
        (', charset="utf-8"', "me", 'username="me",'),
        (
            ", userhash=true, charset=UTF-8, algorithm=SHA-256",
            "J\u00e4s\u00f8n",
            f'username="{HASHED_USER}", userhash=true,',
        ),
    ],
)
@runs
async def test_how_a_digest_names_the_user(extra: str, user: str, name: str) -> None:
    def respond(seen: Seen) -> bytes:
        if (seen.get("authorization") or "").startswith("Digest "):
            return answer()
        return answer(401, headers=(f'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"{extra}',))

    async with serving(respond) as server, opened(Network(env=False, user=(user, "pw"))) as client:
        await (await client.open(Job(server.url))).aclose()
    assert f"Digest {name}" in str(server.seen[1].get("authorization"))


def renewing(*rounds: tuple[str, str, bool]) -> tuple[Any, list[str]]:
    """Return a server and the nonces it saw; a round: the nonce taken, the one offered, whether as stale."""
    nonces: list[str] = []
    left = iter(rounds)

    def respond(seen: Seen) -> bytes:
        taken, offer, stale = next(left)
        nonces.append(field(seen.get("authorization") or "", "nonce") or "-")
        if nonces[-1] == taken:
            return answer()
        told = f'Digest realm="r", nonce="{offer}", qop="auth"' + ", stale=TRUE" * stale
        return answer(401, headers=(f"WWW-Authenticate: {told}",))

    return respond, nonces


@pytest.mark.parametrize(
    ("rounds", "asked_with", "statuses"),
    [
        # A nonce that is stale at the next request, said or not.
        ([("1", "1", False), ("1", "", False), ("2", "2", True), ("2", "", False)], "-112", [200, 200]),
        ([("1", "1", False), ("1", "", False), ("2", "2", False), ("2", "", False)], "-112", [200, 200]),
        # One that was stale when it came.
        ([("x", "1", False), ("2", "2", True), ("2", "", False)], "-12", [200]),
        # A refusal, and a server that never has enough.
        ([("x", "1", False), ("x", "2", False)], "-1", [401]),
        ([("x", "1", True), ("x", "2", True), ("x", "3", True)], "-12", [401]),
        ([("1", "1", False), ("1", "", False), ("x", "1", False)], "-11", [200, 401]),
    ],
)
@runs
async def test_a_nonce_that_has_gone_stale_is_renewed(
    rounds: list[tuple[str, str, bool]], asked_with: str, statuses: list[int]
) -> None:
    respond, nonces = renewing(*rounds)
    async with serving(respond) as server, opened(Network(env=False, user=("me", "pw"))) as client:
        for status in statuses:
            reply = await client.open(Job(server.url))
            await reply.aclose()
            assert reply.status == status
    assert "".join(nonces) == asked_with


@pytest.mark.parametrize(
    ("settings", "challenge", "hint"),
    [
        ({}, 'Basic realm="r"', "give -u NAME:PASSWORD, --bearer TOKEN or --netrc."),
        ({}, None, "give -u NAME:PASSWORD, --bearer TOKEN or --netrc."),
        ({"user": ("me", "pw")}, 'Basic realm="r"', "it refused these credentials."),
        ({"bearer": "t"}, "Bearer", "it refused these credentials."),
        ({"headers": (("Authorization", "Mine x"),)}, None, "it refused these credentials."),
        ({"user": ("me", "pw")}, "Negotiate", "it wants Negotiate, which fetchq does not speak."),
        ({}, "NTLM", "it wants NTLM, which fetchq does not speak."),
        ({}, 'Negotiate, Basic realm="r"', "give -u NAME:PASSWORD, --bearer TOKEN or --netrc."),
    ],
)
@runs
async def test_what_a_401_says(settings: dict[str, Any], challenge: str | None, hint: str) -> None:
    headers = () if challenge is None else (f"WWW-Authenticate: {challenge}",)
    async with (
        serving(lambda _: answer(401, headers=headers)) as server,
        opened(Network(env=False, **settings)) as client,
    ):
        reply = await client.open(Job(server.url))
        await reply.aclose()
    assert reply.hint == hint
    error = error_for(reply.status, reply.headers, Retry(), reply.host, 0.0, reply.hint)
    assert str(error) == f"{server.host} answered 401: {hint}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"user": ("me", "pw")}, "the credentials were not sent to localhost after the redirect: "),
        ({"bearer": "t"}, "the credentials were not sent to localhost after the redirect: "),
        ({"headers": (("Authorization", "Mine x"),)}, "the credentials were not sent to localhost "),
        ({}, "give -u localhost=NAME:PASSWORD or a netrc entry for it"),
        ({"logins": (("localhost", "me", "pw"),)}, "it refused these credentials."),
    ],
)
@runs
async def test_a_401_behind_a_redirect_says_what_was_not_sent(settings: dict[str, Any], told: str) -> None:
    def respond(seen: Seen) -> bytes:
        return redirect(f"http://localhost:{server.port}/in") if seen.target == "/" else answer(401)

    async with serving(respond) as server, opened(Network(env=False, **settings)) as client:
        reply = await client.open(Job(server.url))
        await reply.aclose()
    assert reply.hint.startswith(told)
    assert "not sent" not in told or "-u localhost=NAME:PASSWORD" in reply.hint


@runs
async def test_the_log_of_httpx_has_no_password_even_where_a_program_asks_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with httpx.AsyncClient(trust_env=False) as theirs:
        network = Network(env=False, headers=(("X-Key", "s3cret"),))
        await asked(Job("http://me:s3cret@{host}/"), network, client=theirs)
    assert "HTTP Request: GET" in caplog.text
    assert "s3cret" not in caplog.text


# --- cookies


@runs
async def test_cookies_of_the_server_join_the_users_and_renew_them(tmp_path: Path) -> None:
    def respond(seen: Seen) -> bytes:
        return answer(
            headers=("Set-Cookie: a=server", "Set-Cookie: c=3; Path=/deep") if seen.target == "/set" else ()
        )

    network = Network(env=False, cookies=(("a", "user"), ("b", "2")), save_cookies=tmp_path / "jar")
    async with serving(respond) as server, opened(network) as client:
        for path in ("/set", "/plain", "/deep/x"):
            await (await client.open(Job(server.url + path))).aclose()
        await (await client.open(Job(server.url + "/own", headers=(("Cookie", "d=4"),)))).aclose()
    assert [seen.get("cookie") for seen in server.seen] == [
        "a=user; b=2",
        "b=2; a=server",
        "b=2; c=3; a=server",
        "b=2; d=4; a=server",
    ]
