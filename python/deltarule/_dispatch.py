"""Chooses the compiled core; everything else in the package takes it from here."""

from __future__ import annotations

from deltarule import _core_v2 as core
from deltarule._version import __version__

__all__ = ["build_info", "core"]


def build_info() -> dict[str, str | int]:
    """Say what this build of deltarule is and what it runs on.

    Returns
    -------
    dict
        ``version`` of the package, ``n_threads`` that a training call uses (one, today), and what
        the compiled core says of itself: its CPU level, its compiler, its version of Eigen.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.build_info()["version"] == dr.__version__
    True
    """
    return {"version": __version__, **core.build_info(), "n_threads": 1}
