"""Options from TOML files: ``./fetchq.toml``, then ``fetchq/config.toml`` in the user's config directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from .._errors import UsageError
from .credentials import names_host

__all__ = ["Configuration", "load", "nearest", "notes_of"]

NAME = "fetchq.toml"
_META = "fetchq.configuration"
# Of these at most one can be meant.
_EXCLUSIVE = (
    ("quiet", "verbose"),
    ("store", "no_store"),
    ("data", "json", "form"),
    ("require_checksum", "allow_unlisted"),
    ("tree", "name_template"),
    ("user", "bearer"),
)
_SOURCES = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)

# All that ./fetchq.toml may set: its author may be a stranger, since it is read in any folder that one stands
# in, a cloned repository for instance. Left out is what weakens security, what is sent, what chooses whom the
# user's own secrets are sent to, what is read and sent (--data @FILE), where something is written, and --quiet,
# which would hide that the file is used. A list of what is allowed, so that a new option is refused until it is
# here.
ALLOWED = frozenset(
    {
        *("dir", "if_exists", "max_size", "min_free", "fsync", "xattr", "remote_time", "no_store"),
        *("checksums", "require_checksum"),
        *("expect_type", "no_html"),
        *("jobs", "connections", "per_host", "limit_rate", "min_speed", "retries", "backoff", "retry_on"),
        *("max_wait", "patience", "keep_alive", "keep_alive_expiry"),
        *("timeout", "connect_timeout", "read_timeout", "write_timeout", "pool_timeout", "http2"),
        *(
            "wait",
            "host_patience",
            "max_failures",
            "user_agent",
            "progress",
            "verbose",
            "dry_run",
            "no_redirects",
            "deadline",
        ),
    }
)


@dataclass
class Configuration:
    """The options that the files set, by parameter name, and what is to be said about them.

    :ivar used: files from the current folder that were used.
    :ivar warnings: sentences about options that were ignored.
    """

    values: dict[str, Any] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def read_all(self, command: click.Command, environ: Mapping[str, str]) -> None:
        """Read the user's file, and then ``./fetchq.toml``, which has precedence but is not trusted with all.

        :raises UsageError: a file cannot be read, or holds an unknown option or a value of the wrong type.
        """
        user = _user_file(environ)
        if user is not None and _exists(user):
            self.values |= _read(user, command)
        here = Path(NAME)
        if _exists(here):
            found = _read(here, command)
            ignored = [name for name, value in found.items() if not _may_set(name, value)]
            self.values |= {name: value for name, value in found.items() if name not in ignored}
            self.used.append(f"Using ./{NAME} of this folder; --no-config ignores it.")
            if ignored:
                words = ", ".join(name.replace("_", "-") for name in ignored)
                self.warnings.append(
                    f"./{NAME} may not set {words}: ignored. Set it on the command line, in the environment"
                    f" or in your own configuration, or name the file with --config ./{NAME}."
                )

    def read(self, path: Path, command: click.Command) -> None:
        """Read the file that the user named, which is trusted.

        :raises UsageError: as :meth:`read_all`, or there is no such file.
        """
        self.values |= _read(path, command)


def _may_set(name: str, value: Any) -> bool:
    """Whether ``./fetchq.toml`` may set the option *name* to *value*."""
    text = str(value)
    match name:
        case "dir":
            # A link in the folder could lead out of it, too.
            inside = Path(os.path.realpath(text)).is_relative_to(os.path.realpath(""))
            return inside and not text.startswith("~") and ".." not in Path(text).parts
        case "if_exists":
            return text != "overwrite"
        case "require_checksum":
            return bool(value)
        case "checksums":
            return not re.match(r"(?i)https?://", text)
    return name in ALLOWED


def load(context: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    """Set the context's defaults from the files: the callback of the eager option that names one."""
    configuration = Configuration()
    if value is not None:
        configuration.read(value, context.command)
    elif not context.params.get("no_config"):
        configuration.read_all(context.command, os.environ)
    context.default_map = configuration.values
    context.meta[_META] = configuration
    return value


def notes_of(context: click.Context) -> Configuration:
    """Return the configuration that *context* was made with."""
    found = context.meta.get(_META)
    return found if isinstance(found, Configuration) else Configuration()


def nearest(context: click.Context, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options *given* without those that one nearer by excludes: ``-q`` where the file says verbose.

    Two that contradict each other in one place stay, and are an error.
    """
    chosen = dict(given)
    for names in _EXCLUSIVE:
        others = {name: _without_contest(name, given[name]) for name in names}
        places = [
            (_SOURCES.index(_source(context, name)), name) for name in names if given[name] != others[name]
        ]
        for place, name in places:
            if place > min(places)[0]:
                chosen[name] = others[name]
    return chosen


def _without_contest(name: str, value: Any) -> Any:
    """Return what is left of an option's *value* where another excludes it.

    That is what one that is not given has: False for a flag, () for one that repeats, else None; and of users
    those whose hosts are named.
    """
    if name == "user":
        return tuple(filter(names_host, value))
    return type(value)() if isinstance(value, bool | tuple) else None


def _source(context: click.Context, name: str) -> ParameterSource:
    """Return where the option *name*, which has another value than its default, was given."""
    return context.get_parameter_source(name) or ParameterSource.COMMANDLINE


def _user_file(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the user's file; None for a user without a home directory, as in some containers."""
    # XDG Base Directory Specification: unset, empty or relative means ~/.config.
    directory = Path(environ.get("XDG_CONFIG_HOME") or "")
    if not directory.is_absolute():
        try:
            directory = Path.home() / ".config"
        except RuntimeError:
            return None
    return directory / "fetchq" / "config.toml"


def _exists(path: Path) -> bool:
    """Whether *path* is a file; not if its directory may not be entered, as another user's under sudo."""
    return os.path.isfile(path)


def _read(path: Path, command: click.Command) -> dict[str, Any]:
    import tomllib

    from .._naming import printable

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    options = {str(option.name): option for option in command.params if isinstance(option, click.Option)}
    return {
        name: _checked(f"{path}: {printable(key)}", value, options.get(name))
        for key, value in table.items()
        for name in [key.replace("-", "_")]
    }


def _checked(where: str, value: Any, option: click.Option | None) -> Any:
    """Return *value* if *option* accepts it; the error message does not contain it, since it may be secret."""
    if option is None or not option.expose_value:
        raise UsageError(f"{where} is not an option of fetchq; fetchq help options lists them.")
    if option.multiple and isinstance(value, str):
        value = [value]
    expected = _expected_type(option)
    if not _has_type(value, expected):
        raise UsageError(f"{where} must be {expected}.")
    try:
        option.type_cast_value(click.Context(click.Command("get")), value)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message.removesuffix('.')}.") from error
    return value


def _expected_type(option: click.Option) -> str:
    if option.is_flag:
        return "true or false"
    return "a list of texts" if option.multiple else "a text or a number"


def _has_type(value: Any, expected: str) -> bool:
    if expected == "true or false":
        return isinstance(value, bool)
    if expected == "a list of texts":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float) and not isinstance(value, bool)
