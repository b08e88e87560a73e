"""The options of curl, wget and aria2c in those of fetchq: ``fetchq help coming-from``, and "did you mean".

A table whose tests hold it against our own options, so that a row cannot outlive what it names. :data:`SILENT`
are those that ask for what fetchq does anyway: they are accepted, and do nothing.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import click

from .._errors import UsageError

__all__ = [
    "PROGRAMS",
    "ROWS",
    "SILENT",
    "Foreign",
    "Silent",
    "coming_from",
    "names",
    "stray_value",
    "translated",
]

_META = "fetchq.silent"
_WIDTH, _LEFT, _GAP = 80, 31, 2


class Foreign(NamedTuple):
    """An option of another program.

    :param names: its spellings there.
    :param value: what it takes there; empty for a flag.
    :param ours: what to write here; empty where there is nothing to write.
    :param note: what else is to be said; with an empty *ours*, why.
    """

    names: tuple[str, ...]
    value: str = ""
    ours: str = ""
    note: str = ""

    @property
    def usage(self) -> str:
        """The option as its program's manual writes it."""
        return " ".join([", ".join(self.names), *([self.value] if self.value else [])])

    @property
    def here(self) -> str:
        """What to write here, and what to know about it."""
        return "; ".join(part for part in (self.ours, self.note) if part)

    @property
    def told(self) -> str:
        """The same within a sentence."""
        note = f" ({self.note})" if self.ours and self.note else self.note
        return f"{self.ours}{note}"


def _rows(text: str) -> tuple[Foreign, ...]:
    """Return the rows of a table with the columns names and value, ours, and note, divided by bars."""
    rows = []
    for line in text.strip().splitlines():
        left, ours, note = (cell.strip() for cell in line.split("|"))
        words = left.split(" ")
        names = tuple(word.rstrip(",") for word in words if word.startswith("-") and word != "-")
        rows.append(Foreign(names, " ".join(words[len(names) :]), ours, note))
    return tuple(rows)


