"""Range requests answered rightly, wrongly and not at all; validators that hold and that do not."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Literal as OneOf

from .answer import Answer, Behaviour
from .resource import Resource


def ignore_range(answer: Answer) -> None:
    """Answers 200 and everything to a Range: scripts that stream, many application servers."""
    answer.whole()


def right_slice_as_200(answer: Answer) -> None:
    """Sends the right slice with Content-Range under 200: home-made handlers that forgot the status."""
    answer.status = 200


def early_start(align: int) -> Behaviour:
    """Starts at a block's border before what was asked, and says so: block-aligned caches."""

    def apply(answer: Answer) -> None:
        if answer.status == 206:
            answer.part(answer.start // align * align, answer.stop)

    return apply


def wrong_start(by: int) -> Behaviour:
    """Starts elsewhere than asked, and says so: caches that key on the URL and forget the Range."""

    def apply(answer: Answer) -> None:
        if answer.status == 206:
            answer.part(min(max(answer.start + by, 0), answer.stop - 1), answer.stop)

    return apply


def shifted(by: int) -> Behaviour:
    """Sends other bytes than its Content-Range says: offsets computed in the encoded form."""

    def apply(answer: Answer) -> None:
        if answer.status == 206:
            answer.start, answer.stop = answer.start + by, answer.stop + by

    return apply


def wrong_total(by: int = 1) -> Behaviour:
    """A Content-Range whose total is another: a cache that mixes two versions."""
    return _relabel(total_by=by)


def unknown_total(answer: Answer) -> None:
    """A Content-Range with ``*`` for the total: allowed, and sent by proxies that stream."""
    if answer.status == 206:
        answer.set("Content-Range", f"bytes {answer.start}-{answer.stop - 1}/*")


def wrong_end(by: int = 1) -> Behaviour:
    """A Content-Range whose last byte does not fit the body: an end counted as exclusive."""
    return _relabel(end_by=by)


def _relabel(end_by: int = 0, total_by: int = 0) -> Behaviour:
    def apply(answer: Answer) -> None:
        if answer.status == 206:
            end, total = answer.stop - 1 + end_by, answer.resource.size + total_by
            answer.set("Content-Range", f"bytes {answer.start}-{end}/{total}")

    return apply


def no_content_range(answer: Answer) -> None:
    """A 206 that does not say which part: header-stripping proxies."""
    answer.remove("Content-Range")


def multipart_byteranges(answer: Answer) -> None:
    """A single range wrapped in multipart/byteranges: servers that take every Range for several."""
    if answer.status != 206:
        return
    label = answer.get("Content-Range")
    data = answer.content.read(answer.start, answer.stop)
    body = f"--THIS\r\nContent-Range: {label}\r\n\r\n".encode() + data + b"\r\n--THIS--\r\n"
    answer.say(206, body, "multipart/byteranges; boundary=THIS")


def status_416(total: OneOf["right", "none"] | int = "right") -> Behaviour:
    """Refuses the range, naming the right total, none, or a wrong one."""

    def apply(answer: Answer) -> None:
        size = answer.resource.size if total == "right" else total
        answer.say(416)
        if total != "none":
            answer.set("Content-Range", f"bytes */{size}")

    return apply


def change(to: Resource) -> Behaviour:
    """From this request on the resource is another one: a nightly build published meanwhile."""

    def apply(answer: Answer) -> None:
        answer.resource = to
        answer.well()

    return apply


def etag_per_request(answer: Answer) -> None:
    """Another ETag each time for the same bytes: edges that make the tag from inode and mtime."""
    answer.resource = replace(answer.resource, etag=f'"edge-{answer.request.number}"')
    answer.well()


def breaks_if_range(answer: Answer) -> None:
    """Answers 200 whenever If-Range is sent: CDNs that drop the tag on compressed objects."""
    if answer.request.if_range is not None:
        answer.whole()


def refuses_range(code: int) -> Behaviour:
    """Answers an error whenever Range is sent: hosts and firewalls that forbid it, ranges beyond the end."""

    def apply(answer: Answer) -> None:
        if answer.request.range is not None:
            answer.say(code, b"no ranges here")

    return apply


def refuses_if_range(code: int) -> Behaviour:
    """Answers an error, or 304, to If-Range: servers that take it for If-Match or If-None-Match."""

    def apply(answer: Answer) -> None:
        if answer.request.if_range is not None:
            answer.say(code, b"" if code == 304 else b"no")

    return apply


def backwards(answer: Answer) -> None:
    """A 206 for a range beyond the end, with lengths below nothing: koa-range."""
    if answer.request.range is not None:
        size = answer.resource.size
        answer.say(206)
        answer.set("Content-Range", f"bytes {size + 100}-{size - 1}/{size}")
        answer.set("Content-Length", "-100")


def repr_digest(right: bool = True) -> Behaviour:
    """Promises the SHA-256 of the whole representation (RFC 9530 section 3), kept or broken."""

    def apply(answer: Answer) -> None:
        told = _told(answer, "sha256", right)
        answer.set("Repr-Digest", f"sha-256=:{told}:")

    return apply


def content_md5(right: bool = True) -> Behaviour:
    """Promises the MD5 of the whole: S3 and older mirrors, under 206 too."""

    def apply(answer: Answer) -> None:
        answer.set("Content-MD5", _told(answer, "md5", right))

    return apply


def _told(answer: Answer, algorithm: str, right: bool) -> str:
    digest = answer.resource.digest(algorithm)
    return base64.b64encode(digest if right else bytes(len(digest))).decode()
