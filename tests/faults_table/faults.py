"""The faults, each as what an origin does and what happens around it.

Programs probe, split and retry in different rhythms, so no fault counts requests: what is asked for decides.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from tests.origin import (
    Answer,
    Behaviour,
    Generated,
    Resource,
    backwards,
    both_length_and_chunked,
    breaks_if_range,
    change,
    chunked,
    close_at_once,
    close_delimited,
    crowded,
    drip,
    drop,
    early_start,
    endless_headers,
    etag_per_request,
    generated,
    gzip_anyway,
    hang,
    header,
    ignore_range,
    informational,
    latency,
    multipart_byteranges,
    no_content_range,
    page_as_206,
    range_of_gzip,
    redirect,
    refuses_if_range,
    refuses_range,
    repr_digest,
    reset,
    right_slice_as_200,
    shifted,
    signed,
    slow_headers,
    stall,
    status,
    status_416,
    throttle,
    together,
    unknown_total,
    well,
    wrong_end,
    wrong_start,
    wrong_total,
)

SIZE = 1 << 20
# Not on the border of any block that a cache, a program or a file system would use.
REACHED = 300_007

LATER = "Thu, 02 Jan 2025 00:00:00 GMT"
FILE = generated(SIZE, 1)
BARE = generated(SIZE, 1, etag=None, last_modified=None)
DATED = generated(SIZE, 1, etag=None)


class Then(Enum):
    """What happens around the origin."""

    NOTHING = "one run"
    KILL = "killed with SIGKILL midway"
    AGAIN = "killed with SIGKILL midway, then the same command again"
    SIDECAR = "the same, after the sidecar was filled with zeros"
    FULL = "the disk is full midway, then the same command again with room"
    TWO = "a second process begins while the first is at work"
    TAKEN = "a file that is something else has that name already"


@dataclass(frozen=True)
class Fault:
    """One row.

    :param behave: a fresh behaviour for each program; with a second run it is that run's.
    :param newer: what the URL gives later: midway, or to the second run.
    :param known: the user knows the SHA-256.
    :param hopeless: the file cannot be had, so that a clean failure is the best end.
    :param signed: the URL redirects to a signed one, which has the fault.
    :param bound: seconds after which a run counts as hanging.
    """

    title: str
    behave: Callable[[], Behaviour] = lambda: well
    resource: Resource = FILE
    then: Then = Then.NOTHING
    newer: Resource | None = None
    known: bool = False
    hopeless: bool = False
    signed: bool = False
    bound: float = 60.0


def during(first: Behaviour, then: Behaviour, seconds: float = 1.0) -> Behaviour:
    """Behave as *first* for some seconds from the first GET, as *then* ever after."""
    began: list[float] = []

    def apply(answer: Answer) -> None:
        if answer.request.method == "GET":
            began.append(answer.request.at)
        (first if not began or answer.request.at - began[0] < seconds else then)(answer)

    return apply


def outage(then: Behaviour = well, how: Callable[[int], Behaviour] = drop) -> Behaviour:
    """Break off at an offset whoever begins near the start; who resumes, or begins again, meets *then*.

    The first bytes are the first version's, in whatever order the parts of a file are asked for.
    """
    begun: set[str | None] = set()
    first: list[Resource] = []

    def apply(answer: Answer) -> None:
        asked = answer.request.range
        first.append(answer.resource)
        if answer.request.method != "GET" or answer.start >= REACHED // 2 or asked in begun:
            return then(answer)
        begun.add(asked)
        if answer.resource.content != first[0].content:
            answer.resource = first[0]
            answer.well()
        return how(REACHED - answer.start)(answer)

    return apply


def reaches(how: Callable[[int], Behaviour], beyond: Behaviour) -> Behaviour:
    """Has the first bytes of the file only: an answer ends there, and *beyond* there is none."""
    return lambda answer: (how(REACHED - answer.start) if answer.start < REACHED else beyond)(answer)


def on_range(behaviour: Behaviour) -> Behaviour:
    """Only for requests with a Range."""
    return lambda answer: behaviour(answer) if answer.request.range else None


def empty_line_first(answer: Answer) -> None:
    """Sends an empty line before the answer, as scripts that print one too many."""
    answer.prologue = (b"\r\n",)


def limited(answer: Answer) -> None:
    """Refuses as GitHub does, until a moment that is told in seconds since 1970."""
    answer.say(403, b"rate limit exceeded")
    answer.set("X-RateLimit-Remaining", "0")
    answer.set("X-RateLimit-Reset", str(int(time.time()) + 1))


def not_gzip(answer: Answer) -> None:
    """Says gzip of bytes that are not: a configuration that labels all files of a folder."""
    answer.set("Content-Encoding", "gzip")


def corrupt() -> Behaviour:
    """Send other bytes of the same length, with all the facts of the right ones, until asked again."""
    spoilt: set[str | None] = set()

    def apply(answer: Answer) -> None:
        if answer.request.method == "GET" and answer.request.range not in spoilt:
            spoilt.add(answer.request.range)
            answer.content = Generated(SIZE, 666)

    return apply


def digest(answer: Answer) -> None:
    """Promises the SHA-256 in the older way too (RFC 3230), which is the one that aria2 asks for."""
    told = base64.b64encode(answer.resource.digest("sha256")).decode()
    answer.set("Digest", f"SHA-256={told}")


def checksum_header(answer: Answer) -> None:
    """Promises the SHA-256 as Artifactory does."""
    answer.set("X-Checksum-Sha256", answer.resource.sha256)


def _resumed(title: str, then: Behaviour, resource: Resource = FILE) -> Fault:
    return Fault(f"breaks off; the resume {title}", lambda: outage(then), resource)


def _delayed(title: str, first: Behaviour) -> Fault:
    # Each program has a second of its own.
    return Fault(f"breaks off; the resume meets {title}", lambda: outage(during(first, well)))


def _published(title: str, newer: Resource, resource: Resource = FILE) -> Fault:
    return Fault(
        f"breaks off; meanwhile a new version, {title}", lambda: outage(change(newer)), resource, newer=newer
    )


NEWER = generated(SIZE, 2, etag='"v2"', last_modified=LATER)
NEWER_DATED = generated(SIZE, 2, etag=None, last_modified=LATER)
# tornado computes a file's ETag once.
NEWER_TAGGED = generated(SIZE, 2, last_modified=LATER)
NEWER_BARE = generated(SIZE, 2, etag=None, last_modified=None)

FAULTS = (
    Fault("breaks off once; the server resumes well", outage),
    Fault("every connection is reset after 300 kB", lambda: reset(REACHED)),
    _resumed("is answered with 200 and the whole file", ignore_range),
    _resumed("starts at a block's border before what was asked", early_start(65536)),
    _resumed("starts elsewhere, and says so", wrong_start(5000)),
    _resumed("gives other bytes than its Content-Range says, with no other sign", shifted(-1000)),
    _resumed("has another total in Content-Range", wrong_total(7)),
    _resumed("has an end in Content-Range that does not fit", wrong_end(7)),
    _resumed("has `*` for the total", unknown_total),
    _resumed("is a 206 without Content-Range", on_range(no_content_range)),
    _resumed("is `multipart/byteranges`", multipart_byteranges),
    _resumed("is the right slice under status 200", on_range(right_slice_as_200)),
    _resumed("is a slice of the gzip form", range_of_gzip),
    _resumed("is an error page under status 206", on_range(page_as_206)),
    _resumed("is refused with 416 and the right total", on_range(status_416())),
    _resumed("is refused with 416 and no total", on_range(status_416("none"))),
    _resumed("is refused with 403, as every request with Range", refuses_range(403)),
    _resumed("is refused with 501, as every request with Range", refuses_range(501)),
    _resumed("is answered with 304, as every request with If-Range", refuses_if_range(304)),
    _resumed("is a 206 whose Content-Range runs backwards", backwards),
    _delayed("503 for a second", status(503)),
    _delayed("202 with Retry-After: 1 for a second", status(202, retry_after=1)),
    _delayed("a rate limit of a second, told as GitHub does", limited),
    _resumed("gets an empty line before the status line", empty_line_first),
    _published("new ETag, same length", NEWER),
    _published("new date, no ETag, same length", NEWER_DATED, DATED),
    _published("new date, old ETag, same length", NEWER_TAGGED),
    _published("no ETag, no date, same length", NEWER_BARE, BARE),
    _published("longer", generated(SIZE + 5000, 2, etag='"v2"', last_modified=LATER)),
    _resumed("meets a server that answers If-Range with 200", breaks_if_range),
    _resumed("finds no ETag and no date, and nothing changed", well, BARE),
    Fault("breaks off; the ETag is another one in each answer", lambda: together(etag_per_request, outage())),
    Fault(
        "a signed URL behind a redirect expires when it breaks off",
        lambda: together(signed(1), outage()),
        signed=True,
    ),
    Fault("gzip though identity was asked for", gzip_anyway),
    Fault("labelled gzip, and it is not", lambda: not_gzip),
    Fault("labelled with a coding that nobody knows", lambda: header("Content-Encoding", "aws-chunked")),
    Fault("chunked, breaks off without the last chunk", lambda: together(chunked(), outage())),
    Fault("no length, reset midway", lambda: during(together(close_delimited, reset(REACHED)), well)),
    Fault(
        "no length, closed midway: nobody can tell",
        lambda: together(close_delimited, reaches(drop, close_at_once)),
        hopeless=True,
    ),
    Fault("chunked, and a Content-Length that is too small", lambda: both_length_and_chunked(REACHED)),
    Fault("right length, wrong bytes, and the user knows the checksum", corrupt, known=True),
    Fault(
        "right length, wrong bytes, and the server sends its digest",
        lambda: together(repr_digest(), digest, corrupt()),
    ),
    Fault(
        "right length, wrong bytes, and the server sends X-Checksum-Sha256",
        lambda: together(checksum_header, corrupt()),
    ),
    Fault("every other connection is left waiting: one request at a time", lambda: crowded(1, hang)),
    Fault("no answer at first", lambda: during(hang, well)),
    Fault("falls silent midway", lambda: outage(how=stall)),
    Fault("a byte a second at first", lambda: during(drip(1, 1.0), well), bound=75.0),
    Fault("a head that trickles for ever", lambda: slow_headers(1, 1.0), hopeless=True, bound=75.0),
    Fault("a head without an end", lambda: endless_headers, hopeless=True),
    Fault("1xx answers without an end", lambda: informational(count=None), hopeless=True),
    Fault("redirects in a circle", lambda: redirect("/a.bin"), hopeless=True),
    Fault("503 with Retry-After: 1 for a second", lambda: during(status(503, retry_after=1), well)),
    Fault("SIGKILL midway: what stands under the final name", then=Then.KILL, hopeless=True),
    Fault("SIGKILL midway, the same command again", then=Then.AGAIN),
    Fault(
        "SIGKILL midway, a new version of the same length, again",
        then=Then.AGAIN,
        newer=NEWER,
    ),
    Fault(
        "SIGKILL midway, a new version without ETag or date, again",
        resource=BARE,
        then=Then.AGAIN,
        newer=NEWER_BARE,
    ),
    Fault("SIGKILL midway, the sidecar filled with zeros, again", then=Then.SIDECAR),
    Fault("the disk is full midway; again with room", then=Then.FULL),
    Fault(
        "a second process fetches it while the first is at work",
        lambda: together(throttle(300_000), crowded(1, latency(0.5))),
        then=Then.TWO,
    ),
    Fault("an unrelated, shorter file has that name already", then=Then.TAKEN),
)
