"""The rows of the display, laid out for a width in terminal columns."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from .._units import rate

__all__ = ["Row", "fit", "lay_out", "name_width"]


class Row(NamedTuple):
    """One row: text, a bar unless *fraction* (0 to 1) is None, text."""

    left: str = ""
    fraction: float | None = None
    right: str = ""


# The smallest widths for a bar, for the speed, and for "1023.9 MiB of 1023.9 MiB".
BAR_COLUMNS, SPEED_COLUMNS, TOTAL_COLUMNS = 60, 36, 100


def name_width(columns: int) -> int:
    """Return the columns for a name beside a bar: a quarter of all, from 12 to 40."""
    return max(min((columns + 1) // 4, 40), 12)


def lay_out(name: str, fraction: float | None, amount: str, speed: float, eta: str, columns: int) -> Row:
    """Return a row of *columns*; the right side has fixed widths, so that the bars are aligned."""
    percent = f"{'' if fraction is None else f'{int(fraction * 100)}%':>5}"
    if columns < SPEED_COLUMNS:
        return Row(fit(name, columns - len(percent)) + percent)
    speeds = f"{rate(speed):>13}"
    if columns < BAR_COLUMNS:
        return Row(fit(name, columns - len(percent + speeds)) + percent + speeds)
    amount = f"{amount:>25}" if columns >= TOTAL_COLUMNS else f"{amount.partition(' of ')[0]:>11}"
    right = f"{amount}{speeds}{eta:>9}"
    left = f"{fit(name, name_width(columns))}{percent} "
    return Row(left if fraction is not None else fit(left, columns - len(right)), fraction, right)


def _width(text: str) -> int:
    """Return the columns of *text*: two for a wide character (Unicode Standard Annex 11)."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def fit(text: str, width: int) -> str:
    """Pad *text* to *width* columns, or cut its middle: names often differ at the end only."""
    if _width(text) > width:
        head = _take(text, (width - 1) // 2)
        tail = _take(text[::-1], width - 1 - _width(head))[::-1]
        text = f"{head}~{tail}"
    return text + " " * (width - _width(text))


def _take(text: str, width: int) -> str:
    taken = ""
    for char in text:
        width -= _width(char)
        if width < 0:
            break
        taken += char
    return taken
