"""The rows of the display, laid out for a width in terminal columns."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from .._units import rate

__all__ = ["Row", "bar_width", "fit", "lay_out", "name_width"]


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


def bar_width(row: Row, columns: int) -> int:
    """Return the columns that are left for the bar of *row*, its two edges aside; at least 1."""
    return max(columns - _width(row.left) - _width(row.right) - 2, 1)


@lru_cache(64)  # the names on the screen: 1 us for each pair of characters, at each frame
def fit(text: str, width: int) -> str:
    """Pad *text* to *width* columns, or cut its middle: names often differ at the end only."""
    if _width(text) > width:
        head = _head(text, (width - 1) // 2)
        tail = _tail(text, width - 1 - _width(head))
        text = f"{head}~{tail}"
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return the columns of *text* on a terminal: 2 for a wide character, 0 for a mark on the one before it.

    Of a whole text, for joined emoji and vowel signs are narrower together than alone.
    """
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # here, so that a run that draws no bars does not pay for it

    return max(wcswidth(text), 0)


def _head(text: str, width: int) -> str:
    """Return the longest beginning of *text* of at most *width* columns; it ends between two characters."""
    return text[: max(end for end in _boundaries(text) if _width(text[:end]) <= width)]


def _tail(text: str, width: int) -> str:
    """Return the longest end of *text* of at most *width* columns; it begins with a whole character."""
    return text[min(begin for begin in _boundaries(text) if _width(text[begin:]) <= width) :]


def _boundaries(text: str) -> list[int]:
    """Return where *text* may be cut: not before a mark, nor within what is drawn as one character."""
    before = [_width(text[:end]) for end in range(len(text) + 1)]
    inner = (at for at in range(1, len(text)) if _width(text[at]) and before[at + 1] > before[at])
    return [0, *inner, len(text)]
