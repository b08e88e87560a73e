"""Settings as frozen groups, each default with its reason.

A field's ``help`` is the text of its command line option; a field without one has no option and is described
in its class. Secrets are left out of ``repr``. Nothing here reads the environment or a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from ._arguments import GivenOptionalPath, GivenPairs, GivenPath, GivenPaths, check_fields
from ._errors import UsageError
from ._models import IfExists

__all__ = [
    "MIB",
    "Disk",
    "IfExists",
    "Network",
    "ProgressKind",
    "Queue",
    "Retry",
    "Settings",
    "help_of",
    "reason_of",
]

T = TypeVar("T")
MIB = 1 << 20

ProgressKind = Literal["auto", "bar", "plain", "json", "none"]

RETRIES = 5
# 520 to 524 are Cloudflare's, for an origin it cannot reach; the others are from RFC 9110, 6585 and 8470.
RETRY_ON = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525)})


def _setting(default: Any, help: str, *, why: str = "", secret: bool = False) -> Any:
    """Return a field with the *help* of its option, and *why* its default is as it is."""
    return field(default=default, metadata={"help": help, "why": why}, repr=not secret)


def _described(group: type[T]) -> type[T]:
    """Complete the docstring of a *group* with its options' help, and make each field show its own."""
    told = dict(re.findall(r":param (\w+): (.+?)(?=\n\s*:param|\s*\Z)", group.__doc__ or "", re.DOTALL))
    docs = {
        item.name: str(item.metadata.get("help") or " ".join(told.get(item.name, "").split()))
        for item in fields(group)  # type: ignore[arg-type] # a dataclass
    }
    more = [f"    :param {name}: {text}" for name, text in docs.items() if name not in told]
    group.__doc__ = "\n".join([(group.__doc__ or "").rstrip(), *more, "    "])
    # What inspect.getdoc() and help() take the docstrings of slots from.
    group.__slots__ = docs  # type: ignore[attr-defined] # any class with slots has it
    return group


