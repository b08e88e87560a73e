"""Options from TOML files: ``./fetchq.toml``, then ``fetchq/config.toml`` in the user's config directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .._errors import UsageError

__all__ = ["defaults"]


def defaults(
    command: click.Command, *, environ: os._Environ[str] | dict[str, str] = os.environ
) -> dict[str, Any]:
    """Return the options that the files set for *command*, by parameter name; ``./fetchq.toml`` has precedence.

    :raises UsageError: a file cannot be read, or holds an unknown option or a value of the wrong type.
    """
    found: dict[str, Any] = {}
    for path in (_user_file(environ), Path("fetchq.toml")):
        if path is not None and _exists(path):
            found |= _read(path, command)
    return found


def _user_file(environ: os._Environ[str] | dict[str, str]) -> Path | None:
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
    """Whether *path* is a file; not if its directory may not be read, as another user's under sudo."""
    try:
        return path.is_file()
    except PermissionError:
        return False


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
        raise UsageError(f"{where} is not an option of fetchq; fetchq -h lists them.")
    if option.multiple and isinstance(value, str):
        value = [value]
    expected = _expected_type(option)
    if not _has_type(value, expected):
        raise UsageError(f"{where} must be {expected}.")
    try:
        option.type_cast_value(click.Context(click.Command("get")), value)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}.") from error
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
