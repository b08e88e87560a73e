"""How hosts are asked: states, turns, and whole runs on a clock that does not wait."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import fetchq
from fetchq._errors import AuthenticationError, FetchError, NetworkError, StatusError, TimedOutError, TLSError
from fetchq._hosts import Hosts, HostState, trouble
from fetchq._pacer import Tally
from fetchq._scheduler import ScheduledJob
from fetchq._settings import Queue, Retry

from .clock import SkippingLoop, VirtualLoop
from .conftest import RunFetchq
from .origin import Origin, black_hole, generated, hang, status, throttle
from .simulated import BUSY, GONE, World, limited, queue, simulate

STATUS = 8


# --- what an error says about a host


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (limited(), "limit"),
        (limited(5.0), "limit"),
        (limited(5.0, 503), "limit"),
        (limited(5.0, 403), "limit"),
        (BUSY, "outage"),
        (GONE, "outage"),
        (TimedOutError("late"), "outage"),
        # Not ready yet, not there, not trusted: that is the file, or the matter of nothing but this job.
        (limited(5.0, 202), None),
        (StatusError("no", status=404), None),
        (StatusError("later", status=503, transient=False, retry_after=86_400), None),
        (NetworkError("refused by the proxy", transient=False), None),
        (AuthenticationError("no"), None),
        (TLSError("no"), None),
        (fetchq.ChangedError("new"), None),
    ],
)
def test_what_an_error_says_about_its_host(error: FetchError, kind: str | None) -> None:
    assert trouble(error) == kind


# --- states


def after(*steps: tuple[float, FetchError | None], policy: Retry | None = None) -> tuple[Hosts, HostState]:
    """What is known of a host after requests that took no time: when, and how they failed, or None."""
    hosts = Hosts(policy)
    for now, error in steps:
        hosts.get("a").started(1, now, 0.0)
        if error is None:
            hosts.answered("a", now, now)
        else:
            hosts.failed("a", error, began=now, now=now, held=8)
        hosts.get("a").ended(1, -1, now, 0.0)
    return hosts, hosts.get("a")


@pytest.mark.parametrize(
    ("steps", "state", "opens"),
    [
        # One or two failures are a mishap, and an answer between them makes them another's.
        ([], "open", -math.inf),
        ([(0, GONE)], "open", -math.inf),
        ([(0, GONE), (1, BUSY)], "open", -math.inf),
        ([(0, GONE), (1, GONE), (2, None), (3, GONE), (4, GONE)], "open", -math.inf),
        # Three in a row close it, for pauses that double up to a sixth of the patience.
        ([(0, GONE), (0, GONE), (0, GONE)], "closed", 1),
        ([(0, GONE), (0, GONE), (0, GONE), (1, GONE)], "closed", 1 + 2),
        ([(0, GONE), (0, GONE), (0, GONE), (1, GONE), (3, GONE)], "closed", 3 + 4),
        ([*[(0, GONE)] * 3, *[(9, GONE)] * 4], "closed", 9 + 10),
        # A limit closes it at once: for what it asks, else for five seconds.
        ([(0, limited(7))], "closed", 7),
        ([(0, limited())], "closed", 5),
        ([(0, limited(7, 503))], "closed", 7),
        ([(0, limited(0))], "closed", 0),
        # What it asks beyond the bound does not come here; a probe that is refused closes it again.
        ([(0, limited(7)), (7, limited(7))], "closed", 14),
        ([(0, limited(7)), (7, None)], "open", None),
        # Five probes and a minute: neither alone is enough.
        ([*[(0, GONE)] * 3, *[(9, GONE)] * 5], "closed", None),
        ([*[(0, GONE)] * 3, *[(60, GONE)] * 4], "closed", None),
        ([*[(0, GONE)] * 3, *[(60, GONE)] * 5], "dead", None),
        ([*[(0, limited(20))] * 1, *[(n * 20, limited(20)) for n in range(1, 6)]], "dead", None),
        ([*[(0, GONE)] * 3, *[(60, GONE)] * 4, (61, None), (62, GONE)], "open", None),
    ],
)
def test_states(steps: list[tuple[float, FetchError | None]], state: str, opens: float | None) -> None:
    _, host = after(*steps)
    assert host.state == state
    if opens is not None:
        assert host.opens() == pytest.approx(opens)


@pytest.mark.parametrize(
    ("policy", "probes", "state"),
    [
        (Retry(host_patience=2, patience=0), 1, "closed"),
        (Retry(host_patience=2, patience=0), 2, "dead"),
        # An impatient user's number of retries counts for the host too, and one without end as well.
        (Retry(retries=1), 1, "dead"),
        (Retry(retries=0), 0, "dead"),
        (Retry(retries=9), 5, "dead"),
        (Retry(retries=math.inf), 500, "closed"),
    ],
)
def test_when_a_host_is_given_up(policy: Retry, probes: int, state: str) -> None:
    _, host = after(*[(0, GONE)] * (3 + probes), policy=policy)
    assert host.state == state


def test_a_host_that_was_given_up_is_asked_again_later() -> None:
    hosts, host = after(*[(0, GONE)] * 3, policy=Retry(retries=0))
    assert host.final is GONE
    assert not hosts.revive("a", 59.0)
    assert hosts.revive("a", 60.0)
    assert (host.state, host.opens()) == ("closed", 60.0)


def test_one_request_asks_whether_a_closed_host_is_back() -> None:
    _, host = after((0, limited(5)))
    host.started(7, 5.0, 0.0)
    assert host.opens() == math.inf
    host.ended(6, 0, 5.0, 0.0)
    assert host.opens() == math.inf
    # The probe ended without an answer or a failure of the host's: the next one asks.
    host.ended(7, 0, 5.0, 0.0)
    assert host.opens() == 5.0


def test_the_probes_of_an_outage_are_spread_over_the_line() -> None:
    hosts, host = after(*[(0, GONE)] * 3)
    places = [host.place]
    for now in range(2, 10):
        hosts.failed("a", GONE, began=now, now=now, held=1)
        places.append(host.place)
    gaps = [later - earlier for earlier, later in itertools.pairwise([0.0, *sorted(places), 1.0])]
    assert max(gaps) < 0.24
    # Those in front are the ones that have just failed.
    assert places[0] > 0.5
    # A limit says nothing of files unless it lasts, and an open host is asked in the list's order.
    assert after((0, limited(5)))[1].place == 0
    assert after((0, limited(5)), (5, limited(5)))[1].place > 0
    assert after()[1].place == 0


def test_a_job_that_fails_again_says_no_more_about_an_open_host() -> None:
    hosts = Hosts()
    for _ in range(9):
        hosts.failed("a", BUSY, began=0.0, now=0.0, held=1, again=True)
    assert hosts.get("a").state == "open"
    for _ in range(3):
        hosts.failed("a", GONE, began=0.0, now=0.0, held=1, again=True)
    assert hosts.get("a").state == "closed"


def test_requests_that_were_under_way_neither_open_nor_close_again() -> None:
    hosts, host = after((10, limited(5)))
    window = host.window
    hosts.answered("a", 9.0, 9.0)
    hosts.failed("a", limited(5), began=9.0, now=11.0, held=7)
    assert (host.state, host.window, host.probes) == ("closed", window, 0)
    assert host.opens() == 16.0


def test_the_window_is_halved_and_grows_with_each_answer() -> None:
    hosts, host = after((0, None), (0, limited(5)), (5, None))
    widths = [host.window]
    for _ in range(9):
        hosts.answered("a", 6.0, 6.0)
        widths.append(host.window)
    # By one each round trip, and so by a part of one for each answer.
    assert widths[0] == pytest.approx(4.25)
    assert widths == sorted(widths)
    assert widths[4] == pytest.approx(5.0, abs=0.2)
    # Behind an outage from one request on, by one for each answer up to the half.
    hosts, host = after((0, GONE), (0, GONE), (0, GONE), (1, None))
    assert host.window == 2.0


def test_a_limit_sets_a_rate_and_an_outage_does_not() -> None:
    assert after((0, limited(5)))[1].pacer.rate
    assert after((0, limited(5, 503)))[1].pacer.rate
    assert after((0, limited(5, 403)))[1].pacer.rate
    outage = [(0.0, BUSY)] * 3
    assert after(*outage)[1].pacer.rate is None
    # One that refuses again when it was asked slowly counts requests.
    assert after(*outage, (1, None), *outage)[1].pacer.rate
    # So does one that has answered a job which it had refused.
    hosts = Hosts()
    hosts.answered("a", 0.0, 0.0, relents=True)
    for _ in range(3):
        hosts.failed("a", BUSY, began=0.0, now=0.0, held=1)
    assert hosts.get("a").pacer.rate


def refused_for_long(*, limits: bool) -> HostState:
    """A host with a rate, asked ever more seldom, that refuses as many requests as it did without one."""
    hosts, host = after(*[(0.0, None), (0.0, BUSY)] * 20, (0.0, limited() if limits else BUSY))
    for n in range(1, 200):
        # An answer opens a closed host, as a probe's does.
        if host.state == "closed":
            hosts.answered("a", 10.0 * n, 10.0 * n)
        hosts.answered("a", 10.0 * n, 10.0 * n, relents=True)
        for again in (False, True, True):
            hosts.failed("a", BUSY, began=10.0 * n, now=10.0 * n, held=1, again=again)
    return host


def test_a_rate_that_is_of_no_use_is_given_up_unless_the_host_has_said_that_it_limits() -> None:
    assert refused_for_long(limits=False).pacer.rate is None
    assert refused_for_long(limits=True).pacer.rate is not None


def test_what_is_counted_for_and_against_a_rate() -> None:
    hosts, host = after((0, None), (0, BUSY), (0, GONE))
    assert (host.free, host.paced) == (Tally(1, 1), Tally())
    hosts.failed("a", limited(5), began=1.0, now=1.0, held=1)
    # What was under way when it closed, and the probe, say nothing of how often it may be asked.
    hosts.failed("a", BUSY, began=0.5, now=2.0, held=1)
    hosts.answered("a", 6.0, 6.0)
    assert (host.free, host.paced) == (Tally(1, 2), Tally())
    hosts.answered("a", 7.0, 7.0)
    hosts.failed("a", BUSY, began=8.0, now=8.0, held=1)
    assert (host.free, host.paced) == (Tally(1, 2), Tally(1, 1))


def test_the_next_request_waits_for_the_last_that_was_made_not_for_its_job() -> None:
    hosts, host = after((0, limited(5)), (5, None))
    host.started(1, 10.0, 0.0)
    assert host.opens() == pytest.approx(10.0 + 1 / 3.0)
    hosts.asked("a", 10.3)
    hosts.answered("a", 10.3, 10.3)
    assert host.opens() == pytest.approx(10.3 + 1 / 4.0)


def test_refusals_that_alternate_with_answers_are_noticed() -> None:
    alternating: list[tuple[float, FetchError | None]] = [(1, None), (1, BUSY)] * 7
    assert after((0, limited(1, 503)), *alternating)[1].state == "closed"
    # Before a host has shown that it counts requests, that is a mishap each time; so is one in three later on.
    assert after(*alternating)[1].state == "open"
    rarely: list[tuple[float, FetchError | None]] = [(1, None), (1, None), (1, BUSY)] * 12
    assert after((0, limited(1, 503)), *rarely)[1].state == "open"


def test_refusals_of_jobs_that_were_refused_before_count_where_requests_are_counted() -> None:
    """Else a host is asked for good at the rate at which it refuses every second request."""
    hosts, host = after((0, limited(1, 503)), *[(1.0 + n / 20, None) for n in range(40)])
    before = host.pacer.rate or 0.0
    for n in range(7):
        hosts.failed("a", BUSY, began=4.0 + n, now=4.0 + n, held=1, again=True)
        hosts.answered("a", 4.5 + n, 4.5 + n)
    assert host.pacer.rate is not None
    assert host.pacer.rate < 0.7 * before


@pytest.mark.parametrize(
    ("answered", "error", "again", "pause"),
    [
        # As long as ten requests take at half of the rate that was refused, from 1 to 5 s.
        (0, limited(), False, 5.0),
        (100, limited(), False, 1.0),
        (25, limited(), False, 4.0),
        # A job that is refused again changes no rate.
        (100, limited(), True, 5.0),
        # What the host names itself.
        (100, limited(7.0), False, 7.0),
    ],
)
def test_how_long_a_limit_closes_a_host(answered: int, error: FetchError, *, again: bool, pause: float) -> None:
    hosts = Hosts()
    for n in range(answered):
        hosts.answered("a", 5.0 * n / answered, 5.0 * n / answered)
    hosts.failed("a", error, began=5.0, now=5.0, held=1, again=again)
    assert hosts.opens_in("a", 5.0) == pytest.approx(pause)


def test_a_job_that_asked_nothing_keeps_no_other_waiting() -> None:
    hosts = Hosts(wait=10.0)
    host = hosts.get("a")
    host.started(1, 0.0, hosts.wait)
    assert host.opens() == 10.0
    host.ended(1, 0, 0.5, 0.0)
    assert host.opens() == 0.5
    host.started(2, 1.0, hosts.wait)
    hosts.asked("a", 1.0)
    host.ended(2, 0, 2.0, 0.0)
    assert host.opens() == 11.0


# --- turns, on a virtual clock


@pytest.mark.parametrize(("kind", "count"), [("h", 50), ("s", 16), ("s", 2000), ("d", 2000), ("h", 10_000)])
def test_a_host_does_not_keep_another_waiting(kind: str, count: int) -> None:
    world = simulate_until_fast(kind, count)
    fast = [when for job, when in world.ended.items() if job[0] == "f"]
    assert len(fast) == 300
    # Alone they would take 0.75 s; they have half of the connections.
    assert max(fast) < 2.0
    assert world.most[kind] <= 8


@pytest.mark.parametrize(
    ("kind", "count", "jobs", "first", "last"),
    [
        # Each lends its connection after a second. Without that, the first good file comes after 240 s.
        ("h", 1, 8, 8.1, 10),
        ("h", 50, 8, 8.1, 15),
        ("d", 5, 8, 8.1, 10),
        ("h", 50, 1, 65.1, 75),
        ("h", 50, 64, 1.1, 2),
        # Who answers, and is slow then, keeps what it has.
        ("s", 5, 64, 60.1, 130),
    ],
)
def test_a_host_that_was_not_tried_soon_is(kind: str, count: int, jobs: int, first: float, last: float) -> None:
    lines = queue(*((f"{kind}{number}", count) for number in range(64)), ("f", 300))
    world = simulate_until_fast_is_done(lines, jobs)
    times = [when for job, when in world.ended.items() if job[0] == "f"]
    assert min(times) < first
    assert max(times) < last
    assert world.running_at_once <= jobs + 64


def test_a_silent_host_that_answers_after_all_has_its_connection_back() -> None:
    lines = [*(f"t{number}:0" for number in range(4)), *queue(("f", 3000))]
    world, results = simulate(lines, 2)
    assert results == {"t done": 4, "f done": 3000}
    # One more for a moment, each time: none is started until that is over.
    assert world.running_at_once <= 2 + 4
    assert max(world.ended[line] for line in lines[:4]) < 25


def test_a_silent_host_that_has_lent_its_connections_gets_no_others() -> None:
    lines = queue(("h", 100), *((f"h{number}", 1) for number in range(64)), ("f", 300))
    world = simulate_until_fast_is_done(lines, 8)
    assert world.most_open["h"] <= 4


def test_a_connection_that_has_brought_an_answer_is_not_lent() -> None:
    world, results = simulate(queue(("s0", 1), ("s1", 1), ("f", 3000)), 4)
    assert results == {"s done": 2, "f done": 3000}
    assert world.running_at_once == 4


def simulate_until_fast(kind: str, count: int) -> World:
    return simulate_until_fast_is_done(queue((kind, count), ("f", 300)), 8)


def simulate_until_fast_is_done(lines: list[str], jobs: int) -> World:
    """Without the hours that the others take."""

    async def main() -> World:
        world = World(jobs)
        run = world.scheduler.run(iter(lines), world.fetch)
        while sum(job[0] == "f" for job in world.ended) < 300:
            await run.next()
        await run.cancel()
        return world

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def test_a_host_with_a_limit_loses_nothing() -> None:
    world, results = simulate(queue(("l", 400)), 8)
    assert results == {"l done": 400}
    # A client that knows the limit needs 20 s, and asks 400 times.
    assert world.refused["l"] <= 10
    assert max(world.ended.values()) < 35


def test_a_limit_that_says_nothing_of_it_is_found_too() -> None:
    world, results = simulate(queue(("n", 400)), 8)
    assert results == {"n done": 400}
    assert world.refused["n"] <= 30
    assert max(world.ended.values()) < 35


def test_a_host_that_fails_at_random_is_not_asked_seldom_for_that() -> None:
    """As one with a limit it would take 1000 s, and be given up before all is done."""
    world, results = simulate(queue(("r", 400)), 8)
    assert results == {"r done": 400}
    # Half of the requests fail, and three in a row close it, for a second and more.
    assert max(world.ended.values()) < 300


def test_a_dead_host_costs_a_few_requests() -> None:
    world, results = simulate(queue(("d", 5000)), 8)
    assert results == {"d failed": 5000}
    assert world.asked["d"] <= 8 + 3 + 10
    assert 60 <= max(world.ended.values()) <= 90


def test_a_thousand_hosts_of_every_kind() -> None:
    kinds = "ffffuulhds"
    names = [f"{kinds[n % 10]}{n}" for n in range(1000)]
    jobs = queue(*((name, 3 if name[0] == "s" else 10) for name in names))
    random.Random(1).shuffle(jobs)
    world, results = simulate(jobs, 64)
    counts = Counter(job[0] for job in jobs)
    assert results == {
        **{f"{kind} done": counts[kind] for kind in "fuls"},
        **{f"{kind} failed": counts[kind] for kind in "hd"},
    }
    # That each host must be tried once takes longest: 9,300 s of connections, 64 at once.
    when = sorted(when for job, when in world.ended.items() if job[0] == "f")
    assert when[-1] < 180
    # No request at a limited host is refused often, and none at a dead one made often.
    assert sum(world.refused.values()) < counts["l"] / 4
    assert sum(count for name, count in world.asked.items() if name[0] in "hd") < 200 * 16
    assert world.most.most_common(1)[0][1] <= 32


def test_list_order_is_kept_within_a_host_and_hosts_take_turns() -> None:
    order: list[str] = []

    async def main() -> None:
        world = World(1)

        async def fetch(item: ScheduledJob[str]) -> str:
            order.append(item.job)
            await asyncio.sleep(1.0)
            return item.job

        run = world.scheduler.run(iter(queue(("a", 4), ("b", 2), ("c", 3))), fetch)
        while await run.next() is not None:
            pass

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert order == ["a:0", "b:0", "c:0", "a:1", "b:1", "c:1", "a:2", "c:2", "a:3"]


# --- whole runs


Answer = Callable[[str], bytes]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def refusal(head: str) -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode()


async def serving(answer: Answer) -> asyncio.Server:
    """A server in this loop that answers each target so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer(head.split()[1].decode()))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def limiting(per_second: float, said: Counter[int], refused: bytes) -> Answer:
    """nginx's limit_req without a burst: a request that comes too early is *refused*."""
    free = 0.0

    def answer(_: str) -> bytes:
        nonlocal free
        now = asyncio.get_running_loop().time()
        early = now < free
        said[early] += 1
        free = free if early else now + 1 / per_second
        return refused if early else OK

    return answer


