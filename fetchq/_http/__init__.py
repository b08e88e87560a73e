"""The edge to the network: a job's request goes out, a Response or a FetchError comes back.

A request passes, in this order::

    client        one attempt: send, follow redirects by hand, return the final answer
    url           URL text -> origin, credentials and httpx.URL (hostnames)
    request       job -> httpx.Request: fields and body that the origin at hand may see (headers, multipart)
    cookies       those that servers have set, kept and sent back (cookie_file)
    auth          who we say we are, hop by hop (netrc, challenges, digest)
    transport     which transport carries it: http11, http2, or httpx's for proxies (proxies, tls)
    http11        our HTTP/1.1 transport
    http2         our HTTP/2 transport, on the h2 library
    redirects     where a redirect leads, and with which method
    response      httpx.Response -> its head, and the one loop over its body
    confidential  what of a request an answer may repeat, and nothing may show
    errors        httpx's exceptions, and the system's -> FetchError

The only package that imports httpx.
"""

from __future__ import annotations

from .client import HttpClient, variables
from .hostnames import names_host, with_scheme
from .http11.transport import Transport
from .response import Response
from .tls import wants_password

__all__ = [
    "HttpClient",
    "Response",
    "Transport",
    "names_host",
    "variables",
    "wants_password",
    "with_scheme",
]
