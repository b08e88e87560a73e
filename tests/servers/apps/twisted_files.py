"""``twisted_files.py PORT FOLDER``: twisted's files, with gzip to whom asks for it."""

# Half of twisted has no types, and its reactor is a module to mypy.
# mypy: disable-error-code="no-untyped-call, arg-type, misc"

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import GzipEncoderFactory, Request, Site
from twisted.web.static import File


class Compressed(Resource):
    """The files of one folder, each with an encoder around it: an encoder around the folder would not do."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._files = File(folder)

    def getChild(self, path: bytes, request: Request) -> EncodingResourceWrapper:  # noqa: N802  # twisted's
        return EncodingResourceWrapper(self._files.getChild(path, request), [GzipEncoderFactory()])


if __name__ == "__main__":
    reactor.listenTCP(int(sys.argv[1]), Site(Compressed(sys.argv[2])), interface="127.0.0.1")
    reactor.run()
