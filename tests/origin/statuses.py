"""Answers that are something other than the file."""

from __future__ import annotations

import base64

from .answer import Answer, Behaviour
from .heads import header


def status(code: int, *, retry_after: str | int | None = None, body: bytes = b"no") -> Behaviour:
    """Answers this status: an upstream that is away (502, 503), a limit (429), a page that is gone (404)."""

    def apply(answer: Answer) -> None:
        answer.say(code, body)
        if retry_after is not None:
            answer.set("Retry-After", str(retry_after))

    return apply


def redirect(to: str, code: int = 302) -> Behaviour:
    """Sends elsewhere: GitHub releases, SourceForge's mirrors, every login page."""

    def apply(answer: Answer) -> None:
        answer.say(code, b"moved")
        answer.set("Location", to)

    return apply


def sign(to: str) -> Behaviour:
    """Redirects to a URL with a fresh signature each time: S3, GitHub assets, Hugging Face."""

    def apply(answer: Answer) -> None:
        redirect(f"{to}?X-Signature={answer.turn}")(answer)

    return apply


def signed(uses: int = 1) -> Behaviour:
    """Answers 403 once a signature was used so often: a signed URL that expired."""
    used: dict[str, int] = {}

    def apply(answer: Answer) -> None:
        signature = answer.request.query.get("X-Signature", "")
        used[signature] = used.get(signature, 0) + 1
        if not signature or used[signature] > uses:
            answer.say(403, b"<Error><Code>AccessDenied</Code></Error>", "application/xml")

    return apply


def basic_auth(user: str, password: str) -> Behaviour:
    """Answers 401 without this user and password."""
    right = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def apply(answer: Answer) -> None:
        if answer.request.headers.get("authorization") != right:
            answer.say(401, b"who are you?")
            answer.set("WWW-Authenticate", 'Basic realm="origin"')

    return apply


def set_cookie(value: str) -> Behaviour:
    """Sets a cookie: download counters, consent pages."""
    return header("Set-Cookie", value)


def no_content(answer: Answer) -> None:
    """Answers 204: a file that was published before it was filled."""
    answer.say(204)


def empty(answer: Answer) -> None:
    """Answers 200 with no bytes at all: a failed upload, a full disk at the publisher."""
    answer.say(200)


def error_page(answer: Answer) -> None:
    """Answers a page for people under 200, whatever was asked: captive portals, soft 404s."""
    answer.say(200, b"<!doctype html><title>Sorry</title><p>Please log in.", "text/html")


def page_as_206(answer: Answer) -> None:
    """A page for people under 206, with the range that was asked: a broken cache in front of an error."""
    said = answer.get("Content-Range")
    answer.say(206, b"<!doctype html><title>Bad gateway</title>", "text/html")
    if said is not None:
        answer.set("Content-Range", said)
