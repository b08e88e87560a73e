"""What can go wrong on our own way to a server, under httpx's names: the two trees translate one by one.

::

    TransportError
    ├── TimeoutException
    │   ├── ConnectTimeout   ReadTimeout   WriteTimeout   PoolTimeout
    ├── NetworkError
    │   ├── ConnectError   ReadError   WriteError
    ├── ProtocolError
    │   ├── LocalProtocolError   RemoteProtocolError
    ├── ProxyError
    └── UnsupportedProtocol

None of them leaves ``_http``: ``_translate`` makes them FetchErrors, ``_transport`` makes them httpx's.
"""

from __future__ import annotations


class TransportError(Exception):
    """The exchange failed."""


class TimeoutException(TransportError):  # noqa: N818 - httpx's name
    """A wait passed its bound."""


class ConnectTimeout(TimeoutException):
    """No connection in time."""


class ReadTimeout(TimeoutException):
    """Nothing came in time."""


class WriteTimeout(TimeoutException):
    """The peer took nothing more in time."""


class PoolTimeout(TimeoutException):
    """No connection was free in time."""


class NetworkError(TransportError):
    """The connection could not be made, or broke."""


class ConnectError(NetworkError):
    """The connection could not be made."""


class ReadError(NetworkError):
    """The connection broke while the answer came."""


class WriteError(NetworkError):
    """The connection broke while the request was sent."""


class ProtocolError(TransportError):
    """Somebody broke HTTP."""


class LocalProtocolError(ProtocolError):
    """We were asked to send what is no HTTP."""


class RemoteProtocolError(ProtocolError):
    """The server sent what is no HTTP, or less than it promised."""


class ProxyError(TransportError):
    """The proxy failed or refused."""


class UnsupportedProtocol(TransportError):  # noqa: N818 - httpx's name
    """Neither http nor https."""