@_described
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Connections and requests.

    Every timeout is in seconds; None means no limit.

    :param min_speed_window: seconds over which ``min_speed`` is measured.
    :param redirects: redirects are followed; otherwise each is an error, and the result of a HEAD.
    :param max_redirects: redirects followed for one request.
    :param max_head: bytes of a response's head, 1xx responses included.
    :param max_headers: header fields of a response.
    :param max_decoded: bytes that a body with a content coding may decode to, unless ``Disk.max_size`` is set.
    """

    connect_timeout: float | None = _setting(
        15.0,
        "Seconds to wait for a connection and its TLS handshake.",
        why="A SYN is sent again after 1, 3 and 7 s: 15 s covers four attempts.",
    )
    read_timeout: float | None = _setting(
        30.0,
        "Seconds to wait for the next bytes of an answer.",
        why="Longer than a healthy server pauses, and short enough to notice a dead one soon.",
    )
    write_timeout: float | None = _setting(
        30.0,
        "Seconds to wait while sending a request.",
        why="As --read-timeout: a peer that takes no bytes for so long is dead.",
    )
    pool_timeout: float | None = _setting(
        30.0,
        "Seconds to wait for a free connection.",
        why="Connections are handed out in turn, so a longer wait means that none will be free.",
    )
    min_speed: float = _setting(
        100.0,
        "Slower than this for 30 s: reconnect and resume. 0 switches it off.",
        why="A connection this slow is broken, as a modem is 40 times as fast.",
    )
    min_speed_window: float = 30.0
    user_agent: str | None = _setting(
        None, "User-Agent to send.", why="A server's log can tell what it serves."
    )
    referer: str | None = _setting(None, "Referer to send, to the job's own origin only.", secret=True)
    headers: GivenPairs = _setting((), "Header to send to each job's own origin; repeats.", secret=True)
    user: tuple[str, str] | None = _setting(None, "User and password for the job's own origin.", secret=True)
    logins: tuple[tuple[str, str, str], ...] = _setting(
        (), "HOST=NAME[:PW] is for that host only, also after a redirect; repeats.", secret=True
    )
    bearer: str | None = _setting(None, "Bearer token for the job's own origin.", secret=True)
    netrc: bool = _setting(
        False,
        "Take users and passwords from the netrc file.",
        why="A file of passwords is read when it is asked for.",
    )
    netrc_file: GivenOptionalPath = _setting(
        None, "Take users and passwords from this file, written as a netrc."
    )
    cookies: GivenPairs = _setting((), "Cookie to send to each job's own origin; repeats.", secret=True)
    load_cookies: GivenOptionalPath = _setting(None, "Netscape file of cookies, as browsers export them.")
    save_cookies: GivenOptionalPath = _setting(
        None,
        "File for all cookies at the end, in that format.",
        why="Without a file, a job is sent none that the server of another job has set.",
    )
    insecure: bool = _setting(
        False,
        "Do not verify TLS certificates.",
        why="Without verification anybody on the way can read and change what is sent.",
    )
    cacert: GivenOptionalPath = _setting(None, "PEM file or folder of the certificate authorities to trust.")
    add_cacert: GivenPaths = _setting(
        (), "PEM file or folder of authorities to trust beside the others; repeats."
    )
    ca_native: bool = _setting(
        False,
        "Trust the authorities of the system; needs fetchq[native].",
        why="The authorities of certifi are the same on every machine.",
    )
    cert: GivenOptionalPath = _setting(None, "PEM file of a client certificate.")
    key: GivenOptionalPath = _setting(None, "PEM file of the client certificate's key.")
    key_password: str | None = _setting(None, "Password of that key.", secret=True)
    tls_min: Literal["1.0", "1.1", "1.2", "1.3"] = _setting(
        "1.2",
        "Oldest TLS version to accept; 1.0 and 1.1, for old devices, can be broken.",
        why="1.0 and 1.1 are deprecated by RFC 8996.",
    )
    proxy: str | None = _setting(None, "Proxy for all requests: http, https or socks5 URL.", secret=True)
    env: bool = _setting(
        True, "Take proxies, certificate authorities and the netrc's place from the environment."
    )
    http2: bool = _setting(
        False,
        "Offer HTTP/2 to servers, unless through a proxy; needs fetchq[http2].",
        why="One HTTP/2 connection is slower than several of HTTP/1.1 for large files.",
    )
    # None: as many as may be open.
    keepalive_connections: int | None = _setting(
        None, "Idle connections kept open for the next job.", why="The next job of a host saves its handshakes."
    )
    keepalive_expiry: float = _setting(
        4.5,
        "Seconds after which an idle connection is closed.",
        why="Servers close theirs after 5 s (Apache, Node) to 75 s (nginx): this is below the least of them.",
    )
    redirects: bool = True
    expect_type: str | None = _setting(
        None, "Refuse an answer of another media type than this one: application/zip, or image/*."
    )
    no_html: bool = _setting(False, "Refuse a web page in a file's place.", why="A page may be what is wanted.")
    # As in browsers; curl follows 50.
    max_redirects: int = 20
    # nginx and Apache limit request heads to 8 KiB a line and 32 KiB in all; responses are seldom larger.
    max_head: int = 64 * 1024
    max_headers: int = 200
    # Bounds a gzip bomb, which reaches a ratio of 1000:1; text seldom exceeds 20:1.
    max_decoded: int = 16 * 1024 * MIB

    def __post_init__(self) -> None:
        check_fields(self)
        if self.user is not None and self.bearer is not None:
            raise UsageError(
                "user and bearer are for the same servers: give one of them, or the user in logins."
            )


@_described
@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When a failed attempt is repeated.

    :param backoff_max: longest wait in seconds between two attempts, unless the server asks for more.
    """

    retries: float = _setting(
        RETRIES,
        "Further attempts, without progress, after one that failed; inf for no end.",
        why="Their waits come to about 8 s, enough for a dropped connection; an outage has --patience.",
    )
    backoff: float = _setting(
        0.5,
        "Base in seconds of the exponential, full-jitter backoff.",
        why="The first wait is a quarter of a second on average, and each next one twice as long.",
    )
    # One request a minute is no load for a server: a longer wait would only delay the user.
    backoff_max: float = 60.0
    retry_on: frozenset[int] = _setting(
        RETRY_ON,
        "Statuses worth another attempt, such as 429,503 or 520-524.",
        why="Temporary by RFC 9110, 6585 and 8470; 520 to 524 are Cloudflare's for an origin that is away.",
    )
    # None: see `longest_outage`.
    patience: float | None = _setting(
        None,
        "Keep trying a server that is away for this many seconds.",
        why="Most servers and routers restart within a minute; another number of retries is meant as such.",
    )
    max_wait: float = _setting(
        600.0,
        "Longest wait in seconds that a server may ask for; none for no bound.",
        why="A Retry-After of hours or days must not stall an unattended run.",
    )

    retry_unsafe: bool = _setting(
        False,
        "Repeat POST and PATCH too after a failure on the way.",
        why="The server may have acted on the first: RFC 9110 section 9.2.2.",
    )
    deadline: float | None = _setting(
        None,
        "Seconds that each job may take in all, waits between its attempts included.",
        why="A large file takes as long as it takes: what is bounded is the time without progress.",
    )

    def __post_init__(self) -> None:
        check_fields(self)

    host_patience: int = _setting(
        5,
        "Failed probes of a host in a row, one request each, before its jobs fail together.",
        why="With their growing pauses they take as long as --patience, or longer.",
    )

    @property
    def longest_outage(self) -> float:
        """Seconds for which a server or network that is away is tried again, whatever ``retries`` says.

        By default 60, in which most servers and routers restart; where another number of ``retries`` was asked
        for, that alone counts.
        """
        if self.patience is not None:
            return self.patience
        return 60.0 if self.retries == RETRIES else 0.0


