"""Who races. A module here is imported in its worker only, never in the parent.

Each module has `version()` and a class for each mode it races in: Train, Step, Predict, Kernel.
Such a class is made from (task, variant, n_threads), then `reset()` and `run(count)` are called, of
which `run` is timed; `theta()` or `result()` is what the check reads. `Cannot` refuses a task.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec


class Cannot(Exception):
    """This contender has no way to do the task; the reason is printed."""


@dataclass(frozen=True)
class Contender:
    """A row of the tables. `counts` is False where the arithmetic is not that of the others."""

    name: str
    module: str
    needs: tuple[str, ...]
    modes: tuple[str, ...]
    variant: str = ""
    counts: bool = True
    level: str = ""

    @property
    def ours(self) -> bool:
        return self.module == "deltarule_core"

    @property
    def missing(self) -> list[str]:
        return [name for name in self.needs if find_spec(name) is None]

    def environment(self, n_threads: int) -> dict[str, str]:
        """Set before the worker starts, so before any import."""
        names = ("OMP", "OPENBLAS", "MKL", "DELTARULE", "BLIS", "VECLIB_MAXIMUM")
        settings = {f"{name}_NUM_THREADS": str(n_threads) for name in names}
        settings |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        if self.level:
            settings["DELTARULE_CPU_LEVEL"] = self.level
        return dict(os.environ) | settings


LEVELS = ("v2", "v3")
ALL = ("train", "step", "predict", "kernel")
CONTENDERS = (
    Contender("deltarule", "deltarule_core", ("deltarule",), ALL),
    Contender("deltarule out=", "deltarule_core", ("deltarule",), ("predict",), variant="out"),
    Contender("NumPy", "numpy_reference", (), ALL),
    Contender("scikit-learn", "sklearn_mlp", ("sklearn",), ("train", "predict")),
    Contender("PyTorch", "torch_eager", ("torch",), ALL),
    Contender("PyTorch bf16", "torch_eager", ("torch",), ("train",), variant="bf16", counts=False),
    Contender("JAX", "jax_scan", ("jax",), ("train", "step", "predict")),
    Contender("ONNX Runtime", "onnx_runtime", ("onnxruntime", "onnx"), ("predict",)),
)


def chosen(mode: str, levels: list[str], only: list[str]) -> list[Contender]:
    """The contenders of a mode; `levels` adds rows of deltarule pinned to lower CPU levels."""
    found = [each for each in CONTENDERS if mode in each.modes and (not only or each.name in only)]
    ours = next(each for each in CONTENDERS if each.ours)
    return found + [
        replace(ours, name=f"deltarule {level}", counts=False, level=level) for level in levels
    ]
