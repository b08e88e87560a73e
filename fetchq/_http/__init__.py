"""The edge to the network: a job's request goes out, a reply or a FetchError comes back.

A request passes, in this order::

    _client     one attempt: send, follow redirects by hand, hand back the final head
    _address    URL text -> origin, user, and the bytes to ask for
    _request    fields, cookies, body: what the origin at hand may see (_headers, _auth)
    _routes     straight over our own transport; proxies (_proxies) and HTTP/2 over httpx's
    _tls        settings -> SSLContext, when the first https URL comes
    _redirects  where a redirect leads, and with which method
    _reply      the head and the body's bytes as they arrive
    _translate  foreign exceptions -> FetchError

The only package that imports httpx.
"""

from __future__ import annotations

from ._client import HttpClient
from ._reply import Buffer, Reply

__all__ = ["Buffer", "HttpClient", "Reply"]
