"""An aria2 list: the URLs of a job on one line, separated by TABs; its options below it, indented.

As in aria2, an empty option counts as not given, the last of several counts, and headers add up. A plain list
is one without options; there ``URL<TAB>NAME`` gives the file's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from .._errors import QueueFileError
from .._models import Job
from .lines import MAX_LINE, QueueLine, line_error
from .values import (
    Absolute,
    QueueWarnings,
    check_header,
    check_retries,
    check_timeout,
    parse_boolean,
    parse_checksum,
    parse_directory,
    parse_header,
    parse_number,
    usable_urls,
)

_OPTION = re.compile(r"[ \t]+([A-Za-z0-9-]+)[ \t]*=[ \t]*(.*)")
_BLANKS = frozenset(" \t")
# Bytes that a line takes in memory besides its text.
_LINE_OVERHEAD = 128


def _max_tries(value: str) -> float:
    """Return the retries of aria2's ``max-tries``, which counts the first attempt, and is 0 for no end."""
    return (check_retries(parse_number(value)) or math.inf) - 1


# Option -> field of the Job, and what reads the value.
_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "out": ("out", str),
    "dir": ("dir", parse_directory),
    "checksum": ("checksum", parse_checksum),
    "max-tries": ("retries", _max_tries),
}
_HEADERS: dict[str, Callable[[str], tuple[str, str]]] = {
    "header": parse_header,
    "referer": lambda value: check_header("Referer", value),
    "user-agent": lambda value: check_header("User-Agent", value),
}
# What several of them decide together, or with the URL.
_TOGETHER: dict[str, Callable[[str], Any]] = {
    "timeout": lambda value: check_timeout(parse_number(value)),
    "connect-timeout": lambda value: check_timeout(parse_number(value)),
    "http-user": str,
    "http-passwd": str,
    "all-proxy": str,
    "http-proxy": str,
    "https-proxy": str,
    "allow-overwrite": parse_boolean,
    "auto-file-renaming": parse_boolean,
}
# These change how fast a file arrives, not its bytes: the run's settings decide. Parts are always resumed as
# far as their bytes are proven, so `continue` asks for nothing more.
_IGNORED = frozenset({"split", "max-connection-per-server", "min-split-size", "continue"})


def parse(
    lines: Iterator[QueueLine], name: str, warn: Callable[[str], None], absolute: Absolute
) -> Iterator[Job | QueueFileError]:
    """Yield a Job for each entry, or its first error.

    :param lines: neither blank nor comments.
    :param name: the file's name for messages.
    :param warn: called once for each unknown option.
    :param absolute: returns the URL that a word without a scheme means.
    """
    warnings = QueueWarnings(warn)
    entry: list[QueueLine] = []
    room = MAX_LINE
    for line in lines:
        # A line that is no option begins an entry, and the first error or a pause ends it.
        if not (line.text[:1] in _BLANKS and _is_option(line)):
            if entry:
                yield _job(entry, name, warnings, absolute)
            entry, room = [line] if line.text else [], MAX_LINE
        elif not entry or not entry[-1].error:
            room -= len(line.text) + _LINE_OVERHEAD
            too_many = QueueLine(line.number, " ", "too many options for one download")
            entry.append(line if room > 0 else too_many)
    if entry:
        yield _job(entry, name, warnings, absolute)


def _is_option(line: QueueLine) -> bool:
    """Whether the indented line is an option; the URLs of a plain list may be indented too."""
    return bool(line.error) or _OPTION.fullmatch(line.text) is not None


def _job(
    entry: list[QueueLine], name: str, warnings: QueueWarnings, absolute: Absolute
) -> Job | QueueFileError:
    first = entry[0]
    if first.error or (first.text[:1] in _BLANKS and _is_option(first)):
        return line_error(name, first.number, first.error or "an option before any URL")
    source = f"{name}:{first.number}"
    urls, out = _addresses(first.text, absolute)
    if len(entry) == len(urls) == 1 and out is None:
        return Job.of_line(urls[0], source)
    given: dict[str, Any] = {}
    for line in entry[1:]:
        found = _OPTION.fullmatch(line.text)
        if line.error or found is None:
            return line_error(name, line.number, line.error)
        option, value = found[1].lower(), found[2].strip()
        try:
            _add(option, value, given)
        except ValueError as error:
            return line_error(name, line.number, f"{option}: {error}")
        except KeyError:
            warnings.unknown("option", option, f"{name}:{line.number}")
    url, *mirrors = usable_urls(urls, source, warnings)
    job = Job(url, out, mirrors=tuple(mirrors), source=source, confined=True)
    return replace(job, **_combined(url, given)) if given else job


def _addresses(text: str, absolute: Absolute) -> tuple[list[str], str | None]:
    """Return the URLs of a line, and the name that stands behind the only one."""
    if "\t" not in text:
        return [absolute(text.strip())], None
    words = [word for word in map(str.strip, text.split("\t")) if word]
    urls = [*map(absolute, words)]
    if len(words) != 2 or "://" not in urls[0] or "://" in words[1] or words[1].startswith("magnet:"):
        return urls, None
    # Behind a URL without a scheme another one may stand, of which a name has no slash.
    mirrored = "://" not in words[0] and "://" in urls[1] and "/" in words[1]
    return (urls, None) if mirrored else (urls[:1], words[1])


def _add(option: str, value: str, given: dict[str, Any]) -> None:
    """Add an option to those *given*: fields of the Job, and by their own names those of ``_TOGETHER``.

    :raises KeyError: the option is not known.
    :raises ValueError: the value is not allowed.
    """
    if option in _IGNORED or (not value and option in {*_FIELDS, *_HEADERS, *_TOGETHER}):
        return
    if option in _HEADERS:
        given["headers"] = (*given.get("headers", ()), _HEADERS[option](value))
    elif option in _TOGETHER:
        given[option] = _TOGETHER[option](value)
    else:
        field, read = _FIELDS[option]
        given[field] = read(value)


def _combined(url: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the Job of *url* that the options *given* make together."""
    fields = {name: value for name, value in given.items() if name not in _TOGETHER}
    scheme = "https" if url[:6].lower() == "https:" else "http"
    proxy = given.get(f"{scheme}-proxy") or given.get("all-proxy")
    if proxy:
        fields["proxy"] = proxy
    if waits := _timeouts(given):
        fields["timeout"] = waits
    if "headers" in fields:
        fields["headers"] = tuple(
            (name, _without_user(url)) if (name, value) == ("Referer", "*") else (name, value)
            for name, value in fields["headers"]
        )
    if given.get("http-user"):
        fields["user"] = given["http-user"], given.get("http-passwd", "")
    overwrite, rename = given.get("allow-overwrite"), given.get("auto-file-renaming")
    if overwrite:
        fields["if_exists"] = "overwrite"
    elif rename is not None or overwrite is not None:
        fields["if_exists"] = "error" if rename is False else "rename"
    return fields


def _timeouts(given: dict[str, Any]) -> float | dict[str, float] | None:
    """Return aria2's ``timeout``, of each wait, with ``connect-timeout`` in its place for the first."""
    rest, connect = given.get("timeout"), given.get("connect-timeout")
    if connect is None or connect == rest:
        return rest
    others = {} if rest is None else dict.fromkeys(("read", "write", "pool"), rest)
    return {"connect": connect, **others}


def _without_user(url: str) -> str:
    """Return *url* as a Referer may hold it: without user, password and fragment (RFC 9110 section 10.1.3)."""
    scheme, mark, rest = url.partition("#")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + mark + authority.rpartition("@")[2] + slash + path
