"""Events as JSON objects, one a line."""

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
    QueueWaiting,
    RunFinished,
    RunStarted,
    Waiting,
    Warned,
)
from .._models import Result, redact
from .text import WriteLine

__all__ = ["KINDS", "JsonLines", "event_to_dict", "json_fields"]


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return the JSON object of *event*: ``event`` holds its kind, the fields of a Result stand beside its own.

    Programs rely on these names; they do not change.
    """
    converted: dict[str, Any] = {"event": KINDS[type(event)]}
    for name in event._fields:
        value = getattr(event, name)
        converted |= _result(value) if isinstance(value, Result) else {name: _plain(value)}
    return converted


KINDS: dict[type[Event], str] = {
    RunStarted: "run_started",
    JobStarted: "job_started",
    Planned: "planned",
    Progressed: "progressed",
    AttemptFailed: "attempt_failed",
    Waiting: "waiting",
    QueueWaiting: "queue_waiting",
    Warned: "warned",
    JobFinished: "job_finished",
    RunFinished: "run_finished",
}
_JOB_FIELDS = ("id", "url", "source")
_RESULT_FIELDS = tuple(item.name for item in fields(Result) if item.name not in {"job", "headers"})


def json_fields(event: type[Event]) -> list[str]:
    """Return the names of an event's JSON fields besides ``event`` and ``time``."""
    names: list[str] = []
    for name in event._fields:
        names += [*_JOB_FIELDS, *_RESULT_FIELDS] if name == "result" else [name]
    return names


def _result(result: Result) -> dict[str, Any]:
    job = result.job
    of_job = dict(zip(_JOB_FIELDS, (job.id, redact(job.url), job.source), strict=True))
    return of_job | {name: _plain(getattr(result, name)) for name in _RESULT_FIELDS}


def _plain(value: Any) -> Any:
    if isinstance(value, FetchError):
        return {
            "kind": value.kind,
            "message": str(value),
            "exit_code": value.exit_code,
            "transient": value.transient,
            "url": value.url,
            "status": getattr(value, "status", None),
            "said": getattr(value, "said", ""),
        }
    if isinstance(value, Path):
        return str(value)
    return dict(value) if hasattr(value, "keys") else value


class JsonLines:
    """An observer that writes every event as one line of JSON, in ASCII.

    :param now: returns seconds since 1970, for the field ``time``.
    """

    def __init__(self, write_line: WriteLine, *, now: Callable[[], float] = time.time) -> None:
        self._write_line = write_line
        self._now = now

    def __call__(self, event: Event) -> None:
        kind, *rest = event_to_dict(event).items()
        self._write_line(json.dumps(dict([kind, ("time", round(self._now(), 3)), *rest])))
