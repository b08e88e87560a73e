"""Sizes, rates and times as people write and read them."""

from __future__ import annotations

import re

__all__ = ["duration", "parse_size", "rate", "size"]

_STEPS = ("KiB", "MiB", "GiB", "TiB", "PiB")
# As curl, wget and GNU coreutils read them: K and KiB are 1024, only a written-out kB is 1000.
_SIZE = r"(?ai)(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?b)?|b)?"


def size(count: float) -> str:
    """Give *count* bytes in binary units: ``512 B``, ``45.2 MiB``."""
    if count < 1024:
        return f"{int(count)} B"
    for unit in _STEPS:
        count /= 1024
        if count < 1023.95 or unit == _STEPS[-1]:  # 1023.95 would round up to a fifth digit
            break
    return f"{count:.1f} {unit}"


def rate(speed: float) -> str:
    """Give *speed* in bytes a second: ``12.3 MiB/s``."""
    return f"{size(speed)}/s"


def duration(seconds: float) -> str:
    """Give *seconds* as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def parse_size(text: str) -> int:
    """Read ``500k``, ``2M``, ``1.5GiB``, ``10MB`` or plain bytes; a trailing ``/s`` is allowed.

    :raises ValueError: it is none of these.
    """
    found = re.fullmatch(_SIZE, text.strip().removesuffix("/s"))
    if not found:
        raise ValueError(f"{text!r} is not a size: write bytes, 500k, 2M or 1.5GiB.")
    number, letter, unit = found.groups()
    base = 1000 if unit and unit.lower() == "b" else 1024
    return int(float(number) * base ** (" kmgtp".index(letter.lower()) if letter else 0))
