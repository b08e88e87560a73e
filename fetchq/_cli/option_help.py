"""The options as tables: those of the first screen, all of them, and each on a page of its own."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import click

from .._errors import UsageError
from .config import ALLOWED, NAME
from .options import HEADINGS, OPTIONS, Option

__all__ = ["WIDTH", "all_options", "brief_table", "find", "one_option"]

WIDTH = 80
# The left column of the first screen; the widest of its options has 23 characters.
_LEFT = 25
_GAP = 2


def brief_table(params: Iterable[click.Parameter]) -> str:
    """Return the options of *params* that have a brief text, in their groups, one on each line."""
    sections = []
    listed = [option for option in params if isinstance(option, Option) and option.brief]
    for heading in HEADINGS:
        rows = [option.brief_words(WIDTH - _LEFT - _GAP) for option in listed if option.heading == heading]
        lines = [f"  {left:<{_LEFT - _GAP}}  {right}" for left, right in rows]
        sections += ["\n".join(["", f"{heading}:", *lines, ""])] if rows else []
    return "".join(sections)


def all_options() -> str:
    """Return all options of ``fetchq get`` in their groups."""
    formatter = click.HelpFormatter(width=WIDTH)
    for heading in HEADINGS:
        with formatter.section(heading):
            formatter.write_dl([option.words() for option in OPTIONS if option.heading == heading])
    return formatter.getvalue().strip("\n")


def find(name: str, params: Iterable[click.Parameter]) -> Option | None:
    """Return the option called *name*, as written on the command line."""
    for option in params:
        if isinstance(option, Option) and name in (*option.opts, *option.secondary_opts):
            return option
    return None


def one_option(name: str, params: Sequence[click.Parameter]) -> str:
    """Return the page of the option *name*: its meaning, default and reason, and where else it can be set.

    :raises UsageError: there is no such option.
    """
    word = name.partition("=")[0]
    option = find(word, params)
    if option is None:
        raise UsageError(f"There is no option {word}: fetchq help options lists them all.")
    facts = [
        ("Group", option.heading),
        ("Default", _default(option)),
        ("Why", option.reason),
        ("Environment", f"FETCHQ_{option.name}".upper()),
        (NAME, _file_line(option)),
    ]
    width = max(len(label) for label, _ in facts) + _GAP
    rows = [
        textwrap.fill(text, WIDTH, initial_indent=f"{label + ':':<{width}}", subsequent_indent=" " * width)
        for label, text in facts
        if text
    ]
    return "\n".join([f"fetchq {option.usage}", "", textwrap.fill(str(option.help), WIDTH), "", *rows])


def _default(option: Option) -> str:
    if option.default_text:
        return option.default_text
    return "off" if option.is_flag else "none"


def _file_line(option: Option) -> str:
    """Return how a configuration file sets *option*, and whether one of the current folder may."""
    where = "" if option.name in ALLOWED else "; not in a folder's own file"
    return f"{option.key} = {option.toml_value}{where}"
