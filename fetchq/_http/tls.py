"""Settings -> SSLContext, with sentences for files that cannot be used."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
import warnings
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

from .._errors import UsageError
from .._models import TLSOptions
from .._settings import Network
from .errors import ssl_reason

__all__ = ["BUNDLE_VARIABLES", "OLD_VERSIONS", "bare", "context", "wants_password", "with_own"]

_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
# RFC 8996 says not to use them; devices that are no longer updated speak nothing newer.
OLD_VERSIONS = frozenset({"1.0", "1.1"})
# Where requests and curl look for authorities; the first that is set counts, a file or a folder.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
BUNDLE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", *_BUNDLES)
# What "openssl rehash" names the files of a folder, which OpenSSL then looks up one by one as it needs them.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
# Files of a folder without such names; the authorities of a system are some 150.
_MOST_FILES = 1000
# OpenSSL's bound for the password of a key.
_LONGEST_PASSWORD = 1024


def context(network: Network) -> ssl.SSLContext:
    """Build the context that verifies servers as *network* says; takes about 40 ms, so build it once.

    The authorities are those of ``cacert``, else with ``ca_native`` the system's, else with ``env`` those of
    SSL_CERT_FILE and SSL_CERT_DIR, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, else certifi's; and those of
    ``add_cacert`` beside them.

    :raises UsageError: a PEM file cannot be read or holds something else, or a package is missing.
    """
    made = _verifying(network)
    _accept_from(made, network.tls_min)
    # A server that is told nothing may choose what we do not speak; httpx's transport says h2 too, where asked.
    made.set_alpn_protocols(["http/1.1"])
    if not network.ca_native:  # truststore's context makes its own
        made.sslobject_class = _NamingSSLObject
    if network.cert is not None:
        _present(made, network.cert, network.key, network.key_password)
    elif network.key is not None or network.key_password is not None:
        raise UsageError("A client key needs its certificate: give --cert FILE too.")
    return made


def with_own(network: Network, tls: TLSOptions | None) -> Network:
    """Return *network* with what a job has of its own; a certificate does not go with another one's key."""
    if tls is None:
        return network
    named = {item.name: getattr(tls, item.name) for item in fields(tls)}
    given = {name: value for name, value in named.items() if value is not None}
    bare_cert = {"key": None, "key_password": None} if tls.cert is not None else {}
    return replace(network, **{**bare_cert, **given})


class _NamingSSLObject(ssl.SSLObject):
    """Notes whom a refused certificate is for: behind the failed handshake nothing knows."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            # The standard library has a public name for the chain from 3.13 on.
            with suppress(AttributeError, IndexError, TypeError, KeyError):
                info = self._sslobj.get_unverified_chain()[0].get_info()  # type: ignore[attr-defined]
                names = [name for kind, name in info["subjectAltName"] if kind in {"DNS", "IP Address"}]
                error.names = names  # type: ignore[attr-defined]
            raise


def wants_password(network: Network) -> bool:
    """Whether the client key is encrypted, and its password is not among the settings."""
    if network.cert is None or network.key_password is not None:
        return False
    asked: list[bool] = []

    def answer() -> bytes:
        asked.append(True)
        return b""

    with suppress(OSError):
        bare().load_cert_chain(network.cert, network.key, password=answer)
    return bool(asked)


def bare() -> ssl.SSLContext:
    """Return a context for transports that never speak TLS; it trusts no one and costs next to nothing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _accept_from(made: ssl.SSLContext, version: str) -> None:
    if version in OLD_VERSIONS:
        # OpenSSL 3 speaks them with the ciphers of level 0 only.
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made.minimum_version = _VERSIONS[version]


def _verifying(network: Network) -> ssl.SSLContext:
    if network.insecure:
        trusting = bare()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        return trusting
    made = _trusting(network)
    for path in network.add_cacert:
        _trust(made, path)
    return made


