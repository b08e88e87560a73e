"""Jobs -> lines of a queue file: the fields of JSON Lines, and from these each format.

What may be a secret is left out unless asked for. Such a line is a comment: it would ask for something else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Literal

from .._models import FormFile, Job, Pairs, TLSOptions, redact

__all__ = ["LINE_FORMATS", "MISSING", "LineFormat", "format_line", "line_fields"]

LineFormat = Literal["text", "jsonl", "aria2"]
LINE_FORMATS: tuple[LineFormat, ...] = ("text", "jsonl", "aria2")

# Name of the field that lists what was left out.
MISSING = "missing"
# Header fields that identify nobody.
_OPEN_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
_PLAIN = ("out", "checksum", "size", "deadline", "retry_unsafe", "redirects", "expect_type", "if_exists", "id")


def line_fields(job: Job, *, secrets: bool) -> dict[str, Any]:
    """Return the fields of *job* as JSON Lines have them.

    :param secrets: with URLs' users and queries, header fields, parameters and bodies; else ``missing`` lists
        which of these there were.
    """
    fields: dict[str, Any] = {"url": job.url}
    if job.mirrors:
        fields = {"urls": [job.url, *job.mirrors]}
    for name in _PLAIN:
        if (value := getattr(job, name)) is not None:
            fields[name] = value
    if job.dir is not None:
        fields["dir"] = str(job.dir)
    has_body = job.content is not None or job.json is not None or bool(job.form or job.files)
    if job.method != ("POST" if has_body else "GET"):
        fields["method"] = job.method
    if job.priority:
        fields["priority"] = job.priority
    if job.retries is not None:
        fields["retries"] = "inf" if math.isinf(job.retries) else job.retries
    if job.timeout is not None:
        fields["timeout"] = _waits(job.timeout)
    if job.tls is not None:
        fields |= _tls(job.tls)
    secret = _secrets(job)
    if not secrets:
        return _without_secrets(job, fields, secret)
    missing = {MISSING: ["files"]} if secret.get("files", ...) is None else {}
    return {**fields, **secret, **missing}


def format_line(fields: Mapping[str, Any], form: LineFormat, source: str) -> str:
    """Return what :func:`line_fields` gave as the lines of one job in a queue file, without their last end.

    :param source: ``FILE:LINE`` that the job came from, for a line that cannot be written.
    """
    missing = fields.get(MISSING)
    if missing:
        return _comment(fields, source, f"{', '.join(missing)} not stored (--store-secrets)")
    if form == "jsonl":
        return json.dumps(dict(fields), ensure_ascii=False)
    known = {"url", "urls", "id", "priority", "size", *(("out",) if form == "text" else _ARIA2)}
    beyond = [name for name in fields if name not in known or "\t" in str(fields.get(name))]
    if beyond:
        return _comment(fields, source, f"{', '.join(beyond)}: --format jsonl can write it")
    urls = "\t".join(fields.get("urls") or [fields["url"]])
    if form == "aria2":
        return "\n".join([urls, *_aria2_options(fields)])
    if "out" in fields and "urls" in fields:
        return _comment(fields, source, "out beside mirrors: --format jsonl can write it")
    return f"{urls}\t{fields['out']}" if "out" in fields else urls


_ARIA2 = ("out", "dir", "checksum", "headers", "retries", "proxy", "user", "password")


def _aria2_options(fields: Mapping[str, Any]) -> list[str]:
    options = [f"  {name}={fields[name]}" for name in ("out", "dir") if name in fields]
    if "checksum" in fields:
        algorithm, _, digest = fields["checksum"].partition(":")
        options.append(f"  checksum={algorithm}={digest}")
    for name, values in fields.get("headers", {}).items():
        options += [f"  header={name}: {value}" for value in (values if isinstance(values, list) else [values])]
    if "retries" in fields:
        options.append(f"  max-tries={0 if fields['retries'] == 'inf' else int(fields['retries']) + 1}")
    if "proxy" in fields:
        options.append(f"  all-proxy={fields['proxy']}")
    if "user" in fields:
        options += [f"  http-user={fields['user']}", f"  http-passwd={fields['password']}"]
    return options


def _comment(fields: Mapping[str, Any], source: str, why: str) -> str:
    url = redact((fields.get("urls") or [fields["url"]])[0])
    return f"# {url}{f' ({source})' if source else ''}: {why}"


def _waits(timeout: float | Mapping[str, float]) -> Any:
    if isinstance(timeout, Mapping):
        return {name: _waits(seconds) for name, seconds in timeout.items()}
    return "none" if math.isinf(timeout) else timeout


def _tls(tls: TLSOptions) -> dict[str, Any]:
    """Return the fields of *tls* but for the password."""
    named = {item.name: getattr(tls, item.name) for item in dataclass_fields(tls) if item.repr}
    given = ((name, value) for name, value in named.items() if value is not None)
    return {name: str(value) if isinstance(value, Path) else value for name, value in given}


def _secrets(job: Job) -> dict[str, Any]:
    """Return the fields that may hold secrets, but for the URLs."""
    fields: dict[str, Any] = {}
    for name in ("headers", "cookies", "params", "form"):
        pairs: Pairs = getattr(job, name)
        if pairs:
            fields[name] = _object(pairs)
    if any(file.content is not None for _, file in job.files):
        fields["files"] = None  # it came from standard input
    elif job.files:
        fields["files"] = _object([(name, _file(file)) for name, file in job.files])
    if job.json is not None:
        fields["json"] = job.json
    if job.content is not None:
        fields["data"] = job.content.decode("utf-8", "surrogateescape")
    if job.proxy is not None:
        fields["proxy"] = job.proxy
    if job.user is not None:
        fields["user"], fields["password"] = job.user
    if job.bearer is not None:
        fields["bearer"] = job.bearer
    if job.tls is not None and job.tls.key_password is not None:
        fields["key_password"] = job.tls.key_password
    return fields


def _file(file: FormFile) -> dict[str, str]:
    words = {"path": str(file.path), "type": file.type, "filename": file.filename}
    return {name: word for name, word in words.items() if word is not None}


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return *pairs* as an object, with a list for a name that repeats."""
    lists: dict[str, list[Any]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}


def _without_secrets(job: Job, fields: dict[str, Any], secret: dict[str, Any]) -> dict[str, Any]:
    missing = []
    urls = [url.partition("#")[0] for url in (job.url, *job.mirrors)]
    if any(redact(url) != url for url in urls):
        missing.append("user or query of the URL")
    urls = [redact(url) for url in urls]
    fields |= {"urls": urls} if job.mirrors else {"url": urls[0]}
    headers = secret.pop("headers", {})
    kept = {name: value for name, value in headers.items() if name.lower() in _OPEN_HEADERS}
    if kept:
        fields["headers"] = kept
    if len(kept) < len(headers):
        missing.append("headers")
    if "@" not in secret.get("proxy", "@"):
        fields["proxy"] = secret.pop("proxy")
    if secret.get("files"):
        fields["files"] = secret.pop("files")
    missing += secret
    return {**fields, MISSING: missing} if missing else fields
