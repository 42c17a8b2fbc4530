"""Checks of settings: one number, flag or name, refused with its name, what is allowed, what came.

Arrays are checked in ``_validation``. Wrong kinds (text, bool or float for an integer) are
TypeErrors, wrong values are ValueErrors.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from numbers import Real
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def shown(value: object) -> str:
    """Return a short text of any value, for an error message."""
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return f"{text} ({type(value).__name__})"


def integer(name: str, value: object, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int in [low, high]; a bool or a float is not an integer."""
    if type(value) is int and low <= value and (high is None or value <= high):
        return value  # the usual case
    expected = f"an integer >= {low}" if high is None else f"an integer from {low} to {high}"
    if isinstance(value, (bool, np.bool_, np.ndarray)):
        raise TypeError(f"{name} must be {expected}, got {shown(value)}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be {expected}, got {shown(value)}") from None
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {expected}, got {shown_integer(number)}")
    return number


def shown_integer(number: int) -> str:
    """Return the digits of an integer; long ones only by their length."""
    bits = number.bit_length()
    return str(number) if bits <= 200 else f"an integer of {bits} bits"


def integers(name: str, value: Any, *, low: int) -> tuple[int, ...]:
    """Return `value`, which must be a sequence of at least one integer >= low."""
    is_array = hasattr(value, "__array__") and np.ndim(value) > 0
    if isinstance(value, (str, bytes)) or not (is_array or isinstance(value, Sequence)):
        raise TypeError(f"{name} must be a sequence of integers >= {low}, got {shown(value)}")
    numbers = tuple(integer(f"{name}[{i}]", each, low=low) for i, each in enumerate(value))
    if not numbers:
        raise ValueError(f"{name} must hold at least one integer >= {low}, got {shown(value)}")
    return numbers


def size(name: str, value: object) -> int:
    """Return the width of a layer: an integer >= 1. Unlike elsewhere, a float is a ValueError."""
    if isinstance(value, Real) and not isinstance(value, (int, np.integer, np.bool_)):
        raise ValueError(f"{name} must be an integer >= 1, got {shown(value)}")
    return integer(name, value, low=1)


def real(
    name: str,
    value: object,
    *,
    low: float = 0.0,
    below: float | None = None,
    positive: bool = False,
) -> float:
    """Return `value` as a finite float in [low, below); `positive` leaves out zero."""
    expected = f"a finite number {'>' if positive else '>='} {low:g}"
    if below is not None:
        expected += f" and < {below:g}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {expected}, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    too_high = below is not None and number >= below
    if not math.isfinite(number) or number < low or too_high or (positive and number == low):
        raise ValueError(f"{name} must be {expected}, got {shown(value)}")
    return number


def boolean(name: str, value: object) -> bool:
    """Return `value`, which must be True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def choice(name: str, value: object, allowed: Collection[str]) -> str:
    """Return `value`, which must be one of the names in `allowed`."""
    if isinstance(value, str) and value in allowed:
        return str(value)
    names = ", ".join(repr(each) for each in allowed)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {names}, got {shown(value)}")
    raise ValueError(f"{name} must be one of {names}, got {value!r}")


def named(name: str, value: object, table: Mapping[str, Callable[[], T]], base: type[T]) -> T:
    """Return `value` if it is a `base`, or what `table` makes of it if it is a name."""
    if isinstance(value, base):
        return value
    if isinstance(value, type) and issubclass(value, base):
        raise TypeError(f"{name} must be an object, got the class; write {value.__name__}(...)")
    if not isinstance(value, str):
        names = ", ".join(repr(each) for each in table)
        raise TypeError(f"{name} must be one of {names}, or an object of {base.__module__}, "
                        f"got {shown(value)}")  # fmt: skip
    return table[choice(name, value, table)]()


def seed_or_none(name: str, value: object) -> int | None:
    """Return a seed, 0 <= seed < 2**64, or None."""
    return None if value is None else integer(name, value, low=0, high=2**64 - 1)


def set_field(settings: object, name: str, value: object) -> None:
    """Set one field of a frozen dataclass; for its ``__post_init__`` only."""
    object.__setattr__(settings, name, value)


def short_repr(settings: Any, *positional: str) -> str:
    """Return the call that makes `settings`: `positional` fields bare, defaults left out."""
    parts = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        text = repr(value)
        parts.append(text if field.name in positional else f"{field.name}={text}")
    return f"{type(settings).__name__}({', '.join(parts)})"
