"""Digest access authentication (RFC 7616).

httpx's own looks at one challenge of one line, takes the first algorithm, fails at an unknown one, at a user
that is no ASCII and at a quote in one, and does not answer a nonce that has gone stale.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import quote

from .challenges import Challenge, challenges

__all__ = ["DigestChallenge", "offered"]

# The strongest first. RFC 7616 section 3.2 has no SHA-512 and no SHA; some servers name them.
_ALGORITHMS = {
    "SHA-512-256": "sha512_256",
    "SHA-512": "sha512",
    "SHA-256": "sha256",
    "SHA": "sha1",
    "MD5": "md5",
}
_SESSION = "-SESS"


@dataclass(slots=True)
class DigestChallenge:
    """A challenge that can be answered, request by request.

    :param algorithm: as the server wrote it.
    :param qop: the server offers ``auth``; without it the answer is RFC 2069's.
    """

    challenge: dict[str, bytes]
    algorithm: str
    qop: bool
    _count: int = 0

    @property
    def nonce(self) -> bytes:
        """The server's word that makes its challenge unlike others."""
        return self.challenge["nonce"]

    @property
    def stale(self) -> bool:
        """Whether the challenge says that only the nonce of the last answer was wrong."""
        return self.challenge.get("stale", b"").lower() == b"true"

    def answer(self, user: bytes, password: bytes, method: bytes, target: bytes) -> bytes:
        """Return the value of an Authorization field."""
        name, session = _split(self.algorithm)
        hashed = _hash(_ALGORITHMS[name])
        self._count += 1
        count, own = b"%08x" % self._count, secrets.token_hex(8).encode()
        realm = self.challenge.get("realm", b"")
        secret = hashed(b":".join((user, realm, password)))
        if session:
            secret = hashed(b":".join((secret, self.nonce, own)))
        nonces = (self.nonce, count, own, b"auth") if self.qop else (self.nonce,)
        response = hashed(b":".join((secret, *nonces, hashed(method + b":" + target))))
        words = [
            *self._user(user, realm, hashed),
            b'realm="%b", nonce="%b", uri="%b", response="%b"' % (realm, self.nonce, target, response),
        ]
        if "algorithm" in self.challenge:
            words.append(b"algorithm=" + self.algorithm.encode())
        if "opaque" in self.challenge:
            words.append(b'opaque="%b"' % self.challenge["opaque"])
        if self.qop:
            words.append(b'qop=auth, nc=%b, cnonce="%b"' % (count, own))
        elif session:
            words.append(b'cnonce="%b"' % own)
        return b"Digest " + b", ".join(words)

    def _user(self, user: bytes, realm: bytes, hashed: Callable[[bytes], bytes]) -> list[bytes]:
        """Return the parameters that name the user (RFC 7616 section 3.4)."""
        if self.challenge.get("userhash", b"").lower() == b"true":
            return [b'username="%b"' % hashed(user + b":" + realm), b"userhash=true"]
        if not user.isascii() and self.challenge.get("charset", b"").upper() == b"UTF-8":
            return [b"username*=UTF-8''" + quote(user, safe="").encode()]
        return [b'username="%b"' % user.replace(b"\\", b"\\\\").replace(b'"', b'\\"')]


def offered(fields: Iterable[bytes]) -> DigestChallenge | None:
    """Return the strongest Digest challenge of the WWW-Authenticate *fields* that can be answered."""
    known = filter(None, map(_readable, challenges(fields)))
    strength = list(_ALGORITHMS)
    return min(known, key=lambda digest: strength.index(_split(digest.algorithm)[0]), default=None)


def _readable(challenge: Challenge) -> DigestChallenge | None:
    given = challenge.parameters
    algorithm = given.get("algorithm", b"MD5").decode("latin-1")
    name, _ = _split(algorithm)
    if challenge.scheme.lower() != "digest" or "nonce" not in given or name not in _ALGORITHMS:
        return None
    if _ALGORITHMS[name] not in hashlib.algorithms_available:
        return None
    qops = [qop.strip().lower() for qop in given.get("qop", b"").split(b",") if qop.strip()]
    # What is left is auth-int, which hashes bodies too: not seen in use.
    return DigestChallenge(given, algorithm, bool(qops)) if not qops or b"auth" in qops else None


def _split(algorithm: str) -> tuple[str, bool]:
    name = algorithm.upper()
    return name.removesuffix(_SESSION), name.endswith(_SESSION)


def _hash(name: str) -> Callable[[bytes], bytes]:
    return lambda data: hashlib.new(name, data, usedforsecurity=False).hexdigest().encode()
