"""The transport for a URL: our own HTTP/1.1 and HTTP/2, or httpx's for proxies."""

from __future__ import annotations

import importlib.util
import os
import ssl
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import httpx

from .._errors import FetchError, UsageError
from .._models import TLSOptions
from .._retry import IDEMPOTENT
from .._settings import Network
from .challenges import challenges
from .errors import refused_by_proxy, translate
from .headers import values, without
from .http11.parser import Fields
from .http11.transport import Transport
from .tls import bare, context, with_own
from .url import origin_of

if TYPE_CHECKING:
    from .proxies import Proxies

__all__ = ["RoutingTransport"]

# Where httpcore connects when a proxy's URL has no port; RFC 1928 section 3 has the last.
_PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_PROXY_AUTHENTICATION = 407
# Each has a pool of connections of its own.
_MOST_PROXIES = _MOST_TLS = 64
# What messages call the place where a job's own proxy was given.
_JOB = "the job"
# Steps of httpcore's that fail on the way to the proxy; a failure of others may be the server's.
_TO_PROXY = frozenset(
    {"connection.connect_tcp.failed", "connection.start_tls.failed", "socks.connect_tcp.failed"}
)


class RoutingTransport(httpx.AsyncBaseTransport):
    """Picks the transport by URL; each is made when its first request comes.

    So a run over plain http loads no certificates, and one without proxies does not import httpcore.

    :param connections: how many each transport may hold open, in use or idle.
    :raises UsageError: an extra package is needed, a PEM file or the proxy's URL cannot be used.
    """

    def __init__(self, network: Network, *, connections: int) -> None:
        self._network = network
        self._connections = connections
        most = network.keepalive_connections
        self._kept = connections if most is None else min(connections, most)
        self._proxies = _proxies_of(network)
        self._own: dict[str, Proxies] = {}
        self._contexts: dict[TLSOptions | None, ssl.SSLContext] = {}
        self._made: dict[tuple[bool, str | None, TLSOptions | None], httpx.AsyncBaseTransport] = {}
        if network.http2 and importlib.util.find_spec("h2") is None:
            raise UsageError("HTTP/2 needs a package more: pip install 'fetchq[http2]'.")
        if network.proxy is not None and self._proxies is not None:
            _proxy(self._proxies.urls["all"], None, "--proxy")
        named = (network.cacert, network.add_cacert, network.ca_native, network.cert, network.key)
        if any(named) or network.key_password is not None:
            # A file that was named and cannot be used is an error at once, even if no https URL comes.
            self.verifying()

    def check(self, own: str | None, tls: TLSOptions | None = None) -> None:
        """Refuse a job's *own* proxy, or its *tls*, that cannot be used.

        :raises UsageError: it is no proxy's URL, a PEM file cannot be used, or one more than a run may use.
        """
        if own is not None:
            self._of_job(own)
        if tls is not None:
            self.verifying(tls)

    def proxy(self, url: httpx.URL, own: str | None = None) -> str | None:
        """Return the URL of the proxy for *url*; None where the server is reached directly.

        :param own: the job's own proxy.
        """
        proxies = self._proxies if own is None else self._of_job(own)
        return None if proxies is None else proxies.choose(origin_of(url))

    def forwarding_proxy(self, url: httpx.URL, own: str | None = None) -> str | None:
        """Return host and port of the proxy that answers for *url* itself: of plain http, not of tunnels."""
        proxy = None if url.scheme != "http" else self.proxy(url, own)
        return _host_of(httpx.URL(proxy)) if proxy is not None and proxy.startswith("http") else None

    def _of_job(self, own: str) -> Proxies:
        if own not in self._own:
            from .proxies import explicit

            if len(self._own) >= _MOST_PROXIES:
                raise UsageError(f"The jobs of this run name more than {_MOST_PROXIES} proxies.")
            chosen = explicit(own, _JOB)
            _proxy(chosen.urls["all"], None, _JOB)
            self._own[own] = chosen
        return self._own[own]

    def verifying(self, tls: TLSOptions | None = None) -> ssl.SSLContext:
        """Return the context that verifies servers; made once, since that takes about 40 ms.

        :param tls: a job's own.
        """
        if tls not in self._contexts:
            if tls is not None and len(self._contexts.keys() - {None}) >= _MOST_TLS:
                raise UsageError(f"The jobs of this run have more than {_MOST_TLS} different settings for TLS.")
            self._contexts[tls] = context(with_own(self._network, tls))
        return self._contexts[tls]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* over the transport for its URL."""
        own = request.extensions.get("fetchq", {})
        proxy, job = self.proxy(request.url, own.get("proxy")), own.get("job")
        secure = request.url.scheme == "https"
        tls = None if job is None or not (secure or (proxy or "").startswith("https:")) else job.tls
        key = (secure, proxy, tls)
        transport = self._made.get(key)
        if transport is None:
            transport = self._made[key] = self._make(*key)
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every transport that was made."""
        made, self._made = self._made, {}
        for transport in made.values():
            await transport.aclose()

    def _make(self, secure: bool, proxy: str | None, tls: TLSOptions | None) -> httpx.AsyncBaseTransport:
        if proxy is None:
            return self._http2(tls) if secure and self._network.http2 else self._http11(tls, secure=secure)
        trust = self.verifying(tls) if secure or proxy.startswith("https:") else bare()
        return _RetryingTransport(
            verify=trust,
            limits=httpx.Limits(
                max_connections=self._connections,
                max_keepalive_connections=self._kept,
                keepalive_expiry=self._network.keepalive_expiry,
            ),
            trust_env=False,
            through=_proxy(proxy, trust, "" if self._proxies is None else self._proxies.source(proxy)),
        )

    def _http11(self, tls: TLSOptions | None, *, secure: bool) -> Transport:
        return Transport(
            verify=self.verifying(tls) if secure else True,
            # The run bounds its connections itself, so that no request waits for one here.
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=self._kept,
                keepalive_expiry=self._network.keepalive_expiry,
            ),
            max_head=self._network.max_head,
            max_headers=self._network.max_headers,
        )

    def _http2(self, tls: TLSOptions | None) -> httpx.AsyncBaseTransport:
        from .http2 import Http2Transport  # h2 is an extra, and takes 30 ms to import
        from .http11.connection import HeadLimits

        return Http2Transport(
            context(with_own(self._network, tls)),
            self._http11(tls, secure=True),
            expiry=self._network.keepalive_expiry,
            limits=HeadLimits(self._network.max_head, self._network.max_headers),
        )


