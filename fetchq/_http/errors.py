"""httpx's exceptions, and the system's -> FetchError: the one place that knows what they mean."""

from __future__ import annotations

import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence

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
from .._naming import printable
from .._settings import RETRY_ON
from .http11.connection import UnsentError

__all__ = ["FAILURES", "failures", "refused_by_proxy", "ssl_reason", "translate"]

# All that a client, a transport or a response may raise: InvalidURL, CookieConflict and StreamError are no
# HTTPError, and a host name that cannot be encoded is a UnicodeError of the resolver's.
FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    OSError,
    UnicodeError,
)


def failures() -> tuple[type[Exception], ...]:
    """Return :data:`FAILURES` and what httpcore lets pass of anyio: its write to a TLS peer that has closed.

    anyio is not imported for this; without it there is no such exception.
    """
    anyio = sys.modules.get("anyio")
    return FAILURES if anyio is None else (*FAILURES, anyio.EndOfStream, anyio.BrokenResourceError)


# Met before the request's first byte, or before the server received it.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, UnsentError)

_TIMEOUTS: dict[type[Exception], str] = {
    httpx.ConnectTimeout: "No connection to {host} within the time limit (--connect-timeout).",
    httpx.ReadTimeout: "{host} sent nothing within the time limit (--read-timeout).",
    httpx.WriteTimeout: "{host} took no more of the request within the time limit (--write-timeout).",
    httpx.PoolTimeout: "No free connection to {host} within the time limit (--pool-timeout).",
}

# A RemoteProtocolError means that the connection ended early, or that the peer sent what is no HTTP. h11 and h2
# raise one class for both, so that only their messages tell them apart.
_ENDED_EARLY = ("disconnected", "closed", "terminated", "reset", "incomplete")
_TOO_LARGE = ("too long", "too large", "too many", "more than", "exceeds")


def translate(error: Exception, host: str) -> FetchError:
    """Return the FetchError for *error*, met while talking to *host*; to be raised ``from`` the error."""
    for kind, make in _TABLE:
        if isinstance(error, kind):
            made = make(error, host)
            made.unsent = isinstance(error, _UNSENT)
            return made
    return NetworkError(f"The exchange with {host} failed: {type(error).__name__}.")


def _timed_out(error: Exception, host: str) -> FetchError:
    words = _TIMEOUTS.get(type(error), "{host} did not answer within the time limit.")
    return TimedOutError(words.format(host=host))


def _proxy(error: Exception, host: str) -> FetchError:
    # Met where a client of the caller's goes through a proxy of its own.
    return refused_by_proxy(str(error), host, "", [], given=False)


def refused_by_proxy(words: str, host: str, proxy: str, wanted: Sequence[str], *, given: bool) -> FetchError:
    """Return the FetchError for a proxy that does not let *host* be reached.

    :param words: httpcore's: the status and phrase of its answer to CONNECT, or what SOCKS says.
    :param proxy: its host and port, where they are known.
    :param wanted: the schemes of its Proxy-Authenticate fields.
    :param given: credentials were sent to it.
    """
    name = f"The proxy {proxy}".rstrip()
    found = re.match(r"([0-9]{3})\b", words)
    status = int(found[1]) if found else 0
    # tinyproxy answers 401 to a wrong password: nobody but the proxy answers CONNECT.
    if status in {401, 407} or "password" in words.lower():
        return AuthenticationError(f"{name} {_wants(wanted, given=given)}", status=407)
    if 400 <= status < 500 and status not in RETRY_ON:
        return NetworkError(f"{name} refuses {host} ({status}).", transient=False)
    return NetworkError(
        f"{name} could not reach {host}: {words.partition(':')[0][:100].lower() or 'no reason given'}."
    )


def _wants(wanted: Sequence[str], *, given: bool) -> str:
    if wanted and not any(scheme.lower() == "basic" for scheme in wanted):
        return f"wants {wanted[0]}, which fetchq does not speak to proxies."
    if given:
        return "refused these credentials: they are the user and password of --proxy or of the environment."
    return "wants a user and password: give them as --proxy http://USER:PASSWORD@HOST:PORT."


def _remote_protocol(error: Exception, host: str) -> FetchError:
    words = str(error).lower()
    if any(sign in words for sign in _ENDED_EARLY):
        return NetworkError(f"{host} closed the connection before the answer was complete.")
    if any(sign in words for sign in _TOO_LARGE):
        return TooLargeError(f"{host} sent a larger answer head than is accepted: {_safe(error)}.")
    return ProtocolError(f"{host} does not speak proper HTTP: {_safe(error)}.")


def _local_protocol(error: Exception, host: str) -> FetchError:
    # An HTTP/2 connection that is going away is reported this way too, and another attempt may succeed.
    return ProtocolError(f"The request to {host} cannot be sent: {_safe(error)}.", transient=True)


def _network(error: Exception, host: str) -> FetchError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TLSError(f"The certificate of {host} is not trusted: {_distrust(cause)}.")
        if isinstance(cause, ssl.SSLError) and _refuses_tls(cause, error):
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


