"""httpx's exceptions -> FetchError: those that our own way has too by their name, the others one by one."""

from __future__ import annotations

import httpx

from ..._errors import AuthenticationError, FetchError, ProtocolError, StatusError, UsageError
from ..._settings import RETRY_ON
from ..errors import FAULTS, translate
from ..http11 import exceptions

__all__ = ["FOREIGN", "translate_foreign"]

# All that may come out of a client or a response; InvalidURL, CookieConflict and StreamError are no HTTPError.
FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict, httpx.StreamError, *FAULTS)


def translate_foreign(error: Exception, host: str) -> FetchError:
    """Give the FetchError that stands for *error*, met while talking to *host*; raise it ``from`` the error."""
    if isinstance(error, httpx.HTTPStatusError):
        return _status(error.response.status_code, host)
    if isinstance(error, httpx.StreamError):
        return UsageError(
            f"The answer of {host} has been read already: an event hook must leave the body alone."
        )
    if isinstance(error, httpx.InvalidURL):
        # The request's own URL was parsed long ago, so this one is a Location that httpx looks at too.
        return ProtocolError(f"{host} redirects to something that is no http or https URL.")
    if isinstance(error, httpx.TooManyRedirects):
        return ProtocolError(f"{host} redirects too often.")
    if isinstance(error, httpx.DecodingError):
        return ProtocolError(f"{host} sent a body that does not decode as its Content-Encoding says.")
    if isinstance(error, httpx.CookieConflict):
        return ProtocolError(f"{host} set two cookies of the same name.")
    return translate(_fault_of(error), host)


def _fault_of(error: Exception) -> Exception:
    """Give our own exception of the same name, with *error* as its cause."""
    if not isinstance(error, httpx.TransportError):
        return error
    kind = next(
        getattr(exceptions, each.__name__) for each in type(error).__mro__ if hasattr(exceptions, each.__name__)
    )
    fault: Exception = kind(str(error))
    fault.__cause__ = error
    return fault


def _status(status: int, host: str) -> FetchError:
    if status in {401, 407}:
        return AuthenticationError(f"{host} asks for other credentials ({status}).", status=status)
    return StatusError(f"{host} answered {status}.", status=status, transient=status in RETRY_ON)
