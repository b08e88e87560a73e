"""The command line: arguments -> settings, jobs and reports; errors -> exit codes.

::

    __init__   the commands, and the exit codes of their errors
    options    the table of options, and the settings they make
    types      the types of the options' values
    config     options from TOML files
    help       the help of commands and topics; "did you mean"
    option_help  the options as tables, and each on a page of its own
    foreign    the options of curl, wget and aria2c in ours; those that are accepted silently
    topics     the texts of ``fetchq help TOPIC``, and tables generated from the code
    credentials  users, tokens and passwords, from files and the terminal too
    jobs       URLs and queue files -> jobs
    run        get: one run with its reports, signals and exit code
    programs   the commands that --on-complete, --on-error and --refresh run
    completion  completion: scripts for bash, zsh and fish
    verify     verify: files against a manifest or the store
    status     status: what a store says of its runs
    lists      list, forget, retry: a store's jobs as a queue again
    records    the records that these are about

The only package that imports click. A command's module is imported when the command runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import click

from .._errors import DiskError, FetchError, UsageError, options_named
from .._settings import ProgressKind
from .._version import VERSION
from .config import nearest, notes_of
from .foreign import SILENT
from .help import Get, Verbs, show_help, url_of
from .options import OPTIONS, PROGRESS, STORE
from .types import GIVEN_FILE, PATH

__all__ = ["main"]

CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FETCHQ", "max_content_width": 80}
PROGRESS_OPTION = click.option(
    "--progress",
    type=PROGRESS,
    default="auto",
    help="What to show meanwhile.  [default: auto]",
)
DIRECTORY = click.argument("directory", default=".", metavar="[DIR]", type=PATH)
ONLY = click.option(
    "--only", metavar="REASON", multiple=True, help="Failures for this reason, as status shows it; repeats."
)
# As in `_cli.records` and `_queue_files.write`, which a command imports when it runs.
STATES = ("done", "failed", "all")
FORMATS = ("text", "jsonl", "aria2")
SIGINT_CODE, PIPE_CODE = 130, 141


def _hidden(option: click.Option) -> click.Option:
    """Return an option that is not listed in a command's help."""
    listed = copy(option)
    listed.hidden = True
    return listed


@click.group(cls=Verbs, add_help_option=False, invoke_without_command=False)
def _commands() -> None:
    """Fetch URLs to files: a queue, streamed to disk, resumed, retried and verified."""


@_commands.command(cls=Get, context_settings=CONTEXT, short_help="Fetch URLs; the word may be left out.")
@click.version_option(VERSION, message="fetchq %(version)s")
@click.argument("urls", nargs=-1, metavar="URL...")
def get(urls: tuple[str, ...], **given: Any) -> int:
    """Fetch URLs to files: streamed to disk, resumed, retried, verified."""
    if not given["base_url"]:
        urls = tuple(url_of(word, _commands.commands) for word in urls)
    from .run import get

    return get(urls, _chosen(given))


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options *given*, the nearest of those that exclude each other; tell which files were used."""
    context = click.get_current_context()
    chosen, notes = nearest(context, given), notes_of(context)
    for note in [*([] if chosen["quiet"] else notes.used), *notes.warnings]:
        click.echo(f"fetchq: {note}", err=True)
    return chosen


get.params.extend([*OPTIONS, *SILENT])


@_commands.command(context_settings=CONTEXT, short_help="Show in ten seconds what fetchq survives; no network.")
@click.option(
    "--keep", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Keep the files in DIR."
)
@PROGRESS_OPTION
def demo(keep: Path | None, progress: ProgressKind) -> int:
    """Fetch a dozen files from a local server that drops, stalls, throttles and lies."""
    from .._demo import demo

    return demo(keep, progress)


@_commands.command(context_settings=CONTEXT, short_help="Hash files again, and compare.")
@click.argument("paths", nargs=-1, metavar="FILE|DIR...", type=PATH)
@click.option(
    "--checksums", metavar="FILE|URL", help="Manifest such as SHA256SUMS, in any usual form; names below DIR."
)
@click.option("--allow-unlisted", is_flag=True, help="Pass over a FILE that the manifest does not list.")
@click.option(
    "--store", metavar="FILE", type=GIVEN_FILE, help=f"What the runs remembered.  [default: DIR/{STORE}]"
)
@PROGRESS_OPTION
def verify(paths: tuple[Path, ...], **given: Any) -> int:
    """Hash files again and compare with a manifest, or with what the store remembers of their download.

    A DIR stands for all its files that the manifest or the store names; without any, the current one.
    Exits 9 when a file's bytes are not what they were.
    """
    from .verify import verify

    return verify(paths, **given)


@_commands.command(context_settings=CONTEXT, short_help="Show how a directory's jobs ended, and why.")
@DIRECTORY
@click.option("--all", "everything", is_flag=True, help="Every failure and host, not only the first.")
@click.option("--json", "as_json", is_flag=True, help="All of it as one JSON object.")
def status(directory: Path, as_json: bool, everything: bool) -> int:
    """Show how the jobs of the queue runs into DIR ended: counts, bytes, rate, hosts, and failures by reason.

    It may be used while a run goes on.
    """
    from .status import status

    return status(directory, as_json=as_json, everything=everything)


@_commands.command("list", context_settings=CONTEXT, short_help="Print a directory's jobs as a queue file.")
@DIRECTORY
@click.option("--state", type=click.Choice(STATES), help="Which jobs.  [default: failed]")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", help="[default: text]")
@ONLY
def list_(directory: Path, state: str | None, form: Any, only: tuple[str, ...]) -> int:
    """Print jobs of the queue runs into DIR, a line each, as a queue file that -i reads again.

    A job of which something was not stored, since it may be a secret, is a comment that says so; and so is one
    that the format cannot hold.
    """
    from .lists import print_list

    return print_list(directory, state=state, form=form, only=only)


@_commands.command(context_settings=CONTEXT, short_help="Fetch again what failed in a directory.")
@DIRECTORY
@ONLY
def retry(directory: Path, only: tuple[str, ...], **given: Any) -> int:
    """Fetch again what failed in the queue runs into DIR, with any options of get but -i, -o and -d."""
    from .lists import retry

    return retry(directory, only, _chosen(given))


retry.params.extend(_hidden(option) for option in OPTIONS)


@_commands.command(context_settings=CONTEXT, short_help="Make a directory's jobs new again.")
@click.argument("words", nargs=-1, metavar="[DIR] [URL...]")
@click.option("--state", type=click.Choice(STATES), help="Jobs that ended so.")
@ONLY
def forget(words: tuple[str, ...], state: str | None, only: tuple[str, ...]) -> int:
    """Delete what the store of DIR remembers of some jobs; their files stay as they are."""
    from .lists import forget

    here = not words or "://" in words[0]
    directory, urls = (".", words) if here else (words[0], words[1:])
    return forget(Path(directory), urls, state=state, only=only)


@_commands.command(context_settings=CONTEXT, short_help="Print a completion script for your shell.")
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that completes options, values and commands: eval "$(fetchq completion bash)"."""
    from .completion import script

    click.echo(script(shell, _commands.commands), nl=False)
    return 0


