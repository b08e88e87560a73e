"""A server's conduct as a value: sound by default, made odd by chance, and made simple again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

from . import oddities

# Over it lies what all three take back of an unfinished file, and what a small buffer would hide.
RESUMED = 100_000


@dataclass(frozen=True)
class Hop:
    """One redirect.

    :param location: may hold ``HERE`` for this server, and ``THERE`` for it under another host name.
    """

    location: str = "next"
    status: int = 302
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """What the server does, from the first request on.

    :param hops: redirects that lead to the file.
    :param challenges: fields of a 401 that precede the file; each is a whole value of WWW-Authenticate.
    :param interim: 1xx answers before each answer.
    :param cut: bytes after which the first run of a program is cut off, for a second one to resume; 0 for none.
    :param resume: how a request for a range is answered, a name in :data:`oddities.RESUMES`.
    :param pieces: bytes that are sent at once; 0 for all.
    """

    size: int = 3000
    name: str = "file.bin"
    version: str = "HTTP/1.1"
    status: str = "200 OK"
    framing: str = "length"
    chunk: int = 1000
    extension: str = ""
    trailer: str = ""
    coding: str = ""
    label: str | None = None
    fields: tuple[str, ...] = ()
    line_end: str = "\r\n"
    pieces: int = 0
    interim: tuple[str, ...] = ()
    hops: tuple[Hop, ...] = ()
    challenges: tuple[str, ...] = ()
    cut: int = 0
    resume: str = "well"

    def told(self) -> str:
        """Return it as the call that makes it, without what is sound."""
        odd = [
            f"{name}={getattr(self, name)!r}"
            for name in _names()
            if getattr(self, name) != getattr(SOUND, name)
        ]
        return f"Scenario({', '.join(odd)})"


SOUND = Scenario()


def _names() -> list[str]:
    return [field.name for field in fields(Scenario)]


def by_chance(dice: Random) -> Scenario:
    """Return a scenario with one to four oddities."""
    scenario = replace(SOUND, size=dice.choice((0, 1, 5, 100, 3000, 16384, 65536, 70_000)))
    for move in dice.sample(MOVES, dice.choice((1, 1, 2, 2, 3, 4))):
        scenario = replace(scenario, **move(dice, scenario))
    return _comparable(scenario)


def _comparable(scenario: Scenario) -> Scenario:
    """Leave away what the others do in their own way: they do not send what /a//b has set to /a/c.

    RFC 6265 section 5.1.4 has it sent.
    """
    if not any(field.startswith("Set-Cookie") for hop in scenario.hops for field in hop.fields):
        return scenario
    hops = tuple(replace(hop, location="next") if "//" in hop.location else hop for hop in scenario.hops)
    return replace(scenario, hops=hops, name=SOUND.name if "//" in scenario.name else scenario.name)


Move = Callable[[Random, Scenario], dict[str, Any]]


def _chunked(dice: Random, now: Scenario) -> dict[str, Any]:
    return {
        "framing": "chunked",
        "size": min(now.size, 3000),
        "chunk": dice.choice((1, 7, 1000, 4096)),
        "extension": dice.choice(("", "", ";a=b", " ", ";", ' ;x="y;z"')),
        "trailer": dice.choice(("", "", "X: y", 'ETag: "z"', "Content-Length: 1")),
    }


def _coded(dice: Random, now: Scenario) -> dict[str, Any]:
    coding = dice.choice(("gzip", "gzip", "deflate", "bare deflate", ""))
    return {"coding": coding, "label": dice.choice((None, None, *oddities.LABELS))}


def _redirected(dice: Random, now: Scenario) -> dict[str, Any]:
    return {"hops": tuple(_hop(dice) for _ in range(dice.choice((1, 1, 2, 3))))}


def _with_cookies(dice: Random, now: Scenario) -> dict[str, Any]:
    hops = [_hop(dice) for _ in range(dice.choice((1, 2, 2)))]
    setting = [tuple(f"Set-Cookie: {dice.choice(oddities.COOKIES)}" for _ in range(2)) for _ in hops]
    paired = zip(hops, setting, strict=True)
    return {"hops": tuple(replace(hop, fields=hop.fields + cookies) for hop, cookies in paired)}


def _hop(dice: Random) -> Hop:
    # Of two places none is meant.
    harmless = [field for field in oddities.FIELDS if not field.startswith("Location")]
    found = (dice.choice(harmless),) if dice.random() < 0.2 else ()
    location = dice.choice(oddities.LOCATIONS if dice.random() < 0.7 else ("next", "HERE/a/b", "THERE/c"))
    return Hop(location, dice.choice((301, 302, 302, 303, 307, 308)), found)


def _resumed(dice: Random, now: Scenario) -> dict[str, Any]:
    return {
        "size": RESUMED,
        "cut": dice.choice((1, 20_000, 50_000, RESUMED - 1)),
        "resume": dice.choice(tuple(oddities.RESUMES)),
        "framing": dice.choice(("length", "length", "chunked")),
        "chunk": 8192,
        "fields": (dice.choice(oddities.VALIDATORS),),
    }


def _challenged(dice: Random, now: Scenario) -> dict[str, Any]:
    return {"challenges": tuple(dice.choice(oddities.CHALLENGES) for _ in range(dice.choice((1, 1, 2))))}


MOVES: tuple[Move, ...] = (
    _chunked,
    _coded,
    _redirected,
    _redirected,
    _with_cookies,
    _with_cookies,
    _resumed,
    _resumed,
    _challenged,
    _challenged,
    lambda dice, now: {"framing": "close"},
    lambda dice, now: {"status": dice.choice(oddities.STATUSES)},
    lambda dice, now: {"version": "HTTP/1.0"},
    lambda dice, now: {"name": dice.choice(oddities.NAMES)},
    lambda dice, now: {"fields": (*now.fields, dice.choice(oddities.FIELDS))},
    lambda dice, now: {"fields": (*now.fields, *(dice.choice(oddities.FIELDS) for _ in range(3)))},
    lambda dice, now: {"line_end": "\n"},
    lambda dice, now: {"pieces": dice.choice((97, 1400))},
    lambda dice, now: {"interim": tuple(dice.choice(oddities.INTERIM) for _ in range(dice.choice((1, 2, 5))))},
)


def simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Yield it with one oddity less, in every way."""
    for name in _names():
        value, sound = getattr(scenario, name), getattr(SOUND, name)
        if value == sound:
            continue
        yield replace(scenario, **{name: sound})
        if isinstance(value, tuple):
            for at in range(len(value)):
                fewer: dict[str, Any] = {name: value[:at] + value[at + 1 :]}
                yield replace(scenario, **fewer)
    for at, hop in enumerate(scenario.hops):
        for less in _simpler_hop(hop):
            yield replace(scenario, hops=(*scenario.hops[:at], less, *scenario.hops[at + 1 :]))


def _simpler_hop(hop: Hop) -> Iterator[Hop]:
    if hop.location != "next":
        yield replace(hop, location="next")
    if hop.status != 302:
        yield replace(hop, status=302)
    for at in range(len(hop.fields)):
        yield replace(hop, fields=hop.fields[:at] + hop.fields[at + 1 :])
