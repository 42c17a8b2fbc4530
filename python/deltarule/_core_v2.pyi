# The compiled core: what the bindings export. Users have deltarule.Network and deltarule.Trainer.
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[Any]
_Rows: TypeAlias = "_Array | SparseRows"
_RowNumbers = NDArray[np.int64]
_Floats = NDArray[np.floating[Any]]
_Status = Literal["paused", "epoch", "rate", "max_steps", "epochs", "converged", "diverged"]

def build_info() -> dict[str, str]: ...
def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
def row_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]: ...
def split_order(n: int, seed: int) -> NDArray[np.int64]: ...

@final
class SparseRows:
    def __init__(self, data: _Array, indices: _Array, indptr: _Array, n_columns: int) -> None: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def data(self) -> _Array: ...
    @property
    def indices(self) -> _Array: ...
    @property
    def indptr(self) -> _Array: ...

@final
class LayerTraining:
    l1: float
    l2: float
    learning_rate_factor: float
    def __init__(
        self, *, l1: float = 0.0, l2: float = 0.0, learning_rate_factor: float = 1.0
    ) -> None: ...

@final
class LayerSpec:
    kind: str
    units: int
    activation: str
    alpha: float
    rate: float
    initializer: str
    gain: float
    columns: Sequence[int]
    n_levels: Sequence[int]
    dimension: int
    momentum: float
    epsilon: float
    training: LayerTraining
    def __init__(
        self,
        kind: str,
        *,
        units: int = 0,
        activation: str = "identity",
        alpha: float = 0.0,
        rate: float = 0.0,
        initializer: str = "zeros",
        gain: float = 1.0,
        columns: Sequence[int] = ...,
        n_levels: Sequence[int] = ...,
        dimension: int = 0,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
    ) -> None: ...

@final
class LossSpec:
    @property
    def name(self) -> str: ...
    delta: float
    scale: float
    gradient_scale: float
    label_smoothing: float
    gamma: float
    squared: bool
    quantiles: list[float]
    alpha: list[float]
    def __init__(
        self, name: str, *, delta: float = 1.0, scale: float = 1.0, gradient_scale: float = 1.0
    ) -> None: ...
    def set_custom(self, loss: object, target_width: int) -> None: ...