@_commands.command(
    "help",
    context_settings={**CONTEXT, "ignore_unknown_options": True},
    short_help="List topics; fetchq help TOPIC shows one.",
)
@click.argument("topic", required=False, metavar="[TOPIC|COMMAND|--OPTION]")
@click.argument("programs", nargs=-1, metavar="")
@click.pass_context
def _help(context: click.Context, topic: str | None, programs: tuple[str, ...]) -> int:
    """Show a topic, or the help of a command or an option of get; without an argument, list the first two."""
    return show_help(topic, context.find_root(), programs)


@options_named()
def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    :param args: the arguments without the program's name; default: those of the process.
    """
    _replace_closed_streams()
    try:
        code: int = _commands.main(args=args, prog_name="fetchq", standalone_mode=False) or 0
    except click.exceptions.Abort:
        code = SIGINT_CODE
    except click.ClickException as error:
        code = _print_error(error.format_message(), error.exit_code)
    except FetchError as error:
        code = _print_error(str(error), error.exit_code)
    except SystemExit:
        # click's way to end where the reader of stdout is gone; for nothing else in this mode.
        code = PIPE_CODE
    except (OSError, UnicodeEncodeError, RuntimeError) as error:
        code = _refused(error)
    _flush_streams()
    return code


def _refused(error: OSError | UnicodeEncodeError | RuntimeError) -> int:
    """Print what the system refuses to the whole run; what it refuses to a job ends that job only."""
    from .._disk import NO_THREAD, reason

    if isinstance(error, RuntimeError):
        if "start new thread" not in str(error):
            raise error
        return _print_error(NO_THREAD, UsageError.exit_code)
    if isinstance(error, UnicodeEncodeError):
        return _print_error(
            f"{error.object!r} cannot be written in {error.encoding}, the locale's encoding:"
            " set LC_ALL=C.UTF-8.",
            UsageError.exit_code,
        )
    if error.filename is None:  # files are opened by their names, so it is of click's output
        return _print_error(f"Standard output cannot be written: {error.strerror}.", DiskError.exit_code)
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    return _print_error(f"{name} cannot be used: {reason(error, Path(name))}.", UsageError.exit_code)


def _print_error(message: str, code: int) -> int:
    """Print *message* in one line on stderr and return *code*."""
    from .._naming import printable

    line = printable(" ".join(message.split()))
    click.echo(f"fetchq: {line}", err=True)
    return code


def _replace_closed_streams() -> None:
    """Open /dev/null for each standard stream that the caller has closed.

    Otherwise the next file to be opened would get its descriptor. Input is opened for writing and output for
    reading, so that using them fails instead of losing data.
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115 - the process's own
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115 - as above
    if sys.stderr is None:
        sys.stderr = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115 - as above


def _flush_streams() -> None:
    """Flush the standard streams; one that fails is redirected, since Python flushes again when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
