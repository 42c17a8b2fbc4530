"""Which number of an epoch says how good it was: the loss, or what ``monitor=`` names."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from deltarule import _settings
from deltarule._evaluation import Metrics
from deltarule.metrics import BY_NAME, HIGHER_IS_BETTER

Mode = Literal["min", "max"]


class Monitor(NamedTuple):
    """A key of the history, and whether its lowest ("min") or highest ("max") value is best."""

    key: str
    mode: Mode


def resolve(monitor: Any, metrics: Metrics, *, validated: bool) -> Monitor | None:
    """Return what `monitor` names; None for what is monitored by itself.

    That is the validation loss, or without validation rows the loss.
    """
    given: Any = None
    key = monitor
    if isinstance(monitor, (tuple, list)):
        if len(monitor) != 2:
            raise ValueError(
                f'monitor must be a name, or a pair such as ("val_score", "max"), '
                f"got {_settings.shown(monitor)}"
            )
        key, given = monitor[0], _settings.choice("monitor[1]", monitor[1], ("min", "max"))
    logged = ["loss", *metrics]
    if validated:
        logged += [f"val_{name}" for name in logged]
    key = _settings.choice("monitor", key, logged)
    known = _known_mode(key.removeprefix("val_"), metrics)
    mode: Any = given or known
    if mode is None:
        raise ValueError(
            f"monitor={key!r} must say which is better, a higher or a lower one: write "
            f'({key!r}, "max") or ({key!r}, "min")'
        )
    if None not in (known, given) and known != given:
        raise ValueError(f"monitor={key!r} is better the {_BETTER[known]} it is, got {given!r}")
    if key == ("val_loss" if validated else "loss"):
        return None
    return Monitor(key, mode)


_BETTER = {"min": "lower", "max": "higher", None: ""}


def _known_mode(name: str, metrics: Metrics) -> Mode | None:
    """Return which values of a loss or of a metric of the package are best."""
    if name == "loss":
        return "min"
    if metrics[name] not in BY_NAME.values():
        return None
    return "max" if metrics[name] in HIGHER_IS_BETTER else "min"
