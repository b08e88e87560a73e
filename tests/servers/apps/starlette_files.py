"""starlette's files as an ASGI application: ranges, ETags, and gzip to whom asks for it."""

from __future__ import annotations

import os

from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

application = GZipMiddleware(StaticFiles(directory=os.environ["SERVED_ROOT"]), minimum_size=1)
