"""Who we say we are: users, passwords and tokens, each for one origin only."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing

import httpx

from .._models import Job
from .._settings import Network
from . import netrc
from .challenges import challenges
from .digest import DigestChallenge, offered
from .headers import encoded, values, without
from .http11.parser import joined
from .response import Response, drain
from .url import Origin, ParsedURL

# A run meets few origins that ask for a password; past this many the memory of their challenges starts anew.
_REMEMBERED = 256
_UNAUTHORIZED = 401
# A challenge, and one more for a nonce that has gone stale meanwhile.
_ANSWERS = 2


class Bearer(httpx.Auth):
    """Sends a token (RFC 6750 section 2.1).

    :raises UsageError: it holds what no header may.
    """

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"
        encoded([("Authorization", self._value)])

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the token on the request."""
        request.headers["Authorization"] = self._value
        yield request


class Login(httpx.Auth):
    """Sends user and password as Basic at once, and answers a Digest challenge where the server has one."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = (text.encode("utf-8", "surrogateescape") for text in (user, password))
        self._basic = b"Basic " + b64encode(self._user + b":" + self._password)
        self._digest: DigestChallenge | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Try Basic, or the Digest challenge of an earlier answer; answer a new challenge."""
        answered, fresh = self._digest, False
        _authorize(request, self._basic if answered is None else self._answer(answered, request))
        for _ in range(_ANSWERS):
            response = yield request
            if response.status_code != _UNAUTHORIZED:
                return
            digest = offered(values(response.headers.raw, b"www-authenticate"))
            # One that comes in answer to an answer refuses the password, unless only the nonce was stale.
            refused = fresh or (answered is not None and digest is not None and digest.nonce == answered.nonce)
            if digest is None or (refused and not digest.stale):
                return
            self._digest = answered = digest
            fresh = True
            _authorize(request, self._answer(digest, request))
        yield request

    def _answer(self, digest: DigestChallenge, request: httpx.Request) -> bytes:
        return digest.answer(self._user, self._password, request.method.encode(), request.url.raw_path)


def _authorize(request: httpx.Request, value: bytes) -> None:
    if value.isascii():
        request.headers["Authorization"] = value.decode("ascii")
    else:  # which httpx would encode anew
        others = without(request.headers.raw, b"authorization")
        request.headers = httpx.Headers([*others, (b"Authorization", value)])


async def authenticate(
    send: Callable[[httpx.Request], Awaitable[httpx.Response]], request: httpx.Request, auth: httpx.Auth
) -> httpx.Response:
    """Send *request*, and what *auth* answers to challenges; return the last answer.

    httpx's client does so too, and reads the body of a challenge whole, however long it is.
    """
    async with aclosing(auth.async_auth_flow(request)) as flow:
        request = await anext(flow)
        while True:
            response = await send(request)
            try:
                request = await flow.asend(response)
            except StopAsyncIteration:
                return response
            except BaseException:
                await response.aclose()
                raise
            await drain(
                Response(
                    response, joined(response.headers.raw), str(request.url), request.url.netloc.decode("ascii")
                )
            )


class Credentials:
    """Chooses what an origin is told: the URL's own user, else the settings', netrc's, the caller's.

    :ivar warnings: what is odd about the netrc file.
    :raises UsageError: the netrc file is there and cannot be read.
    """

    def __init__(self, network: Network, auth: httpx.Auth | None) -> None:
        self._user = network.user
        self._named = {host.lower(): (user, password) for host, user, password in network.logins}
        self._bearer = Bearer(network.bearer) if network.bearer is not None else None
        wanted = network.netrc or network.netrc_file is not None
        self._netrc = netrc.read(network.env, network.netrc_file) if wanted else netrc.Netrc()
        self._auth = auth
        self._logins: dict[tuple[Origin, str, str], Login] = {}
        self.warnings = tuple(self._netrc.warnings)
        self._given = bool(self._user or self._named or self._bearer or wanted or auth is not None)

    def __bool__(self) -> bool:
        """Whether credentials were given apart from those in URLs."""
        return self._given

    def at_home(self, url: ParsedURL, home: ParsedURL, job: Job) -> httpx.Auth | None:
        """Return the auth for *url*, of the origin of the job's own URL *home*, or None."""
        host = url.origin[1]
        login = self._of_url(url, home) or job.user
        if login is None and job.bearer is not None:
            return Bearer(job.bearer)
        login = login or self._named.get(host) or self._user
        if login is None and self._bearer is not None:
            return self._bearer
        login = login or self._netrc.login(host, default=True)
        return self._auth if login is None else self._login(url.origin, login)

    def elsewhere(self, url: ParsedURL, home: ParsedURL, asked: ParsedURL) -> httpx.Auth | None:
        """Return the auth for *url*, which is of another origin than *home*; None if none was given.

        :param asked: the URL that the attempt began with: a mirror's may carry a user of its own.
        """
        login = self._of_url(url, asked if asked.origin == url.origin else url)
        if login is None and _is_told_by_name(url.origin, home.origin):
            login = self._named.get(url.origin[1]) or self._netrc.login(url.origin[1])
        return None if login is None else self._login(url.origin, login)

    def _of_url(self, url: ParsedURL, given: ParsedURL) -> tuple[str, str] | None:
        """Return the user of *url*, else of *given*, with netrc's password where the URL has none."""
        login = url.login or given.login
        if login is None:
            return None
        user, password = login
        if password is not None:
            return user, password
        return self._netrc.login(url.origin[1], user, default=True) or (user, "")

    def _login(self, origin: Origin, login: tuple[str, str]) -> Login:
        # Kept per origin, so that a Digest challenge answered once saves every later request a round trip.
        key = (origin, *login)
        if key not in self._logins:
            if len(self._logins) >= _REMEMBERED:
                self._logins.clear()
            self._logins[key] = Login(*login)
        return self._logins[key]


def _is_told_by_name(origin: Origin, home: Origin) -> bool:
    """Whether *origin*, behind a redirect of *home*, may be told what was given for its host's name."""
    scheme, host, port = origin
    if host == home[1]:
        # Another port of one host may be another user's server; https at its own port is the same one.
        return (scheme, port) == ("https", 443)
    # Not to be read on the way where the job's own URL was not.
    return home[0] in {"http", scheme}


# What is answered here; Negotiate, NTLM and AWS4-HMAC-SHA256 are what others ask for.
_SPOKEN = frozenset({"basic", "bearer", "digest"})


def refusal(response: httpx.Response, *, behind: str, withheld: bool) -> str:
    """Return what a 401 means, as the end of a sentence, and what can be done about it.

    :param behind: the host that answered, where it is another origin than the job's own; else empty.
    :param withheld: what was given for the job's own origin was not sent to it.
    """
    wanted = [each.scheme for each in challenges(values(response.headers.raw, b"www-authenticate"))]
    if wanted and not any(scheme.lower() in _SPOKEN for scheme in wanted):
        return f"it wants {wanted[0]}, which fetchq does not speak."
    if "authorization" in response.request.headers:
        return "it refused these credentials."
    if not behind:
        return "give -u NAME:PASSWORD, --bearer TOKEN or --netrc."
    # What stands before the sign of -u is read as a host where it cannot be a user's name.
    option = f"-u {behind}=NAME:PASSWORD or " if "." in behind or behind == "localhost" else ""
    wish = f"give {option}a netrc entry for it (--netrc)."
    if withheld:
        return f"the credentials were not sent to {behind} after the redirect: if it may have some, {wish}"
    return wish
