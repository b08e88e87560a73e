"""``client.py SOCKET WORDS``: run ``fetchq WORDS`` as a fork of the server at SOCKET, and end as it ends.

It imports next to nothing: its start is what each command costs.
"""

# ``signal`` and ``socket`` are these and enumerations, which take as long as the rest of the start.
import _signal  # type: ignore[import-not-found]  # typeshed lacks it
import _socket
import array
import os
import sys

_, path, *words = sys.argv
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
begun = False


def send_on(number: int, frame: object) -> None:
    if not begun:
        sys.exit(128 + number)
    server.send(b"%8d" % number)


for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGUSR2):
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, send_on)
server.connect(path)
# The folder by a descriptor: it may have no name any more, or one that may not be walked to.
streams = array.array("i", [0, 1, 2, os.open(".", os.O_RDONLY)])
told = b"\0".join([os.fsencode(f"{name}={value}") for name, value in os.environ.items()])
told = b"\0\0".join([told, *map(os.fsencode, words)])
server.sendmsg([b"%8d" % len(told)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
server.sendall(told)
begun = True
code = int(server.recv(8))
# A shell's way to tell the signal that ended it.
sys.exit(code if code >= 0 else 128 - code)
