"""Formats sizes, rates and durations for people, and parses sizes."""

from __future__ import annotations

import re

__all__ = ["duration", "parse_size", "rate", "size"]

# As in curl, wget and GNU coreutils, k and KiB mean 1024. As in coreutils, kB means 1000.
_SIZE = r"(?ai)(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?b)?|b)?"


def size(count: float) -> str:
    """Return *count* bytes in binary units: ``512 B``, ``45.2 MiB``."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1023.95:  # from there on, one decimal would show 1024.0
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} PiB"


def rate(speed: float) -> str:
    """Return *speed*, in bytes a second, in binary units: ``12.3 MiB/s``."""
    return f"{size(speed)}/s"


def duration(seconds: float) -> str:
    """Return *seconds*, rounded, as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def parse_size(text: str) -> int:
    """Return the bytes that ``500k``, ``2M``, ``1.5GiB``, ``10MB`` or ``512`` mean; a final ``/s`` is ignored.

    :raises ValueError: any other form.
    """
    found = re.fullmatch(_SIZE, text.strip().removesuffix("/s"))
    if not found:
        raise ValueError(f"{text!r} is not a size: write bytes, 500k, 2M or 1.5GiB.")
    number, letter, unit = found.groups()
    base = 1000 if unit and unit.lower() == "b" else 1024
    return int(float(number) * base ** (" kmgtp".index(letter.lower()) if letter else 0))
