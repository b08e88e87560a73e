"""HTTP/2 on asyncio: all requests to an origin over one connection.

::

    transport     httpx.Request -> httpx.Response: which connection, and HTTP/1.1 where a server has no HTTP/2
    connection    one connection: frames to and from the h2 library, flow control, the end
    stream        one request and its response

httpcore's HTTP/2 does not fit a downloader: it never returns the flow-control window of a body that is given
up, so that the connection stands still; it buffers 16 MiB for each body that is not read; it loses the requests
in flight when a server ends a connection with GOAWAY; and it takes three times as long for a small file.
"""

from __future__ import annotations

from .transport import Http2Transport

__all__ = ["Http2Transport"]
