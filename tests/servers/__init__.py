"""Real servers and proxies on free loopback ports, each started for a test and stopped with it."""

from .apache import apache
from .caddy import caddy
from .lighttpd import lighttpd
from .nginx import nginx
from .process import ROOT, Entry, Server, need, need_package
from .proxies import haproxy, microsocks, proxy_py, squid, tinyproxy
from .python import http_server, hypercorn, tornado, twisted, uvicorn

__all__ = [
    "ROOT",
    "Entry",
    "Server",
    "apache",
    "caddy",
    "haproxy",
    "http_server",
    "hypercorn",
    "lighttpd",
    "microsocks",
    "need",
    "need_package",
    "nginx",
    "proxy_py",
    "squid",
    "tinyproxy",
    "tornado",
    "twisted",
    "uvicorn",
]
