"""One attempt: a job's request is sent, redirects are followed by hand, and the final answer comes back."""

from __future__ import annotations

import functools
import inspect
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx

from .._errors import ProtocolError, StatusError, UsageError
from .._models import Job, redact
from .._settings import Network
from .auth import Bearer, Credentials, authenticate, refusal
from .cookies import CookieJar, renew_cookies, stored_by
from .errors import failures, translate
from .headers import check_method, encoded, values
from .http11.parser import Fields, joined
from .redirects import REDIRECTS, next_method, next_url
from .request import RequestBuilder, RequestContext, Timeouts, body_of, own_timeouts
from .response import Response, drain
from .tls import BUNDLE_VARIABLES, OLD_VERSIONS
from .transport import RoutingTransport
from .url import ParsedURL, absolute, parse, server_of

__all__ = ["HttpClient", "variables"]

# A job's URL is parsed when it is checked, queued by host and sent: twice the scheduler's look-ahead of 1000.
_PARSED_URLS = 2048
_UNAUTHORIZED = 401
_PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_LINKED = ("x-linked-etag", "x-linked-size")

Hooks = Mapping[str, list[Callable[..., Any]]]


class HttpClient:
    """Sends jobs' requests and returns their answers; every failure leaves as a FetchError.

    Every request is an ``httpx.Request`` and every answer an ``httpx.Response``. A client of the caller's sends
    them where there is one; else our transport is handed them directly, which saves 40 us a request, and
    httpx's client gives up on a Location that it cannot parse, though it was not asked to follow it.

    Secrets (headers, user, token, cookies, referer) are sent to the origin of the job's own URL only: not to a
    mirror elsewhere, nor past a redirect that leaves it. A client of the caller's logs each URL with its query
    at level INFO, as the logger ``httpx``; a program that configures logging so will see signed queries there.

    :param connections: how many may be open at once, in use or idle.
    :param client: the caller's own, used as it is (transport, headers, cookies, auth, hooks, timeouts) and
        never closed; *network* adds its header fields, cookies, credentials and bound on redirects.
    :param auth: for jobs that nothing more specific was given for.
    :param event_hooks: httpx's ``{"request": [...], "response": [...]}``, each an ``async def``.
    :param base_url: what relative URLs are appended to.
    :ivar warnings: sentences about settings that are odd and can be used.
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
        self._follows, self._most_redirects = network.redirects, network.max_redirects
        self._credentials = Credentials(network, auth)
        # None: no auth. With the caller's client, that client's own auth.
        self._default_auth: Any = None if client is None else httpx.USE_CLIENT_DEFAULT
        self.warnings = (*self._credentials.warnings, *_warnings(network))
        self._theirs = client
        self._hooks = event_hooks or {}
        # For all jobs, where it was asked for; else each job whose server sets a cookie has one of its own.
        self._jar = self._filled(network)
        self._jars: dict[int, CookieJar] = {}
        self._saved = network.save_cookies
        self._transport = RoutingTransport(network, connections=connections)
        self._requests = RequestBuilder(
            network, None if client is None else functools.partial(_facts_of, client)
        )
        self._base = parse(base_url).text if base_url else _base_of(client)
        self._parse = functools.lru_cache(_PARSED_URLS)(functools.partial(parse, base=self._base))

    @property
    def resolved(self) -> Callable[[Job], Job] | None:
        """What makes a job's URL absolute, so that another base makes another job; None without a base."""
        base = self._base
        if base is None:
            return None

        def resolved(job: Job) -> Job:
            url = absolute(job.url, base)
            return job if url == job.url else replace(job, url=url)

        return resolved

    async def aclose(self) -> None:
        """Close every connection, and save the cookies; a client of the caller's stays open.

        :raises DiskError: the cookies cannot be saved.
        """
        await self._transport.aclose()
        if self._saved is not None and self._jar is not None:
            from .cookie_file import save

            save(self._saved, self._jar)

    def _filled(self, network: Network) -> CookieJar | None:
        """Return the jar for all jobs, with the cookies of the file; None where none was asked for."""
        if network.load_cookies is None and network.save_cookies is None:
            return None
        if self._theirs is not None:
            raise UsageError("Cookie files and your own httpx client exclude each other: fill its cookies.")
        from .cookie_file import check_target, load

        jar = CookieJar()
        if network.save_cookies is not None:
            check_target(network.save_cookies)
        if network.load_cookies is not None:
            self.warnings = (*self.warnings, *load(network.load_cookies, jar))
        return jar

    def _jar_of(self, job: Job) -> CookieJar | None:
        return self._jars.get(id(job)) if self._jar is None else self._jar

    def _store_cookies(self, job: Job, url: httpx.URL, fields: Sequence[bytes]) -> CookieJar:
        """Store what the answer for *url* sets; return the jar."""
        jar = self._jar_of(job)
        if jar is None:
            jar = self._jars[id(job)] = CookieJar()
            weakref.finalize(job, self._jars.pop, id(job), None).atexit = False
        jar.extract(url, fields)
        return jar

    def check(self, job: Job) -> None:
        """Refuse what could never be sent, before anything is asked of the network.

        :raises UsageError: URL, mirror, method, header or body; one sentence says which.
        """
        self._parse(job.url, job.params)
        self._check_route(job)
        for mirror in job.mirrors:
            self._parse(mirror)
        check_method(job.method)
        encoded((*job.headers, *job.cookies))
        body_of(job)
        if job.timeout is not None:
            own_timeouts(job)
        if job.bearer is not None:
            Bearer(job.bearer)

    def _check_route(self, job: Job) -> None:
        """Refuse a proxy or a way of TLS that the job's requests cannot take."""
        if self._theirs is not None and not (job.proxy is None and job.tls is None):
            what = "TLS" if job.proxy is None else "proxy"
            raise UsageError(
                f"A job's {what} and your own httpx client exclude each other: set the client's {what}."
            )
        self._transport.check(job.proxy, job.tls)

    def names_server(self, job: Job) -> bool:
        """Whether the job's URL names a server that may be asked; cheaper than :meth:`check`."""
        return server_of(job.url) is not None

    def host_of(self, job: Job, url: str | None = None) -> str:
        """Return ``host:port``, the same for all jobs of one server; *url* is one of the job's mirrors."""
        if url is None or url == job.url:
            return server_of(job.url) or self._parse(job.url, job.params).key
        return server_of(url) or self._parse(url).key

    async def open(
        self,
        job: Job,
        *,
        url: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        buffer: int | None = None,
        given: Sequence[tuple[str, str]] = (),
    ) -> Response:
        """Make one attempt, and return once the final answer's head is in.

        :param url: asked instead of the job's own, and without its ``params``: a mirror.
        :param headers: sent to every origin, instead of the job's of the same name: Range, If-Range.
        :param buffer: bytes that a chunk of the body should have at most, where our own transport sends it.
        :param given: header fields for the origin of *url* alone.
        :raises FetchError: no answer, one that is not HTTP, or too many redirects.
        """
        self._check_route(job)
        home = self._parse(job.url, job.params)
        current = home if url is None or url == job.url else self._parse(url)
        context = self._requests.context(job, home, current, encoded(headers), buffer, encoded(given))
        method, with_body, hops = job.method, True, 0
        follows = self._follows if job.redirects is None else job.redirects
        linked: Mapping[str, str] = {}
        referrer: ParsedURL | None = None  # whose redirect led to the origin that is asked
        while True:
            response = await self._send(context, method, current, referrer, with_body=with_body)
            if response.status not in REDIRECTS or (method.upper() == "HEAD" and not follows):
                response.hops = hops
                if linked:
                    response.headers = {**linked, **response.headers}
                return response
            if "x-linked-etag" in response.headers:
                # Hugging Face tells the digest of what it redirects to, and the storage behind it does not.
                linked = {name: response.headers[name] for name in _LINKED if name in response.headers}
            await drain(response)
            hops += 1
            if hops > self._most_redirects:
                raise ProtocolError(f"{home.host} redirects more than {self._most_redirects} times.")
            before, method = method, next_method(method, response.status)
            with_body = with_body and method == before and response.status != 303
            following = next_url(current, response.values(b"location"))
            if not follows:
                raise _not_followed(response, following)
            if with_body and context.body is not None:
                _keep_body_at_home(current, following, context)
            if current.origin[0] == "https" != following.origin[0] and self._tells_secrets(context, current):
                raise _downgrade(current, following)
            if following.origin != current.origin:
                referrer = current
            current = following

    async def _send(
        self,
        context: RequestContext,
        method: str,
        url: ParsedURL,
        referrer: ParsedURL | None,
        *,
        with_body: bool,
    ) -> Response:
        if self._theirs is not None and self._theirs.is_closed:
            raise UsageError("The httpx client has been closed: keep it open while downloads run.")
        request = self._requests.build(
            context, method, url, with_body=with_body, cookies=self._cookies_for(context, url)
        )
        auth = self._auth_for(context, url)
        try:
            if self._theirs is not None:
                response = await self._theirs.send(request, stream=True, follow_redirects=False, auth=auth)
            elif auth is None:
                response = await self._exchange(request)
            else:
                response = await authenticate(self._exchange, request, auth)
        except failures() as error:
            failed = translate(error, self._name(context, url, referrer))
            # Behind a redirect another server has had the request.
            failed.unsent = failed.unsent and url is context.asked
            raise failed from error
        answer = Response(response, _headers_of(response), url.text, self._name(context, url, referrer))
        if answer.status == _UNAUTHORIZED:
            answer.hint = self._refusal(context, url, response)
        return answer

    def _name(self, context: RequestContext, url: ParsedURL, referrer: ParsedURL | None) -> str:
        """Return what messages call the server at *url*, with the hop and the proxy that led there."""
        name = url.host if referrer is None else f"{url.host} (to which {referrer.host} redirects)"
        own = context.extensions["fetchq"]["proxy"]
        proxy = self._transport.forwarding_proxy(url.url, own) if self._theirs is None else None
        return name if proxy is None else f"{name} through the proxy {proxy}"

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        """Send *request* over our transport, with the hooks that were given, and keep the answer's cookies."""
        for hook in self._hooks.get("request", ()):
            await hook(request)
        response = await self._transport.handle_async_request(request)
        response.request = request
        if "set-cookie" in _headers_of(response):
            job = request.extensions["fetchq"]["job"]
            jar = self._store_cookies(job, request.url, values(response.headers.raw, b"set-cookie"))
            if response.status_code == _UNAUTHORIZED:
                # The same request answers the challenge.
                renew_cookies(request, jar.header(request.url))
        try:
            for hook in self._hooks.get("response", ()):
                await hook(response)
        except BaseException:
            await response.aclose()
            raise
        return response

    def _cookies_for(self, context: RequestContext, url: ParsedURL) -> bytes:
        """Return the cookies that may go to *url*, as a Cookie field has them."""
        if self._theirs is None:
            found = self._jar_of(context.job)
            return found.header(url.url) if found else b""
        jar = self._theirs.cookies
        if not jar:
            return b""
        # A cookie that the caller stored without a domain would go to every host that a redirect names.
        return stored_by(jar if url.origin == context.home.origin else _with_domain(jar), url.url)

    def _auth_for(self, context: RequestContext, url: ParsedURL) -> Any:
        """Choose the ``auth`` argument of ``httpx.AsyncClient.send``; None sends no credentials."""
        job = context.job
        logins = url.login or context.home.login or context.asked.login or job.user or job.bearer
        if not (logins or self._credentials or self._default_auth):
            return None
        if url.origin != context.home.origin:
            return self._credentials.elsewhere(url, context.home, context.asked)
        if self._requests.names_authorization(context):
            return None
        return self._credentials.at_home(url, context.home, job) or self._default_auth

    def _tells_secrets(self, context: RequestContext, url: ParsedURL) -> bool:
        """Whether requests to *url* carry what was given for it: a user, a token, a header or a cookie."""
        theirs = self._theirs is not None and self._theirs.auth is not None
        auth = self._auth_for(context, url)
        if auth is not None and (auth is not httpx.USE_CLIENT_DEFAULT or theirs):
            return True
        if context.given and url.origin == context.asked.origin:
            return True
        if self._jar is not None and self._cookies_for(context, url):
            return True
        return url.origin == context.home.origin and self._requests.has_secrets(context)

    def _refusal(self, context: RequestContext, url: ParsedURL, response: httpx.Response) -> str:
        home = context.home
        own = self._credentials.at_home(home, home, context.job)
        given = self._requests.names_authorization(context) or own is not None
        return refusal(response, behind="" if url.origin == home.origin else url.origin[1], withheld=given)


