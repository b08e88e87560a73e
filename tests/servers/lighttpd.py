"""lighttpd, a single process."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from .process import Server, need, running, written


def lighttpd(root: Path, *, compress: bool = False) -> AbstractContextManager[Server]:
    program = need("lighttpd")

    def command(server: Server, state: Path) -> list[str]:
        config = written(state / "lighttpd.conf", _config(server, state, compress))
        return [program, "-D", "-f", config]

    return running("lighttpd", root, command)


def _config(server: Server, state: Path, compress: bool) -> str:
    deflate = """
server.modules = ("mod_deflate")
deflate.mimetypes = ("")
deflate.allowed-encodings = ("gzip")
"""
    return f"""
server.document-root = "{server.root}"
server.bind = "127.0.0.1"
server.port = {server.port}
server.errorlog = "{state}/error.log"
server.upload-dirs = ("{state}")
# Otherwise it sends a replaced file's old content for a second or two.
server.stat-cache-engine = "disable"
mimetype.assign = (".txt" => "text/plain", "" => "application/octet-stream")
{deflate if compress else ""}
"""
