"""Our HTTP/1.1 transport for httpx, on asyncio.

::

    transport    httpx.Request -> httpx.Response: the public Transport
    pool         opens connections, keeps idle ones, bounds how many there are
    connect      host and port -> connected socket (happy eyeballs)
    connection   one connection: request out, response head and body in, every wait bounded
    body         bytes of one body -> chunks
    parser       heads and chunked coding as plain functions
    buffers      large receive buffers, filled again and again
    timer        a timer that is cheap to move

Its speed comes from three things: a socket is read into the memory that becomes the chunk, one wake-up serves a
whole buffer instead of a packet, and no step of a small request costs a task or a lock.
"""