def _keep_body_at_home(current: ParsedURL, following: ParsedURL, context: RequestContext) -> None:
    """Refuse to send a request's body, which may hold a password or a token, to another origin.

    RFC 9110 section 15.4.8 keeps the body on 307 and 308.

    :raises ProtocolError: the redirect leads to an origin that the body was not given for.
    """
    if following.origin not in (context.home.origin, context.asked.origin):
        raise ProtocolError(
            f"{current.host} redirects the request's body to {following.host}, which it was not given"
            " for: name that URL yourself if it is right."
        )


def _not_followed(response: Response, following: ParsedURL) -> StatusError:
    to = redact(following.text)
    return StatusError(
        f"{response.host} answered {response.status} and redirects to {to}, which was not to be followed.",
        status=response.status,
    )


def _downgrade(current: ParsedURL, following: ParsedURL) -> ProtocolError:
    """Return the error for a redirect from https to http, of a request with secrets.

    They would not be sent, but whoever answers there may be anyone on the way, and the answer is for the user.
    """
    return ProtocolError(
        f"{current.host} was told a secret over https, and redirects to {following.host} over http, where the"
        " answer could be read and replaced on the way: name that URL yourself if it is right."
    )


def _warnings(network: Network) -> list[str]:
    if network.tls_min not in OLD_VERSIONS:
        return []
    return [
        f"TLS {network.tls_min} is accepted, which can be broken: use it for devices that speak nothing newer."
    ]


