"""httpx's transports beside our own, by URL: for proxies and HTTP/2 they are httpx's."""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from ..._errors import UsageError
from ..._settings import Network
from ..http11.transport import Transport, origin_of
from ..routes import IDLE_SECONDS, Routes
from ..tls import bare
from .errors import translate_foreign

__all__ = ["RoutingTransport"]

# RFC 9110 section 9.2.2: only these may be sent again when it is not known what became of the first.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# Where httpcore connects when a proxy's URL has no port; RFC 1928 section 3 has the last.
_PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
# Steps of httpcore's that fail on the way to the proxy; what fails in others may be the server's fault.
_TO_PROXY = frozenset(
    {"connection.connect_tcp.failed", "connection.start_tls.failed", "socks.connect_tcp.failed"}
)


class RoutingTransport(httpx.AsyncBaseTransport):
    """Picks the transport by URL; each is made when its first request comes.

    So a run without proxies never loads httpcore.

    :param connections: how many each transport may hold open, in use or idle.
    :raises UsageError: an extra package is needed, or the proxy's URL cannot be used.
    """

    def __init__(self, routes: Routes, network: Network, *, connections: int) -> None:
        self._routes = routes
        self._network = network
        self._connections = connections
        self._made: dict[tuple[bool, str | None], httpx.AsyncHTTPTransport] = {}
        if network.proxy is not None:
            _proxy(network.proxy if "://" in network.proxy else f"http://{network.proxy}", None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* over the transport that its URL takes."""
        scheme, host, port, _ = origin_of(request)
        straight = self._routes.straight((scheme, host, port))
        if straight is not None:
            return await Transport(straight).handle_async_request(request)
        key = (scheme == "https", self._routes.proxy((scheme, host, port)))
        if key not in self._made:
            self._made[key] = self._stock(*key)
        return await self._made[key].handle_async_request(request)

    async def aclose(self) -> None:
        """Close every transport that was made; the straight ways are the routes' own."""
        made, self._made = self._made, {}
        for transport in made.values():
            await transport.aclose()

    def _stock(self, secure: bool, proxy: str | None) -> httpx.AsyncHTTPTransport:
        trust = self._routes.verifying() if secure or (proxy or "").startswith("https:") else bare()
        limits = httpx.Limits(
            max_connections=self._connections,
            max_keepalive_connections=self._connections,
            keepalive_expiry=IDLE_SECONDS,
        )
        return _RetryingTransport(
            verify=trust,
            http2=self._network.http2,
            limits=limits,
            trust_env=False,
            through=None if proxy is None else _proxy(proxy, trust),
        )


class _RetryingTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, asking once more when a kept connection turns out to have been closed meanwhile.

    A server may close an idle connection at any time, so the request is innocent (RFC 9112 section 9.3.1).

    :param through: the proxy, which is named when it is what cannot be reached.
    """

    def __init__(self, *, through: httpx.Proxy | None, **settings: Any) -> None:
        super().__init__(proxy=through, **settings)
        self._through = through

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        steps = _Steps()
        request.extensions = {**request.extensions, "trace": steps.note}
        try:
            try:
                return await super().handle_async_request(request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if steps.fresh or request.method not in _IDEMPOTENT:
                    raise
            return await super().handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if self._through is None or steps.failed not in _TO_PROXY:
                raise
            raise translate_foreign(error, f"the proxy {_where(self._through.url)}") from error


class _Steps:
    """What httpcore says while it works on a request."""

    fresh = False
    failed = ""

    async def note(self, event: str, _: Mapping[str, Any]) -> None:
        self.fresh = self.fresh or "connect_" in event
        if event.endswith(".failed"):
            self.failed = event


def _where(proxy: httpx.URL) -> str:
    host = proxy.netloc.decode("ascii")
    return host if proxy.port else f"{host}:{_PROXY_PORTS[proxy.scheme]}"


def _proxy(url: str, trust: ssl.SSLContext | None) -> httpx.Proxy:
    try:
        proxy = httpx.Proxy(url, ssl_context=trust if url.startswith("https:") else None)
        named = bool(proxy.url.host)
    # The URL itself stays out of the message: it may carry a password.
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError("The proxy's URL cannot be used: write http, https or socks5://HOST:PORT.") from error
    if not named:
        raise UsageError("The proxy's URL names no host: write http, https or socks5://HOST:PORT.")
    if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UsageError("A SOCKS proxy needs a package more: pip install 'fetchq[socks]'.")
    return proxy
