"""Who we say we are: users, passwords and tokens, each for one origin only."""

from __future__ import annotations

import netrc
from collections.abc import Awaitable, Callable, Generator
from contextlib import aclosing

import httpx

from .._errors import UsageError
from .._settings import Network
from .headers import encoded
from .http11.parser import joined
from .response import Response, drain
from .url import Origin, ParsedURL

# A run meets few origins that ask for a password; past this many the memory of their challenges starts anew.
_REMEMBERED = 256


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
        self._basic = httpx.BasicAuth(user, password)
        self._digest = httpx.DigestAuth(user, password)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Try Basic, or the Digest challenge of an earlier answer; answer a new challenge once."""
        digest = self._digest.auth_flow(request)
        next(digest)
        if "Authorization" not in request.headers:
            next(self._basic.auth_flow(request))
        response = yield request
        try:
            answer = digest.send(response)
        # The challenge is the server's text, and httpx trusts it: what cannot be answered stays a 401.
        except (StopIteration, LookupError, ValueError, NotImplementedError, httpx.ProtocolError):
            return
        yield answer


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
    """Chooses what a job's origin is told: the URL's own user, else the settings', netrc's, the caller's.

    :raises UsageError: the netrc file is wanted and cannot be read.
    """

    def __init__(self, network: Network, auth: httpx.Auth | None) -> None:
        self._user = network.user
        self._bearer = Bearer(network.bearer) if network.bearer is not None else None
        self._netrc = _netrc() if network.netrc else None
        self._auth = auth
        self._logins: dict[tuple[Origin, str, str], Login] = {}

    def choose(self, address: ParsedURL, home: ParsedURL) -> httpx.Auth | None:
        """Return the auth for *address*, of the origin of the job's own URL *home*, or None."""
        login = address.login or home.login or self._user
        if login is not None:
            return self._login(address.origin, login[0], login[1] or "")
        if self._bearer is not None:
            return self._bearer
        entry = self._netrc.authenticators(address.origin[1]) if self._netrc else None
        if entry is not None and entry[2]:
            return self._login(address.origin, entry[0], entry[2])
        return self._auth

    def of_url(self, address: ParsedURL, asked: ParsedURL) -> httpx.Auth | None:
        """Return the auth that was given for *address*, which is of another origin than the job's own URL.

        :param asked: the URL that the attempt began with: a mirror's may carry a user of its own.
        """
        login = address.login or (asked.login if address.origin == asked.origin else None)
        return self._login(address.origin, login[0], login[1] or "") if login is not None else None

    def _login(self, origin: Origin, user: str, password: str) -> Login:
        # Kept per origin, so that a Digest challenge answered once saves every later request a round trip.
        key = (origin, user, password)
        if key not in self._logins:
            if len(self._logins) >= _REMEMBERED:
                self._logins.clear()
            self._logins[key] = Login(user, password)
        return self._logins[key]


def _netrc() -> netrc.netrc:
    try:
        return netrc.netrc()
    except netrc.NetrcParseError as error:
        # Its message can quote a token of the file, and tokens are passwords.
        line = f", line {error.lineno}" if error.lineno else " (or others may read it: chmod 600)"
        raise UsageError(f"The netrc file cannot be understood{line}.") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UsageError(f"Cannot read ~/.netrc: {reason}.") from error
