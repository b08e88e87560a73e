"""Servers written in Python: Hypercorn, uvicorn, tornado, twisted and the standard library's."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from .process import APPS, Server, need, need_package, running


def hypercorn(
    root: Path, authority: Path | None = None, *, app: str = "whole", compress: bool = False
) -> AbstractContextManager[Server]:
    """Hypercorn with a small application: HTTP/1.1 and, over TLS, HTTP/2.

    *app* ``whole`` sends whole files, ``starlette_files`` ranges as well, and gzip to whom asks for it.
    """
    need("hypercorn")
    program = "starlette_files" if compress else app

    def command(server: Server, state: Path) -> list[str]:
        words = ["-m", "hypercorn", "--graceful-timeout", "0", "--insecure-bind", f"127.0.0.1:{server.port}"]
        if authority is None:
            words[-2] = "--bind"
        else:
            certificate = ["--certfile", f"{authority}/server.pem", "--keyfile", f"{authority}/server.key"]
            words += ["--bind", f"127.0.0.1:{server.tls_port}", *certificate]
        return [sys.executable, *words, f"{program}:application"]

    return running("hypercorn", root, command, authority)


def uvicorn(
    root: Path, *, app: str = "starlette_files", compress: bool = False
) -> AbstractContextManager[Server]:
    """uvicorn with starlette's files, which know ranges, or another *app*; gzip to whom asks for it."""
    need("uvicorn")

    def command(server: Server, state: Path) -> list[str]:
        words = ["-m", "uvicorn", "--port", str(server.port), "--lifespan", "off", "--log-level", "warning"]
        return [sys.executable, *words, f"{app}:application"]

    return running("uvicorn", root, command)


def tornado(root: Path, *, compress: bool = False) -> AbstractContextManager[Server]:
    """tornado's files, whose ETag it computes once for each path."""
    need_package("tornado")
    return running("tornado", root, lambda server, _: _script("tornado_files", server))


def twisted(root: Path, *, compress: bool = False) -> AbstractContextManager[Server]:
    """twisted's files: dates without ETags."""
    need_package("twisted")
    return running("twisted", root, lambda server, _: _script("twisted_files", server))


def http_server(
    root: Path, *, protocol: str = "HTTP/1.0", compress: bool = False
) -> AbstractContextManager[Server]:
    """``python -m http.server``: dates, and no ranges; it never compresses."""

    def command(server: Server, state: Path) -> list[str]:
        words = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", str(root), "--protocol", protocol]
        return [sys.executable, *words, str(server.port)]

    return running("http.server", root, command)


def _script(name: str, server: Server) -> list[str]:
    return [sys.executable, str(APPS / f"{name}.py"), str(server.port), str(server.root)]