ROWS = {
    "curl": _rows("""
        -o, --output FILE           | -o FILE             |
        -O, --remote-name           |                     | done anyway: its name is the answer's or the URL's
        -J, --remote-header-name    |                     | done anyway
        --output-dir DIR            | -d DIR              |
        --create-dirs               |                     | done anyway
        -L, --location              |                     | done anyway
        -C, --continue-at -         |                     | done anyway: what is there is proven, then continued
        -f, --fail                  |                     | done anyway: no error page is ever saved
        -S, --show-error            |                     | done anyway
        -R, --remote-time           | --remote-time       | the default
        --compressed                |                     | done anyway: what was packed for the way is unpacked
        -N, --no-buffer             |                     | not needed: -o - writes as bytes arrive
        -g, --globoff               |                     | not needed: only the shell reads braces and brackets
        -s, --silent                | -q                  |
        -#, --progress-bar          | --progress bar      |
        --no-progress-meter         | --progress none     |
        -v, --verbose               | -v                  |
        -w, --write-out FORMAT      | --progress json     | an object a line for each event
        -i, --include               |                     | not here: a file holds the body; -i is a queue file
        -I, --head                  | -X HEAD -o -        | --dry-run shows name, size and whether it can resume
        -X, --request METHOD        | -X METHOD           |
        -d, --data TEXT             | --data TEXT         | -d is a directory here
        --data-raw TEXT             | --data TEXT         |
        --data-binary TEXT          | --data TEXT         |
        --json TEXT                 | --json TEXT         |
        -F, --form K=V              | --form K=V          |
        -G, --get                   | --param K=V         | for each --data K=V
        --url-query K=V             | --param K=V         |
        -T, --upload-file FILE      | -X PUT --data @FILE |
        -H, --header 'K: V'         | -H 'K: V'           |
        -A, --user-agent TEXT       | -U TEXT             |
        -e, --referer URL           | -e URL              |
        -b, --cookie K=V            | -b K=V              | of a file: --load-cookies FILE
        -c, --cookie-jar FILE       | --save-cookies FILE | -c is wget's continue
        -u, --user NAME:PW          | -u NAME:PW          |
        --oauth2-bearer TOKEN       | --bearer TOKEN      |
        -n, --netrc                 | --netrc             |
        --netrc-file FILE           | --netrc-file FILE   |
        --capath DIR                | --cacert DIR        |
        --pass PHRASE               | --key-password PW   |
        -k, --insecure              | -k                  |
        --cacert FILE               | --cacert FILE       |
        --ca-native                 | --ca-native         |
        -E, --cert FILE             | --cert FILE         |
        --key FILE                  | --key FILE          |
        --tlsv1.2                   | --tls-min 1.2       |
        --tlsv1.3                   | --tls-min 1.3       |
        -x, --proxy URL             | --proxy URL         | -x is connections per file here
        --socks5 HOST               | --proxy socks5://HOST |
        --noproxy HOSTS             | --no-env            | or NO_PROXY=HOSTS in the environment
        --connect-timeout SECONDS   | --connect-timeout SECONDS |
        -m, --max-time SECONDS      | --deadline SECONDS  |
        -y, --speed-time SECONDS    |                     | not here: --min-speed is measured over 30 s
        -Y, --speed-limit RATE      | --min-speed RATE    |
        --limit-rate RATE           | --limit-rate RATE   |
        --max-filesize SIZE         | --max-size SIZE     |
        --retry N                   | --retries N         |
        --retry-delay SECONDS       | --backoff SECONDS   | doubled from one to the next
        --retry-max-time SECONDS    | --patience SECONDS  |
        --retry-all-errors          |                     | not here; --retry-on CODES for some statuses
        --retry-connrefused         |                     | done anyway
        -Z, --parallel              |                     | done anyway
        --parallel-max N            | -j N                |
        --no-clobber                | --if-exists rename  |
        --skip-existing             | --if-exists skip    |
        --xattr                     | --xattr             | the default
        --max-redirs N              | --no-redirects      | for none; else up to 20 are followed
        -r, --range SPAN            |                     | not here: files are fetched whole
        -a, --append                |                     | not here: a file appears when it is complete
        --http2                     | --http2             |
        --http1.1                   |                     | the default
        -K, --config FILE           | --config FILE       | in TOML; see fetchq help config
        -q, --disable               | --no-config         | -q is quiet here
    """),
    "wget": _rows("""
        -O, --output-document FILE  | -o FILE             | -O without a name is curl's
        -P, --directory-prefix DIR  | -d DIR              |
        -i, --input-file FILE       | -i FILE             |
        -B, --base URL              | --base-url URL      |
        --max-redirect N            | --no-redirects      | for none; else up to 20 are followed
        --load-cookies FILE         | --load-cookies FILE |
        --save-cookies FILE         | --save-cookies FILE | with those of the session
        -c, --continue              |                     | done anyway: what is there is proven, then continued
        -nc, --no-clobber           | --if-exists skip    |
        -nd, --no-directories       |                     | done anyway
        --content-disposition       |                     | done anyway
        --trust-server-names        |                     | not needed: a name is the answer's, else the URL's
        --restrict-file-names WORDS |                     | done anyway: a name is cleaned of what disks refuse
        --no-use-server-timestamps  | --no-remote-time    |
        -t, --tries N               | --retries N         | one less: the first attempt is not counted
        --waitretry SECONDS         | --backoff SECONDS   |
        --retry-connrefused         |                     | done anyway
        --retry-on-http-error CODES | --retry-on CODES    |
        -T, --timeout SECONDS       | --timeout SECONDS   |
        --connect-timeout SECONDS   | --connect-timeout SECONDS |
        --read-timeout SECONDS      | --read-timeout SECONDS |
        --no-http-keep-alive        | --keep-alive 0      |
        --limit-rate RATE           | --limit-rate RATE   |
        -Q, --quota SIZE            |                     | not here: --max-size SIZE is of each file
        -q, --quiet                 | -q                  |
        -nv, --no-verbose           | --progress none     |
        -v, --verbose               | -v                  |
        -d, --debug                 | -v                  | -d is a directory here
        -o, --output-file FILE      | --log FILE          | -o is the target here
        -a, --append-output FILE    | --log FILE          |
        -S, --server-response       | -v                  | -S is curl's
        --show-progress             | --progress bar      |
        --spider                    | --dry-run           |
        -b, --background            |                     | not here: add & in the shell; -b is a cookie
        -U, --user-agent TEXT       | -U TEXT             |
        --referer URL               | --referer URL       |
        --header 'K: V'             | --header 'K: V'     |
        --user NAME                 | -u NAME:PW          | with --password
        --http-user NAME            | -u NAME:PW          | with --http-password
        --password PW               | -u NAME:PW          | with --user
        --http-password PW          | -u NAME:PW          | with --http-user
        --ask-password              | -u NAME             |
        --method METHOD             | -X METHOD           |
        --post-data TEXT            | --data TEXT         |
        --post-file FILE            | --data @FILE        |
        --body-data TEXT            | --data TEXT         |
        --body-file FILE            | --data @FILE        |
        --no-check-certificate      | -k                  |
        --ca-certificate FILE       | --cacert FILE       |
        --certificate FILE          | --cert FILE         |
        --private-key FILE          | --key FILE          |
        --secure-protocol NAME      | --tls-min VERSION   |
        --no-proxy                  | --no-env            |
        --no-config                 | --no-config         |
        --config FILE               | --config FILE       | in TOML; see fetchq help config
        -e, --execute COMMAND       |                     | not here: -e is the referer
        -x, --force-directories     | --tree              | -x is connections per file
        -N, --timestamping          | --update            |
        -r, --recursive             |                     | not here: fetchq follows no links
        -m, --mirror                |                     | not here: fetchq follows no links
        -p, --page-requisites       |                     | not here: fetchq follows no links
        -k, --convert-links         |                     | not here; -k switches verification off
        -np, --no-parent            |                     | not here: fetchq follows no links
        -nH, --no-host-directories  |                     | done anyway
        -A, --accept LIST           |                     | not here: fetchq follows no links; -A is curl's
        -H, --span-hosts            |                     | not here: fetchq follows no links; -H is a header
    """),
    "aria2c": _rows("""
        -o, --out FILE              | -o FILE             |
        -d, --dir DIR               | -d DIR              |
        -i, --input-file FILE       | -i FILE             | its options out, dir, checksum, header, ... count
        --save-session FILE         |                     | done anyway: with -i, a store remembers
        -j, --max-concurrent-downloads N | -j N           | it counts connections, spare ones split large files
        -x, --max-connection-per-server N | -x N          | or --per-host N, over all files
        -s, --split N               | -x N                | -s is curl's silent
        -k, --min-split-size SIZE   |                     | not needed; -k switches verification off
        -c, --continue              |                     | done anyway: what is there is proven, then continued
        -V, --check-integrity       |                     | done anyway
        --checksum TYPE=HEX         | --checksum TYPE:HEX |
        --auto-file-renaming        | --if-exists rename  |
        --allow-overwrite           | --if-exists overwrite |
        -R, --remote-time           | --remote-time       | the default
        -m, --max-tries N           | --retries N         | one less: the first attempt is not counted
        --retry-wait SECONDS        | --backoff SECONDS   |
        -t, --timeout SECONDS       | --timeout SECONDS   |
        --connect-timeout SECONDS   | --connect-timeout SECONDS |
        --enable-http-keep-alive=false | --keep-alive 0   |
        --lowest-speed-limit RATE   | --min-speed RATE    |
        --max-overall-download-limit RATE | --limit-rate RATE |
        --max-download-limit RATE   | --limit-rate RATE   | of the whole run
        -U, --user-agent TEXT       | -U TEXT             |
        --referer URL               | --referer URL       |
        --header 'K: V'             | --header 'K: V'     |
        --load-cookies FILE         | --load-cookies FILE | of Netscape's format
        --save-cookies FILE         | --save-cookies FILE |
        --http-user NAME            | -u NAME:PW          | with --http-passwd
        --http-passwd PW            | -u NAME:PW          | with --http-user
        -n, --no-netrc              |                     | the default
        --check-certificate=false   | -k                  |
        --ca-certificate FILE       | --cacert FILE       |
        --certificate FILE          | --cert FILE         |
        --private-key FILE          | --key FILE          |
        --min-tls-version NAME      | --tls-min VERSION   |
        --all-proxy URL             | --proxy URL         |
        --http-proxy URL            | --proxy URL         |
        --https-proxy URL           | --proxy URL         |
        --conditional-get           | --update            |
        --on-download-complete CMD  | --on-complete CMD   | $1 is the path; CMD is for the shell
        --on-download-error CMD     | --on-error CMD      | CMD is for the shell
        -q, --quiet                 | -q                  |
        -l, --log FILE              | --log FILE          |
        --console-log-level LEVEL   | -v                  |
        --summary-interval SECONDS  | --progress plain    |
        --file-allocation WAY       |                     | not needed
        --disk-cache SIZE           |                     | not needed
        --dry-run                   | --dry-run           |
        --conf-path FILE            | --config FILE       | in TOML; see fetchq help config
        --no-conf                   | --no-config         |
        -Z, --force-sequential      |                     | the default; mirrors stand in a queue file
        -P, --parameterized-uri     |                     | not here: the shell reads braces; -P is wget's
        -D, --daemon                |                     | not here: add & in the shell
        --enable-rpc                |                     | not here: --progress json, or Python
        -T, --torrent-file FILE     |                     | not here: HTTP and HTTPS only
    """),
}
PROGRAMS = tuple(ROWS)