def _trust(made: ssl.SSLContext, path: Path) -> None:
    """Let *made* trust the authorities of a PEM file, or of a folder of such.

    :raises UsageError: it cannot be read, or holds no authority.
    """
    try:
        if not path.is_dir():
            made.load_verify_locations(path)
        elif any(_HASHED.fullmatch(name) for name in os.listdir(path)):
            made.load_verify_locations(capath=path)
        elif not sum(_trusts(made, file) for file in _files(path)):
            raise UsageError(f"{path}: no file of this folder holds certificate authorities in PEM form.")
    except OSError as error:
        raise UsageError(_unusable(str(path), "certificate authorities", error)) from error


def _files(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.iterdir() if file.is_file())
    if len(found) > _MOST_FILES:
        raise UsageError(f"{folder} holds more than {_MOST_FILES} files: run openssl rehash on it first.")
    return found


def _trusts(made: ssl.SSLContext, file: Path) -> bool:
    """Trust the authorities of *file*; a folder may hold a note or a key beside them."""
    try:
        made.load_verify_locations(file)
    except ssl.SSLError:
        return False
    return True


def _trusting(network: Network) -> ssl.SSLContext:
    if network.cacert is not None:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # As in curl: an intermediate authority that the user trusts needs no root above it.
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        _trust(made, network.cacert)
        return made
    if network.ca_native:
        return _native()
    file, folder, name = _bundle() if network.env else (None, None, "")
    if file or folder:
        return _default(f"{file or folder} ({name})", cafile=file, capath=folder)
    import certifi  # looks for its files

    return _default(certifi.where(), cafile=certifi.where())


def _bundle() -> tuple[str | None, str | None, str]:
    """Return the file and the folder of authorities that the environment names, and the variable that does."""
    # Python would take these two by itself, and pass over a file that is not there.
    file, folder = (os.environ.get(name) or None for name in BUNDLE_VARIABLES[:2])
    if file or folder:
        return file, folder, "SSL_CERT_FILE" if file else "SSL_CERT_DIR"
    for name in _BUNDLES:
        bundle = os.environ.get(name)
        if bundle:
            return (None, bundle, name) if os.path.isdir(bundle) else (bundle, None, name)
    return None, None, ""


def _default(named: str, *, cafile: str | None = None, capath: str | None = None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile, capath=capath)
    except OSError as error:
        raise UsageError(_unusable(named, "certificate authorities", error)) from error


def _native() -> ssl.SSLContext:
    if importlib.util.find_spec("truststore") is None:
        raise UsageError("--ca-native needs a package more: pip install 'fetchq[native]'.")
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _present(made: ssl.SSLContext, cert: Path, key: Path | None, password: str | None) -> None:
    asked: list[bool] = []

    def answer() -> bytes:
        # Without a callback OpenSSL asks on the terminal, and an unattended run would wait for ever.
        asked.append(True)
        return (password or "").encode("utf-8", "surrogateescape")[:_LONGEST_PASSWORD]

    try:
        made.load_cert_chain(cert, key, password=answer)
    except ssl.SSLError as error:
        files = f"{cert} and {key}" if key else str(cert)
        if asked and password is None:
            raise UsageError(f"{key or cert}: the key is encrypted: give --key-password PASSWORD.") from error
        if asked and (error.reason or "") != "KEY_VALUES_MISMATCH":
            raise UsageError(f"{key or cert}: --key-password is not the password of this key.") from error
        raise UsageError(
            f"{files}: no matching client certificate and key in PEM form ({ssl_reason(error)})."
        ) from error
    except OSError as error:
        missing = key if key and cert.is_file() else cert
        raise UsageError(_unusable(str(missing), "a client certificate", error)) from error


def _unusable(named: str, what: str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{named}: no {what} in PEM form ({ssl_reason(error)})."
    return f"Cannot read {what} from {named}: {error.strerror or type(error).__name__}."
