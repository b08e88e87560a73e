"""Tables and values of the topics, generated from errors, events, options, settings and docstrings.

Under ``python -OO`` there are no docstrings: the tables are then shorter, and nothing fails.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields

import click

from ..._digests import SIZES
from ..._errors import FetchError
from ..._events import JobFinished
from ..._models import Job, Result
from ..._report.json_lines import KINDS, json_fields
from ..._settings import Settings
from ..config import ALLOWED
from ..foreign import SILENT, coming_from
from ..option_help import WIDTH, all_options
from ..options import OPTIONS, STORE

__all__ = ["generated"]


def generated(name: str) -> str:
    """Return the table *name*, or the default of the setting ``GROUP.FIELD``."""
    if name in TABLES:
        return TABLES[name]()
    group, _, field = name.partition(".")
    return _shown(getattr(getattr(Settings(), group), field))


def _columns(rows: Iterable[tuple[str, str]]) -> str:
    """Return *rows* as two columns, indented."""
    formatter = click.HelpFormatter(width=WIDTH)
    if table := list(rows):
        with formatter.indentation():
            formatter.write_dl(table)
    return formatter.getvalue().rstrip()


def _errors() -> str:
    return _columns(_error_rows(FetchError))


def _error_rows(error: type[FetchError], depth: int = 0) -> Iterator[tuple[str, str]]:
    transient = " Transient." if error._transient else ""  # noqa: SLF001 - a class has no public name for its default
    yield f"{error.exit_code:>3} {'  ' * depth}{error.__name__}", f"{_summary(error)}{transient}"
    for child in error.__subclasses__():
        if child.__module__ == FetchError.__module__:
            yield from _error_rows(child, depth + 1)


def _events() -> str:
    return _columns(
        (word, f"{_summary(event)} [{', '.join(json_fields(event))}]") for event, word in KINDS.items()
    )


def _result_fields() -> str:
    meanings = {**_parameters(Job), **_parameters(Result)}
    own = [name for name in json_fields(JobFinished) if name not in JobFinished._fields]
    return _columns((name, meanings.get(name, "").replace("None", "null")) for name in own)


def _config() -> str:
    return _columns(
        (f"{option.key} = {option.toml_value}", f"FETCHQ_{option.name}".upper()) for option in OPTIONS
    )


def _synonyms() -> str:
    return ", ".join(
        f"{' and '.join(option.synonyms)} for {option.shown[-1]}" for option in OPTIONS if option.synonyms
    )


def _folder_keys() -> str:
    keys = ", ".join(option.key for option in OPTIONS if option.name in ALLOWED)
    return textwrap.fill(keys, WIDTH, break_on_hyphens=False)


def _settings() -> str:
    parts = []
    for field in fields(Settings):
        group = type(getattr(Settings(), field.name))
        parts += [f"{group.__name__}: {_summary(group)}", _columns(_setting_rows(group)), ""]
    return "\n".join(parts[:-1])


def _setting_rows(group: type) -> Iterator[tuple[str, str]]:
    """Yield each field with its help, which those without an option have in the docstring."""
    described = _parameters(group)
    for field in fields(group):
        meaning = field.metadata.get("help") or described.get(field.name, "")
        yield field.name, f"{meaning[:1].upper()}{meaning[1:]} [default: {_shown(field.default)}]"


def _shown(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(str(item) for item in sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _documented(documented: Callable[..., object]) -> str:
    return _columns(_parameters(documented).items())


def _parameters(documented: Callable[..., object]) -> dict[str, str]:
    """Return what a docstring says of each parameter."""
    found = re.findall(
        r"^:param (\w+): (.*?)(?=^:|\Z)", inspect.getdoc(documented) or "", re.MULTILINE | re.DOTALL
    )
    return {name: _prose(text) for name, text in found}


def _summary(documented: Callable[..., object]) -> str:
    """Return the first paragraph of a docstring."""
    return _prose((inspect.getdoc(documented) or "").partition("\n\n")[0])


def _prose(text: str) -> str:
    """Return reStructuredText as plain text on one line."""
    return " ".join(re.sub(r":\w+:`([^`]+)`", r"\1", text).replace("`", "").split())


def _downloader() -> str:
    from ..._api import Downloader

    return _documented(Downloader)


TABLES: dict[str, Callable[[], str]] = {
    "errors": _errors,
    "events": _events,
    "result-fields": _result_fields,
    "options": all_options,
    "coming-from": coming_from,
    "silent": lambda: ", ".join(name for option in SILENT for name in option.opts),
    "synonyms": _synonyms,
    "config": _config,
    "folder-keys": _folder_keys,
    "settings": _settings,
    "job": lambda: _documented(Job),
    "result": lambda: _documented(Result),
    "downloader": _downloader,
    "algorithms": lambda: ", ".join(SIZES),
    "store": lambda: STORE,
}
