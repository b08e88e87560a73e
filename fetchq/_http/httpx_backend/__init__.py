"""What needs httpx's client: auth, hooks, cookies, proxies, HTTP/2 and the caller's own client."""
