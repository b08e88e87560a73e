"""How the commands show themselves, and what a mistyped word was meant to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .._errors import UsageError
from .config import defaults
from .options import HEADINGS, Choice

__all__ = ["Get", "Verbs", "check_word"]

USAGE = """\
Usage: fetchq [OPTIONS] URL...
       fetchq [OPTIONS] -i FILE
       fetchq COMMAND [ARGS]...
"""

EXAMPLES = """\
Examples:
  fetchq https://example.com/a.iso
  fetchq -o b.iso --checksum sha256:HEX https://example.com/a.iso
  fetchq -i queue.txt -d data -j 16
  fetchq --limit-rate 2M -H 'X-Key: value' https://example.com/a.iso
  fetchq -o - https://example.com/a.tar.gz | tar xz
"""

NOTES = """\
RATE and SIZE are bytes, 500k, 2M or 1.5GiB. Every option also reads
FETCHQ_<NAME>, such as FETCHQ_JOBS, and ./fetchq.toml or the user's
fetchq/config.toml: the command line wins, then the environment, then the file.

Exit codes: 0 all done, 1 other, 2 usage, 3 disk, 4 network, 5 TLS,
6 authentication, 7 protocol, 8 the server answered with an error, 9 checksum,
130 and 143 stopped by a signal.
"""

# What looks like a URL without its scheme: a host with a dot, localhost or an address, then port and path.
_HOST = r"(?i:localhost|\[[0-9a-f:.]+\]|[\w-]+(?:\.[\w-]+)*\.\w{2,})(?::\d+)?(?:[/?#].*)?"
# At three letters of four a word is a typing mistake; below that it is another word.
_LIKENESS = 0.7


class Get(click.Command):
    """The command that fetches; its help is the program's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the configuration files, unless somebody only asks for help."""
        if not {"-h", "--help", "--version"}.intersection(args):
            extra["default_map"] = defaults(self)
        return super().make_context(info_name, args, parent, **extra)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help: usage, commands, options under headings, examples."""
        formatter.write(USAGE)
        formatter.write_paragraph()
        formatter.write(f"{self.help}\n")
        verbs = ctx.parent.command if ctx.parent else self
        if isinstance(verbs, click.Group):
            with formatter.section("Commands"):
                formatter.write_dl([(name, verb.short_help or "") for name, verb in verbs.commands.items()])
        options = [option for option in self.params if isinstance(option, Choice)]
        for heading in HEADINGS:
            with formatter.section(heading):
                formatter.write_dl([option.words() for option in options if option.heading == heading])
        with formatter.section("Other"):
            plain = [
                option for option in self.get_params(ctx) if not isinstance(option, Choice | click.Argument)
            ]
            formatter.write_dl([row for option in plain if (row := option.get_help_record(ctx))])
        for text in (EXAMPLES, NOTES):
            formatter.write_paragraph()
            formatter.write(text)


class Verbs(click.Group):
    """All commands; words that begin with none of them go to ``get``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``get`` in front where no command was named."""
        first = args[0] if args else ""
        if first not in self.commands:
            if first.isalpha() and first.islower() and (meant := _alike(first, self.commands)):
                raise UsageError(f"There is no command {first!r}: did you mean fetchq {meant}?")
            args = ["get", *args]
        return super().parse_args(ctx, args)


def check_word(word: str, commands: Mapping[str, click.Command]) -> None:
    """Refuse a word in a URL's place that is none, and say what may have been meant.

    :raises UsageError: it has no scheme.
    """
    if "://" in word:
        return
    from .._naming import printable

    shown = printable(word.split("?", 1)[0].rpartition("@")[2])
    if Path(word).is_file():
        raise UsageError(f"{shown!r} is a file: did you mean -i {shown}?")
    if re.fullmatch(_HOST, word):
        raise UsageError(f"{shown} is not a URL: did you mean https://{shown}?")
    meant = _alike(word, commands)
    hint = f"did you mean fetchq {meant}?" if meant else "write it with https://, or give a queue file with -i."
    raise UsageError(f"{shown!r} is neither a URL nor a command: {hint}")


def _alike(word: str, commands: Mapping[str, click.Command]) -> str:
    import difflib

    return next(iter(difflib.get_close_matches(word, commands, n=1, cutoff=_LIKENESS)), "")
