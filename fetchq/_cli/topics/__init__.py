"""The topics of ``fetchq help``: one Markdown file each, shown as plain text; its first line is its title.

Only the Markdown that the files use is understood: headings, paragraphs, ``-`` lists, code blocks, inline code.
``{{name}}`` stands for a table or a value that :mod:`.tables` generates.
"""

from __future__ import annotations

import re
import textwrap
from importlib import resources

from ..option_help import WIDTH
from .tables import generated

__all__ = ["names", "page", "source", "title"]

_TEXTS = resources.files(__name__)
_SUFFIX = ".md"
_GENERATED = r"{{([\w.-]+)}}"


def names() -> list[str]:
    """Return the names of all topics in alphabetical order."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _TEXTS.iterdir() if path.name.endswith(_SUFFIX))


def source(name: str) -> str:
    """Return the Markdown text of the topic *name*."""
    return _TEXTS.joinpath(f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def title(name: str) -> str:
    """Return the title of the topic *name*."""
    return source(name).splitlines()[0].removeprefix("# ")


def page(name: str) -> str:
    """Return the topic *name* as text for a terminal of 80 columns."""
    # Prose and code in turn, since the pattern has one group.
    pieces = re.split(r"^```[^\n]*\n(.*?)^```$", source(name), flags=re.MULTILINE | re.DOTALL)
    shown = [_code(piece) if number % 2 else _prose(piece) for number, piece in enumerate(pieces)]
    return "\n\n".join(text for text in shown if text)


def _code(text: str) -> str:
    return textwrap.indent(text.rstrip(), " " * 4)


def _prose(text: str) -> str:
    return "\n\n".join(_paragraph(paragraph) for paragraph in text.strip().split("\n\n"))


def _paragraph(text: str) -> str:
    """Return a table, a heading as in ``fetchq -h``, a list or a paragraph, wrapped."""
    if table := re.fullmatch(_GENERATED, text):
        return generated(table[1])
    text = re.sub(_GENERATED, lambda found: generated(found[1]), text).replace("`", "")
    if text.startswith("#"):
        level, _, heading = text.partition(" ")
        return heading if level == "#" else f"{heading}:"
    return "\n".join(_filled(item) for item in re.split(r"\n(?=- )", text))


def _filled(text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        subsequent_indent="  " if text.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,  # would break options, too
    )
