"""How a connection goes wrong: when bytes come, and when they stop."""

from __future__ import annotations

from typing import Literal as OneOf

from .answer import Answer, Behaviour, Cut, Pace


def well(answer: Answer) -> None:
    """Does as RFC 9110 says: nginx, Caddy, Apache on a good day."""


def together(*behaviours: Behaviour) -> Behaviour:
    """Several behaviours in one answer."""

    def apply(answer: Answer) -> None:
        for behaviour in behaviours:
            behaviour(answer)

    return apply


def drop(after: int) -> Behaviour:
    """Closes after so many body bytes: a worker that is recycled, a proxy's own time limit."""
    return _cut(after, "close")


def reset(after: int) -> Behaviour:
    """Resets (RST) after so many body bytes: a firewall or load balancer that forgot the connection."""
    return _cut(after, "reset")


def stall(after: int) -> Behaviour:
    """Falls silent after so many body bytes and keeps the connection: a lost NAT entry, a hung disk."""
    return _cut(after, "stall")


def _cut(after: int, how: OneOf["close", "reset", "stall"]) -> Behaviour:
    def apply(answer: Answer) -> None:
        answer.cut = Cut(after, how)

    return apply


def hang(answer: Answer) -> None:
    """Takes the request and never answers: an application server whose workers are all stuck."""
    answer.raw, answer.cut = (), Cut(0, "stall")


def close_at_once(answer: Answer) -> None:
    """Closes without an answer: a server that is shutting down, or a kept-alive connection gone stale."""
    answer.raw = ()


def closes_idle(answer: Answer) -> None:
    """Promises keep-alive and closes: an idle limit that runs out between two requests."""
    answer.set("Connection", "keep-alive")
    answer.close = True


def latency(seconds: float) -> Behaviour:
    """Thinks before it answers: any server on another continent."""

    def apply(answer: Answer) -> None:
        answer.wait += seconds

    return apply


def drip(size: int, every: float) -> Behaviour:
    """A few bytes now and then, so that no read ever times out: an overloaded mirror, a tarpit."""

    def apply(answer: Answer) -> None:
        answer.body_pace = Pace(size, every)

    return apply


def throttle(rate: float) -> Behaviour:
    """So many bytes a second on each connection: nginx ``limit_rate``, most file hosters."""
    # Twenty steps a second: smooth for a client, cheap for us.
    return drip(max(int(rate / 20), 1), 1 / 20)


def slow_headers(size: int = 1, every: float = 0.05) -> Behaviour:
    """A head that arrives a few bytes at a time: a tarpit, a proxy that trickles to stay alive."""

    def apply(answer: Answer) -> None:
        answer.head_pace = Pace(size, every)

    return apply


def crowded(limit: int, instead: Behaviour) -> Behaviour:
    """Treats requests beyond *limit* at once differently: per-client connection limits."""

    def apply(answer: Answer) -> None:
        if answer.request.active > limit:
            instead(answer)

    return apply
