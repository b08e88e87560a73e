"""Settings -> SSLContext, with sentences for files that cannot be used."""

from __future__ import annotations

import importlib.util
import os
import ssl
import warnings
from pathlib import Path

from .._errors import UsageError
from .._settings import Network

__all__ = ["OLD_VERSIONS", "bare", "context"]

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
    if network.cert is not None:
        _present(made, network.cert, network.key)
    elif network.key is not None:
        raise UsageError("A client key needs its certificate: give --cert FILE too.")
    return made


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
    for file in network.add_cacert:
        try:
            made.load_verify_locations(str(file))
        except OSError as error:
            raise UsageError(_unusable(str(file), "certificate authorities", error)) from error
    return made


def _trusting(network: Network) -> ssl.SSLContext:
    if network.cacert is not None:
        return _default(str(network.cacert), cafile=str(network.cacert))
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
    file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
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


def _present(made: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    try:
        # Without a password callback OpenSSL asks on the terminal, and an unattended run would wait for ever.
        made.load_cert_chain(str(cert), str(key) if key else None, password=lambda: "")
    except ssl.SSLError as error:
        files = f"{cert} and {key}" if key else str(cert)
        raise UsageError(
            f"{files}: no matching client certificate and unencrypted key in PEM form ({_word(error)})."
        ) from error
    except OSError as error:
        missing = key if key and cert.is_file() else cert
        raise UsageError(_unusable(str(missing), "a client certificate", error)) from error


def _unusable(named: str, what: str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{named}: no {what} in PEM form ({_word(error)})."
    return f"Cannot read {what} from {named}: {error.strerror or type(error).__name__}."


def _word(error: ssl.SSLError) -> str:
    return (error.reason or "unknown reason").lower().replace("_", " ")
