"""The options of curl, wget and aria2c: some are accepted, the others translated by a table that is true."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from fetchq._cli import foreign, get
from fetchq._cli.foreign import PROGRAMS, ROWS, SILENT, Foreign
from fetchq._cli.options import OPTIONS, Option

from .conftest import RunFetchq
from .test_cli import Engine, engine, settings

__all__ = ["engine"]  # a fixture is used by its name

BY_NAME = {name: option for option in OPTIONS for name in (*option.opts, *option.secondary_opts)}
EACH = [(program, row) for program in PROGRAMS for row in ROWS[program]]


def named(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--?[A-Za-z#][\w-]*", text)


@pytest.mark.parametrize(("program", "row"), EACH, ids=[f"{program} {row.names[0]}" for program, row in EACH])
def test_a_row_names_options_that_we_have(program: str, row: Foreign) -> None:
    words = shlex.split(row.ours)
    for place, word in enumerate(words):
        if word.startswith("-") and word != "-":
            option = BY_NAME[word]
            assert word in option.shown, "a synonym is no answer"
            following = words[place + 1 : place + 2]
            takes_value = following == ["-"] or (following != [] and not following[0].startswith("-"))
            assert takes_value is not option.is_flag
    for word in named(row.note):
        assert word in BY_NAME or any(word in other.names for other in ROWS[program])
    assert row.ours or row.note


def collisions() -> Iterator[tuple[str, Foreign, str, click.Option]]:
    """Each name that is an option here as well, and means something else."""
    ours: dict[str, click.Option] = {**BY_NAME, **{name: option for option in SILENT for name in option.opts}}
    for program, row in EACH:
        meant = BY_NAME.get((shlex.split(row.ours) or [""])[0])
        for name in row.names:
            same = ours.get(name) in (None, meant) or (ours[name] in SILENT and not row.ours)
            if not same and not re.match("the default|done anyway", row.note):
                yield program, row, name, ours[name]


def test_a_letter_with_another_meaning_is_told() -> None:
    found = list(collisions())
    assert len(found) > 10
    assert [(program, name) for program, row, name, _ in found if name not in named(row.note)] == []


def test_what_is_accepted_is_in_the_table_with_that_meaning() -> None:
    rows = [row for _, row in EACH]
    for silent in SILENT:
        for name in silent.opts:
            assert [row for row in rows if name in row.names and not row.ours], name
    for option in OPTIONS:
        for name in option.synonyms:
            meant = [shlex.split(row.ours)[0] for row in rows if name in row.names and row.ours]
            assert option in [BY_NAME[word] for word in meant], name


def test_the_synonyms_set_what_they_stand_for(engine: Engine) -> None:
    words = ["-P", "there", "-A", "agent", "--retry", "3", "--output-document", "x", "-s", "--max-time", "9"]
    chosen = settings(engine, *words)
    assert (str(chosen.disk.dir), chosen.network.user_agent, chosen.retry.retries) == ("there", "agent", 3)
    assert engine.job.out == "x"
    assert chosen.retry.deadline == 9


@pytest.mark.parametrize(
    "words", ["-sSfLO", "-c", "-C -", "-LOJR", "--location --continue --fail --compressed --remote-name"]
)
def test_what_is_done_anyway_changes_nothing(engine: Engine, words: str) -> None:
    plain = settings(engine)
    assert settings(engine, *words.split()) == plain


def test_the_help_shows_none_of_them(run_fetchq: RunFetchq) -> None:
    shown = run_fetchq("-h").stdout + run_fetchq("help", "options").stdout
    accepted = [name for option in SILENT for name in option.opts]
    accepted += [name for option in OPTIONS for name in option.synonyms]
    assert not set(accepted) & set(named(shown))
    listed = run_fetchq("help", "coming-from").stdout
    assert set(accepted) <= set(named(listed.partition("curl:")[0]))


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_has_a_page(run_fetchq: RunFetchq, program: str) -> None:
    page = run_fetchq("help", "coming-from", program).stdout
    assert page.startswith(f"{program}:\n")
    assert max(map(len, page.splitlines())) <= 80
    text = " ".join(page.split())
    for row in ROWS[program]:
        assert f"{row.usage} {row.here}" in text
    assert page.strip() in run_fetchq("help", "coming-from").stdout


def test_no_name_stands_twice_in_a_table() -> None:
    for program in PROGRAMS:
        names = [name for row in ROWS[program] for name in row.names]
        assert sorted(names) == sorted(set(names))
    assert set(foreign.names()) >= {"-O", "--tries", "--split"}


def test_every_option_of_get_is_shown_or_silent() -> None:
    kinds = (Option, foreign.Silent, click.Argument)
    assert [param.name for param in get.params if not isinstance(param, kinds)] == ["version"]