def whole(answer: Answer, count: int, folder: Path) -> tuple[list[fetchq.Result], list[fetchq.Event], float]:
    """A run of so many files with the default settings: results, events, and the seconds that passed."""
    events: list[fetchq.Event] = []

    async def work() -> tuple[list[fetchq.Result], float]:
        server, clock = await serving(answer), asyncio.get_running_loop().time
        began = clock()
        urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{number}" for number in range(count)]
        async with fetchq.Downloader(dir=folder, observers=[events.append]) as downloader:
            results = [result async for result in downloader.run(urls)]
        server.close()
        return results, clock() - began

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        results, took = runner.run(work())
    return results, events, took


DATE = "Thu, 01 Jan 2026 00:00:{:02} GMT"


@pytest.mark.parametrize(
    ("head", "most"),
    [
        ("429 X\r\nRetry-After: 5", 20),
        ("429 X", 20),
        (f"429 X\r\nDate: {DATE.format(0)}\r\nRetry-After: {DATE.format(5)}", 20),
        ("503 X\r\nRetry-After: 5", 20),
        # It may be an outage as well, until it passes.
        ("503 X", 200),
    ],
)
def test_a_queue_at_a_server_with_a_limit_is_done(head: str, most: int, tmp_path: Path) -> None:
    said = Counter[int]()
    results, events, _ = whole(limiting(20, said, refusal(head)), 100, tmp_path)
    assert Counter(result.status for result in results) == {"done": 100}
    assert said[True] <= most
    assert not [event for event in events if isinstance(event, fetchq.Warned)]


