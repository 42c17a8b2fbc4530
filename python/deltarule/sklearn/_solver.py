"""The core's trainer with scikit-learn's steps: what an estimator keeps between epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from deltarule import Network
from deltarule._dispatch import core
from deltarule._specs import CoreTrainer
from deltarule._validation import Array


@dataclass(frozen=True)
class Objective:
    """A loss as scikit-learn counts it, and the penalty beside it.

    The gradient of the squared error is not divided by the number of outputs in scikit-learn's sgd
    and adam, though its value is: `step_scale` is that factor.
    """

    loss: str  # the core's name
    scale: float
    step_scale: float
    alpha: float

    def spec(self, *, of_step: bool) -> core.LossSpec:
        """Return the core's loss, with the gradient of a step or with the right one."""
        scale = self.step_scale if of_step else 1.0
        return core.LossSpec(self.loss, scale=self.scale, gradient_scale=scale)


@dataclass(frozen=True)
class Settings:
    """What sgd and adam are made from, by scikit-learn's names."""

    solver: Literal["sgd", "adam"]
    learning_rate_init: float
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float

    def spec(self, learning_rate: float, alpha: float) -> core.OptimizerSpec:
        """Return the core's optimiser; the penalty is divided by the weight of the batch."""
        if self.solver == "sgd":
            return core.OptimizerSpec(
                "sgd",
                learning_rate=learning_rate,
                momentum=self.momentum,
                nesterov=self.nesterovs_momentum,
                l2=alpha,
                l2_per_weight=True,
                rate_in_velocity=True,
            )
        return core.OptimizerSpec(
            "adam",
            learning_rate=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            l2=alpha,
            l2_per_weight=True,
            epsilon_hat=True,
        )


class StochasticSolver:
    """sgd or adam for one estimator: its state, its learning rate, and the network it trains.

    Can be pickled; `attach` then gives it its network again.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.learning_rate = float(settings.learning_rate_init)
        self._state: tuple[dict[str, Any], dict[str, Array]] | None = None
        self._n_parameters: int | None = None
        self._trainer: CoreTrainer | None = None
        self._attached: tuple[Network, Objective] | None = None

    def attach(self, network: Network, objective: Objective) -> CoreTrainer:
        """Return the core's trainer for this network and loss, in the state that was left."""
        if self._trainer is not None and self._attached == (network, objective):
            return self._trainer
        state = self._state if self._trainer is None else self._save()
        loss = objective.spec(of_step=True)
        optimizer = self.settings.spec(self.learning_rate, objective.alpha)
        trainer: CoreTrainer
        if isinstance(network._core, core.Network32):
            trainer = core.Trainer32(network._core, loss, optimizer, self.seed)
        else:
            trainer = core.Trainer64(network._core, loss, optimizer, self.seed)
        if state is not None:
            _restore(trainer, *state)
        self._trainer, self._attached, self._state = trainer, (network, objective), None
        self._n_parameters = network.n_parameters
        return trainer

    def fits(self, network: Network) -> bool:
        """Whether the state is that of a network with as many parameters."""
        return self._n_parameters in (None, network.n_parameters)

    def set_learning_rate(self, rate: float) -> None:
        """Train with another learning rate from now on."""
        self.learning_rate = rate
        if self._trainer is not None:
            self._trainer.set_learning_rate(rate)

    def set_progress(self, **scalars: float) -> None:
        """Overwrite counters of the trainer, by the core's names."""
        assert self._trainer is not None
        self._trainer.set_scalars({**self._trainer.scalars(), **scalars})

    def _save(self) -> tuple[dict[str, Any], dict[str, Array]] | None:
        if self._trainer is None:
            return self._state
        vectors = {name: each.copy() for name, each in self._trainer.vectors().items()}
        del vectors["epoch_theta"]  # of a running epoch; an estimator rests between epochs
        return self._trainer.scalars(), vectors

    def __getstate__(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "seed": self.seed,
            "learning_rate": self.learning_rate,
            "_n_parameters": self._n_parameters,
            "_state": self._save(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _trainer=None, _attached=None)


def _restore(trainer: CoreTrainer, scalars: dict[str, Any], vectors: dict[str, Array]) -> None:
    trainer.set_scalars(scalars)
    own = trainer.vectors()
    for name, values in vectors.items():
        own[name][...] = values
