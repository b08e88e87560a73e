"""Settings from TOML: ``./fetchq.toml``, then the user's config folder."""

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
    """Give the values that the files set for *command*'s options; the file nearer to hand wins.

    :raises UsageError: a file cannot be read, or one of its keys or values fits no option.
    """
    found: dict[str, Any] = {}
    for path in (_user_file(environ), Path("fetchq.toml")):
        if path is not None and _is_there(path):
            found |= _read(path, command)
    return found


def _user_file(environ: os._Environ[str] | dict[str, str]) -> Path | None:
    """Give the user's file; None for a user without a home, as in some containers."""
    # XDG Base Directory specification: unset, empty or relative means ~/.config.
    folder = Path(environ.get("XDG_CONFIG_HOME") or "")
    if not folder.is_absolute():
        try:
            folder = Path.home() / ".config"
        except RuntimeError:
            return None
    return folder / "fetchq" / "config.toml"


def _is_there(path: Path) -> bool:
    """Tell whether there is a file to read; in a folder that is closed to us, as under sudo, there is none."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _read(path: Path, command: click.Command) -> dict[str, Any]:
    import tomllib

    from .._naming import printable

    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path} cannot be read: {reason}.") from error
    options = {str(option.name): option for option in command.params if isinstance(option, click.Option)}
    return {
        name: _checked(f"{path}: {printable(key)}", value, options.get(name))
        for key, value in told.items()
        for name in [key.replace("-", "_")]
    }


def _checked(where: str, value: Any, option: click.Option | None) -> Any:
    """Give *value* if *option* takes it; the message keeps quiet about the value, which may be secret."""
    if option is None or not option.expose_value:
        raise UsageError(f"{where} is not an option of fetchq; fetchq -h lists them.")
    if option.multiple and isinstance(value, str):
        value = [value]
    expected = _kind(option)
    if not _fits(value, expected):
        raise UsageError(f"{where} must be {expected}.")
    try:
        option.type_cast_value(click.Context(click.Command("get")), value)
    except click.BadParameter as error:
        raise UsageError(f"{where}: {error.message}.") from error
    return value


def _kind(option: click.Option) -> str:
    if option.is_flag:
        return "true or false"
    return "a list of texts" if option.multiple else "a text or a number"


def _fits(value: Any, expected: str) -> bool:
    if expected == "true or false":
        return isinstance(value, bool)
    if expected == "a list of texts":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float) and not isinstance(value, bool)
