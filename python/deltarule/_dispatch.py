"""Chooses the compiled core for this processor; the rest of the package takes it from here."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from deltarule import _cpu, _threads
from deltarule._version import __version__

if TYPE_CHECKING:
    from deltarule import _core_v2 as core

__all__ = ["build_info", "core"]

VARIABLE = "DELTARULE_CPU_LEVEL"


def _level() -> str:
    """Return the best level that the processor can run, or the one that the user asks for."""
    available = _cpu.levels()
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in available:
        known = asked in ("v2", "v3", "v4", "generic")
        raise ImportError(
            f"{VARIABLE}={asked!r} asks for "
            + ("a CPU level that this processor does not have" if known else "no CPU level")
            + f"; it can run {', '.join(available) or 'none of v2, v3, v4'}"
        )
    if not available:
        raise ImportError(
            "deltarule needs a processor of level x86-64-v2 (SSE4.2, of 2009 or later)"
        )
    return asked or available[0]


if not TYPE_CHECKING:
    core = importlib.import_module(f"deltarule._core_{_level()}")


def build_info() -> dict[str, str | int]:
    """Say what this build of deltarule is and what it runs on.

    Returns
    -------
    dict
        ``version`` of the package; ``cpu_level`` of the core in use, "v2" (SSE4.2), "v3" (AVX2 and
        FMA) or "v4" (AVX-512), chosen for this processor or by ``DELTARULE_CPU_LEVEL``;
        ``cpu_levels`` that the processor can run; the core's ``compiler`` and ``eigen`` version;
        ``n_threads`` that a call may use by default.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.build_info()["version"] == dr.__version__
    True
    """
    levels = " ".join(_cpu.levels())
    n_threads = _threads.resolve(None)
    info: dict[str, str | int] = {"version": __version__, **core.build_info()}
    return info | {"cpu_levels": levels, "n_threads": n_threads}
