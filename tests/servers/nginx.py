"""nginx with one worker."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path

from .process import Server, need, running, written

_COMPRESS = "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;"


def nginx(
    root: Path,
    authority: Path | None = None,
    *,
    extra: str = "",
    around: str = "",
    http2: bool = False,
    compress: bool = False,
) -> AbstractContextManager[Server]:
    """*extra* lines go into its server block, such as ``limit_rate 2m;``, those of *around* before it."""
    program = need("nginx")
    lines = f"{_COMPRESS} {extra}" if compress else extra

    def command(server: Server, state: Path) -> list[str]:
        config = written(
            state / "nginx.conf", _config(server, state, authority, (around, lines), " http2" if http2 else "")
        )
        return [program, "-e", str(state / "error.log"), "-p", str(state), "-c", config]

    return running("nginx", root, command, authority)


def _config(server: Server, state: Path, authority: Path | None, lines: tuple[str, str], http2: str) -> str:
    around, extra = lines
    told = {"method": "$request_method", "target": "$request_uri", "range": "$http_range"}
    numbers = '"status":$status,"bytes":$body_bytes_sent,"protocol":"$server_protocol"'
    line = json.dumps(told, separators=(",", ":"))[:-1] + "," + numbers + "}"
    temporary = "\n".join(
        f"    {kind}_temp_path {state}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    secure = ""
    if authority is not None:
        secure = f"""
        listen 127.0.0.1:{server.tls_port} ssl{http2};
        ssl_certificate {authority}/server.pem;
        ssl_certificate_key {authority}/server.key;"""
    # Without this line root's nginx drops its rights, and may not read a test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
daemon off;
{user}
worker_processes 1;
pid {state}/nginx.pid;
error_log {state}/error.log warn;
events {{ worker_connections 1024; }}
http {{
{temporary}
    log_format lines escape=json '{line}';
    access_log {server.log} lines;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    {around}
    server {{
        listen 127.0.0.1:{server.port};{secure}
        root {server.root};
        {extra}
    }}
}}
"""
