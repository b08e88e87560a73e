"""Caddy: ranges, ETags, HTTP/1.1 and, over TLS, HTTP/2."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .process import Server, need, running


@contextlib.contextmanager
def caddy(
    root: Path,
    authority: Path | None = None,
    *,
    handlers: list[dict[str, Any]] | None = None,
    compress: bool = False,
) -> Iterator[Server]:
    """*handlers* come before its file server."""
    program = need("caddy")
    before = [_ENCODE] if compress else []

    def command(server: Server, state: Path) -> list[str]:
        config = state / "caddy.json"
        config.write_text(json.dumps(_config(server, state, authority, [*before, *(handlers or [])])))
        return [program, "run", "--config", str(config)]

    with running("caddy", root, command, authority) as server:
        yield server


_ENCODE: dict[str, Any] = {
    "handler": "encode",
    "encodings": {"gzip": {}},
    "minimum_length": 1,
    "match": {"headers": {"Content-Type": ["*"]}},
}


def _config(
    server: Server, state: Path, authority: Path | None, handlers: list[dict[str, Any]]
) -> dict[str, Any]:
    routes = [{"handle": [*handlers, {"handler": "file_server", "root": str(server.root)}]}]
    plain: dict[str, Any] = {
        "listen": [f"127.0.0.1:{server.port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1", "h2"],
        "routes": routes,
        "logs": {},
    }
    apps: dict[str, Any] = {"http": {"servers": {"plain": plain}}}
    if authority is not None:
        secure = {**plain, "listen": [f"127.0.0.1:{server.tls_port}"], "tls_connection_policies": [{}]}
        apps["http"]["servers"]["secure"] = secure
        files = {"certificate": str(authority / "server.pem"), "key": str(authority / "server.key")}
        apps["tls"] = {"certificates": {"load_files": [files]}}
    access = {
        "writer": {"output": "file", "filename": str(server.log), "roll": False},
        "encoder": {"format": "json"},
        "include": ["http.log.access"],
    }
    return {
        "admin": {"disabled": True, "config": {"persist": False}},
        "storage": {"module": "file_system", "root": str(state / "caddy")},
        "logging": {"logs": {"default": {"exclude": ["http.log.access"]}, "access": access}},
        "apps": apps,
    }
