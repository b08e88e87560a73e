"""One attempt: a job's request is sent, redirects are followed by hand, and the final head comes back."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._errors import ProtocolError, UsageError
from .._models import Job
from .._settings import Network
from . import headers as _headers
from .errors import FAULTS, translate
from .http11.pool import ConnectionPool
from .redirects import REDIRECTS, next_address, next_method
from .request import RequestBuilder, RequestContext, Timeouts, body_of
from .response import Response, StraightStream, drain
from .routes import Routes
from .url import ParsedURL, parse

if TYPE_CHECKING:
    import httpx

    from .auth import Credentials
    from .httpx_backend.client import HttpxClient

# A job's URL is wanted when it is checked, queued by host and sent: twice the scheduler's look-ahead of 1000.
_ADDRESSES = 2048

Hooks = Mapping[str, list[Callable[..., Any]]]


class HttpClient:
    """Sends requests and gives replies; every failure leaves as a FetchError.

    A plain GET goes straight; what needs httpx's client takes it: auth, hooks, cookies that a server has set,
    a request body, a proxy, HTTP/2, and all that a caller's own client brings. httpx is imported then, which
    takes 40 ms, and it takes some 200 us for each request.

    Secrets (headers, user, token, cookies, referer) are sent to the origin of the job's own URL only: not to a
    mirror elsewhere, nor past a redirect that leaves it. httpx logs each URL with its query at level INFO, as
    the logger ``httpx``; a program that configures logging so will see signed queries there, no other will.

    :param connections: how many may be open at once, in use or idle.
    :param client: the caller's own, used as it is (transport, headers, cookies, auth, hooks, timeouts) and
        never closed; *network* adds its header fields, cookies, credentials and bound on redirects.
    :param auth: for jobs that nothing more specific was given for.
    :param event_hooks: httpx's ``{"request": [...], "response": [...]}``, each an ``async def``.
    :param base_url: what relative URLs are appended to.
    :raises UsageError: a setting cannot be used.
    """

    def __init__(
        self,
        network: Network,
        *,
        connections: int,
        client: httpx.AsyncClient | None = None,
        auth: httpx.Auth | None = None,
        event_hooks: Hooks | None = None,
        base_url: str | None = None,
    ) -> None:
        _check_client(client, auth)
        _check_hooks(event_hooks, client)
        self._most_redirects = network.max_redirects
        self._credentials = _credentials(network, auth) if _names_anybody(network, auth) else None
        self._make_credentials = functools.partial(_credentials, network, auth)
        # Whoever is asked where nobody was named: the caller's own client may know somebody.
        self._somebody = None if client is None else _clients_own()
        self._bare = client is None and not event_hooks
        self._routes = Routes(network, connections=connections)
        self._make_through = functools.partial(
            _through, client, self._routes, network, connections=connections, event_hooks=event_hooks
        )
        # Made at once where it is sure to be needed, so that a setting it cannot use is refused at once too.
        self._through = self._make_through() if network.proxy is not None or not self._bare else None
        self._composer = RequestBuilder(
            network, None if client is None else functools.partial(_facts_of, client)
        )
        self._base = parse(base_url).text if base_url else _base_of(client)
        self._address = functools.lru_cache(_ADDRESSES)(functools.partial(parse, base=self._base))

    async def aclose(self) -> None:
        """Close every connection; a client of the caller's stays open."""
        if self._through is not None:
            await self._through.aclose()
        await self._routes.aclose()

    def check(self, job: Job) -> None:
        """Refuse what could never be sent, before anything is asked of the network.

        :raises UsageError: URL, mirror, method, header or body; one sentence says which.
        """
        self._address(job.url, job.params)
        for mirror in job.mirrors:
            self._address(mirror)
        _headers.check_method(job.method)
        _headers.encoded(job.headers)
        body_of(job)

    def host_of(self, job: Job) -> str:
        """Give ``host:port``, the same for all jobs of one server."""
        return self._address(job.url, job.params).key

    async def open(
        self,
        job: Job,
        *,
        url: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        buffer: int | None = None,
    ) -> Response:
        """Make one attempt, and return once the final answer's head is in.

        :param url: asked instead of the job's own, and without its ``params``: a mirror.
        :param headers: sent to every origin, instead of the job's of the same name: Range, If-Range.
        :param buffer: bytes that a chunk of the body should have at most; a wish to our own transport.
        :raises FetchError: no answer, no proper one, or too many redirects.
        """
        home = self._address(job.url, job.params)
        address = home if url is None or url == job.url else self._address(url)
        wish = self._composer.wish(job, home, address, _headers.encoded(headers), buffer)
        method, with_body, hops = job.method, True, 0
        while True:
            reply = await self._send(wish, method, address, with_body=with_body)
            if reply.status not in REDIRECTS:
                reply.hops = hops
                return reply
            await drain(reply)
            hops += 1
            if hops > self._most_redirects:
                raise ProtocolError(f"{home.host} redirects more than {self._most_redirects} times.")
            before, method = method, next_method(method, reply.status)
            with_body = with_body and method == before and reply.status != 303
            following = next_address(address, reply.headers.get("location"))
            if with_body and wish.body is not None and following.origin not in (home.origin, wish.asked.origin):
                # RFC 9110 section 15.4.8 keeps the body on 307 and 308; it may hold a password or a token.
                raise ProtocolError(
                    f"{address.host} redirects the request's body to {following.host}, which it was not given"
                    " for: name that URL yourself if it is right."
                )
            address = following

    async def _send(
        self, wish: RequestContext, method: str, address: ParsedURL, *, with_body: bool
    ) -> Response:
        auth = self._auth_for(wish, address)
        straight = None
        if self._bare and auth is None and method == "GET" and not (wish.body and with_body):
            straight = self._straight(address)
        if straight is not None:
            return await self._send_straight(straight, wish, address, with_body=with_body)
        message = self._composer.compose(wish, method, address, with_body=with_body)
        return await self._by_httpx().send(message, auth)

    def _by_httpx(self) -> HttpxClient:
        if self._through is None:
            self._through = self._make_through()
        return self._through

    def _straight(self, address: ParsedURL) -> ConnectionPool | None:
        """Give our own way to *address*, unless httpx's jar may hold a cookie for it."""
        if self._through is not None and self._through.has_cookies:
            return None
        return self._routes.straight(address.origin)

    async def _send_straight(
        self, straight: ConnectionPool, wish: RequestContext, address: ParsedURL, *, with_body: bool
    ) -> Response:
        try:
            request = self._composer.head(wish, "GET", address, with_body=with_body)
            head, body = await straight.exchange(address.endpoint, request, wish.timeouts, buffer=wish.buffer)
        except FAULTS as error:
            raise translate(error, address.host) from error
        stream = StraightStream(body, address.host)
        reply = Response(head.status, head.version.decode("ascii"), head.headers, address.text, stream)
        if "set-cookie" in reply.headers:
            self._by_httpx().keep_cookies(address, head.fields)
        return reply

    def _auth_for(self, wish: RequestContext, address: ParsedURL) -> Any:
        """Choose httpx's ``auth`` argument: None is nobody."""
        if self._bare and self._credentials is None and not (wish.home.login or wish.asked.login):
            return None
        if self._credentials is None:
            self._credentials = self._make_credentials()
        if address.origin != wish.home.origin:
            return self._credentials.of_url(wish.asked) if address.origin == wish.asked.origin else None
        if self._composer.names_authorization(wish):
            return None
        return self._credentials.choose(wish.home) or self._somebody