@pytest.mark.parametrize("bad", [range(10), range(5, 100, 10)], ids=["first", "spread"])
@pytest.mark.parametrize("head", ["503 X", "429 X", "503 X\r\nRetry-After: 1"])
def test_bad_files_of_a_host_that_answers_fail_by_themselves(head: str, bad: range, tmp_path: Path) -> None:
    refused, wrong = refusal(head), {f"/{number}" for number in bad}
    results, _, took = whole(lambda target: refused if target in wrong else OK, 100, tmp_path)
    failed = [result for result in results if result.error is not None]
    assert {result.job.url.rpartition(":")[2].lstrip("0123456789") for result in failed} == wrong
    assert len(results) == 100
    assert all(f"answered {head[:3]}" in str(result.error) and not result.reason for result in failed)
    # Each limit that a file alone meets is taken for the host's a few times, which is asked slowly then.
    assert took < (70 if head == "503 X" else 1200)


FILE = generated(10_000)


async def first(urls: list[str], count: int, folder: Path) -> list[fetchq.Result]:
    """The first *count* results of a run with the default settings."""
    async with fetchq.Downloader(dir=folder) as downloader, downloader.run(urls) as results:
        return [await anext(results) for _ in range(count)]


@pytest.mark.parametrize("kind", ["hole", "silent", "slow"])
def test_good_files_do_not_wait_behind_a_bad_host(kind: str, origin: Origin, tmp_path: Path) -> None:
    good = [origin.serve(f"/{number}", FILE) for number in range(100)]
    with Origin() as other, black_hole() as port:
        behaviour = throttle(1000) if kind == "slow" else hang
        other.serve("/bad", generated(1_000_000), behaviour, repeat=True)
        bad = f"http://127.0.0.1:{port}" if kind == "hole" else other.url("/bad")
        urls = [f"{bad}?{number}" for number in range(50)]
        results = asyncio.run(asyncio.wait_for(first([*urls, *good], 100, tmp_path), 15))
    assert [result.error for result in results] == [None] * 100
    assert {result.job.url for result in results} == set(good)


