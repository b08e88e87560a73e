"""``tornado_files.py PORT FOLDER``: tornado's files, with gzip to whom asks for it."""

from __future__ import annotations

import asyncio
import sys

from tornado.web import Application, StaticFileHandler


async def main(port: int, folder: str) -> None:
    files = (r"/(.*)", StaticFileHandler, {"path": folder})
    Application([files], compress_response=True).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
