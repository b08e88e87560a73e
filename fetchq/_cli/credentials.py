"""Users, tokens and passwords as the command line writes them: literal, from a file or stdin, or asked for."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from .._errors import UsageError
from .._naming import printable
from .._settings import Network

__all__ = ["contents", "names_host", "with_credentials"]

# A name before the sign is a host where no user is called so; a password comes after a colon.
_NAMED = re.compile(r"([^:=@/\s]+\.[^:=@/\s]+|localhost|\[[0-9A-Fa-f:.]+\])=(.*)", re.DOTALL)
# Tokens have some KiB; a longer file is another one.
_LONGEST_SECRET = 64 * 1024


def with_credentials(network: Network, users: Sequence[str]) -> Network:
    """Return *network* with the *users* of ``-u``, and with what files, stdin or the terminal say.

    :raises UsageError: there is a token for the same servers as a user, a file cannot be read or holds no
        secret, or there is no terminal to ask on.
    """
    if network.bearer is not None and not all(map(names_host, users)):
        raise UsageError(
            "-u NAME:PASSWORD and --bearer TOKEN are for the same servers: give one of them, or the user as"
            " HOST=NAME:PASSWORD."
        )
    user, logins = _users(users)
    bearer, password = network.bearer, network.key_password
    if bearer is not None:
        bearer = _secret("--bearer", bearer)
    if password is not None:
        password = _secret("--key-password", password)
    elif network.cert is not None and _is_terminal():
        password = _key_password(network)
    return replace(network, user=user, logins=logins, bearer=bearer, key_password=password)


def names_host(text: str) -> bool:
    """Whether *text*, a value of ``-u``, is for a host that it names, and not for the jobs' own servers."""
    return _NAMED.fullmatch(text) is not None


def contents(option: str, text: str) -> bytes:
    """Return *text* as curl's ``--data-binary`` does: itself, or the file behind ``@``, ``@-`` for stdin.

    :raises UsageError: the file cannot be read.
    """
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return sys.stdin.buffer.read() if text == "@-" else Path(text[1:]).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no file's name"
        raise UsageError(f"{option} {printable(text)}: {reason}.") from error


def _secret(option: str, text: str) -> str:
    if not text.startswith("@"):
        return text
    found = contents(option, text).decode("utf-8", "surrogateescape")
    secret = found.removesuffix("\n").removesuffix("\r")
    if not secret or len(secret) > _LONGEST_SECRET or "\n" in secret:
        raise UsageError(f"{option} {printable(text)}: one line with the secret is wanted there.")
    return secret


def _users(texts: Sequence[str]) -> tuple[tuple[str, str] | None, tuple[tuple[str, str, str], ...]]:
    """Return the user of the jobs' own origins, and those of hosts that are named."""
    user: tuple[str, str] | None = None
    logins: list[tuple[str, str, str]] = []
    for text in texts:
        named = _NAMED.fullmatch(text)
        if named is not None:
            logins.append((named[1].strip("[]"), *_user(named[2])))
        elif user is not None:
            raise UsageError("-u NAME:PASSWORD is given twice: write HOST=NAME:PASSWORD for other hosts.")
        else:
            user = _user(text)
    return user, tuple(logins)


def _user(text: str) -> tuple[str, str]:
    """Return name and password; a missing password is asked for on a terminal."""
    name, colon, password = text.partition(":")
    if colon:
        return name, password
    if not _is_terminal():
        raise UsageError("-u without a password needs a terminal to ask on: write NAME:PASSWORD.")
    return name, _ask(f"Password for {printable(name)}")


def _key_password(network: Network) -> str | None:
    """Ask for the password of the client key, if it is encrypted."""
    from .._http import wants_password

    if not wants_password(network):
        return None
    return _ask(f"Password of the key {printable(str(network.key or network.cert))}")


def _ask(prompt: str) -> str:
    return str(click.prompt(prompt, hide_input=True, err=True))


def _is_terminal() -> bool:
    with suppress(ValueError):  # it has been closed
        return sys.stdin.isatty()
    return False
