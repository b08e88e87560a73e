"""Completion scripts for bash, zsh and fish, made from the commands' own parameters."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import click

from . import topics
from .foreign import PROGRAMS
from .options import Option

__all__ = ["SHELLS", "script"]

_FILE_METAVARS = {"FILE", "FILE|URL", "FILE|DIR", "NAME"}


class Choice(NamedTuple):
    """An option as a shell completes it.

    :param values: what it takes: words, or ``files``, ``folders`` or ``other``; empty for a flag.
    """

    names: tuple[str, ...]
    about: str
    values: tuple[str, ...]
    repeats: bool


def script(shell: str, commands: Mapping[str, click.Command]) -> str:
    """Return the completion script for *shell*.

    :param commands: by name; ``get`` is the one that needs no name.
    """
    return SHELLS[shell](commands)


def _choices(command: click.Command) -> Iterator[Choice]:
    for option in command.get_params(click.Context(command, help_option_names=["-h", "--help"])):
        if not isinstance(option, click.Option) or option.hidden:
            continue
        names = option.shown if isinstance(option, Option) else [*option.opts, *option.secondary_opts]
        about = " ".join((option.help or "").split())
        yield Choice(tuple(names), about, _values(option), option.multiple)


def _values(option: click.Option) -> tuple[str, ...]:
    if option.is_flag or option.count:
        return ()
    if isinstance(option.type, click.Choice):
        return tuple(map(str, option.type.choices))
    metavar = str(option.metavar)
    return ("folders",) if metavar == "DIR" else ("files",) if metavar in _FILE_METAVARS else ("other",)


def _words(name: str, commands: Mapping[str, click.Command]) -> Sequence[str]:
    """Return what a command takes beside options, where that is one of some words."""
    if name == "completion":
        return list(SHELLS)
    return [*topics.names(), *commands, *PROGRAMS] if name == "help" else []


# --- bash

_BASH = """\
# Completion of fetchq for bash: eval "$(fetchq completion bash)"
_fetchq() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command=get words=
    # bash takes --option=value apart.
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    COMPREPLY=()
    if (( COMP_CWORD > 1 )); then
        case ${{COMP_WORDS[1]}} in
            {commands}) command=${{COMP_WORDS[1]}} ;;
        esac
    fi
    case $command:$prev in
{values}
    esac
    case $command:$cur in
{options}
        get:*) (( COMP_CWORD == 1 )) && words={first} ;;
{arguments}
    esac
    # Without words bash completes file names.
    [[ $words ]] && COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _fetchq fetchq
"""


def _bash(commands: Mapping[str, click.Command]) -> str:
    values: dict[str, list[str]] = {}
    options, arguments = [], []
    for name, command in commands.items():
        choices = list(_choices(command))
        for choice in choices:
            if choice.values:
                values.setdefault(_bash_action(choice), []).extend(f"{name}:{each}" for each in choice.names)
        names = " ".join(each for choice in choices for each in choice.names)
        options.append(f"        {name}:-*) words={shlex.quote(names)} ;;")
        if words := _words(name, commands):
            arguments.append(f"        {name}:*) words={shlex.quote(' '.join(words))} ;;")
    return _BASH.format(
        commands="|".join(commands),
        values="\n".join(f"        {'|'.join(names)}) {action}return ;;" for action, names in values.items()),
        options="\n".join(options),
        first=shlex.quote(" ".join(commands)),
        arguments="\n".join(arguments),
    )


def _bash_action(choice: Choice) -> str:
    """Return what completes an option's value; nothing where that is bash's own completion of file names."""
    actions = {"files": "", "folders": "compopt +o default -o dirnames; ", "other": "compopt +o default; "}
    listed = shlex.quote(" ".join(choice.values))
    return actions.get(choice.values[0], f'COMPREPLY=($(compgen -W {listed} -- "$cur")); ')


# --- zsh

_ZSH = """\
#compdef fetchq
# Completion of fetchq for zsh: eval "$(fetchq completion zsh)", or as a file _fetchq in $fpath
_fetchq() {{
    local -a commands=({commands})
    local command=get
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _describe command commands
        _files
        return
    fi
    case $words[2] in
        ({names}))
            command=$words[2]
            words=("$words[1]" "${{(@)words[3,-1]}}")
            (( CURRENT-- )) ;;
    esac
    case $command in
{cases}
    esac
}}
if [[ $funcstack[1] == _fetchq ]]; then
    _fetchq "$@"
else
    (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
    compdef _fetchq fetchq
fi
"""


def _zsh(commands: Mapping[str, click.Command]) -> str:
    cases = []
    for name, command in commands.items():
        specs = [shlex.quote(spec) for choice in _choices(command) for spec in _zsh_specs(choice)]
        words = " ".join(_words(name, commands))
        specs.append(shlex.quote(f"*:word:({words})" if words else "*:file:_files"))
        lines = " \\\n                ".join(specs)
        cases.append(f"        {name})\n            _arguments -s \\\n                {lines} ;;")
    listed = " ".join(shlex.quote(f"{name}:{each.short_help}") for name, each in commands.items())
    return _ZSH.format(commands=listed, names="|".join(commands), cases="\n".join(cases))


def _zsh_specs(choice: Choice) -> Iterator[str]:
    about = re.sub(r"([\[\]:\\])", r"\\\1", choice.about)
    actions = {"files": "_files", "folders": "_files -/", "other": " "}
    value = ""
    if choice.values:
        action = actions.get(choice.values[0], f"({' '.join(choice.values)})")
        value = f":value:{action}"
    once = "*" if choice.repeats else f"({' '.join(choice.names)})"
    for name in choice.names:
        equals = "=" if choice.values and name.startswith("--") else ""
        yield f"{once}{name}{equals}[{about}]{value}"


# --- fish


def _fish(commands: Mapping[str, click.Command]) -> str:
    others = " ".join(name for name in commands if name != "get")
    lines = ["# Completion of fetchq for fish: fetchq completion fish | source"]
    for name, command in commands.items():
        about = shlex.quote(command.short_help or "")
        lines.append(f"complete -c fetchq -n __fish_use_subcommand -a {name} -d {about}")
        seen = f"__fish_seen_subcommand_from {name}"
        condition = f"not __fish_seen_subcommand_from {others}" if name == "get" else seen
        lines += [_fish_option(choice, condition) for choice in _choices(command)]
        if words := _words(name, commands):
            lines.append(f"complete -c fetchq -f -n {_fish_quote(seen)} -a {_fish_quote(' '.join(words))}")
    return "\n".join(lines) + "\n"


def _fish_option(choice: Choice, condition: str) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in choice.names]
    kinds = {"files": "-r -F", "folders": "-x -a '(__fish_complete_directories)'", "other": "-x"}
    value = ""
    if choice.values:
        value = kinds.get(choice.values[0]) or f"-x -a {_fish_quote(' '.join(choice.values))}"
    words = ["complete -c fetchq", f"-n {_fish_quote(condition)}", *names, value]
    return " ".join([*filter(None, words), f"-d {_fish_quote(choice.about)}"])


def _fish_quote(text: str) -> str:
    # In fish's single quotes a backslash escapes itself and the quote.
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Mapping[str, click.Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
