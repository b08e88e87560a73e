"""Cookies in files: what browsers and other programs write is read, and what is written is read by them."""

from __future__ import annotations

import http.cookiejar
import stat
from pathlib import Path

import httpx
import pytest

from fetchq._errors import DiskError, UsageError
from fetchq._http import HttpClient
from fetchq._http.cookie_file import load, save
from fetchq._http.cookies import CookieJar
from fetchq._models import Job
from fetchq._settings import Network

from ..raw_server import Seen, answer, redirect, serving
from .edge import opened, runs

LATER = 4_000_000_000
HOME = "https://www.host.example/a/b"


def sent(text: str, url: str, tmp_path: Path) -> bytes:
    """What a file of *text* sends to *url*."""
    file = tmp_path / "cookies.txt"
    file.write_text(text, newline="")
    jar = CookieJar()
    load(file, jar)
    return jar.header(httpx.URL(url))


@pytest.mark.parametrize(
    ("line", "url", "header"),
    [
        (".host.example|TRUE|/|FALSE|0|a|1", HOME, b"a=1"),
        ("host.example|TRUE|/|FALSE|0|a|1", HOME, b"a=1"),
        ("www.host.example|FALSE|/|FALSE|0|a|1", HOME, b"a=1"),
        ("host.example|FALSE|/|FALSE|0|a|1", HOME, b""),
        ("HOST.example|true|/|false|0|a|1", HOME, b"a=1"),
        ("#HttpOnly_.host.example|TRUE|/|FALSE|0|a|1", HOME, b"a=1"),
        ("# .host.example|TRUE|/|FALSE|0|a|1", HOME, b""),
        (".host.example|TRUE|/|TRUE|0|a|1", HOME, b"a=1"),
        (".host.example|TRUE|/|TRUE|0|a|1", HOME.replace("https", "http"), b""),
        (".host.example|TRUE|/x|FALSE|0|a|1", HOME, b""),
        (f".host.example|TRUE|/|FALSE|{LATER}|a|1", HOME, b"a=1"),
        (f".host.example|TRUE|/|FALSE|{LATER}.5|a|1", HOME, b"a=1"),
        (".host.example|TRUE|/|FALSE|1000|a|1", HOME, b""),
        (".host.example|TRUE|/|FALSE|-1|a|1", HOME, b"a=1"),
        (".host.example|TRUE|/|FALSE|0|a|", HOME, b"a="),
        (".host.example|TRUE|/|FALSE|0|a", HOME, b"a="),
        (".host.example|TRUE|/|FALSE|0|a|b=c;d", HOME, b"a=b=c;d"),
        (".host.example|TRUE|/|FALSE|0||value", HOME, b"value"),
        ("127.0.0.1|TRUE|/|FALSE|0|a|1", "http://127.0.0.1:8000/", b"a=1"),
        ("localhost|FALSE|/|FALSE|0|a|1", "http://localhost/", b"a=1"),
        ("\ufeff# Netscape HTTP Cookie File\r\n\r\n.host.example|TRUE|/|FALSE|0|a|1\r", HOME, b"a=1"),
        (".co.uk|TRUE|/|FALSE|0|a|1", "https://host.co.uk/", b""),
    ],
)
def test_a_line_is_a_cookie(line: str, url: str, header: bytes, tmp_path: Path) -> None:
    if "co.uk" in line:
        pytest.importorskip("publicsuffixlist")
    assert sent(line.replace("|", "\t") + "\n", url, tmp_path) == header


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"domain": "hunter2"}]', "is JSON, not a cookie file"),
        ("SQLite format 3\0...", "is a browser's database"),
        ("#LWP-Cookies-2.0\nSet-Cookie3: a=hunter2", "is of libwww-perl"),
        ("host.example TRUE / FALSE 0 a hunter2\n", "is no cookie file"),
        ("Set-Cookie: a=hunter2\n", "seven fields a line between TABs"),
        (".h\tTRUE\t/\tFALSE\tsoon\ta\thunter2\n", "is no cookie file"),
    ],
)
def test_another_format_is_named(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        sent(text, HOME, tmp_path)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "missing", CookieJar())


def test_odd_lines_among_cookies_are_passed_over_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text("nonsense\n.host.example\tTRUE\t/\tFALSE\t0\ta\t1\nhunter2\n")
    jar = CookieJar()
    (warning,) = load(file, jar)
    assert warning.endswith("2 lines are no cookies and are passed over: 1, 3.")
    assert jar.header(httpx.URL(HOME)) == b"a=1"


