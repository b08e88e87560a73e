"""Caddy: ranges, ETags, HTTP/1.1 and, over TLS, HTTP/2."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .process import Server, need, running, written


def caddy(
    root: Path,
    authority: Path | None = None,
    *,
    handlers: list[dict[str, Any]] | None = None,
    compress: bool = False,
) -> AbstractContextManager[Server]:
    """*handlers* come before its file server."""
    program = need("caddy")
    before = [_ENCODE] if compress else []

    def command(server: Server, state: Path) -> list[str]:
        config = written(
            state / "caddy.json", json.dumps(_config(server, state, authority, [*before, *(handlers or [])]))
        )
        return [program, "run", "--config", config]

    return running("caddy", root, command, authority)


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
