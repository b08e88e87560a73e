"""Host names as they are written -> the ASCII that resolvers, TLS and the Host field take: plain functions."""

from __future__ import annotations

from urllib.parse import unquote

import idna

# RFC 1035 section 2.3.4: longer ones cannot be looked up, and the resolver answers them with a UnicodeError.
_LABEL, _NAME = 63, 253
# The encoder of labels takes the square of their length: it is spared what is no name however it comes out.
_MOST_WRITTEN = 4 * _NAME


def ascii_host(host: str) -> str:
    """Return a registered name in lower case, its percent-encoding undone and its labels in IDNA's ASCII form.

    :raises ValueError: it has no such form.
    """
    if len(host) > _MOST_WRITTEN:
        raise ValueError("it is too long")
    if "%" in host:
        host = unquote(host, errors="strict")
    if host.isascii():
        return host.lower()
    # UTS 46 section 4: fullwidth letters and dots become plain ones, capitals small.
    mapped = idna.uts46_remap(host, std3_rules=False)
    return ".".join(map(_ascii_label, mapped.split(".")))


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return idna.alabel(label).decode("ascii")
    except idna.IDNAError:
        # IDNA 2008 knows no symbols and no underscore; resolvers, curl and browsers look such labels up.
        return "xn--" + label.encode("punycode").decode("ascii")


def is_registered_name(host: str) -> bool:
    """Whether *host*, in ASCII, has the length of a DNS name, and so has each of its labels."""
    if len(host) > _NAME + host.endswith("."):
        return False
    return all(0 < len(label) <= _LABEL for label in host.removesuffix(".").split("."))


def has_public_suffix(host: str) -> bool:
    """Whether *host* ends in a domain under which names are registered, such as com or co.uk."""
    from publicsuffixlist import PublicSuffixList  # reads a list of 340 kB

    return PublicSuffixList(accept_unknown=False, only_icann=True).publicsuffix(host) is not None
