"""One attempt: a job's request is sent, redirects are followed by hand, and the final head comes back."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from .._errors import ProtocolError, UsageError
from .._models import Job
from .._settings import Network
from . import _headers
from ._address import Address, parse
from ._auth import Credentials
from ._redirects import REDIRECTS, next_address, next_method
from ._reply import Reply, drain
from ._request import Composer, Wish, body_of
from ._routes import Routes
from ._translate import FOREIGN, translate

# A job's URL is wanted when it is checked, queued by host and sent: twice the scheduler's look-ahead of 1000.
_ADDRESSES = 2048

Hooks = Mapping[str, list[Callable[..., Any]]]


class HttpClient:
    """Sends requests and gives replies; every failure leaves as a FetchError.

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
        self._credentials = Credentials(network, auth)
        self._owned = client is None
        self._client = _client_for(network, connections, event_hooks) if client is None else client
        self._composer = Composer(self._client, network, owned=self._owned)
        self._base = parse(base_url).url if base_url else _base_of(self._client)
        self._address = functools.lru_cache(_ADDRESSES)(functools.partial(parse, base=self._base))

    async def aclose(self) -> None:
        """Close every connection; a client of the caller's stays open."""
        if self._owned:
            await self._client.aclose()

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
    ) -> Reply:
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
            response = await self._send(wish, method, address, with_body=with_body)
            status = response.status_code
            if status not in REDIRECTS:
                return Reply(response, host=address.host, hops=hops)
            await drain(response)
            hops += 1
            if hops > self._most_redirects:
                raise ProtocolError(f"{home.host} redirects more than {self._most_redirects} times.")
            before, method = method, next_method(method, status)
            with_body = with_body and method == before and status != 303
            following = next_address(address, response.headers.get("location"))
            if with_body and wish.body is not None and following.origin not in (home.origin, wish.asked.origin):
                # RFC 9110 section 15.4.8 keeps the body on 307 and 308; it may hold a password or a token.
                raise ProtocolError(
                    f"{address.host} redirects the request's body to {following.host}, which it was not given"
                    " for: name that URL yourself if it is right."
                )
            address = following

    async def _send(self, wish: Wish, method: str, address: Address, *, with_body: bool) -> httpx.Response:
        if self._client.is_closed:
            raise UsageError("The httpx client has been closed: keep it open while downloads run.")
        request = self._composer.compose(wish, method, address, with_body=with_body)
        try:
            return await self._client.send(
                request, stream=True, follow_redirects=False, auth=self._auth(wish, address)
            )
        except FOREIGN as error:
            raise translate(error, address.host) from error

    def _auth(self, wish: Wish, address: Address) -> Any:
        """Choose httpx's ``auth`` argument: None is nobody, its default the client's own."""
        if address.origin != wish.home.origin:
            return self._credentials.of_url(wish.asked) if address.origin == wish.asked.origin else None
        if self._composer.names_authorization(wish):
            return None
        chosen = self._credentials.choose(wish.home)
        return httpx.USE_CLIENT_DEFAULT if chosen is None else chosen


class _Cookies(httpx.Cookies):
    def extract_cookies(self, response: httpx.Response) -> None:
        """Look for cookies only where some are set: the look costs more than the rest of httpx's ``send``."""
        if "set-cookie" in response.headers:
            super().extract_cookies(response)


class _Client(httpx.AsyncClient):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._jar = _Cookies()

    @property
    def cookies(self) -> httpx.Cookies:
        """Cookies that servers have set, for the servers that they are for."""
        return self._jar

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._jar = _Cookies(cookies)


def _client_for(network: Network, connections: int, event_hooks: Hooks | None) -> httpx.AsyncClient:
    return _Client(transport=Routes(network, connections=connections), event_hooks=event_hooks, trust_env=False)


def _base_of(client: httpx.AsyncClient) -> httpx.URL | None:
    return client.base_url if client.base_url.host else None


def _check_client(client: object, auth: object) -> None:
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