@final
class ScheduleSpec:
    @property
    def name(self) -> str: ...
    @property
    def factor(self) -> float: ...
    @property
    def every(self) -> int: ...
    @property
    def power(self) -> float: ...
    @property
    def steps(self) -> int: ...
    @property
    def final(self) -> float: ...
    @property
    def restarts(self) -> int: ...
    @property
    def t_mult(self) -> float: ...
    @property
    def pct_start(self) -> float: ...
    @property
    def div_factor(self) -> float: ...
    @property
    def final_div_factor(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def tol(self) -> float: ...
    @property
    def minimum(self) -> float: ...
    @property
    def warm_up_steps(self) -> int: ...
    @property
    def warm_up_start(self) -> float: ...
    def __init__(
        self,
        name: str,
        *,
        factor: float = 0.1,
        every: int = 1,
        power: float = 0.5,
        steps: int = 0,
        final: float = 0.0,
        restarts: int = 0,
        t_mult: float = 1.0,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        patience: int = 10,
        tol: float = 0.0,
        minimum: float = 0.0,
        warm_up_steps: int = 0,
        warm_up_start: float = 0.0,
    ) -> None: ...

@final
class OptimizerSpec:
    @property
    def name(self) -> str: ...
    learning_rate: float
    schedule: ScheduleSpec
    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    epsilon: float
    l2: float
    weight_decay: float
    amsgrad: bool
    alpha: float
    centered: bool
    initial_accumulator: float
    momentum_decay: float
    eta_plus: float
    eta_minus: float
    step_min: float
    step_max: float
    clip_norm: float
    clip_value: float
    rate_in_velocity: bool
    epsilon_hat: bool
    l2_per_weight: bool
    def __init__(
        self,
        name: str,
        *,
        learning_rate: float = 0.01,
        schedule: ScheduleSpec = ...,
        momentum: float = 0.0,
        nesterov: bool = False,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        l2: float = 0.0,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        alpha: float = 0.99,
        centered: bool = False,
        initial_accumulator: float = 0.0,
        momentum_decay: float = 0.004,
        eta_plus: float = 1.2,
        eta_minus: float = 0.5,
        step_min: float = 1e-6,
        step_max: float = 50.0,
        clip_norm: float = ...,
        clip_value: float = ...,
        rate_in_velocity: bool = False,
        epsilon_hat: bool = False,
        l2_per_weight: bool = False,
    ) -> None: ...

@final
class RunOptions:
    batch_size: int
    shuffle: bool
    epochs: int
    max_steps: int
    slice_seconds: float
    pause_each_epoch: bool
    tol: float
    patience: int
    ties_improve: bool
    mean_over_rows: bool
    keep_best: bool
    judge_outside: bool
    n_threads: int
    def __init__(
        self,
        *,
        batch_size: int,
        shuffle: bool,
        epochs: int,
        max_steps: int = -1,
        slice_seconds: float = -1.0,
        pause_each_epoch: bool = False,
        tol: float = -1.0,
        patience: int = 0,
        ties_improve: bool = False,
        mean_over_rows: bool = False,
        keep_best: bool = False,
        judge_outside: bool = False,
        n_threads: int = 1,
    ) -> None: ...

class _Network:
    n_steps: int
    seed: int
    def __init__(self, n_inputs: int, layers: Sequence[LayerSpec], seed: int) -> None: ...
    @property
    def n_parameters(self) -> int: ...
    @property
    def n_inputs(self) -> int: ...
    @property
    def n_outputs(self) -> int: ...
    @property
    def theta(self) -> _Floats: ...
    @property
    def state(self) -> _Floats: ...
    @property
    def fitted(self) -> list[bool]: ...
    @fitted.setter
    def fitted(self, flags: Sequence[bool]) -> None: ...
    def layout(self) -> list[dict[str, int]]: ...
    def set_training(self, layer: int, training: LayerTraining) -> None: ...
    def predict(self, X: _Rows, out: _Floats, n_threads: int) -> None: ...
    def fit_scaling(
        self,
        X: _Rows,
        y: _Array,
        sample_weight: _Array | None,
        rows: _RowNumbers | None = None,
    ) -> None: ...
    def evaluate(
        self,
        X: _Rows,
        y: _Array,
        sample_weight: _Array | None,
        loss: LossSpec,
        n_threads: int,
    ) -> float: ...
    def gradient(
        self,
        X: _Rows,
        y: _Array,
        sample_weight: _Array | None,
        loss: LossSpec,
        seed: int,
        training: bool,
        n_threads: int,
        out: _Floats,
    ) -> float: ...
    def backward(
        self, X: _Rows, output_gradient: _Array, seed: int, training: bool, n_threads: int
    ) -> tuple[_Floats, _Floats]: ...

class _Trace:
    @property
    def loss(self) -> float: ...
    @property
    def gradient(self) -> _Floats: ...
    def z(self, layer: int) -> _Floats: ...
    def a(self, layer: int) -> _Floats: ...
    def delta(self, layer: int) -> _Floats: ...

class _SmallPredictor:
    def predict(self, X: object, out: object) -> _Floats | None: ...

class _Trainer:
    def set_data(
        self,
        X: _Rows,
        y: _Array,
        sample_weight: _Array | None,
        validation_X: _Rows | None,
        validation_y: _Array | None,
        validation_weight: _Array | None,
        rows: _RowNumbers | None = None,
        validation_rows: _RowNumbers | None = None,
    ) -> None: ...
    def clear_data(self) -> None: ...
    def run(self, options: RunOptions) -> _Status: ...
    def judge(self, monitored: float, options: RunOptions) -> _Status: ...
    def forget_best(self, kept_too: bool) -> None: ...
    def step(self, X: _Rows, y: _Array, sample_weight: _Array | None, n_threads: int) -> float: ...
    def step_small(self, X: object, y: object) -> float | None: ...
    def apply(self, gradient: _Floats, loss: float) -> bool: ...
    def set_learning_rate(self, rate: float) -> None: ...
    @property
    def sampled_epoch(self) -> int: ...
    def set_sampled_rate(self, rate: float) -> None: ...
    def take_records(self) -> list[tuple[float, float, float, float]]: ...
    @property
    def progress(self) -> dict[str, int | float]: ...
    @property
    def epoch(self) -> int: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def divergence(self) -> tuple[int, int, float]: ...
    def scalars(self) -> dict[str, int | float]: ...
    def set_scalars(self, values: dict[str, int | float]) -> None: ...
    @property
    def best(self) -> dict[str, Any] | None: ...
    def set_best(self, epoch: int, loss: float, validated: bool) -> None: ...
    def restore_best(self) -> bool: ...
    @property
    def average_in_network(self) -> bool: ...
    def use_average(self) -> None: ...
    def use_raw(self) -> None: ...
    def vectors(self) -> dict[str, _Floats]: ...

@final
class Network32(_Network):
    def trace(
        self,
        X: _Rows,
        y: _Array,
        sample_weight: _Array | None,
        loss: LossSpec,
        seed: int,
        training: bool,
    ) -> Trace32: ...

@final
class Network64(_Network):
    def trace(
        self,
        X: _Rows,
        y: _Array,
        sample_weight: _Array | None,
        loss: LossSpec,
        seed: int,
        training: bool,
    ) -> Trace64: ...

@final
class SmallPredictor32(_SmallPredictor):
    def __init__(self, network: Network32) -> None: ...

@final
class SmallPredictor64(_SmallPredictor):
    def __init__(self, network: Network64) -> None: ...

@final
class Trace32(_Trace): ...

@final
class Trace64(_Trace): ...

@final
class Trainer32(_Trainer):
    def __init__(
        self,
        network: Network32,
        loss: LossSpec,
        optimizer: OptimizerSpec,
        seed: int | None,
        ema: float = 0.0,
    ) -> None: ...

@final
class Trainer64(_Trainer):
    def __init__(
        self,
        network: Network64,
        loss: LossSpec,
        optimizer: OptimizerSpec,
        seed: int | None,
        ema: float = 0.0,
    ) -> None: ...