class Silent(click.Option):
    """An option of another program that asks for what fetchq does anyway: accepted, hidden, without effect.

    :param stray: what to write where a word behind it is no URL, since it takes a value in another program.
    """

    def __init__(self, *names: str, stray: str = "", **rest: Any) -> None:
        rest.setdefault("is_flag", "type" not in rest)
        super().__init__(
            list(names), hidden=True, expose_value=False, allow_from_autoenv=False, callback=self._seen, **rest
        )
        self.stray = stray

    def _seen(self, context: click.Context, _: click.Parameter, value: object) -> None:
        if value and self.stray:
            context.meta.setdefault(_META, []).append(self.stray)


class _Dash(click.ParamType):  # type: ignore[type-arg]  # not subscriptable in older releases
    name = "-"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value != "-":
            self.fail("fetchq finds out by itself where to continue: leave it out", param, ctx)
        return value


SILENT = (
    Silent("-O", "--remote-name", stray="wget's -O FILE is -o FILE here."),
    Silent("-J", "--remote-header-name"),
    Silent("-L", "--location"),
    Silent("-c", "--continue", stray="curl's -c FILE is --save-cookies FILE here."),
    Silent("-C", "--continue-at", metavar="-", type=_Dash()),
    Silent("-f", "--fail"),
    Silent("-S", "--show-error"),
    Silent("--compressed"),
    Silent("--create-dirs"),
    Silent("--content-disposition"),
)


