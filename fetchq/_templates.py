"""File names from a template, such as ``{host}/{path}/{stem}{suffix}``: known before any answer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from ._errors import UsageError
from ._models import Job
from ._naming import decoded, guess, printable, sanitise, split_name

__all__ = ["TREE", "NameTemplate"]

# wget's --force-directories: a folder for the host, and those of the URL below it.
TREE = "{host}/{path}/{stem}{suffix}"

_FIELD = re.compile(r"\{([^{}:]*)(?::0?([0-9]{1,2}))?\}")
# Scheme, user, host with port, and path (RFC 3986 appendix B).
_URL = re.compile(r"(?:[^:/?#]+:)?(?://(?:[^/?#]*@)?([^/?#@]*))?([^?#]*)")


class _Facts(NamedTuple):
    """What a template may name of one job."""

    job: Job
    place: int

    def host(self) -> str:
        return _parts(self.job.url)[0].lower()

    def path(self) -> str:
        return "/".join(_parts(self.job.url)[1])

    def stem(self) -> str:
        return split_name(_parts(self.job.url)[2])[0]

    def suffix(self) -> str:
        return split_name(_parts(self.job.url)[2])[1]

    def id(self) -> str:
        if self.job.id is None:
            raise UsageError("The name template has {id}, and this job has no id.")
        return self.job.id.replace("/", "_")

    def sha256(self) -> str:
        return hashlib.sha256(self.job.url.encode("utf-8", "surrogatepass")).hexdigest()


_FIELDS: dict[str, Callable[[_Facts], str]] = {
    "host": _Facts.host,
    "path": _Facts.path,
    "stem": _Facts.stem,
    "suffix": _Facts.suffix,
    "index": lambda facts: str(facts.place),
    "id": _Facts.id,
    "sha256": _Facts.sha256,
}


class NameTemplate:
    """A template of folders and name, with ``{host} {path} {stem} {suffix} {index} {id} {sha256}``.

    ``{path}`` are the folders of the URL, ``{stem}{suffix}`` its last segment (``index.html`` for none),
    ``{index}`` the job's place in the queue, from 1, ``{sha256}`` that of the URL. ``{index:6}`` is written
    with six digits, ``{sha256:8}`` cut to eight characters.

    :raises UsageError: it names another field, or ends in a folder.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        unknown = [found[1] for found in _FIELD.finditer(text) if found[1] not in _FIELDS]
        rest = _FIELD.sub("", text)
        if unknown or "{" in rest or "}" in rest:
            names = " ".join(f"{{{name}}}" for name in _FIELDS)
            raise UsageError(f"The name template {printable(text)!r} is not understood: it may have {names}.")
        if not text.strip() or text.endswith("/"):
            raise UsageError(f"The name template {printable(text)!r} names a folder, not a file.")

    def render(self, job: Job, index: int) -> tuple[Path, str]:
        """Return the folder, relative to the run's, and the name for *job*; neither ever leads out.

        :param index: position in the queue, from 1.
        :raises UsageError: the template needs an id, and the job has none.
        """
        facts = _Facts(job, index)

        def fill(found: re.Match[str]) -> str:
            value = _FIELDS[found[1]](facts)
            width = int(found[2] or 0)
            return value.zfill(width) if found[1] == "index" else value[: width or None]

        words = [word for word in _FIELD.sub(fill, self._text).split("/") if word.strip(". ")]
        *folders, name = [sanitise(word) for word in words] or [sanitise("")]
        return Path(*folders), name


def _parts(url: str) -> tuple[str, list[str], str]:
    """Return host and port, the folders and the last name of *url*."""
    found = _URL.match(url)
    host, path = (found[1] or "", found[2]) if found else ("", "")
    segments = [decoded(unquote_to_bytes(each.encode("utf-8", "replace"))) for each in path.split("/")]
    folders = [segment.replace("/", "_") for segment in segments[:-1] if segment.strip(".")]
    return host, folders, guess(url) if segments[-1].strip(".") else "index.html"
