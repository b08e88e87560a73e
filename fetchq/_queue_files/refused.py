"""What is often given as a queue file and is none: told once, with what to do, and not in every line."""

from __future__ import annotations

import re

from .._errors import QueueFileError

__all__ = ["refuse"]

# An IPv6 address as a URL's host (RFC 3986 section 3.2.2), which JSON never has in its first brackets.
_ADDRESS = re.compile(r"\[[0-9a-f.]*:[0-9a-f:.]*(%[^\]\s]+)?\]")
_MARKUP = ("<!doctype", "<html", "<?xml", "<head", "<body", "<!--")


def refuse(first: str, name: str) -> None:
    """Refuse a file whose *first* line shows that none of its lines is a job.

    :param name: the file's name for messages.
    :raises QueueFileError: it is a page or another JSON document.
    """
    text = first.strip().lower()
    if text.startswith("[") and not _ADDRESS.match(text):
        raise QueueFileError(
            f"{name} is a JSON array; a queue file has an object a line: jq -c '.[]' makes that of it."
        )
    if text == "{":
        raise QueueFileError(
            f"{name} is a JSON document over several lines; a queue file has an object a line: jq -c . does it."
        )
    if text.startswith(_MARKUP):
        kind = "an XML document" if text.startswith("<?xml") and "html" not in text else "an HTML page"
        raise QueueFileError(
            f"{name} is {kind}, not a list: write the addresses that are meant into a file, one a line."
        )
