"""Where a value comes from: for every option the command line wins, then the environment, then the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from fetchq._cli import get, types
from fetchq._cli.config import nearest
from fetchq._cli.options import OPTIONS, Option

# Three values by type, each other than the default.
BY_TYPE: dict[Any, tuple[str, str, str]] = {
    types.HEADER: ("A: 1", "B: 2", "C: 3"),
    types.PAIR: ("a=1", "b=2", "c=3"),
    types.FORM: ("a=1", "b=@2", "c=3"),
    types.COOKIE: ("a=1", "b=2", "c=3"),
    types.CODES: ("401", "402", "403"),
    types.CHECKSUM: tuple("md5:" + digit * 32 for digit in "123"),  # type: ignore[dict-item] # there are three
    types.GIVEN_FILE: ("one", "two", "three"),
    types.GIVEN_PATH: ("one", "two", "three"),
}
# They decide whether a file is read at all.
EAGER = {"config", "no_config"}
TESTED = [option for option in OPTIONS if option.expose_value and option.name not in EAGER]
FLAGS = [option for option in TESTED if option.is_flag]
VALUES = [option for option in TESTED if not option.is_flag]


def values_of(option: Option) -> tuple[str, str, str]:
    if isinstance(option.type, click.Choice):
        first, second, *rest = map(str, option.type.choices)
        return first, second, rest[0] if rest else first
    return BY_TYPE.get(option.type, ("11", "12", "13"))


def parsed(option: Option, *words: str) -> Any:
    with get.make_context("fetchq", [*words, "https://h/a"], **CONTEXT) as context:
        return context.params[str(option.name)]


CONTEXT: dict[str, Any] = {"auto_envvar_prefix": "FETCHQ"}


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two", "three"):
        Path(name).touch()


@pytest.mark.parametrize(
    "option", [each for each in TESTED if not each.is_flag], ids=lambda each: str(each.name)
)
def test_the_nearest_value_counts(option: Option, monkeypatch: pytest.MonkeyPatch) -> None:
    name, flag = str(option.name), max(option.opts, key=len)
    far, near, nearest = values_of(option)
    alone = [parsed(option, "--no-config", flag, value) for value in (far, near, nearest)]
    assert len({repr(value) for value in alone}) >= 2
    text = json.dumps([far] if option.multiple else far)
    Path("file.toml").write_text(f"{name.replace('_', '-')} = {text}\n")
    assert parsed(option, "--config", "file.toml") == alone[0]
    monkeypatch.setenv(f"FETCHQ_{name.upper()}", near)
    assert parsed(option, "--config", "file.toml") == alone[1]
    assert parsed(option, "--config", "file.toml", flag, nearest) == alone[2]


@pytest.mark.parametrize("option", FLAGS, ids=lambda option: str(option.name))
def test_the_nearest_flag_counts(option: Option, monkeypatch: pytest.MonkeyPatch) -> None:
    name, flag = str(option.name), max(option.opts, key=len)
    Path("file.toml").write_text(f"{name.replace('_', '-')} = true\n")
    assert parsed(option, "--config", "file.toml") is True
    monkeypatch.setenv(f"FETCHQ_{name.upper()}", "false")
    assert parsed(option, "--config", "file.toml") is False
    assert parsed(option, "--config", "file.toml", flag) is True


CONTRARY = [
    ("quiet", "verbose"),
    ("verbose", "quiet"),
    ("store", "no-store"),
    ("no-store", "store"),
    ("tree", "name-template"),
    ("data", "json"),
    ("form", "data"),
    ("require-checksum", "allow-unlisted"),
    ("bearer", "user"),
    ("user", "bearer"),
]


@pytest.mark.parametrize(("near", "far"), CONTRARY)
@pytest.mark.parametrize("place", ["line", "environment"])
def test_an_option_nearer_by_excludes_its_contrary(
    near: str, far: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def value(name: str) -> str:
        return "a=1" if name == "form" else "true" if name in {str(flag.name) for flag in FLAGS} else "x"

    near_name, far_name = near.replace("-", "_"), far.replace("-", "_")
    far_value = value(far_name)
    Path("file.toml").write_text(f"{far} = {far_value if far_value == 'true' else json.dumps(far_value)}\n")
    words = ["--config", "file.toml"]
    if place == "line":
        words += [f"--{near}", *([] if value(near_name) == "true" else [value(near_name)])]
    else:
        monkeypatch.setenv(f"FETCHQ_{near_name.upper()}", value(near_name))
    with get.make_context("fetchq", [*words, "https://h/a"], **CONTEXT) as context:
        assert context.params[far_name]
        chosen = nearest(context, context.params)
    assert chosen[near_name]
    monkeypatch.delenv(f"FETCHQ_{near_name.upper()}", raising=False)
    with get.make_context("fetchq", ["--no-config", "https://h/a"], **CONTEXT) as context:
        assert chosen[far_name] == context.params[far_name]


def test_a_token_excludes_the_users_that_name_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETCHQ_USER", "me:pw\nother.example=you:pw")
    with get.make_context("fetchq", ["--bearer", "t", "https://h/a"], **CONTEXT) as context:
        chosen = nearest(context, context.params)
    assert (chosen["bearer"], chosen["user"]) == ("t", ("other.example=you:pw",))
    # Such a user excludes no token either, however near it is.
    monkeypatch.setenv("FETCHQ_BEARER", "t")
    words = ["-u", "other.example=you:pw", "https://h/a"]
    with get.make_context("fetchq", words, **CONTEXT) as context:
        assert nearest(context, context.params)["bearer"] == "t"


def test_two_contraries_in_one_place_are_both_there() -> None:
    Path("file.toml").write_text("quiet = true\nverbose = true\n")
    with get.make_context("fetchq", ["--config", "file.toml", "https://h/a"], **CONTEXT) as context:
        chosen = nearest(context, context.params)
    assert (chosen["quiet"], chosen["verbose"]) == (True, True)