def stray_value(context: click.Context) -> str:
    """Return what to write where a word that is no URL may be the value of a silent option; else nothing."""
    return next(iter(context.meta.get(_META, [])), "")


def translated(name: str) -> str:
    """Return what the other programs' option *name* is here; empty if none of them has it."""
    found = [(program, row) for program, rows in ROWS.items() for row in rows if name in row.names]
    return "; ".join(f"{program}'s {row.usage} is {row.told}" for program, row in found)


def names() -> Iterator[str]:
    """Yield the names of all options of the other programs."""
    for rows in ROWS.values():
        for row in rows:
            yield from row.names


def coming_from(programs: Iterable[str] = PROGRAMS) -> str:
    """Return the tables of *programs* as text.

    :raises UsageError: there is no table for one of them.
    """
    wanted = tuple(programs)
    for program in wanted:
        if program not in ROWS:
            raise UsageError(f"There is a table for {', '.join(PROGRAMS[:-1])} and {PROGRAMS[-1]} only.")
    return "\n\n".join(_table(program, ROWS[program]) for program in wanted)


def _table(program: str, rows: Sequence[Foreign]) -> str:
    margin = "\n" + " " * (_LEFT + _GAP)
    lines = [f"{program}:"]
    for row in rows:
        left = f"  {row.usage}"
        right = textwrap.wrap(row.here, _WIDTH - _LEFT - _GAP, break_on_hyphens=False)
        # One that is wider than its column has the line for itself.
        lines.append(left if len(left) > _LEFT else f"{left:<{_LEFT + _GAP}}{right.pop(0)}")
        lines[-1] += "".join(f"{margin}{part}" for part in right)
    return "\n".join(lines)
