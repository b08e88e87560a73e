"""The options of ``fetchq get``: one table, whose help and defaults come from the settings' fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import click

from .._settings import Disk, Network, ProgressKind, Queue, Retry, Settings, help_of
from . import types

__all__ = ["HEADINGS", "OPTIONS", "PROGRESS", "STORE", "Choice", "settings"]

# What a run with queue files leaves in its directory; a dot keeps it out of sight.
STORE = ".fetchq.db"
PROGRESS = click.Choice(get_args(ProgressKind))

FILES, NETWORK, REQUEST = "Queue and files", "Network", "Request"
SECRETS, TLS, INTEGRITY, OUTPUT = "Authentication", "TLS", "Integrity", "Output"
HEADINGS = (FILES, NETWORK, REQUEST, SECRETS, TLS, INTEGRITY, OUTPUT)

FILE = click.Path(dir_okay=False, path_type=Path)
GIVEN_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Choice(click.Option):
    """An option under a heading, perhaps one that sets a field of the settings.

    :param group: the settings' group and *field* its field; without them the option is no setting.
    :param default_text: what the help says is taken when the option is not given.
    """

    def __init__(
        self,
        *names: str,
        heading: str,
        group: type | None = None,
        field: str = "",
        default_text: str = "",
        **rest: Any,
    ) -> None:
        super().__init__(list(names), **rest)
        self.heading = heading
        self.group = group
        self.field = field or str(self.name)
        self.default_text = default_text
        if group is not None:
            self.help = self.help or help_of(group, self.field)
            self.default_text = default_text or _told(_default(group, self.field))

    def words(self) -> tuple[str, str]:
        """Give the left and the right column of the help."""
        names = ", ".join([*self.opts, *self.secondary_opts])
        left = f"{names} {self.metavar}" if self.metavar else names
        default = f" [default: {self.default_text}]" if self.default_text else ""
        return left, f"{self.help}{default}"


def _default(group: type, field: str) -> Any:
    return next(item.default for item in fields(group) if item.name == field)


def _told(default: Any) -> str:
    """Say a default as it would be written on the command line; nothing where that is plain."""
    if isinstance(default, bool) or default is None or default == ():
        return ""
    if isinstance(default, frozenset):
        return _codes(default)
    if isinstance(default, int) and default >= 1024 and default % 1024 == 0:
        return f"{default >> 20}M" if default % (1 << 20) == 0 else f"{default >> 10}k"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _codes(codes: frozenset[int]) -> str:
    """Give statuses in order, runs of three and more as a range."""
    told: list[str] = []
    for code in sorted(codes):
        if code - 1 in codes and code + 1 in codes:
            continue
        first = code - 1 not in codes
        told.append(str(code) if first or code - 2 not in codes else f"-{code}")
    return ",".join(told).replace(",-", "-")


def _set(group: type, *names: str, heading: str, **rest: Any) -> Choice:
    return Choice(*names, heading=heading, group=group, **rest)


OPTIONS: tuple[Choice, ...] = (
    Choice("-i", "--input", heading=FILES, multiple=True, metavar="FILE", type=types.URL,
           help="Queue file: URLs, aria2 list or JSON Lines, .gz too; - is stdin; repeats."),
    Choice("-o", "--output", heading=FILES, metavar="NAME",
           help="Target of a single job; - is stdout.", default_text="from the response"),
    _set(Disk, "-d", "--dir", heading=FILES, metavar="DIR", type=click.Path(path_type=Path)),
    _set(Queue, "-j", "--jobs", heading=FILES, metavar="N", type=types.COUNT),
    _set(Queue, "-x", "--connections", heading=FILES, metavar="N", type=types.COUNT,
         default_text="4 less than --jobs, and 4 at least; 1 with --limit-rate"),
    _set(Queue, "--per-host", heading=FILES, metavar="N", type=types.COUNT,
         default_text="as many as --jobs"),
    _set(Disk, "--if-exists", heading=FILES, metavar="WORD", type=types.IF_EXISTS,
         help=f"{help_of(Disk, 'if_exists')} One of: {', '.join(types.IF_EXISTS.choices)}."),
    _set(Disk, "--max-size", heading=FILES, metavar="SIZE", type=types.SIZE),
    _set(Disk, "--min-free", heading=FILES, metavar="SIZE", type=types.SIZE),
    _set(Disk, "--fsync/--no-fsync", heading=FILES, default=None),
    Choice("--store", heading=FILES, metavar="FILE", type=FILE, default_text=f"DIR/{STORE} with -i",
           help="Where a queue run remembers its jobs."),
    Choice("--no-store", heading=FILES, is_flag=True, help="Remember nothing."),
    _set(Retry, "--retries", heading=NETWORK, metavar="N", type=types.RETRIES),
    _set(Retry, "--backoff", heading=NETWORK, metavar="SECONDS", type=types.PAUSE),
    _set(Retry, "--retry-on", heading=NETWORK, metavar="CODES", type=types.CODES),
    Choice("--timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS,
           help="All four waits below at once; none for no bound."),
    _set(Network, "--connect-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--read-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--write-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--pool-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--min-speed", heading=NETWORK, metavar="RATE", type=types.SIZE),
    _set(Queue, "--limit-rate", heading=NETWORK, metavar="RATE", type=types.RATE),
    _set(Network, "--proxy", heading=NETWORK, metavar="URL", type=types.URL),
    Choice("--no-env", heading=NETWORK, is_flag=True, help="Take no proxy from the environment."),
    _set(Network, "--http2", heading=NETWORK, is_flag=True),
    _set(Network, "-H", "--header", heading=REQUEST, field="headers", metavar="'K: V'", multiple=True,
         type=types.HEADER),
    _set(Network, "-U", "--user-agent", heading=REQUEST, metavar="TEXT", default_text="fetchq and its version"),
    _set(Network, "-e", "--referer", heading=REQUEST, metavar="URL", type=types.URL),
    Choice("-X", "--request", heading=REQUEST, metavar="METHOD",
           help="HTTP method.", default_text="GET, or POST with a body"),
    Choice("--data", heading=REQUEST, metavar="TEXT",
           help="Request body, form-urlencoded unless -H says another type; @FILE, @- for stdin."),
    Choice("--json", heading=REQUEST, metavar="TEXT", help="Request body in JSON; @FILE, @- for stdin."),
    Choice("--form", heading=REQUEST, metavar="K=V", multiple=True, type=types.PAIR,
           help="Field of an urlencoded form as request body; repeats."),
    Choice("--param", heading=REQUEST, metavar="K=V", multiple=True, type=types.PAIR,
           help="Parameter to add to the URL's query; repeats."),
    Choice("--base-url", heading=REQUEST, metavar="URL", type=types.URL,
           help="What relative URLs are relative to."),
    Choice("-u", "--user", heading=SECRETS, metavar="NAME[:PASSWORD]",
           help=f"{help_of(Network, 'user')} Asks for a missing password."),
    _set(Network, "--bearer", heading=SECRETS, metavar="TOKEN"),
    _set(Network, "--netrc", heading=SECRETS, is_flag=True),
    _set(Network, "-b", "--cookie", heading=SECRETS, field="cookies", metavar="K=V", multiple=True,
         type=types.COOKIE),
    _set(Network, "-k", "--insecure", heading=TLS, is_flag=True),
    _set(Network, "--cacert", heading=TLS, metavar="FILE", type=GIVEN_FILE),
    _set(Network, "--cert", heading=TLS, metavar="FILE", type=GIVEN_FILE),
    _set(Network, "--key", heading=TLS, metavar="FILE", type=GIVEN_FILE),
    _set(Network, "--tls-min", heading=TLS, metavar="VERSION", type=click.Choice(["1.2", "1.3"])),
    Choice("--checksum", heading=INTEGRITY, metavar="ALGO:HEX", type=types.CHECKSUM,
           help="Digest that a single job's file must have."),
    Choice("--checksums", heading=INTEGRITY, metavar="FILE", type=GIVEN_FILE,
           help="Manifest in the form of SHA256SUMS; each job's file is looked up by its name."),
    Choice("--progress", heading=OUTPUT, metavar="WORD", type=PROGRESS,
           help="auto, bar, plain (a line now and then), json (all events, on stdout) or none.",
           default="auto", default_text="auto"),
    Choice("-q", "--quiet", heading=OUTPUT, is_flag=True, help="Say nothing but errors."),
    Choice("-v", "--verbose", heading=OUTPUT, is_flag=True, help="Also say how each attempt goes on, and why."),
    Choice("--log", heading=OUTPUT, metavar="FILE", type=FILE, help="Append what happens to this file."),
    Choice("--dry-run", heading=OUTPUT, is_flag=True,
           help="Fetch no bodies: list name, size and whether it can resume, on stdout."),
)  # fmt: skip # one option a line or two reads as a table

_TIMEOUTS = ("connect_timeout", "read_timeout", "write_timeout", "pool_timeout")


def settings(given: Mapping[str, Any]) -> Settings:
    """Give the settings that the options *given* ask for; what was not given keeps its default."""
    chosen: dict[type, dict[str, Any]] = {Network: {}, Retry: {}, Disk: {}, Queue: {}}
    if given["timeout"] is not None:
        chosen[Network].update(dict.fromkeys(_TIMEOUTS, given["timeout"]))
    for option in OPTIONS:
        value = given[str(option.name)]
        if option.group is not None and value is not None and value != ():
            chosen[option.group][option.field] = value
    network = chosen[Network]
    for name in _TIMEOUTS:
        if network.get(name) == math.inf:
            network[name] = None
    network["cookies"] = tuple(pair for cookie in given["cookie"] for pair in cookie)
    network["env"] = not given["no_env"]
    return Settings(
        network=Network(**network),
        retry=Retry(**chosen[Retry]),
        disk=Disk(**chosen[Disk]),
        queue=Queue(**chosen[Queue]),
    )
