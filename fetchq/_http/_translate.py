"""Foreign exceptions -> FetchError: the one place that knows what httpx's and the system's mean."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import httpx

from .._errors import (
    AuthenticationError,
    FetchError,
    NetworkError,
    ProtocolError,
    StatusError,
    TimedOutError,
    TLSError,
    TooLargeError,
    UsageError,
)
from .._settings import RETRY_ON

# All that may come out of a client or a response; InvalidURL, CookieConflict and StreamError are no HTTPError,
# and the resolver answers a host name that cannot be encoded with a UnicodeError.
FOREIGN = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    OSError,
    UnicodeError,
)

_WAITS: dict[type[Exception], str] = {
    httpx.ConnectTimeout: "No connection to {host} within the time limit (--connect-timeout).",
    httpx.ReadTimeout: "{host} sent nothing within the time limit (--read-timeout).",
    httpx.WriteTimeout: "{host} took no more of the request within the time limit (--write-timeout).",
    httpx.PoolTimeout: "No free connection to {host} within the time limit (--pool-timeout).",
}

# A RemoteProtocolError is either a connection that ended early, which another attempt cures, or a peer that
# cannot speak; h11, h2 and our own transport tell them apart only in words.
_BROKEN = ("disconnected", "closed", "terminated", "reset", "incomplete")
_LARGE = ("too long", "too large", "too many", "more than", "exceeds")


def translate(error: Exception, host: str) -> FetchError:
    """Give the FetchError that stands for *error*, met while talking to *host*; raise it ``from`` the error."""
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        words = _WAITS.get(type(error), "{host} did not answer within the time limit.")
        return TimedOutError(words.format(host=host))
    if isinstance(error, httpx.ProxyError):
        return _proxy(error, host)
    if isinstance(error, httpx.RemoteProtocolError):
        return _remote(error, host)
    if isinstance(error, httpx.NetworkError | OSError):
        return _network(error, host)
    if isinstance(error, httpx.HTTPStatusError):
        return _status(error.response.status_code, host)
    return _other(error, host)


def _other(error: Exception, host: str) -> FetchError:
    if isinstance(error, httpx.LocalProtocolError):
        # HTTP/2 reports a connection that is going away this way too, so another attempt may cure it.
        return ProtocolError(f"The request to {host} cannot be sent: {_safe(error)}.", transient=True)
    if isinstance(error, httpx.StreamError):
        return UsageError(
            f"The answer of {host} has been read already: an event hook must leave the body alone."
        )
    if isinstance(error, httpx.InvalidURL):
        # The request's own URL was parsed long ago, so this one is a Location that httpx looks at too.
        return ProtocolError(f"{host} redirects to something that is no http or https URL.")
    if isinstance(error, httpx.UnsupportedProtocol | UnicodeError):
        return UsageError(f"The URL at {host} cannot be asked for: only valid http and https URLs can.")
    if isinstance(error, httpx.TooManyRedirects):
        return ProtocolError(f"{host} redirects too often.")
    if isinstance(error, httpx.DecodingError):
        return ProtocolError(f"{host} sent a body that does not decode as its Content-Encoding says.")
    if isinstance(error, httpx.CookieConflict):
        return ProtocolError(f"{host} set two cookies of the same name.")
    return NetworkError(f"The exchange with {host} failed: {type(error).__name__}.")


def _status(status: int, host: str) -> FetchError:
    if status in {401, 407}:
        return AuthenticationError(f"{host} asks for other credentials ({status}).", status=status)
    return StatusError(f"{host} answered {status}.", status=status, transient=status in RETRY_ON)


def _proxy(error: httpx.ProxyError, host: str) -> FetchError:
    if "407" in str(error) or "password" in str(error):
        return AuthenticationError(
            "The proxy wants other credentials: give them as --proxy http://USER:PASSWORD@HOST:PORT.",
            status=407,
        )
    return NetworkError(f"The proxy could not reach {host}: {_safe(error)}.")


def _remote(error: httpx.RemoteProtocolError, host: str) -> FetchError:
    words = str(error).lower()
    if any(sign in words for sign in _BROKEN):
        return NetworkError(f"{host} closed the connection before the answer was complete.")
    if any(sign in words for sign in _LARGE):
        return TooLargeError(f"{host} sent a larger answer head than is accepted: {_safe(error)}.")
    return ProtocolError(f"{host} does not speak proper HTTP: {_safe(error)}.")


def _network(error: Exception, host: str) -> FetchError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TLSError(
                f"The certificate of {host} is not trusted: {cause.verify_message}; "
                "name its authority with --cacert FILE, or trust anything with -k."
            )
        if isinstance(cause, ssl.SSLError) and _fatal(cause, error):
            return TLSError(f"No TLS session with {host}: {_words(cause)}.")
        if isinstance(cause, socket.gaierror):
            return NetworkError(f"Cannot find {host}: check the name and the network.")
        if isinstance(cause, TimeoutError):
            return TimedOutError(f"No answer from {host} within the system's time limit.")
        if isinstance(cause, ConnectionRefusedError):
            return NetworkError(
                f"Cannot connect to {host}: it refuses connections; check the port, and that its server runs."
            )
    if isinstance(error, httpx.ConnectError):
        return NetworkError(f"Cannot connect to {host}: {_system(error)}.")
    return NetworkError(f"The connection to {host} broke off: {_system(error)}.")


def _fatal(cause: ssl.SSLError, error: Exception) -> bool:
    """Tell a refusal, which stays one, from a connection that broke in mid-record."""
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return isinstance(error, httpx.ConnectError) or "ALERT" in (cause.reason or "")


def _words(cause: ssl.SSLError) -> str:
    words = (cause.reason or "unknown reason").lower().replace("_", " ")
    hints = {
        "wrong version number": "perhaps this port is for http, not for https",
        "record layer failure": "perhaps this port is for http, not for https",
        "protocol": "it speaks no TLS version that is accepted (--tls-min)",
        "certificate required": "it wants a client certificate (--cert FILE)",
        "handshake failure": "it may want a client certificate (--cert FILE)",
    }
    return words + next((f"; {hint}" for sign, hint in hints.items() if sign in words), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _causes(each)
        # httpcore's pool raises "from None", which hides what the system said and does not remove it.
        error = error.__context__ if error.__suppress_context__ and error.__cause__ is None else error.__cause__


def _system(error: Exception) -> str:
    said = [cause.strerror for cause in _causes(error) if isinstance(cause, OSError) and cause.strerror]
    if not said and any(isinstance(cause, ConnectionError) for cause in _causes(error)):
        return "the connection was reset"
    return said[-1].lower() if said else "no reason given"


def _safe(error: Exception) -> str:
    """Give the library's words without the bytes of the peer that they quote after a colon."""
    return str(error).partition(":")[0][:100].lower() or type(error).__name__
