"""Every default once, with its reason: frozen groups of settings.

A field's ``help`` is what the command line shows, so nothing is spelled twice. Secrets are kept out of
``repr``. Nothing here reads the environment; a door does, and hands the values in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

__all__ = ["Disk", "IfExists", "Network", "ProgressKind", "Queue", "Retry", "Settings", "help_of"]

MIB = 1 << 20

IfExists = Literal["skip", "rename", "overwrite", "error"]
ProgressKind = Literal["auto", "bar", "plain", "json", "none"]

# 520-524 are what a well-known CDN answers while its origin is away; the others are RFC 9110's and RFC 6585's.
RETRY_ON = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})


def _setting(default: Any, help: str, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"help": help}, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How to talk to servers. Times in seconds, None for no bound."""

    # 15 s covers four SYN retransmissions; a host that has not answered by then rarely does.
    connect_timeout: float | None = _setting(15.0, "Seconds to wait for a connection and its TLS handshake.")
    # 30 s between two reads: longer than any pause seen of a healthy server, short enough to notice a dead one.
    read_timeout: float | None = _setting(30.0, "Seconds to wait for the next bytes of an answer.")
    write_timeout: float | None = _setting(30.0, "Seconds to wait while sending a request.")
    pool_timeout: float | None = _setting(30.0, "Seconds to wait for a free connection.")
    min_speed: float = _setting(100.0, "Slower than this for 30 s: reconnect and resume. 0 switches it off.")
    min_speed_window: float = 30.0
    user_agent: str | None = _setting(None, "User-Agent to send.")
    referer: str | None = _setting(None, "Referer to send, to the job's own origin only.", secret=True)
    headers: tuple[tuple[str, str], ...] = _setting(
        (), "Header to send to each job's own origin; repeats.", secret=True
    )
    user: tuple[str, str] | None = _setting(None, "User and password for the job's own origin.", secret=True)
    bearer: str | None = _setting(None, "Bearer token for the job's own origin.", secret=True)
    netrc: bool = _setting(False, "Take users and passwords from the netrc file.")
    cookies: tuple[tuple[str, str], ...] = _setting(
        (), "Cookie to send to each job's own origin; repeats.", secret=True
    )
    insecure: bool = _setting(False, "Do not verify TLS certificates.")
    cacert: Path | None = _setting(None, "PEM file of the certificate authorities to trust.")
    cert: Path | None = _setting(None, "PEM file of a client certificate.")
    key: Path | None = _setting(None, "PEM file of the client certificate's key.")
    tls_min: Literal["1.2", "1.3"] = _setting("1.2", "Oldest TLS version to accept.")
    proxy: str | None = _setting(None, "Proxy for all requests: http, https or socks5 URL.", secret=True)
    env: bool = _setting(True, "Take proxies from the environment.")
    http2: bool = _setting(False, "Offer HTTP/2 to servers; needs fetchq[http2].")
    # Browsers stop at 20, curl at 50.
    max_redirects: int = 20
    # nginx and Apache refuse request heads over 8 KiB a line, 32 KiB in all; answers are seldom larger.
    max_head: int = 64 * 1024
    max_headers: int = 200
    # A gzip bomb reaches 1000:1; honest archives of text seldom pass 20:1.
    max_decoded: int = 16 * 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is worth another."""

    retries: float = _setting(5, "Attempts in a row without progress before giving up; inf for no end.")
    backoff: float = _setting(0.5, "Base in seconds of the exponential, full-jitter backoff.")
    # Past a minute a longer wait no longer spares the server and only delays the user.
    backoff_max: float = 60.0
    retry_on: frozenset[int] = _setting(RETRY_ON, "Statuses worth another attempt, such as 429,503 or 520-524.")
    # A Retry-After of an hour would hang an unattended run: past five minutes we come back anyway.
    retry_after_max: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """How files reach the disk. Sizes in bytes."""

    dir: Path = _setting(Path(), "Directory where files go; created when missing.")
    if_exists: IfExists = _setting("rename", "What to do about a file of that name that is not this download.")
    max_size: int | None = _setting(None, "Refuse resources larger than this.")
    min_free: int = _setting(64 * MIB, "Disk space to leave free.")
    fsync: bool = _setting(False, "Survive power loss, not only a crash.")
    # One thread hop costs 150 to 180 us: 1 MiB a hop keeps that under a tenth of the write itself.
    buffer: int = MIB
    # A kill costs at most this many seconds of bytes; a checkpoint costs about 0.1 ms.
    checkpoint: float = 0.1
    # No validator: this many bytes before the part's end are fetched again and compared.
    overlap: int = 16 * 1024
    # A store, a program behind the events, or code that holds the result may want it. It takes a quarter of the
    # time of a large file from a server next door: where nobody can see it, the command line leaves it out.
    sha256: bool = True
    dotfiles: bool = _setting(False, "Let a server choose a name that begins with a dot.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """How many things happen at once."""

    jobs: int = _setting(8, "Connections in all: jobs first, spare ones split large files.")
    # Four are what browsers and mirrors live with; who asks for many jobs has asked for many connections.
    connections: int | None = _setting(None, "Connections per file.")
    # None: as many as in all. Most queues have a single host, and whoever raises jobs means that one.
    per_host: int | None = _setting(None, "Connections per host, over all jobs.")
    limit_rate: float | None = _setting(None, "Bytes a second for the whole run: 500k, 2M.")
    # Enough to find work for another host behind a run of lines for a busy one; about 1 KiB each.
    lookahead: int = 1000
    # Jobs that wait for another attempt hold a lock each, so they are bounded too.
    waiting: int = 256

    @property
    def per_file(self) -> int:
        """Most connections for one file: 4 less than in all, and 4 at least, unless it was chosen.

        Where a limit of ours is what makes a file slow, more connections would not make it faster.
        """
        unasked = 1 if self.limit_rate is not None else max(4, self.jobs - 4)
        return min(self.jobs, unasked if self.connections is None else self.connections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All groups together, as a Downloader takes them."""

    network: Network = field(default_factory=Network)
    retry: Retry = field(default_factory=Retry)
    disk: Disk = field(default_factory=Disk)
    queue: Queue = field(default_factory=Queue)


def help_of(group: type, name: str) -> str:
    """Give the one sentence that explains the field *name* of a settings *group*, its default included."""
    for item in fields(group):
        if item.name == name:
            return str(item.metadata["help"])
    raise KeyError(f"{group.__name__} has no setting {name!r}")