def variables(network: Network) -> list[str]:
    """Return the variables of the environment that are set, and that *network* would use with ``env``."""
    found: list[str] = []
    if network.proxy is None:
        found += sorted(
            name for name, value in os.environ.items() if value and name.lower() in _PROXY_VARIABLES
        )
    if not (network.cacert or network.ca_native or network.insecure):
        found += (name for name in BUNDLE_VARIABLES if os.environ.get(name))
    if network.netrc and network.netrc_file is None and os.environ.get("NETRC"):
        found.append("NETRC")
    return found


def _headers_of(response: httpx.Response) -> Mapping[str, str]:
    """Return the fields joined, names in lower case: as our transport has them already."""
    ours = response.extensions.get("fetchq")
    return ours["headers"] if ours else joined(response.headers.raw)


def _with_domain(jar: httpx.Cookies) -> httpx.Cookies:
    kept = httpx.Cookies()
    for each in jar.jar:
        if each.domain:
            kept.jar.set_cookie(each)
    return kept


def _facts_of(client: httpx.AsyncClient) -> tuple[Fields, Timeouts]:
    return client.headers.raw, client.timeout.as_dict()


def _base_of(client: httpx.AsyncClient | None) -> str | None:
    return str(client.base_url) if client is not None and client.base_url.host else None


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