def test_what_is_saved_is_the_owners_alone_and_other_programs_read_it(tmp_path: Path) -> None:
    now = 0
    jar = CookieJar(lambda: now)
    fields = [b"s=1; Path=/; Secure; HttpOnly", b"d=2; Domain=host.example; Max-Age=9999", b"gone=3; Max-Age=1"]
    jar.extract(httpx.URL(HOME), fields)
    now = 10
    file, link = tmp_path / "jar", tmp_path / "link"
    link.symlink_to(file)
    save(link, jar)
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = file.read_text().splitlines()
    assert lines[0] == "# Netscape HTTP Cookie File"
    assert sorted(lines[3:]) == [
        "#HttpOnly_www.host.example\tFALSE\t/\tTRUE\t0\ts\t1",
        "www.host.example\tFALSE\t/a\tFALSE\t9999\td\t2"
        if lines[3].startswith("www")
        else ".host.example\tTRUE\t/a\tFALSE\t9999\td\t2",
    ]
    theirs = http.cookiejar.MozillaCookieJar(file)
    theirs.load(ignore_discard=True, ignore_expires=True)
    assert {cookie.name: cookie.value for cookie in theirs} == {"d": "2", "s": "1"}
    again = CookieJar(lambda: now)
    load(file, again)
    assert {cookie.value for _, cookie in again.cookies()} == {b"1", b"2"}
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["jar", "link"]


def test_a_file_that_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="cannot be saved"):
        save(tmp_path / "missing" / "jar", CookieJar())


@pytest.mark.parametrize("target", ["missing/jar", ".", "precious.txt"])
def test_a_target_that_cannot_be_used_is_refused_before_the_run(target: str, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("a diary\n")
    with pytest.raises(UsageError, match=r"cannot be written|is no cookie file"):
        HttpClient(Network(env=False, save_cookies=tmp_path / target), connections=1)
    assert (tmp_path / "precious.txt").read_text() == "a diary\n"


def visits(seen: Seen) -> bytes:
    """A login that wants its cookie back behind a redirect, and sets another at each visit."""
    if seen.target == "/login":
        return redirect("/file", 302, "Set-Cookie: session=1; Path=/")
    return answer(200, b"x", headers=("Set-Cookie: visited=1; Path=/",))


@runs
async def test_cookies_stay_with_their_job_unless_a_jar_is_asked_for(tmp_path: Path) -> None:
    async with serving(visits) as server, opened() as client:
        jobs = [Job(server.url + "/login"), Job(server.url + "/login")]
        for number in (0, 0, 1):
            await (await client.open(jobs[number])).aclose()
        assert [seen.get("cookie") for seen in server.seen] == [
            *(None, "session=1", "session=1; visited=1", "session=1; visited=1"),
            *(None, "session=1"),
        ]
        jobs.clear()
        assert not client._jars, "the jar of a job goes with it"
    jar = tmp_path / "jar"
    async with serving(visits) as server:
        for _ in range(2):
            network = Network(env=False, save_cookies=jar, load_cookies=jar if jar.exists() else None)
            async with opened(network) as client:
                for _ in range(2):
                    await (await client.open(Job(server.url + "/file"))).aclose()
        assert [seen.get("cookie") for seen in server.seen] == [None, "visited=1", "visited=1", "visited=1"]


@runs
async def test_a_callers_client_has_its_own_jar(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.touch()
    async with httpx.AsyncClient() as theirs:
        with pytest.raises(UsageError, match="exclude each other"):
            async with opened(Network(load_cookies=file), client=theirs):
                pass


@runs
async def test_the_cookies_of_a_job_go_to_its_own_origin() -> None:
    async with serving(lambda _: answer(200, b"x")) as away:

        def respond(seen: Seen) -> bytes:
            return redirect(away.url) if seen.target == "/away" else answer(200, b"x")

        network = Network(env=False, cookies=(("run", "1"),))
        async with serving(respond) as server, opened(network) as client:
            for path in ("/", "/away"):
                job = Job(server.url + path, cookies={"own": "2"})
                await (await client.open(job)).aclose()
            assert [seen.get("cookie") for seen in server.seen] == ["run=1; own=2"] * 2
        assert away.seen[0].get("cookie") is None
