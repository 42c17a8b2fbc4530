"""How many threads a call may use."""

from __future__ import annotations

import functools
import math
import os
import warnings
from pathlib import Path

from deltarule import _settings

VARIABLES = ("DELTARULE_NUM_THREADS", "OMP_NUM_THREADS")
MOST = 1024

_chosen: int | None = None
_told: set[tuple[str, str]] = set()  # variables that make no sense, each told once


def set_num_threads(n_threads: int | None) -> None:
    """Set how many threads a call may use that is not told otherwise.

    A call uses the first of these that is given: its argument ``n_threads``; the number set here;
    the environment variables ``DELTARULE_NUM_THREADS`` and ``OMP_NUM_THREADS``; the processors
    that this process may run on (affinity, control group). It takes one where the work is too
    small for more. Results have the same bits on any number of threads.

    Parameters
    ----------
    n_threads : int or None
        At least 1; None goes back to the environment.

    Raises
    ------
    TypeError, ValueError
        If it is neither.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.set_num_threads(2)
    >>> dr.build_info()["n_threads"]
    2
    >>> dr.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n_threads is None else checked(n_threads)


def checked(n_threads: object) -> int:
    """Return a number of threads that the core can start."""
    return min(_settings.integer("n_threads", n_threads, low=1), MOST)


def resolve(n_threads: object) -> int:
    """Return how many threads a call with this argument may use."""
    if n_threads is not None:
        return checked(n_threads)
    if _chosen is not None:
        return _chosen
    for name in VARIABLES:
        text = os.environ.get(name)
        if text:
            return _from_environment(name, text)
    return processors()


def _from_environment(name: str, text: str) -> int:
    """Read a variable as OpenMP does: the first of a list; what makes no sense is told and left."""
    most = processors()
    try:
        value = int(text.split(",")[0])
    except ValueError:
        value = 0
    if 1 <= value <= MOST:
        return value
    if (name, text) in _told:
        return most
    _told.add((name, text))
    warnings.warn(
        f"{name}={text!r} is no number of threads from 1 to {MOST}; {most} used",
        RuntimeWarning,
        stacklevel=2,
    )
    return most


def processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota(), MOST))


@functools.cache
def _quota() -> int:
    """Return the processors that the control group grants (cgroup v2, then v1), or MOST."""
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return MOST
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):
        return MOST
    return max(1, math.ceil(share)) if share > 0 else MOST
