"""Events as JSON objects; the field names are stable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from .._errors import FetchError
from .._events import (
    AttemptFailed,
    Event,
    JobFinished,
    JobStarted,
    Planned,
    Progressed,
    RunFinished,
    RunStarted,
    Warned,
)
from .._models import Result, redact
from .words import Say

__all__ = ["WORDS", "Json", "json_fields", "record"]


def record(event: Event) -> dict[str, Any]:
    """Give *event* as a JSON object; the field names are stable, ``event`` is the record's word."""
    told: dict[str, Any] = {"event": WORDS[type(event)]}
    for name in event._fields:
        value = getattr(event, name)
        told.update(_result(value)) if isinstance(value, Result) else told.update({name: _plain(value)})
    return told


WORDS: dict[type[Event], str] = {
    RunStarted: "run_started",
    JobStarted: "job_started",
    Planned: "planned",
    Progressed: "progressed",
    AttemptFailed: "attempt_failed",
    Warned: "warned",
    JobFinished: "job_finished",
    RunFinished: "run_finished",
}
_JOB_FIELDS = ("id", "url", "source")
_RESULT_FIELDS = tuple(item.name for item in fields(Result) if item.name != "job")


def json_fields(event: type[Event]) -> list[str]:
    """Return the names of an event's JSON fields besides ``event`` and ``time``."""
    names: list[str] = []
    for name in event._fields:
        names += [*_JOB_FIELDS, *_RESULT_FIELDS] if name == "result" else [name]
    return names


def _result(result: Result) -> dict[str, Any]:
    job = result.job
    told = dict(zip(_JOB_FIELDS, (job.id, redact(job.url), job.source), strict=True))
    return told | {name: _plain(getattr(result, name)) for name in _RESULT_FIELDS}


def _plain(value: Any) -> Any:
    if isinstance(value, FetchError):
        return {
            "kind": value.kind,
            "message": str(value),
            "exit_code": value.exit_code,
            "transient": value.transient,
        }
    if isinstance(value, Path):
        return str(value)
    return dict(value) if hasattr(value, "keys") else value


class Json:
    """Every event as one JSON object a line.

    :param say: takes one line.
    :param now: seconds since 1970.
    """

    def __init__(self, say: Say, *, now: Callable[[], float] = time.time) -> None:
        self._say = say
        self._now = now

    def __call__(self, event: Event) -> None:
        """Say *event* in JSON; ASCII only, so that no name can move a cursor."""
        word, *rest = record(event).items()
        self._say(json.dumps(dict([word, ("time", round(self._now(), 3)), *rest])))
