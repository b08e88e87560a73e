"""Certificates for raw servers, and who trusts them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest


@pytest.fixture
def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority / "ca.pem"))


@pytest.fixture
def serving(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    return context
