"""The edge to the network: a job's request goes out, a reply or a FetchError comes back.

A request passes, in this order::

    client      one attempt: send, follow redirects by hand, hand back the final head
    url         URL text -> origin, user, and the bytes to ask for
    request     fields, cookies, body: what the origin at hand may see (headers)
    routes      straight to the server, or not (proxies); tls: settings -> SSLContext
    redirects   where a redirect leads, and with which method
    response    the head and the body's bytes as they arrive
    errors      what went wrong (http11.exceptions, the system) -> FetchError

``http11`` is our own HTTP/1.1; ``httpx_backend`` is what needs httpx's client.

The only package that imports httpx.
"""

from __future__ import annotations

from .client import HttpClient
from .response import Response

__all__ = ["HttpClient", "Response"]