def _unsupported(_: Exception, host: str) -> FetchError:
    return UsageError(f"The URL at {host} cannot be asked for: only valid http and https URLs can.")


def _status(error: Exception, host: str) -> FetchError:
    status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
    if status in {401, 407}:
        return AuthenticationError(f"{host} asks for other credentials ({status}).", status=status)
    return StatusError(f"{host} answered {status}.", status=status, transient=status in RETRY_ON)


def _stream(_: Exception, host: str) -> FetchError:
    return UsageError(f"The answer of {host} has been read already: an event hook must leave the body alone.")


def _invalid_url(_: Exception, host: str) -> FetchError:
    # The request's own URL was parsed before, so this one is a Location that httpx looks at too.
    return ProtocolError(f"{host} redirects to something that is no http or https URL.")


def _redirects(_: Exception, host: str) -> FetchError:
    return ProtocolError(f"{host} redirects too often.")


def _decoding(_: Exception, host: str) -> FetchError:
    return ProtocolError(f"{host} sent a body that does not decode as its Content-Encoding says.")


def _cookies(_: Exception, host: str) -> FetchError:
    return ProtocolError(f"{host} set two cookies of the same name.")


# The first row that fits decides, so a class stands above those that it derives from.
_TABLE: tuple[tuple[type[Exception], Callable[[Exception, str], FetchError]], ...] = (
    (httpx.HTTPStatusError, _status),
    (httpx.StreamError, _stream),
    (httpx.InvalidURL, _invalid_url),
    (httpx.TooManyRedirects, _redirects),
    (httpx.DecodingError, _decoding),
    (httpx.CookieConflict, _cookies),
    (httpx.TimeoutException, _timed_out),
    (TimeoutError, _timed_out),
    (httpx.ProxyError, _proxy),
    (httpx.RemoteProtocolError, _remote_protocol),
    (httpx.LocalProtocolError, _local_protocol),
    (httpx.UnsupportedProtocol, _unsupported),
    (httpx.NetworkError, _network),
    (OSError, _network),
    (UnicodeError, _unsupported),
)


# Its codes for a host name and for an IP address that the certificate does not have.
_MISMATCH = (62, 64)
# Names of a certificate to list; a CDN's has a hundred.
_MOST_NAMES = 5
# OpenSSL's X509_V_ERR_ codes -> what helps.
_DISTRUST = {
    **dict.fromkeys((9, 10), "check this computer's clock, else its owner must renew it"),
    **dict.fromkeys(_MISMATCH, "check the host in the URL, or ask for the name that the certificate is for"),
    **dict.fromkeys(
        (2, 18, 19, 20, 21),
        "name its authority with --cacert FILE or --add-cacert FILE, or trust anything with -k",
    ),
}


def _distrust(cause: ssl.SSLCertVerificationError) -> str:
    # truststore's errors, on systems other than Linux, may lack both.
    words = str(getattr(cause, "verify_message", "")).rstrip(".") or "no reason given"
    code = getattr(cause, "verify_code", 0)
    hint = _DISTRUST.get(code)
    names = [printable(name) for name in getattr(cause, "names", ())]
    if code in _MISMATCH and names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        hint = f"it is for {', '.join(names[:_MOST_NAMES])}{more}: check the host in the URL"
    return f"{words}; {hint}" if hint else words


def _refuses_tls(cause: ssl.SSLError, error: Exception) -> bool:
    """Whether the peer refuses the session, rather than that the connection broke within a record."""
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return False
    return isinstance(error, httpx.ConnectError) or "ALERT" in (cause.reason or "")


def _words(cause: ssl.SSLError) -> str:
    words = ssl_reason(cause)
    hints = {
        "wrong version number": "perhaps this port is for http, not for https",
        "record layer failure": "perhaps this port is for http, not for https",
        "protocol": "it speaks no TLS version that is accepted (--tls-min)",
        "certificate required": "it wants a client certificate (--cert FILE)",
        "handshake failure": "it may want a client certificate (--cert FILE)",
    }
    return words + next((f"; {hint}" for sign, hint in hints.items() if sign in words), "")


def ssl_reason(cause: ssl.SSLError) -> str:
    """Return OpenSSL's word for what happened, without the names of its files."""
    return (cause.reason or "unknown reason").lower().replace("_", " ")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _causes(each)
        # httpcore's pool raises "from None", which hides what the system said and does not remove it.
        error = error.__context__ if error.__suppress_context__ and error.__cause__ is None else error.__cause__


def _system(error: Exception) -> str:
    said = [
        ssl_reason(cause) if isinstance(cause, ssl.SSLError) else str(cause.strerror)
        for cause in _causes(error)
        if isinstance(cause, ssl.SSLError) or (isinstance(cause, OSError) and cause.strerror)
    ]
    if not said and any(isinstance(cause, ConnectionError) for cause in _causes(error)):
        return "the connection was reset"
    return said[-1].lower() if said else "no reason given"


def _safe(error: Exception) -> str:
    """Return the library's words without the bytes of the peer that they quote after a colon."""
    return str(error).partition(":")[0][:100].lower() or type(error).__name__
