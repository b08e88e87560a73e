"""The comparison with curl and wget: its servers, its verdicts, and a short run of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import httpx
import pytest

from . import servers
from .beside.__main__ import main, shrink
from .beside.programs import Seen, Verdict, judge
from .beside.scenario import SOUND, Hop, Scenario, by_chance, simpler
from .beside.site import PASSWORD, USER, Asked, Site, playing
from .conftest import run

FILE = b"the file"
PLACE = Asked("127.0.0.1", "/f", frozenset(), "", "")


def good(**facts: Any) -> Seen:
    return Seen(0, FILE, "", frozenset({FILE}), (replace(PLACE, **facts),))


FAILED = Seen(1, None, "", frozenset({FILE}), (PLACE,))


@pytest.mark.parametrize(
    ("curl", "wget", "fetchq", "verdict"),
    [
        (good(), good(), good(), Verdict.AGREE),
        (FAILED, FAILED, FAILED, Verdict.AGREE),
        (good(), FAILED, FAILED, Verdict.AGREE),
        (good(), good(), FAILED, Verdict.REFUSED),
        (FAILED, FAILED, good(), Verdict.LENIENT),
        (good(), FAILED, good(), Verdict.AGREE),
        (good(), good(), replace(good(), body=b"half"), Verdict.CORRUPT),
        (FAILED, FAILED, replace(good(), body=None), Verdict.CORRUPT),
        (good(), good(), Seen(None, None), Verdict.CRASH),
        (good(), good(), replace(FAILED, words="Traceback (most recent call last):\n"), Verdict.CRASH),
        (good(), good(), good(target="/g"), Verdict.ELSEWHERE),
        (good(), good(), good(host="localhost"), Verdict.ELSEWHERE),
        (good(target="/g"), good(), good(target="/h"), Verdict.AGREE),
        (good(cookies={"a=1"}), good(), good(), Verdict.AGREE),
        (good(cookies={"a=1"}), good(), good(cookies={"a=1"}), Verdict.AGREE),
        (good(cookies={"a=1"}), good(cookies={"a=1"}), good(), Verdict.COOKIES),
        (good(), good(), good(cookies={"a=1"}), Verdict.COOKIES),
    ],
)
def test_the_verdict(curl: Seen, wget: Seen, fetchq: Seen, verdict: Verdict) -> None:
    assert judge({"curl": curl, "wget": wget, "fetchq": fetchq}) is verdict


def test_what_is_not_needed_is_left_away() -> None:
    async def meet(scenario: Scenario) -> Mapping[str, Seen]:
        culprit = "X: y" in scenario.fields and any("u" in hop.location for hop in scenario.hops)
        return {"curl": good(), "wget": good(), "fetchq": FAILED if culprit else good()}

    odd = Scenario(
        size=5,
        framing="chunked",
        fields=("A: b", "X: y", "C: d"),
        hops=(Hop("one"), Hop("up", 307, ("A: b",)), Hop("three")),
        interim=("HTTP/1.1 100 Continue",),
    )
    least, seen = run(shrink(odd, meet))
    assert least == Scenario(fields=("X: y",), hops=(Hop("up"),))
    assert judge(seen) is Verdict.REFUSED


def test_a_seed_makes_the_same_scenarios_and_each_has_its_name() -> None:
    one, two = ([by_chance(dice) for _ in range(200)] for dice in (Random(7), Random(7)))
    assert one == two
    for scenario in one:
        assert eval(scenario.told(), {"Scenario": Scenario, "Hop": Hop}) == scenario
        assert scenario not in list(simpler(scenario))
    # Chance comes to everything there is.
    assert all(any(getattr(each, name) != getattr(SOUND, name) for each in one) for name in vars(SOUND))


def played(scenario: Scenario, talk: Callable[[Site, httpx.AsyncClient], Coroutine[Any, Any, None]]) -> Site:
    async def work() -> Site:
        async with playing(scenario) as site, httpx.AsyncClient(trust_env=False) as client:
            await talk(site, client)
        return site

    return run(work())


def test_redirects_and_what_was_asked() -> None:
    async def talk(site: Site, client: httpx.AsyncClient) -> None:
        answer = await client.get(site.url, follow_redirects=True)
        assert answer.content in site.right
        # The second time it begins from the start.
        assert (await client.get(site.url)).status_code == 302

    hops = (Hop("HERE/b", fields=("Set-Cookie: a=1; Path=/",)), Hop("THERE/c"))
    site = played(Scenario(hops=hops), talk)
    assert [(asked.host, asked.target) for asked in site.asked] == [
        ("127.0.0.1", "/dir/file.bin"),
        ("127.0.0.1", "/b"),
        ("localhost", "/c"),
        ("127.0.0.1", "/dir/file.bin"),
    ]
    assert [sorted(asked.cookies) for asked in site.asked[:3]] == [[], ["a=1"], []]


def test_cut_off_once_and_resumed() -> None:
    async def talk(site: Site, client: httpx.AsyncClient) -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(site.url)
        whole = (await client.get(site.url)).content
        part = await client.get(site.url, headers={"Range": "bytes=50-"})
        assert part.status_code == 206
        assert part.headers["Content-Range"] == "bytes 50-2999/3000"
        assert part.content == whole[50:]
        assert whole in site.right

    played(Scenario(cut=1000), talk)


@pytest.mark.parametrize(
    ("challenge", "auth", "admitted"),
    [
        ('Basic realm="x"', httpx.BasicAuth(USER, PASSWORD), True),
        ('Basic realm="x"', httpx.BasicAuth(USER, "wrong"), False),
        ('Digest realm="r", nonce="n"', httpx.DigestAuth(USER, PASSWORD), True),
        ('Digest realm="r", nonce="n", qop="auth"', httpx.DigestAuth(USER, PASSWORD), True),
        ('Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256', httpx.DigestAuth(USER, PASSWORD), True),
        ('Digest realm="r", nonce="n", qop="auth", algorithm=MD5-SESS', httpx.DigestAuth(USER, PASSWORD), True),
        ('Digest realm="r", nonce="n", qop="auth"', httpx.DigestAuth(USER, "wrong"), False),
        ('Digest realm="r", nonce="n", qop="auth"', httpx.BasicAuth(USER, PASSWORD), False),
    ],
)
def test_who_is_admitted(challenge: str, auth: httpx.Auth, admitted: bool) -> None:
    async def talk(site: Site, client: httpx.AsyncClient) -> None:
        assert (await client.get(site.url, auth=auth)).status_code == (200 if admitted else 401)

    played(Scenario(challenges=(challenge,)), talk)


@pytest.mark.parametrize(
    "odd",
    [
        Scenario(framing="chunked", chunk=7, extension=";a=b", trailer="X: y"),
        Scenario(framing="close"),
        Scenario(coding="gzip"),
        Scenario(coding="deflate"),
        Scenario(pieces=97, interim=("HTTP/1.1 103 Early Hints",)),
        Scenario(version="HTTP/1.0", size=0),
    ],
    ids=Scenario.told,
)
def test_a_file_in_each_form(odd: Scenario) -> None:
    async def talk(site: Site, client: httpx.AsyncClient) -> None:
        assert (await client.get(site.url)).content in site.right

    played(odd, talk)


def test_without_curl_and_wget_there_is_nothing_to_compare_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main([]) == 2
    assert "curl, wget" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [10, 11])
@pytest.mark.timeout(120)
def test_fetchq_does_no_worse_than_curl_and_wget(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    for program in ("curl", "wget"):
        servers.need(program)
    failed = main(["--fuzz", "12", "--seed", str(seed), "--at-once", "2"])
    assert not failed, capsys.readouterr().out
