"""Who we say we are: users, tokens, challenges and cookies."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import httpx
import pytest

from fetchq._errors import UsageError
from fetchq._http import HttpClient
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import Seen, answer, serving
from .edge import asked, body_of, opened, runs

# --- who we say we are

BASIC_ME = "Basic bWU6cHc="


@pytest.mark.parametrize(
    ("url", "settings", "authorization"),
    [
        ("http://me:pw@{host}/", {"user": ("other", "x"), "bearer": "t"}, BASIC_ME),
        ("http://{host}/", {"user": ("me", "pw"), "bearer": "t"}, BASIC_ME),
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


@pytest.mark.parametrize("text", ["machine h login me s3cret pw", None, "\udcff"])
def test_a_netrc_that_cannot_be_read_is_named_without_its_words(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if text is not None:
        (tmp_path / ".netrc").write_bytes(text.encode("utf-8", "surrogateescape"))
        (tmp_path / ".netrc").chmod(0o600)
    with pytest.raises(UsageError, match="netrc") as caught:
        HttpClient(Network(netrc=True), connections=1)
    assert "s3cret" not in str(caught.value)


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
    ],
)
@runs
async def test_a_challenge_that_cannot_be_answered_stays_a_401(challenge: str) -> None:
    network = Network(env=False, user=("me", "pw"))
    respond = functools.partial(answer, 401, b"no", headers=(f"WWW-Authenticate: {challenge}",))
    async with serving(lambda _: respond()) as server, opened(network) as client:
        reply = await client.open(Job(server.url))
        assert (reply.status, await body_of(reply), len(server.seen)) == (401, b"no", 1)


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
async def test_cookies_of_the_server_join_the_users_and_renew_them() -> None:
    def respond(seen: Seen) -> bytes:
        return answer(
            headers=("Set-Cookie: a=server", "Set-Cookie: c=3; Path=/deep") if seen.target == "/set" else ()
        )

    network = Network(env=False, cookies=(("a", "user"), ("b", "2")))
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
