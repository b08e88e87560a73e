"""HTTP/1.1 on asyncio: connections, their pool, and the transport that httpx sees."""
