"""An ASGI application that sends whole files and knows no ranges."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


async def application(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """GET gives a file of the folder in ``SERVED_ROOT``, in full; each request is logged."""
    if scope["type"] != "http":
        return
    data = _file(scope["path"])
    status = 404 if data is None else 200
    body = data or b""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for at in range(0, len(body), 65536):
        await send({"type": "http.response.body", "body": body[at : at + 65536], "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    _record(scope, status, len(body))


def _file(path: str) -> bytes | None:
    target = Path(os.environ["SERVED_ROOT"], path.lstrip("/"))
    return target.read_bytes() if target.is_file() else None


def _record(scope: dict[str, Any], status: int, sent: int) -> None:
    entry = {
        "method": scope["method"],
        "target": scope["path"],
        "status": status,
        "bytes": sent,
        "range": next((value.decode() for name, value in scope["headers"] if name == b"range"), ""),
        "protocol": f"HTTP/{scope['http_version']}",
    }
    with Path(os.environ["SERVED_LOG"]).open("a") as log:
        log.write(json.dumps(entry) + "\n")
