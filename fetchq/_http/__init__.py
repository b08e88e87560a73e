"""The edge to the network: a job's request goes out, a reply or a FetchError comes back.

A request passes, in this order::

    _client     one attempt: send, follow redirects by hand, hand back the final head
    _address    URL text -> origin, user, and the bytes to ask for
    _request    fields, cookies, body: what the origin at hand may see (_headers)
    _routes     straight to the server, or not (_proxies); _tls: settings -> SSLContext
    _redirects  where a redirect leads, and with which method
    _reply      the head and the body's bytes as they arrive
    _translate  what went wrong (_faults, the system) -> FetchError

Straight is our own HTTP/1.1: _straight, _connection, _wire, _pool. What needs httpx's client goes through it,
in modules that nothing else imports until then: _through, _auth, _stock, _foreign, and _transport, which is our
own way as httpx sees it.

The only package that imports httpx.
"""

from __future__ import annotations

from ._client import HttpClient
from ._reply import Buffer, Reply

__all__ = ["Buffer", "HttpClient", "Reply"]
