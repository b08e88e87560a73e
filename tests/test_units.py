"""Sizes, rates and times: as written, as read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchq._units import duration, parse_size, rate, size

K = 1024


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("500k", 500 * K),
        ("500K", 500 * K),
        ("2M", 2 * K**2),
        ("2MiB", 2 * K**2),
        ("1.5GiB", 3 * K**3 // 2),
        ("1.5 g", 3 * K**3 // 2),
        ("10MB", 10_000_000),
        ("3T", 3 * K**4),
        (" 2M/s ", 2 * K**2),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "k", "-1", "1e6", "2 M M", "1,5M", "2X", "inf", "nan", "0x10", "\u0661"])
def test_what_is_no_size_is_refused_with_the_forms_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=r"500k, 2M or 1\.5GiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (K**2 - 1, "1.0 MiB"),
        (1023.95 * K, "1.0 MiB"),
        (47_395_635, "45.2 MiB"),
        (K**3, "1.0 GiB"),
        (5000 * K**5, "5000.0 PiB"),
    ],
)
def test_sizes_are_told_in_binary_units(count: float, text: str) -> None:
    assert size(count) == text
    assert rate(count) == f"{text}/s"


@given(st.integers(0, K**5))
def test_what_is_told_reads_back_within_its_rounding(count: int) -> None:
    assert abs(parse_size(size(count)) - count) <= count * 0.05 + 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.6, "1:00"), (92, "1:32"), (3599.7, "1:00:00"), (90_061, "25:01:01")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
