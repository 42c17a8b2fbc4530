"""What ``learning_rate=`` may be: a number, a schedule, or a callable that is asked every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, TypeAlias

from deltarule import _settings

_EXPECTED = "a finite number >= 0, a schedule or a callable"


class Schedule:
    """What the schedules share; use one of its subclasses."""

    name: ClassVar[str] = ""

    # Settings of the subclasses and their checks.
    _not_negative: ClassVar[tuple[str, ...]] = ("initial",)
    _positive: ClassVar[tuple[str, ...]] = ()
    _at_least_one: ClassVar[tuple[str, ...]] = ()
    _below_one: ClassVar[tuple[str, ...]] = ()  # and positive
    _counts: ClassVar[tuple[str, ...]] = ()
    _optional: ClassVar[tuple[str, ...]] = ()  # counts that may be None

    def __post_init__(self) -> None:
        for setting in self._not_negative:
            self._check(setting)
        for setting in self._positive:
            self._check(setting, positive=True)
        for setting in self._at_least_one:
            self._check(setting, low=1.0)
        for setting in self._below_one:
            self._check(setting, below=1.0, positive=True)
        for setting in (*self._counts, *self._optional):
            value = getattr(self, setting)
            if value is not None or setting in self._counts:
                _settings.set_field(self, setting, _settings.integer(setting, value, low=1))

    def _check(self, setting: str, **bounds: Any) -> None:
        value = _settings.real(setting, getattr(self, setting), **bounds)
        _settings.set_field(self, setting, value)

    def _parts(self) -> tuple[str, float, Mapping[str, Any]]:
        """Return what the core has: the name, the optimiser's rate, the settings beside it."""
        rate, *others = (each.name for each in fields(self))  # type: ignore[arg-type]
        settings = {name: getattr(self, name) for name in others}
        return self.name, getattr(self, rate), settings

    # Written once: generated anew for each subclass, these would lengthen the import.
    def __repr__(self) -> str:
        return _settings.short_repr(self, fields(self)[0].name)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


LearningRate: TypeAlias = float | Schedule | Callable[[int], float]


def check(name: str, value: object) -> LearningRate:
    """Return a learning rate of any kind; numbers as floats >= 0."""
    if isinstance(value, type):
        raise TypeError(f"{name} must be {_EXPECTED}, got the class; write {value.__name__}(...)")
    if isinstance(value, Schedule) or callable(value):
        return value
    try:
        return _settings.real(name, value)
    except TypeError:
        raise TypeError(f"{name} must be {_EXPECTED}, got {_settings.shown(value)}") from None


def is_callable(value: object) -> bool:
    """Whether a learning rate is a callable, which is asked every epoch."""
    return callable(value) and not isinstance(value, (Schedule, type))


def sample(rate: LearningRate, epoch: int) -> float:
    """Return what a callable says of the epoch after `epoch` finished ones, checked."""
    assert callable(rate)
    return _settings.real(f"learning_rate({epoch})", rate(epoch))


def encode(value: Any) -> Any:
    """Return a learning rate as JSON; of a callable only that it is one."""
    if isinstance(value, Schedule):
        settings = {each.name: getattr(value, each.name) for each in fields(value)}  # type: ignore[arg-type]
        return {"name": value.name, **{key: encode(each) for key, each in settings.items()}}
    return {"name": "callable"} if callable(value) else value
