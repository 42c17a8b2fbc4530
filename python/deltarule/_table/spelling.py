"""How text spells numbers, dates, and nothing: the same for every source of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What people write for "not known", besides nothing.
MISSING = (
    *("", "?", "#N/A", "<NA>", "N/A", "NA", "n/a", "NaN", "nan", "-nan", "-NaN"),
    *("NULL", "Null", "null"),
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.ASCII)
WITH_COMMA = r"^([+-]?[0-9]+),([0-9]+)$"
_WITH_COMMA = re.compile(WITH_COMMA)
_DATE = re.compile(
    r"(\d{4}[-/]\d\d?[-/]\d\d?|\d\d?[./-]\d\d?[./-]\d{4})([T ]\d\d?:\d\d.*)?"
    r"|\d\d?:\d\d(:\d\d([.,]\d+)?)?"
)


def said(raw: str) -> str | None:
    """Return a text without the spaces around it; None if it stands for nothing."""
    text = raw.strip()
    return None if text in MISSING else text


def number_of(text: str, *, commas: bool) -> float | None:
    """Return the number that a text is, None if it is none."""
    if commas:
        text = _WITH_COMMA.sub(r"\1.\2", text)
    return float(text) if _NUMBER.fullmatch(text) else None


def takes_commas(texts: Iterable[str]) -> bool:
    """Whether commas are decimal points: not if every one stands before three digits."""
    matches = filter(None, map(_WITH_COMMA.match, texts))
    return any(len(match[2]) != 3 for match in matches)


def is_code(text: str) -> bool:
    """Whether digits are a code, not an amount: 01234 would lose its zero."""
    return re.match(r"[+-]?0\d", text) is not None


def is_date(text: str) -> bool:
    """Whether a text is a day, a time, or both."""
    return _DATE.fullmatch(text) is not None
