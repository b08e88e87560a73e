"""The options of ``fetchq get``: a table whose help texts and defaults come from the fields of the settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

import click

from .._settings import Disk, Network, ProgressKind, Queue, Retry, Settings, help_of, reason_of
from . import types
from .config import load

__all__ = ["HEADINGS", "OPTIONS", "PROGRESS", "STORE", "Option", "settings"]

# Default name of the store, in the directory of the files.
STORE = ".fetchq.db"
PROGRESS = click.Choice(get_args(ProgressKind))

FILES, NETWORK, REQUEST = "Queue and files", "Network", "Request"
SECRETS, TLS, INTEGRITY, OUTPUT = "Authentication", "TLS", "Integrity", "Output"
HEADINGS = (FILES, NETWORK, REQUEST, SECRETS, TLS, INTEGRITY, OUTPUT)


class Option(click.Option):
    """An option of the command line.

    :param heading: section of the help, one of HEADINGS.
    :param synonyms: names that it has in other programs: accepted, and shown by ``fetchq help coming-from``.
    :param brief: what ``fetchq -h`` says of it, on one line; empty: only ``fetchq help options`` lists it.
    :param reason: why its default is as it is; default: from the field.
    :param group: class of the settings whose *field* the option sets; None if it sets none.
    :param field: default: the option's own name.
    :param default_text: the default in the help text; default: from the field.
    """

    def __init__(
        self,
        *names: str,
        heading: str,
        synonyms: tuple[str, ...] = (),
        brief: str = "",
        reason: str = "",
        group: type | None = None,
        field: str = "",
        default_text: str = "",
        **rest: Any,
    ) -> None:
        super().__init__([*names, *synonyms], **rest)
        self.shown = [name for name in (*self.opts, *self.secondary_opts) if name not in synonyms]
        self.synonyms = synonyms
        self.heading = heading
        self.brief = brief
        self.reason = reason
        self.group = group
        self.field = field or str(self.name)
        self.default_text = default_text
        if group is not None:
            self.help = self.help or help_of(group, self.field)
            self.default_text = default_text or _format_default(_default(group, self.field))
            self.reason = reason or reason_of(group, self.field)

    @property
    def usage(self) -> str:
        """The names and the value, as the help writes them."""
        names = ", ".join(self.shown)
        return f"{names} {self.metavar}" if self.metavar else names

    @property
    def key(self) -> str:
        """The key in a configuration file."""
        return str(self.name).replace("_", "-")

    @property
    def toml_value(self) -> str:
        """A value as a configuration file holds it."""
        if self.is_flag:
            return "true"
        word = f'"{str(self.metavar).strip(chr(39))}"'
        return f"[{word}, ...]" if self.multiple else word

    def words(self) -> tuple[str, str]:
        """Return the left and the right column of the help."""
        return self.usage, f"{self.help}{self._default_note}"

    def brief_words(self, width: int) -> tuple[str, str]:
        """Return the columns of the first screen; the default is left out where the right one has no room.

        :param width: of the right column.
        """
        noted = f"{self.brief}{self._default_note}"
        return self.usage, noted if len(noted) <= width else self.brief

    @property
    def _default_note(self) -> str:
        return f" [default: {self.default_text}]" if self.default_text else ""


def _default(group: type, field: str) -> Any:
    return next(item.default for item in fields(group) if item.name == field)


def _format_default(default: Any) -> str:
    """Return a default as written on the command line; empty for flags and for options without a default."""
    if isinstance(default, bool) or default is None or default == ():
        return ""
    if isinstance(default, frozenset):
        return _format_codes(default)
    if isinstance(default, int) and default >= 1024 and default % 1024 == 0:
        return f"{default >> 20}M" if default % (1 << 20) == 0 else f"{default >> 10}k"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _format_codes(codes: frozenset[int]) -> str:
    """Return status codes in order, three and more consecutive ones as a range."""
    words: list[str] = []
    for code in sorted(codes):
        if code - 1 in codes and code + 1 in codes:
            continue
        first = code - 1 not in codes
        words.append(str(code) if first or code - 2 not in codes else f"-{code}")
    return ",".join(words).replace(",-", "-")


def _set(group: type, *names: str, heading: str, **rest: Any) -> Option:
    """Return an option that sets a field of *group*."""
    return Option(*names, heading=heading, group=group, **rest)


OPTIONS: tuple[Option, ...] = (
    Option("-i", "--input", heading=FILES,
           brief="Queue file, - for stdin; repeats.", multiple=True, metavar="FILE", type=types.TARGET,
           help="Queue file: URLs, aria2 list, JSON Lines or CSV, packed or not; - is stdin; repeats."),
    Option("--follow", heading=FILES, is_flag=True,
           help="Read on when others append to a queue file, or replace it, until Ctrl-C."),
    Option("-o", "--output", heading=FILES, synonyms=("--output-document",),
           brief="Name of a single file; - is stdout.", metavar="NAME", type=types.TARGET,
           help="Target of a single job, relative to DIR or absolute; NAME/ is a folder, - is stdout.",
           default_text="from the response"),
    _set(Disk, "-d", "--dir", heading=FILES, synonyms=("-P", "--directory-prefix", "--output-dir"),
         brief="Where files go.", metavar="DIR", type=types.PATH),
    _set(Disk, "--temp-dir", heading=FILES, metavar="DIR", type=types.PATH, default_text="beside the file"),
    Option("--allow-outside", heading=FILES, is_flag=True, help="Let targets of queue files lie outside DIR."),
    _set(Queue, "-j", "--jobs", heading=FILES, brief="Connections in all.", metavar="N", type=types.COUNT),
    _set(Queue, "-x", "--connections", heading=FILES, metavar="N", type=types.COUNT,
         default_text="4 less than --jobs, and 4 at least; 1 with --limit-rate"),
    _set(Queue, "--per-host", heading=FILES, metavar="N", type=types.COUNT,
         default_text="as many as --jobs"),
    _set(Disk, "--if-exists", heading=FILES,
         brief="skip, rename, overwrite or error.", metavar="WORD", type=types.IF_EXISTS,
         help=f"{help_of(Disk, 'if_exists')} One of: {', '.join(types.IF_EXISTS.choices)}."),
    _set(Disk, "--name-template", heading=FILES, metavar="TEXT"),
    _set(Disk, "--tree", heading=FILES, is_flag=True),
    _set(Queue, "--update", heading=FILES, is_flag=True),
    _set(Queue, "--allow-duplicates", heading=FILES, is_flag=True),
    _set(Disk, "--max-size", heading=FILES, metavar="SIZE", type=types.SIZE),
    _set(Disk, "--min-free", heading=FILES, metavar="SIZE", type=types.SIZE,
         default_text="64M, or 1 % of a disk where that is less"),
    _set(Disk, "--fsync/--no-fsync", heading=FILES, default=None),
    _set(Disk, "--xattr/--no-xattr", heading=FILES, default=None),
    _set(Disk, "-R", "--remote-time/--no-remote-time", heading=FILES, default=None),
    Option("--store", heading=FILES, metavar="FILE", type=types.FILE, default_text=f"DIR/{STORE} with -i",
           help="Where a queue run remembers its jobs."),
    _set(Queue, "--trust-store", heading=FILES, is_flag=True),
    _set(Queue, "--store-secrets", heading=FILES, is_flag=True),
    Option("--no-store", heading=FILES, is_flag=True, help="Remember nothing."),
    _set(Retry, "--retries", heading=NETWORK, synonyms=("--retry",),
         brief="Further attempts without progress.", metavar="N", type=types.RETRIES),
    _set(Retry, "--backoff", heading=NETWORK, metavar="SECONDS", type=types.PAUSE),
    _set(Retry, "--patience", heading=NETWORK, metavar="SECONDS", type=types.PAUSE,
         default_text="60; 0 with another number of --retries"),
    _set(Retry, "--retry-unsafe", heading=NETWORK, is_flag=True),
    _set(Retry, "--deadline", heading=NETWORK, synonyms=("--max-time",), metavar="SECONDS", type=types.SECONDS),
    _set(Retry, "--host-patience", heading=NETWORK, metavar="N", type=types.COUNT),
    _set(Queue, "--wait", heading=NETWORK, metavar="SECONDS", type=types.PAUSE),
    _set(Queue, "--max-failures", heading=NETWORK, metavar="N", type=types.COUNT),
    _set(Retry, "--max-wait", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Retry, "--retry-on", heading=NETWORK, metavar="CODES", type=types.CODES),
    Option("--timeout", heading=NETWORK,
           brief="Longest wait for an answer. [default: 15, then 30]", metavar="SECONDS", type=types.SECONDS,
           help="All four waits below at once; none for no bound."),
    _set(Network, "--connect-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--read-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--write-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--pool-timeout", heading=NETWORK, metavar="SECONDS", type=types.SECONDS),
    _set(Network, "--keep-alive", heading=NETWORK, field="keepalive_connections", metavar="N", type=types.WHOLE,
         default_text="as many as --jobs"),
    _set(Network, "--keep-alive-expiry", heading=NETWORK, field="keepalive_expiry", metavar="SECONDS",
         type=types.SECONDS),
    _set(Network, "--min-speed", heading=NETWORK, metavar="RATE", type=types.SIZE),
    _set(Queue, "--limit-rate", heading=NETWORK,
         brief="Bytes a second for the whole run: 500k, 2M.", metavar="RATE", type=types.RATE),
    _set(Network, "--proxy", heading=NETWORK,
         brief="http, https or socks5 proxy for all requests.", metavar="URL", type=types.URL),
    Option("--no-env", heading=NETWORK, is_flag=True,
           help="Do not read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR, "
                "REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE and NETRC."),
    Option("--refresh", heading=NETWORK, metavar="CMD",
           help="Run CMD, of which the first line is a new URL, where a link answers 401, 403, 404 or 410; the "
                "download goes on with it."),
    _set(Network, "--http2", heading=NETWORK, is_flag=True),
    _set(Network, "-H", "--header", heading=REQUEST,
         brief="Header for each URL's own server; repeats.", field="headers", metavar="'K: V'", multiple=True,
         type=types.HEADER),
    _set(Network, "-U", "--user-agent", heading=REQUEST, synonyms=("-A",), metavar="TEXT",
         default_text="fetchq and its version"),
    _set(Network, "-e", "--referer", heading=REQUEST, metavar="URL", type=types.URL),
    Option("-X", "--request", heading=REQUEST, brief="HTTP method.", metavar="METHOD",
           help="HTTP method.", default_text="GET, or POST with a body"),
    Option("--data", heading=REQUEST, brief="Request body: text, @FILE or @- for stdin.", metavar="TEXT",
           help="Request body, form-urlencoded unless -H says another type; @FILE, @- for stdin."),
    Option("--json", heading=REQUEST, metavar="TEXT", help="Request body in JSON; @FILE, @- for stdin."),
    Option("--form", heading=REQUEST, metavar="K=V|K=@FILE", multiple=True, type=types.FORM,
           help="Field of a form as request body: urlencoded; with K=@FILE;type=TYPE, multipart; repeats."),
    Option("--param", heading=REQUEST, metavar="K=V", multiple=True, type=types.PAIR,
           help="Parameter to add to the URL's query; repeats."),
    Option("--no-redirects", heading=REQUEST, is_flag=True,
           help="Fail at a redirect instead of following it; a HEAD shows it."),
    Option("--base-url", heading=REQUEST, metavar="URL", type=types.URL,
           help="What relative URLs are relative to."),
    Option("-u", "--user", heading=SECRETS,
           brief="User and password for the URL's own server.", metavar="NAME[:PW]", multiple=True,
           type=types.URL,
           help=f"{help_of(Network, 'user')} {help_of(Network, 'logins')} Asks for a missing password."),
    _set(Network, "--bearer", heading=SECRETS, metavar="TOKEN",
         help=f"{help_of(Network, 'bearer')} @FILE, @- for stdin."),
    _set(Network, "--netrc", heading=SECRETS, is_flag=True),
    _set(Network, "--netrc-file", heading=SECRETS, metavar="FILE", type=types.GIVEN_FILE),
    _set(Network, "-b", "--cookie", heading=SECRETS,
         brief="Cookie for the URL's own server; repeats.", field="cookies", metavar="K=V", multiple=True,
         type=types.COOKIE),
    _set(Network, "--load-cookies", heading=SECRETS, metavar="FILE", type=types.GIVEN_FILE),
    _set(Network, "--save-cookies", heading=SECRETS, synonyms=("--cookie-jar",), metavar="FILE",
         type=types.FILE),
    _set(Network, "-k", "--insecure", heading=TLS, brief="Do not verify TLS certificates.", is_flag=True),
    _set(Network, "--cacert", heading=TLS, metavar="FILE|DIR", type=types.GIVEN_PATH),
    _set(Network, "--add-cacert", heading=TLS, metavar="FILE|DIR", multiple=True, type=types.GIVEN_PATH),
    _set(Network, "--ca-native", heading=TLS, is_flag=True),
    _set(Network, "--cert", heading=TLS, metavar="FILE", type=types.GIVEN_FILE),
    _set(Network, "--key", heading=TLS, metavar="FILE", type=types.GIVEN_FILE),
    _set(Network, "--key-password", heading=TLS, metavar="TEXT",
         help=f"{help_of(Network, 'key_password')} @FILE, @- for stdin; asked for on a terminal."),
    _set(Network, "--tls-min", heading=TLS, metavar="VERSION",
         type=click.Choice(["1.0", "1.1", "1.2", "1.3"])),
    Option("--checksum", heading=INTEGRITY,
           brief="Digest that the file must have.", metavar="ALGO:HEX", type=types.CHECKSUM,
           help="Digest that a single job's file must have; a manifest's whole line will do."),
    Option("--checksums", heading=INTEGRITY,
           brief="Manifest such as SHA256SUMS for all files.", metavar="FILE|URL", type=types.TARGET,
           help="Manifest such as SHA256SUMS, in any usual form; each file is looked up by its name."),
    _set(Disk, "--require-checksum", heading=INTEGRITY, is_flag=True),
    _set(Disk, "--allow-unlisted", heading=INTEGRITY, is_flag=True),
    _set(Network, "--expect-type", heading=INTEGRITY, metavar="TYPE"),
    _set(Network, "--no-html", heading=INTEGRITY, is_flag=True),
    Option("--no-config", heading=OUTPUT, is_flag=True, is_eager=True, help="Read no configuration file."),
    Option("--config", heading=OUTPUT, metavar="FILE", type=types.GIVEN_FILE, is_eager=True, callback=load,
           help="Take options from this file, all of them, and from no other.",
           default_text="./fetchq.toml, then the user's"),
    Option("--progress", heading=OUTPUT, brief="auto, bar, plain, json or none.", metavar="WORD", type=PROGRESS,
           help="auto, bar, plain (a line now and then), json (all events, on stdout) or none.",
           default="auto", default_text="auto"),
    Option("-q", "--quiet", heading=OUTPUT, synonyms=("-s", "--silent"),
           brief="Say nothing but errors.", is_flag=True,
           help="Say nothing but errors."),
    Option("-v", "--verbose", heading=OUTPUT, brief="Say how each attempt goes on, and why.", is_flag=True,
           help="Also say how each attempt goes on, and why."),
    Option("--log", heading=OUTPUT, metavar="FILE", type=types.FILE, help="Append what happens to this file."),
    Option("--report", heading=OUTPUT, metavar="FILE", type=types.FILE,
           help="Write a row for each job to this file: JSON lines to .jsonl, CSV to .csv."),
    Option("--on-complete", heading=OUTPUT, metavar="CMD",
           help="Run CMD for each file that this run completes, not for those that were there already: its "
                "path is $1, more is in JOB_URL, JOB_SIZE, ..."),
    Option("--on-error", heading=OUTPUT, metavar="CMD",
           help="Run CMD for each job that failed: JOB_URL and JOB_ERROR say which, and why."),
    Option("--dry-run", heading=OUTPUT, brief="List what would be fetched, and fetch nothing.", is_flag=True,
           help="Fetch no bodies: list name, size and whether it can resume, on stdout. POST, PUT, DELETE "
                "and what else may change something are not sent."),
)  # fmt: skip # one option a line or two reads as a table

_TIMEOUTS = ("connect_timeout", "read_timeout", "write_timeout", "pool_timeout")


def settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings of the options *given*, by parameter name; None and () mean the default."""
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
    network["redirects"] = not given["no_redirects"]
    return Settings(
        network=Network(**network),
        retry=Retry(**chosen[Retry]),
        disk=Disk(**chosen[Disk]),
        queue=Queue(**chosen[Queue]),
    )