# httpx, and what stands on it, is imported where it is first needed: a plain run never does.


def _names_anybody(network: Network, auth: httpx.Auth | None) -> bool:
    return bool(network.user or network.bearer is not None or network.netrc or auth)


def _credentials(network: Network, auth: httpx.Auth | None) -> Credentials:
    from .auth import Credentials

    return Credentials(network, auth)


def _through(
    client: httpx.AsyncClient | None,
    routes: Routes,
    network: Network,
    *,
    connections: int,
    event_hooks: Hooks | None,
) -> HttpxClient:
    from .httpx_backend.client import Client, HttpxClient
    from .httpx_backend.transport import RoutingTransport

    if client is not None:
        return HttpxClient(client, owned=False)
    transport = RoutingTransport(routes, network, connections=connections)
    return HttpxClient(Client(transport=transport, event_hooks=event_hooks, trust_env=False), owned=True)


def _clients_own() -> Any:
    import httpx

    return httpx.USE_CLIENT_DEFAULT


def _facts_of(client: httpx.AsyncClient) -> tuple[_headers.Fields, Timeouts]:
    return client.headers.raw, client.timeout.as_dict()


def _base_of(client: httpx.AsyncClient | None) -> str | None:
    return str(client.base_url) if client is not None and client.base_url.host else None


def _check_client(client: object, auth: object) -> None:
    if client is None and auth is None:
        return
    import httpx

    if client is not None and not isinstance(client, httpx.AsyncClient):
        raise UsageError("The client must be an httpx.AsyncClient.")
    if auth is not None and not isinstance(auth, httpx.Auth):
        raise UsageError("The auth must be an httpx.Auth, such as httpx.BasicAuth(user, password).")


def _check_hooks(event_hooks: Hooks | None, client: httpx.AsyncClient | None) -> None:
    if not event_hooks:
        return
    if client is not None:
        raise UsageError("Event hooks belong on your own httpx client: set its event_hooks instead.")
    for event, hooks in event_hooks.items():
        if event not in {"request", "response"}:
            raise UsageError(f"{event!r} is no event hook: there are 'request' and 'response'.")
        for hook in hooks:
            called = getattr(type(hook), "__call__", None)  # noqa: B004 - its kind is asked, not whether it is there
            if not (inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(called)):
                raise UsageError(f"The {event} hook {_name(hook)} must be an async def.")


def _name(hook: object) -> str:
    return str(getattr(hook, "__name__", type(hook).__name__))
