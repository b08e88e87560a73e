"""Host names as they are written -> the ASCII that resolvers, TLS and the Host field take: plain functions."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import unquote

import idna

# RFC 1035 section 2.3.4: longer ones cannot be looked up, and the resolver answers them with a UnicodeError.
_LABEL, _NAME = 63, 253
# The encoder of labels takes the square of their length: it is spared what is no name however it comes out.
_MOST_WRITTEN = 4 * _NAME

# A URL without its scheme: a host with a dot, localhost or an IPv6 address, then port and path.
_HOST = re.compile(
    r"(?P<name>(?i:localhost|\[[0-9a-f:.]+\]|[\w-]+(?:\.[\w-]+)*\.(?:\w{2,}|\d)))(?::(?P<port>\d+))?(?:[/?#].*)?"
)


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


def names_host(word: str) -> bool:
    """Whether *word* begins with what can be a host, and lacks a scheme; a name of a file can look so too."""
    return "://" not in word and _HOST.fullmatch(word) is not None


def with_scheme(word: str) -> str:
    """Return *word* as an https URL, where it has no scheme and looks like a host; else as it is.

    Such are localhost, addresses, hosts with a port, and those under a domain where names are registered:
    queue.txt is none of these.
    """
    found = None if "://" in word else _HOST.fullmatch(word)
    return f"https://{word}" if found and (found["port"] or _is_host(found["name"])) else word


def _is_host(name: str) -> bool:
    plain = name.lower() == "localhost" or not re.search(r"[^\d.]", name) or name.startswith("[")
    return plain or _has_public_suffix(name.lower())


# A queue's lines name few hosts, and a look-up takes 0.02 ms.
@functools.lru_cache(1024)
def _has_public_suffix(host: str) -> bool:
    """Whether *host* ends in a domain under which names are registered, such as com or co.uk."""
    return _public_suffixes().publicsuffix(host) is not None


@functools.cache
def _public_suffixes() -> Any:
    from publicsuffixlist import PublicSuffixList  # reads a list of 340 kB

    return PublicSuffixList(accept_unknown=False, only_icann=True)
