"""What ``import fetchq`` gives: the public names, documented, typed, and cheap until they are used."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import resources
from types import ModuleType
from typing import get_args, get_type_hints

import pytest

import fetchq

from .conftest import clean_env

# Each costs 10 to 100 ms at import, which `fetchq --version` and a caller who only wants a name need not pay.
HEAVY = ("aiofiles", "asyncio", "click", "httpx", "sqlite3", "ssl", "tqdm", "wcwidth")


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_env(), capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.strip()


def test_all_is_sorted_and_complete() -> None:
    assert list(fetchq.__all__) == sorted(set(fetchq.__all__))
    promised = {"Downloader", "FetchError", "Job", "Result", "Settings", "Transport", "adownload", "download"}
    assert promised <= set(fetchq.__all__)
    assert set(fetchq.__all__) <= set(dir(fetchq))


def test_every_error_is_public() -> None:
    from fetchq import _errors

    assert set(_errors.__all__) <= set(fetchq.__all__)


def test_no_other_name_leaks() -> None:
    said = python("import fetchq; [getattr(fetchq, name) for name in fetchq.__all__]; print(*dir(fetchq))")
    public = {name for name in said.split() if not name.startswith("_")}
    assert public == {name for name in fetchq.__all__ if not name.startswith("_")}


def test_every_public_name_is_documented() -> None:
    bare = []
    for name in fetchq.__all__:
        thing = getattr(fetchq, name)
        assert not isinstance(thing, ModuleType), name
        if inspect.isclass(thing) or inspect.isfunction(thing):
            # A dataclass without a docstring of its own gets its signature as one.
            generated = thing.__doc__ is not None and thing.__doc__.startswith(f"{thing.__name__}(")
            if not thing.__doc__ or generated:
                bare.append(name)
    assert bare == []


def test_what_results_give_is_public() -> None:
    """A program that keeps them can name their types."""
    [given] = get_args(get_type_hints(fetchq.Results.batches)["return"])
    assert set(get_args(given)) == {fetchq.Result, Sequence[fetchq.Result]}


def test_public_names_are_spelled_by_the_package_docstring() -> None:
    assert fetchq.__doc__
    assert "Downloader" in fetchq.__doc__


def test_both_functions_take_the_same_parameters() -> None:
    assert inspect.signature(fetchq.download) == inspect.signature(fetchq.adownload)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(fetchq, "no_such_name")


def test_import_is_light() -> None:
    said = python(f"import sys, fetchq; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert said == "[]"


def test_a_name_is_the_same_object_every_time() -> None:
    assert (
        python("import fetchq; from fetchq import Downloader; print(fetchq.Downloader is Downloader)") == "True"
    )


def test_types_are_shipped() -> None:
    assert resources.files("fetchq").joinpath("py.typed").is_file()


@pytest.mark.parametrize("group", [fetchq.Network, fetchq.Retry, fetchq.Disk, fetchq.Queue])
def test_every_setting_tells_what_it_is(group: type) -> None:
    shown = pydoc.plain(pydoc.render_doc(group))
    for item in fields(group):
        told = inspect.getdoc(getattr(group, item.name))
        assert told, item.name
        assert told.endswith((".", ")")), told
        assert f":param {item.name}: " in (group.__doc__ or "")
        assert f" |  {item.name}\n |      {told}" in shown
    assert pickle.loads(pickle.dumps(group())) == group()