@_described
@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Files. Every size is in bytes.

    :param buffer: bytes read from a connection before they are written.
    :param checkpoint: seconds between two writes of the journal.
    :param overlap: a resumed part's last bytes, this many, are fetched again and compared.
    :param xattr: record whose each file is in its extended attributes.
    :param min_free: None stands for 64 MiB, or 1 % of a disk where that is less.
    :param sha256: compute the SHA-256 of every file, even where nothing is to be compared with it.
    """

    dir: GivenPath = _setting(
        Path(), "Directory where files go; created when missing.", why="As with curl and wget."
    )
    temp_dir: GivenOptionalPath = _setting(
        None,
        "Directory for unfinished files, which may be on another disk; created when missing.",
        why="Beside its target a part becomes the file by a mere change of its name.",
    )
    # None: a name that the user gave is meant; one that a server or a URL suggests overwrites nothing.
    if_exists: IfExists | None = _setting(
        None,
        "What to do about another file of that name; without it a name that you gave is replaced once the new"
        " file is complete, and a server's gets a number.",
        why="You mean the name that you give; a name from a server or a URL is a suggestion.",
    )
    xattr: bool = _setting(
        True,
        "Record on each file, in its extended attributes, where it came from.",
        why="A later run knows by it which file is whose, also where there is no store.",
    )
    remote_time: bool = _setting(
        True,
        "Give each file the date that the server gives it.",
        why="The same file has one date everywhere, and a later run knows it by that where nothing else does.",
    )
    max_size: int | None = _setting(None, "Refuse resources larger than this.")
    min_free: int | None = _setting(
        None,
        "Disk space to leave free.",
        why="What a machine needs to go on working, and not all of a small disk.",
    )
    fsync: bool = _setting(
        False,
        "Survive power loss, not only a crash.",
        why="Waiting for the disk makes small files several times slower, and most can be fetched again.",
    )
    # Measured: a call in another thread costs 150 to 180 us, under a tenth of writing 1 MiB.
    buffer: int = MIB
    # A killed process loses at most this many seconds of bytes; one write of the journal takes about 0.1 ms.
    checkpoint: float = 0.1
    overlap: int = 16 * 1024
    # Measured on loopback: it takes a quarter of the time of a large file. The command line turns it off where
    # neither a store nor JSON events would show it.
    sha256: bool = True
    require_checksum: bool = _setting(
        False, "Fail a file whose checksum is not known.", why="Most servers publish no checksum."
    )
    allow_unlisted: bool = _setting(False, "Take a file that the manifest does not list, unverified.")
    name_template: str | None = _setting(
        None, "Names for files without one of their own: {host} {path} {stem} {suffix} {index} {id} {sha256}."
    )
    tree: bool = _setting(False, "Make a folder for each host, and the URL's folders below it.")
    dotfiles: bool = _setting(False, "Let a server choose a name that begins with a dot.")

    def __post_init__(self) -> None:
        check_fields(self)


@_described
@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Concurrency and rate.

    :param lookahead: jobs in memory that were read from the queue before they can start, to find one for
        another host.
    :param waiting: most jobs that may wait for another attempt; while there are so many, no other job starts.
    """

    jobs: int = _setting(
        8,
        "Connections in all: jobs first, spare ones split large files.",
        why="Browsers open 6 to a host, and servers that limit clients seldom allow fewer.",
    )
    # None: see ``per_file``.
    connections: int | None = _setting(
        None,
        "Connections per file.",
        why="Other files can start while a large one is split, and mirrors accept 4 from one client.",
    )
    # None: as many as ``jobs``, since most queues have a single host.
    per_host: int | None = _setting(
        None, "Connections per host, over all jobs.", why="Most queues have a single host."
    )
    limit_rate: float | None = _setting(None, "Bytes a second for the whole run: 500k, 2M.")
    update: bool = _setting(
        False, "Ask whether finished files have changed on their servers, and fetch those that have."
    )
    store_secrets: bool = _setting(
        False, "Keep queries, headers and bodies of failed jobs in the store, so that they can be retried."
    )
    trust_store: bool = _setting(
        False, "Take the store's word that finished files are unchanged, without a look at each."
    )
    allow_duplicates: bool = _setting(False, "Fetch equal lines once each, into files of their own.")
    wait: float = _setting(
        0.0, "Least seconds between two jobs' requests to a host.", why="A host that wants it slower says so."
    )
    max_failures: int | None = _setting(
        None,
        "End the run when so many jobs have failed.",
        why="One file that is gone says nothing of the others.",
    )
    # About 1 KiB each. Where none of their hosts may be asked, the ends of long lines go to a temporary file.
    lookahead: int = 20_000
    # Each holds the lock of its part, an open file.
    waiting: int = 256

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def per_file(self) -> int:
        """Most connections for one file.

        By default 4 less than ``jobs``, so that other files can start, but at least 4, which mirrors accept
        from one client. With ``limit_rate`` it is 1: more would share the same rate.
        """
        unasked = 1 if self.limit_rate is not None else max(4, self.jobs - 4)
        return min(self.jobs, unasked if self.connections is None else self.connections)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All groups, as :class:`Downloader` takes them."""

    network: Network = field(default_factory=Network)
    retry: Retry = field(default_factory=Retry)
    disk: Disk = field(default_factory=Disk)
    queue: Queue = field(default_factory=Queue)

    def __post_init__(self) -> None:
        for name, group in (("network", Network), ("retry", Retry), ("disk", Disk), ("queue", Queue)):
            if not isinstance(getattr(self, name), group):
                raise UsageError(f"{name} must be a fetchq.{group.__name__}.")


def reason_of(group: type, name: str) -> str:
    """Return why the default of the field *name* of a settings *group* is as it is; empty if that is plain."""
    return next(str(item.metadata.get("why", "")) for item in fields(group) if item.name == name)


def help_of(group: type, name: str) -> str:
    """Return the help text of the field *name* of a settings *group*.

    :raises KeyError: there is no such field, or it has no help text.
    """
    for item in fields(group):
        if item.name == name:
            return str(item.metadata["help"])
    raise KeyError(f"{group.__name__} has no setting {name!r}")
