"""Settings -> SSLContext, with sentences for files that cannot be used."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from .._errors import UsageError
from .._settings import Network

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(network: Network) -> ssl.SSLContext:
    """Build the context that verifies servers as *network* says; takes about 40 ms, so build it once.

    Without ``cacert`` the authorities are httpx's choice: certifi's, or with ``env`` those of SSL_CERT_FILE
    and SSL_CERT_DIR.

    :raises UsageError: a PEM file cannot be read or holds something else.
    """
    made = _verifying(network)
    made.minimum_version = _VERSIONS[network.tls_min]
    # A server that is told nothing may choose what we do not speak; httpx's transport says h2 too, where asked.
    made.set_alpn_protocols(["http/1.1"])
    if network.cert is not None:
        _present(made, network.cert, network.key)
    elif network.key is not None:
        raise UsageError("A client key needs its certificate: give --cert FILE too.")
    return made


def bare() -> ssl.SSLContext:
    """Give a context for transports that never speak TLS; it trusts nobody and costs next to nothing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _verifying(network: Network) -> ssl.SSLContext:
    if network.insecure:
        trusting = bare()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        return trusting
    if network.cacert is not None:
        return _trusting(network.cacert, cafile=str(network.cacert))
    file, folder = (os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if network.env and file:
        return _trusting(Path(file), cafile=file)
    if network.env and folder:
        return _trusting(Path(folder), capath=folder)
    import certifi  # looks for its files

    bundle = certifi.where()
    return _trusting(Path(bundle), cafile=bundle)


def _trusting(named: Path, *, cafile: str | None = None, capath: str | None = None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=cafile, capath=capath)
    except OSError as error:
        raise UsageError(_unusable(named, "certificate authorities", error)) from error


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
        raise UsageError(_unusable(missing, "a client certificate", error)) from error


def _unusable(path: Path, what: str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"{path}: no {what} in PEM form ({_word(error)})."
    return f"Cannot read {what} from {path}: {error.strerror or type(error).__name__}."


def _word(error: ssl.SSLError) -> str:
    return (error.reason or "unknown reason").lower().replace("_", " ")
