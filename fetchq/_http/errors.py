"""What our own way to servers and the system raise -> FetchError: the one place that knows what they mean."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from .._errors import (
    AuthenticationError,
    FetchError,
    NetworkError,
    ProtocolError,
    TimedOutError,
    TLSError,
    TooLargeError,
    UsageError,
)
from .http11 import exceptions

# All that may come out of an exchange: a host name that cannot be encoded is a UnicodeError of the resolver's.
FAULTS = (exceptions.TransportError, OSError, UnicodeError)

_WAITS: dict[type[Exception], str] = {
    exceptions.ConnectTimeout: "No connection to {host} within the time limit (--connect-timeout).",
    exceptions.ReadTimeout: "{host} sent nothing within the time limit (--read-timeout).",
    exceptions.WriteTimeout: "{host} took no more of the request within the time limit (--write-timeout).",
    exceptions.PoolTimeout: "No free connection to {host} within the time limit (--pool-timeout).",
}

# A RemoteProtocolError is either a connection that ended early, which another attempt cures, or a peer that
# cannot speak; h11, h2 and our own transport tell them apart only in words.
_BROKEN = ("disconnected", "closed", "terminated", "reset", "incomplete")
_LARGE = ("too long", "too large", "too many", "more than", "exceeds")


def translate(error: Exception, host: str) -> FetchError:
    """Give the FetchError that stands for *error*, met while talking to *host*; raise it ``from`` the error."""
    if isinstance(error, exceptions.TimeoutException | TimeoutError):
        words = _WAITS.get(type(error), "{host} did not answer within the time limit.")
        return TimedOutError(words.format(host=host))
    if isinstance(error, exceptions.ProxyError):
        return _proxy(error, host)
    if isinstance(error, exceptions.RemoteProtocolError):
        return _remote(error, host)
    if isinstance(error, exceptions.NetworkError | OSError):
        return _network(error, host)
    if isinstance(error, exceptions.LocalProtocolError):
        # HTTP/2 reports a connection that is going away this way too, so another attempt may cure it.
        return ProtocolError(f"The request to {host} cannot be sent: {_safe(error)}.", transient=True)
    if isinstance(error, exceptions.UnsupportedProtocol | UnicodeError):
        return UsageError(f"The URL at {host} cannot be asked for: only valid http and https URLs can.")
    return NetworkError(f"The exchange with {host} failed: {type(error).__name__}.")


def _proxy(error: Exception, host: str) -> FetchError:
    if "407" in str(error) or "password" in str(error):
        return AuthenticationError(
            "The proxy wants other credentials: give them as --proxy http://USER:PASSWORD@HOST:PORT.",
            status=407,
        )
    return NetworkError(f"The proxy could not reach {host}: {_safe(error)}.")


def _remote(error: Exception, host: str) -> FetchError:
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
    if isinstance(error, exceptions.ConnectError):
        return NetworkError(f"Cannot connect to {host}: {_system(error)}.")
    return NetworkError(f"The connection to {host} broke off: {_system(error)}.")


def _fatal(cause: ssl.SSLError, error: Exception) -> bool:
    """Tell a refusal, which stays one, from a connection that broke in mid-record."""
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return isinstance(error, exceptions.ConnectError) or "ALERT" in (cause.reason or "")


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
