"""Which proxy a URL takes: the one that was asked for, or the environment's; plain functions of text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from .url import Origin

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy URLs by scheme (``http``, ``https``, ``all``), and the hosts that are reached without one.

    :param option: what the URLs were given with; empty for the environment.
    """

    urls: Mapping[str, str]
    option: str = ""
    exceptions: tuple[Exemption, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.urls)

    def choose(self, origin: Origin) -> str | None:
        """Return the proxy's URL for *origin*, or None where it is reached directly."""
        proxy = self.urls.get(origin[0]) or self.urls.get("all")
        host = origin[1].removesuffix(".")
        if proxy is None or any(each.covers(host, origin[2]) for each in self.exceptions):
            return None
        return proxy

    def source(self, url: str) -> str:
        """Return the option or the variables of the environment that *url* was given with."""
        return self.option or " and ".join(f"{name}_proxy" for name, given in self.urls.items() if given == url)


@dataclass(frozen=True, slots=True)
class Exemption:
    """One word of NO_PROXY: a host and what lies below it, or a network; on one port, or on all."""

    host: str = ""
    network: _Network | None = None
    port: int | None = None

    def covers(self, host: str, port: int) -> bool:
        """Whether *host* is reached without a proxy."""
        if self.port not in {None, port}:
            return False
        if self.network is not None:
            number = _number(host)
            return number is not None and number in self.network
        return self.host == "*" or host == self.host or host.endswith("." + self.host)


def of(urls: Mapping[str, str]) -> Proxies:
    """Read the words of ``urllib.request.getproxies()``: scheme to URL, and ``no`` for NO_PROXY."""
    trimmed = {scheme: _trimmed(urls.get(scheme, "")) for scheme in ("http", "https", "all")}
    chosen = {scheme: _with_scheme(url) for scheme, url in trimmed.items() if url}
    words = re.split(r"[,\s]+", _trimmed(urls.get("no", "")))
    return Proxies(chosen, exceptions=tuple(filter(None, map(_exemption, words))))


def explicit(url: str, option: str = "--proxy") -> Proxies:
    """Send everything through the proxy at *url*, which was given with *option*."""
    return Proxies({"all": _with_scheme(_trimmed(url))}, option)


def _trimmed(value: str) -> str:
    """Cut the blanks and quotes that files of variables leave around values."""
    return value.strip().strip("\"'").strip()


def _with_scheme(url: str) -> str:
    # GNOME and Clash write socks:// for what is SOCKS 5.
    return re.sub(r"^socks:", "socks5:", url, flags=re.IGNORECASE) if "://" in url else f"http://{url}"


def _exemption(word: str) -> Exemption | None:
    """Read one word as curl does: a leading dot or ``*.`` means the domain and all below it, too."""
    word = word.lower().rpartition("://")[2]
    network = _network(word)
    if network is not None:
        return Exemption(network=network)
    matched = re.fullmatch(r"(\[[^]]*\]|[^:]*)(?::([0-9]{1,5}))?", word)
    if matched is None:
        return None
    port = int(matched[2]) if matched[2] else None
    host = matched[1].removeprefix("*.").strip(".")
    network = _network(host)
    if network is not None:
        return Exemption(network=network, port=port)
    return Exemption(host=host, port=port) if host else None


def _network(word: str) -> _Network | None:
    try:
        return ipaddress.ip_network(re.sub(r"^\[(.*)\](/\d+)?$", r"\1\2", word), strict=False)
    except ValueError:
        return None


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