DEAD = "http://127.0.0.1:1"


def test_a_dead_host_fails_its_jobs_together_and_is_told_once(
    origin: Origin, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    good = origin.serve("/good", FILE)
    lines = [*(f"{DEAD}/{number}" for number in range(300)), good]
    (tmp_path / "list").write_text("\n".join(lines))
    done = run_fetchq("-i", "list", "--retries", "2", "--backoff", "0.01", "--no-store")
    assert done.returncode == 4
    assert (tmp_path / "good").read_bytes() == FILE.data
    told = "is given up, the jobs that it was not asked for fail: Cannot connect to 127.0.0.1:1"
    assert done.stderr.count(told) == 1
    assert "301 files: 1 done, 300 failed" in done.stderr
    assert done.stderr.count("failed   ") < 20
    assert done.stderr.count(f"\n  {DEAD}/") == 20, "the summary names as many as a screen shows"
    assert len(done.stderr.splitlines()) < 60
    assert f"{DEAD}/299, list:300: Not asked, since its host is given up: Cannot connect" not in done.stderr
    quiet = run_fetchq("-i", "list", "--retries", "2", "--backoff", "0.01", "--no-store", "-q")
    assert quiet.returncode == 4
    assert f"{DEAD}/299, list:300: Not asked, since its host is given up: Cannot connect" in quiet.stderr
    assert quiet.stderr.count("failed   ") == 300, "without a summary, each is named"


def test_a_job_with_a_mirror_outlives_its_dead_host(origin: Origin, tmp_path: Path) -> None:
    mirror = origin.serve("/good", FILE, repeat=True)
    jobs = [fetchq.Job(f"{DEAD}/{number}", f"{number}", mirrors=(mirror,)) for number in range(40)]
    settings = fetchq.Settings(retry=Retry(retries=1, backoff=0.01))

    async def work() -> list[fetchq.Result]:
        async with fetchq.Downloader(settings, dir=tmp_path) as downloader:
            return [result async for result in downloader.run(jobs)]

    assert [result.error for result in asyncio.run(asyncio.wait_for(work(), 20))] == [None] * 40
    assert len(list(tmp_path.iterdir())) == 40


def test_the_wait_between_two_requests_is_kept(tmp_path: Path) -> None:
    times: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        times.append(asyncio.get_running_loop().time())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def work() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = fetchq.Settings(queue=Queue(wait=3.0))
        async with fetchq.Downloader(settings, dir=tmp_path) as downloader:
            urls = [f"http://127.0.0.1:{port}/{number}" for number in range(5)]
            assert all([result.ok async for result in downloader.run(urls)])
        server.close()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(work())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(gaps) == 4
    assert all(2.9 < gap < 4.0 for gap in gaps), gaps


@pytest.mark.parametrize(("most", "failed"), [("1", 1), ("3", 3)])
def test_a_run_ends_at_so_many_failures(
    most: str, failed: int, origin: Origin, run_fetchq: RunFetchq, tmp_path: Path
) -> None:
    urls = [origin.serve(f"/{number}", FILE, status(404)) for number in range(20)]
    done = run_fetchq("-j", "1", "--max-failures", most, *urls)
    assert done.returncode == STATUS
    assert f"Stopping: {most} failed, as many as --max-failures allows." in done.stderr
    assert f"{failed} failed, {20 - failed} left" in done.stderr
    assert len(origin.requests) <= failed + 1
