"""Errors, results, events, jobs and settings are copied, and cross processes."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

import fetchq
from fetchq import _models

from .origin import Origin, generated, status

WAYS: tuple[Callable[[Any], Any], ...] = (
    *(lambda thing, protocol=protocol: pickle.loads(pickle.dumps(thing, protocol)) for protocol in range(6)),
    copy.copy,
    copy.deepcopy,
)


def errors(base: type[fetchq.FetchError] = fetchq.FetchError) -> Iterator[type[fetchq.FetchError]]:
    """*base* and every class below it, those of the rooms included."""
    fetchq.Downloader  # noqa: B018 - imports all rooms
    yield base
    for child in base.__subclasses__():
        yield from errors(child)


def records() -> Iterator[type]:
    """Every public class that is a dataclass or a named tuple."""
    for thing in [*map(fetchq.__dict__.get, fetchq.__all__), *map(_models.__dict__.get, _models.__all__)]:
        if isinstance(thing, type) and (is_dataclass(thing) or issubclass(thing, tuple)):
            yield thing


def made(kind: type) -> Any:
    """An instance of *kind* with a value for every parameter."""
    signature = inspect.signature(kind)
    hints = get_type_hints(kind if issubclass(kind, tuple) or is_dataclass(kind) else kind.__init__)
    values = {name: value(hints[name]) for name in signature.parameters}
    if "expect_type" in values:
        values["expect_type"] = "image/*"
        values["bearer"] = None  # which excludes a user
    named = {
        name: values.pop(name) for name, each in signature.parameters.items() if each.kind is each.KEYWORD_ONLY
    }
    return kind(*values.values(), **named)


def value(hint: Any) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is type(None):
        return None
    if origin is Literal:
        return parts[-1]
    if type(None) in parts or origin is Union:
        return value(parts[0])
    if origin in (tuple, frozenset):
        return origin([value(part) for part in parts if part is not ...])
    if origin is not None:
        return {"sha256": "00"}
    if hint in (Any, object):
        return {"a": [1]}
    return made(hint) if hint.__module__.startswith("fetchq") else hint(1) if hint is not Path else Path("a")


def facts(thing: Any) -> Any:
    """What must be equal; an exception is equal to itself only."""
    if isinstance(thing, BaseException):
        return type(thing), thing.args, vars(thing)
    if is_dataclass(thing):
        return type(thing), [facts(getattr(thing, item.name)) for item in fields(thing)]
    return (type(thing), list(map(facts, thing))) if isinstance(thing, tuple) else thing


@pytest.mark.parametrize("kind", sorted({*errors(), *records()}, key=str))
def test_a_copy_has_all_facts(kind: type) -> None:
    thing = made(kind)
    for way in WAYS:
        assert facts(way(thing)) == facts(thing)


def test_a_refused_file_does_not_break_a_pool_of_processes(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.serve(f"/{name}", generated(100_000)) for name in ("a", "c")]
    urls.insert(1, origin.serve("/b", generated(1), status(404)))
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=fresh) as pool:
        ended = [pool.submit(fetchq.download, url, dir=tmp_path) for url in urls]
        refused = ended[1].exception()
        done = [ended[0].result(), ended[2].result()]
    assert isinstance(refused, fetchq.StatusError)
    assert refused.status == 404
    assert [result.path and result.path.read_bytes() for result in done] == [
        generated(100_000).content.read(0, 100_000)
    ] * 2
