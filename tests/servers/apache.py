"""Apache with its event module. As root it reads only what everybody may read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from .process import Server, need, running, written

# Debian's, as is the program's name.
_MODULES = Path("/usr/lib/apache2/modules")


def apache(
    root: Path, *, compress: bool = False, modules: Sequence[str] = (), extra: str = ""
) -> AbstractContextManager[Server]:
    """*extra* lines say who may read its folder, such as ``Require valid-user``; *modules* are for them."""
    program = need("apache2")

    def command(server: Server, state: Path) -> list[str]:
        config = written(state / "apache.conf", _config(server, state, compress, modules, extra))
        return [program, "-f", config, "-D", "FOREGROUND"]

    return running("apache", root, command)


def _config(server: Server, state: Path, compress: bool, modules: Sequence[str], extra: str) -> str:
    names = ("mpm_event", "authz_core", "filter", "deflate", *modules)
    told = {"method": "%m", "target": "%U%q", "range": "%{Range}i", "protocol": "%H"}
    line = json.dumps(told, separators=(",", ":"))[:-1] + ',"status":%>s,"bytes":%B}'
    loaded = "\n".join(f"LoadModule {name}_module {_MODULES}/mod_{name}.so" for name in names)
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    return f"""
ServerRoot {state}
ServerName 127.0.0.1
PidFile {state}/apache.pid
Mutex pthread
ErrorLog {state}/error.log
LogFormat {json.dumps(line)} lines
CustomLog {server.log} lines
Listen 127.0.0.1:{server.port}
{loaded}
{user}
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
DocumentRoot {server.root}
<Directory {server.root}>
    {extra or "Require all granted"}
</Directory>
{"SetOutputFilter DEFLATE" if compress else ""}
"""
