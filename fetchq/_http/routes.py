"""The way that a request takes: straight to the server, or over httpx's transports for proxies and HTTP/2."""

from __future__ import annotations

import importlib.util
import os
import ssl
import sys
from typing import TYPE_CHECKING

from .._errors import UsageError
from .._settings import Network
from .http11.pool import ConnectionPool
from .tls import context
from .url import Origin

if TYPE_CHECKING:
    from .proxies import Proxies

__all__ = ["IDLE_SECONDS", "Routes"]

# Servers close an idle connection after 5 s (Apache, Node) to 75 s (nginx): below the least of them.
IDLE_SECONDS = 4.5


class Routes:
    """Picks the way by URL; what a way needs is made when its first request comes.

    So a run over plain http never loads certificates.

    :param connections: how many each way may hold open, in use or idle.
    :raises UsageError: an extra package is needed, or a PEM file cannot be used.
    """

    def __init__(self, network: Network, *, connections: int) -> None:
        self._network = network
        self._connections = connections
        self._proxies = _proxies_of(network)
        self._context: ssl.SSLContext | None = None
        self._made: dict[bool, ConnectionPool] = {}
        if network.http2 and importlib.util.find_spec("h2") is None:
            raise UsageError("HTTP/2 needs a package more: pip install 'fetchq[http2]'.")
        if network.cacert or network.cert or network.key:
            # Whoever names files expects to hear of a wrong one at once.
            self.verifying()

    def proxy(self, origin: Origin) -> str | None:
        """Give the URL of the proxy that *origin* is reached through; None where it is reached straight."""
        return None if self._proxies is None else self._proxies.choose(origin)

    def straight(self, origin: Origin) -> ConnectionPool | None:
        """Give our own way to *origin*; None where a proxy or HTTP/2 is asked for."""
        secure = origin[0] == "https"
        if self._proxies is not None and self.proxy(origin) is not None:
            return None
        if secure and self._network.http2:
            return None
        if secure not in self._made:
            self._made[secure] = ConnectionPool(
                ssl_context=self.verifying() if secure else None,
                max_head=self._network.max_head,
                max_headers=self._network.max_headers,
                keepalive=self._connections,
                keepalive_expiry=IDLE_SECONDS,
            )
        return self._made[secure]

    def verifying(self) -> ssl.SSLContext:
        """Give the context that verifies servers; made once, since that takes about 40 ms."""
        if self._context is None:
            self._context = context(self._network)
        return self._context

    async def aclose(self) -> None:
        """Close every connection of our own."""
        made, self._made = self._made, {}
        for straight in made.values():
            await straight.aclose()


def _proxies_of(network: Network) -> Proxies | None:
    """Read the proxy that was asked for, or those of the environment and the system."""
    # Reading them begins with 10 ms of imports, and on Linux urllib looks for such names and nothing else.
    named = sys.platform != "linux" or any(name.lower().endswith("_proxy") for name in os.environ)
    if network.proxy is None and not (network.env and named):
        return None
    from urllib.request import getproxies

    from . import proxies

    return proxies.of(getproxies()) if network.proxy is None else proxies.explicit(network.proxy)
