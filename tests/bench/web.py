"""The servers that works are fetched from: a web server at full speed, and paced origins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from tests import servers
from tests.bench.works import Pace, Work

# Connections last as long as a work, and nothing is logged: the clients are measured, not the server.
NGINX = "access_log off; keepalive_requests 100000;"


class Web:
    """All servers over the files in one folder: paced ones start when first asked for, all stop together."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self._root = root
        self._authority = scratch / "authority"
        self.cacert = self._authority / "ca.pem"
        self._stack = ExitStack()
        self._paced: dict[Pace, str] = {}

    def __enter__(self) -> Self:
        self._authority.mkdir()
        certify(self._authority)
        self._server = self._stack.enter_context(
            servers.nginx(self._root, self._authority, extra=NGINX)
            if has_nginx()
            else servers.caddy(self._root, self._authority)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def name(self) -> str:
        """The program that serves at full speed."""
        return self._server.name

    def secure(self, name: str) -> str:
        """Return the https URL of a file."""
        return self._server.url(name, tls=True)

    def base(self, work: Work) -> str:
        """Return the beginning of the URLs of *work*."""
        if work.pace is None:
            return self._server.url("", tls=work.tls)
        if work.pace not in self._paced:
            self._paced[work.pace] = self._start(work.pace)
        return self._paced[work.pace]

    def _start(self, pace: Pace) -> str:
        script = Path(__file__).with_name("paced.py")
        process = subprocess.Popen(
            [sys.executable, script, self._root, str(pace.latency), str(pace.rate)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stack.callback(stop, process)
        assert process.stdout is not None
        return f"http://127.0.0.1:{process.stdout.readline().strip()}/"


def has_nginx() -> bool:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin") is not None


def certify(folder: Path) -> None:
    """Write ``ca.pem`` and, signed by it for this machine, ``server.pem`` and ``server.key``."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    leaf.private_key_pem.write_to_path(folder / "server.key")
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(folder / "server.pem", append=True)


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(10)
    if process.stdout is not None:
        process.stdout.close()