class _RetryingTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, sending once more when a kept connection turns out to have been closed meanwhile.

    A server may close an idle connection at any time, so this says nothing about the request (RFC 9112
    section 9.3.1).

    :param through: the proxy, which the error names when it is what cannot be reached.
    """

    def __init__(self, *, through: httpx.Proxy | None, **settings: Any) -> None:
        super().__init__(proxy=through, **settings)
        self._through = through

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trace = _Trace(request.url)
        request.extensions = {**request.extensions, "trace": trace.note}
        try:
            try:
                response = await super().handle_async_request(request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if trace.connected or request.method not in IDEMPOTENT:
                    raise
                response = await super().handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if self._through is None or trace.failed not in _TO_PROXY:
                raise
            raise translate(error, f"the proxy {_host_of(self._through.url)}") from error
        except httpx.ProxyError as error:
            raise self._refused(str(error), request, trace.fields) from error
        if response.status_code == _PROXY_AUTHENTICATION and self._through is not None:
            await response.aclose()
            raise self._refused("407", request, response.headers.raw)
        return response

    def _refused(self, words: str, request: httpx.Request, fields: Fields) -> FetchError:
        proxy = cast("httpx.Proxy", self._through)
        wanted = [each.scheme for each in challenges(values(fields, b"proxy-authenticate"))]
        return refused_by_proxy(
            words,
            request.url.netloc.decode("ascii"),
            _host_of(proxy.url),
            wanted,
            given=proxy.raw_auth is not None,
        )


class _Trace:
    """What httpcore's trace extension reports about a request, and puts right in it.

    :ivar connected: a connection was opened for it, so that it did not meet a kept one.
    :ivar failed: the last step that failed.
    :ivar fields: of the last answer's head, which is the proxy's where it refuses a tunnel.
    """

    def __init__(self, url: httpx.URL) -> None:
        self._url = url
        self.connected = False
        self.failed = ""
        self.fields: Fields = []

    async def note(self, event: str, info: Mapping[str, Any]) -> None:
        self.connected = self.connected or "connect_" in event
        if event.endswith(".failed"):
            self.failed = event
        elif event == "http11.receive_response_headers.complete":
            self.fields = info["return_value"][3]
        elif event == "http11.send_request_headers.started" and b":" in self._url.raw_host:
            self._bracket(info["request"])

    def _bracket(self, request: Any) -> None:
        """Put an IPv6 address into its brackets, without which httpcore writes it to proxies."""
        if request.method == b"CONNECT":
            request.url.target = b"[%b]:%d" % (self._url.raw_host, self._url.port or 443)
            request.headers = [(b"Host", request.url.target), *without(request.headers, b"host")]
        elif request.url.target.startswith(b"http://"):
            request.url.target = b"http://" + self._url.netloc + self._url.raw_path


def _proxies_of(network: Network) -> Proxies | None:
    """Read the proxy that was asked for, or those of the environment and the system."""
    # urllib's look costs 10 ms of imports, and on Linux it is for names that end so and nothing else.
    named = sys.platform != "linux" or any(name.lower().endswith("_proxy") for name in os.environ)
    if network.proxy is None and not (network.env and named):
        return None
    from urllib.request import getproxies

    from . import proxies

    return proxies.of(getproxies()) if network.proxy is None else proxies.explicit(network.proxy)


def _host_of(proxy: httpx.URL) -> str:
    host = proxy.netloc.decode("ascii")
    return host if proxy.port else f"{host}:{_PROXY_PORTS[proxy.scheme]}"


def _proxy(url: str, trust: ssl.SSLContext | None, source: str) -> httpx.Proxy:
    """Return the proxy at *url*.

    :param source: what it was given with, for the message.
    :raises UsageError: it cannot be used.
    """
    try:
        proxy = httpx.Proxy(url, ssl_context=trust if url.startswith("https:") else None)
        named = bool(proxy.url.host)
    # The URL itself stays out of the message: it may carry a password.
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(
            f"The proxy's URL in {source} cannot be used: write http, https or socks5://HOST:PORT."
        ) from error
    if not named:
        raise UsageError(f"The proxy's URL in {source} names no host: write http, https or socks5://HOST:PORT.")
    if proxy.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UsageError("A SOCKS proxy needs a package more: pip install 'fetchq[socks]'.")
    return proxy
