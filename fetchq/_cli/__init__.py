"""The command line: words -> settings, jobs and watchers; errors -> exit codes.

::

    __init__   the commands, and what their errors become
    options    the table of options, and the settings they make
    types      what may stand behind an option
    config     options from TOML files
    help       the help of commands and topics; "did you mean"
    topics     the texts of ``fetchq help TOPIC``, and tables generated from the code
    jobs       URLs and queue files -> jobs
    run        get: one run, its watchers, signals and exit code
    verify     verify: files against a manifest or the store
    status     status: what the store remembers

The only package that imports click. What a command needs beyond that is imported when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .._errors import DiskError, FetchError
from .._settings import ProgressKind
from .._version import VERSION
from .help import Get, Verbs, check_word, show_help
from .options import GIVEN_FILE, OPTIONS, PROGRESS, STORE

__all__ = ["main"]

CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FETCHQ", "max_content_width": 80}
SHOWN = click.option(
    "--progress",
    type=PROGRESS,
    default="auto",
    help="What to show meanwhile.  [default: auto]",
)
SIGINT_CODE = 130


@click.group(cls=Verbs, add_help_option=False, invoke_without_command=False)
def _verbs() -> None:
    """Fetch URLs to files: a queue, streamed to disk, resumed, retried and verified."""


@_verbs.command(cls=Get, context_settings=CONTEXT, short_help="Fetch URLs; the word may be left out.")
@click.version_option(VERSION, message="fetchq %(version)s")
@click.argument("urls", nargs=-1, metavar="URL...")
def get(urls: tuple[str, ...], **given: Any) -> int:
    """Fetch URLs to files: streamed to disk, resumed, retried, verified."""
    if not given["base_url"]:
        for word in urls:
            check_word(word, _verbs.commands)
    from .run import get

    return get(urls, given)


get.params.extend(OPTIONS)


@_verbs.command(context_settings=CONTEXT, short_help="Show in ten seconds what fetchq survives; no network.")
@click.option(
    "--keep", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Keep the files in DIR."
)
@SHOWN
def demo(keep: Path | None, progress: ProgressKind) -> int:
    """Fetch a dozen files from a local server that drops, stalls, throttles and lies."""
    from .._demo import demo

    return demo(keep, progress)


@_verbs.command(context_settings=CONTEXT, short_help="Hash files again, and compare.")
@click.argument("paths", nargs=-1, metavar="FILE|DIR...", type=click.Path(path_type=Path))
@click.option(
    "--checksums", metavar="FILE", type=GIVEN_FILE, help="Manifest in the form of SHA256SUMS; names below DIR."
)
@click.option(
    "--store", metavar="FILE", type=GIVEN_FILE, help=f"What the runs remembered.  [default: DIR/{STORE}]"
)
@SHOWN
def verify(paths: tuple[Path, ...], checksums: Path | None, store: Path | None, progress: ProgressKind) -> int:
    """Hash files again and compare with a manifest, or with what the store remembers of their download.

    A DIR stands for all its files that the manifest or the store names; without any, the current one.
    Exits 9 when a file's bytes are not what they were.
    """
    from .verify import verify

    return verify(paths, checksums=checksums, store=store, progress=progress)


@_verbs.command(context_settings=CONTEXT, short_help="Say what a directory's store remembers.")
@click.argument("directory", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each job.")
def status(directory: Path, as_json: bool) -> int:
    """Say how the jobs of the queue runs into DIR ended, and why some failed."""
    from .status import status

    return status(directory, as_json=as_json)


@_verbs.command("help", context_settings=CONTEXT, short_help="List topics; fetchq help TOPIC shows one.")
@click.argument("topic", required=False, metavar="[TOPIC|COMMAND]")
@click.pass_context
def _help(context: click.Context, topic: str | None) -> int:
    """Show a topic, or the help of a command; without an argument, list both."""
    return show_help(topic, context.find_root())


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code.

    :param args: the words after the program's name; default: the process's own.
    """
    _open_closed_streams()
    try:
        code: int = _verbs.main(args=args, prog_name="fetchq", standalone_mode=False) or 0
    except click.exceptions.Abort:
        code = SIGINT_CODE
    except click.ClickException as error:
        code = _complain(error.format_message(), error.exit_code)
    except FetchError as error:
        code = _complain(str(error), error.exit_code)
    except OSError as error:
        if error.filename is not None:
            raise
        # A file's errors are translated where it is opened: without a name it is what click writes to.
        code = _complain(f"Standard output cannot be written: {error.strerror}.", DiskError.exit_code)
    _let_go()
    return code


def _complain(message: str, code: int) -> int:
    """Say in one line what was wrong; a usage error points to the help unless it helps itself."""
    from .._naming import printable

    line = printable(" ".join(message.split()))
    click.echo(f"fetchq: {line}", err=True)
    return code


def _open_closed_streams() -> None:
    """Stand in for the standard streams that the caller has closed: the next file opened would be one of them.

    Opened the wrong way round, so that using them fails instead of losing data.
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY))  # noqa: SIM115 - the process's own
    if sys.stdout is None:
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115 - as above
    if sys.stderr is None:
        sys.stderr = open(os.open(os.devnull, os.O_RDONLY), "w")  # noqa: SIM115 - as above


def _let_go() -> None:
    """Flush the standard streams; one whose reader has left must not be flushed again when Python ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
