"""The help of commands and topics, and suggestions for mistyped words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from .._errors import UsageError
from .foreign import PROGRAMS, coming_from, stray_value, translated
from .foreign import names as foreign_names
from .option_help import brief_table, one_option
from .options import Option

__all__ = ["Get", "Verbs", "show_help", "url_of"]

USAGE = """\
Usage: fetchq [OPTIONS] URL...
       fetchq [OPTIONS] -i FILE
       fetchq COMMAND [ARGS]...
"""

EXAMPLES = """\
Examples:
  fetchq -o b.iso --checksum sha256:HEX https://example.com/a.iso
  fetchq -i queue.txt -d data -j 16
"""

MORE = """\
More:
  fetchq help options  All options.    fetchq help --NAME  One of them, and why.
  fetchq help          All topics.     fetchq --version    The version.
"""

# difflib's ratio: one wrong letter in four is 0.75, taken for a typing mistake; two in four are another word.
_CUTOFF = 0.7
# A scheme whose colon or slashes are incomplete.
_SCHEME = re.compile(r"(https?)(?::/{0,3}|//)(?=[^/:])")
# As in git: a text that fits on the screen is printed without waiting for a key, and stays there afterwards.
_LESS = "FRX"


class Get(click.Command):
    """``fetchq get``, the default command; its help is that of the program."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        :raises UsageError: an option is not one of ours; the message has ours for one of another program's.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise UsageError(_unknown(error.option_name, given, self.params)) from error

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first screen: usage, commands, what most people use, and where to read more."""
        formatter.write(USAGE)
        formatter.write_paragraph()
        formatter.write(f"{self.help}\n")
        verbs = ctx.parent.command if ctx.parent else self
        if isinstance(verbs, click.Group):
            with formatter.section("Commands"):
                formatter.write_dl([(name, verb.short_help or "") for name, verb in verbs.commands.items()])
        formatter.write(brief_table(self.params))
        for text in (EXAMPLES, MORE):
            formatter.write_paragraph()
            formatter.write(text)


def _unknown(name: str, args: Sequence[str], params: Sequence[click.Parameter]) -> str:
    """Return a sentence about the option *name*, which is none of *params*."""
    # click takes -nc apart, and complains of -n.
    whole = [word for word in args if word.startswith(name) and not name.startswith("--")]
    for word in (*whole, name):
        if told := translated(word):
            return f"There is no option {word}: {told}."
    ours = [known for option in params if isinstance(option, Option) for known in option.shown]
    # Without the dashes, which would make short names alike.
    long = {known.lstrip("-"): known for known in (*foreign_names(), *ours) if known.startswith("--")}
    meant = long.get(_closest(name.lstrip("-"), long), "")
    if meant and meant not in ours:
        return f"There is no option {name}: did you mean {meant}? {translated(meant)}."
    hint = f"did you mean {meant}?" if meant else "fetchq help options lists them all."
    return f"There is no option {name}: {hint}"


class Verbs(click.Group):
    """All commands; arguments that do not begin with one of them are those of ``get``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``get`` where no command is named.

        :raises UsageError: the first argument is a mistyped command.
        """
        first = args[0] if args else ""
        if first not in self.commands:
            if first.isalpha() and first.islower() and (meant := _closest(first, self.commands)):
                raise UsageError(f"There is no command {first!r}: did you mean fetchq {meant}?")
            args = ["get", *args]
        return super().parse_args(ctx, args)


def url_of(word: str, commands: Mapping[str, click.Command]) -> str:
    """Return the URL that an argument of ``get`` means; without a scheme, https where it looks like a host.

    :raises UsageError: it is none; the message suggests what may have been meant.
    """
    if "://" in word:
        return word
    from .._http import names_host, with_scheme  # not needed for most runs
    from .._naming import printable

    shown = printable(word.split("?", 1)[0].rpartition("@")[2])
    there = Path(word).is_file()
    if not there and (url := with_scheme(word)) != word:
        return url
    if hint := stray_value(click.get_current_context()):
        raise UsageError(f"{shown!r} is not a URL: {hint}")
    if there:
        raise UsageError(f"{shown!r} is a file: did you mean -i {shown}?")
    if names_host(word):
        raise UsageError(f"{shown} is not a URL: did you mean https://{shown}?")
    if word in commands:
        raise UsageError(f"{shown!r} is a command, which comes first: fetchq {word} and then the rest.")
    if slips := _SCHEME.match(shown):
        raise UsageError(f"{shown} is not a URL: did you mean {slips[1]}://{shown[slips.end() :]}?")
    meant = _closest(word, commands)
    hint = f"did you mean fetchq {meant}?" if meant else "write it with https://, or give a queue file with -i."
    raise UsageError(f"{shown!r} is neither a URL nor a command: {hint}")


def show_help(word: str | None, context: click.Context, programs: Sequence[str] = ()) -> int:
    """Show a topic, command or option, through a pager on a terminal; without one, list the first two.

    :param word: its name.
    :param context: of the group of all commands.
    :param programs: those to come from; default: all.
    :raises UsageError: there is no such topic or command.
    """
    from . import topics

    commands = context.command.commands if isinstance(context.command, click.Group) else {}
    if word is None:
        click.echo(_contents({name: topics.title(name) for name in topics.names()}, commands))
    elif programs:
        if word != "coming-from":
            raise UsageError(
                f"fetchq help takes one word; only coming-from has a second: {', '.join(PROGRAMS)}."
            )
        _page(coming_from(programs))
    elif command := commands.get(word):
        inner = command.context_class(command, parent=context, info_name=word, **command.context_settings)
        _page(command.get_help(inner))
    elif word in topics.names():
        _page(topics.page(word))
    elif word.startswith("-"):
        _page(one_option(word, commands["get"].params))
    else:
        from .._naming import printable

        meant = _closest(word.lower(), [*topics.names(), *commands])
        hint = f"did you mean fetchq help {meant}?" if meant else "fetchq help lists all topics."
        raise UsageError(f"There is no topic {printable(word)!r}: {hint}")
    return 0


def _contents(titles: Mapping[str, str], commands: Mapping[str, click.Command]) -> str:
    formatter = click.HelpFormatter(width=80)
    formatter.write("Usage: fetchq help TOPIC\n       fetchq help COMMAND\n")
    with formatter.section("Topics"):
        formatter.write_dl(list(titles.items()))
    with formatter.section("Commands"):
        formatter.write_dl([(name, command.short_help or "") for name, command in commands.items()])
    return formatter.getvalue().rstrip()


def _page(text: str) -> None:
    os.environ.setdefault("LESS", _LESS)
    click.echo_via_pager(text)


def _closest(word: str, known: Iterable[str]) -> str:
    """Return the one of *known* that *word* is most like, or nothing where it is like none."""
    import difflib

    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=_CUTOFF)), "")
