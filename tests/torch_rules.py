"""The same steps as PyTorch's optimisers and schedules, in float64, where both have the same rule.

Not among the tests that pytest collects: `nox -s torch` installs PyTorch and runs it. Lion and
iRprop+ are not in PyTorch (its Rprop takes no step back); clipping by norm divides by the norm plus
1e-6 there. Its OneCycleLR makes the last step the end, so that it has one step more.
"""

import numpy as np
import pytest

import deltarule as dr
from helpers import dense, rng
from tolerances import close

torch = pytest.importorskip("torch")

SIZES, NAMES = (5, 9, 7, 2), ("tanh", "silu", "identity")
BETAS = {"beta1": 0.8, "beta2": 0.95}
RULES = {  # name: ours, PyTorch's class, its arguments; l2 is the weight_decay of its coupled rules
    "sgd": (dr.SGD(0.1, l2=0.1), "SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": (
        dr.SGD(0.1, 0.9, l2=0.1), "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    ),
    "nesterov": (
        dr.SGD(0.1, 0.9, nesterov=True), "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "adam": (dr.Adam(0.02), "Adam", {"lr": 0.02}),
    "adam_settings": (
        dr.Adam(0.02, **BETAS, epsilon=1e-3, l2=0.1), "Adam",
        {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "amsgrad": (
        dr.Adam(0.02, **BETAS, amsgrad=True), "Adam",
        {"lr": 0.02, "betas": (0.8, 0.95), "amsgrad": True},
    ),
    "adamw": (dr.AdamW(0.02), "AdamW", {"lr": 0.02, "weight_decay": 0.01}),
    "adamw_amsgrad": (
        dr.AdamW(0.02, weight_decay=0.3, amsgrad=True), "AdamW",
        {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True},
    ),
    "rmsprop": (dr.RMSprop(0.01, l2=0.1), "RMSprop", {"lr": 0.01, "weight_decay": 0.1}),
    "rmsprop_settings": (
        dr.RMSprop(0.01, alpha=0.9, epsilon=1e-3, momentum=0.5, centered=True), "RMSprop",
        {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "momentum": 0.5, "centered": True},
    ),
    "adagrad": (dr.Adagrad(0.1, l2=0.1), "Adagrad", {"lr": 0.1, "weight_decay": 0.1}),
    "adagrad_settings": (
        dr.Adagrad(0.1, initial_accumulator=0.5, epsilon=1e-3), "Adagrad",
        {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ),
    "nadam": (dr.NAdam(0.01, l2=0.1), "NAdam", {"lr": 0.01, "weight_decay": 0.1}),
    "nadam_settings": (
        dr.NAdam(0.01, **BETAS, momentum_decay=0.5, weight_decay=0.3), "NAdam",
        {"lr": 0.01, "betas": (0.8, 0.95), "momentum_decay": 0.5, "weight_decay": 0.3,
         "decoupled_weight_decay": True},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def float64():
    """PyTorch keeps NAdam's product of momenta in its default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drift(theta, k):
    """A gradient that depends on where the parameters are."""
    return 0.3 * theta + np.cos(3 * theta) * rng(k).normal(size=theta.size)


@pytest.mark.parametrize("name", list(RULES))
def test_steps_agree_with_pytorch(name):
    ours, theirs, arguments = RULES[name]
    net = dense(SIZES, NAMES)
    pairs = [[torch.tensor(part) for part in layer] for layer in net.unflatten(net.theta.copy())]
    weights, biases = zip(*pairs, strict=True)
    groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
    optimizer = getattr(torch.optim, theirs)(groups, **arguments)
    trainer, theta = dr.Trainer(net, optimizer=ours), net.theta.copy()
    for k in range(50):
        gradients = net.unflatten(drift(theta, k))
        for pair, parts in zip(pairs, gradients, strict=True):
            for tensor, gradient in zip(pair, parts, strict=True):
                tensor.grad = torch.tensor(gradient)
        optimizer.step()
        for pair, parts in zip(pairs, net.unflatten(theta), strict=True):
            for tensor, values in zip(pair, parts, strict=True):
                values[:] = tensor.numpy()
        trainer.apply(drift(net.theta, k))
        assert close(net.theta, theta, 1e-10), f"step {k}"


def last_first(total, warm_up):
    """PyTorch's pct_start for the same turn: it counts from 1."""
    return (warm_up * total + 1) / (total + 1)


def warmed_up(optimizer, lr_scheduler):
    first = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=7)
    then = lr_scheduler.CosineAnnealingLR(optimizer, T_max=33)
    return lr_scheduler.SequentialLR(optimizer, [first, then], milestones=[7])


S = dr.schedules
SCHEDULES = {  # name: ours, what makes PyTorch's
    "step": (S.StepDecay(0.2, 0.5, every=7), lambda o, t: t.StepLR(o, 7, gamma=0.5)),
    "exponential": (S.Exponential(0.2, 0.95), lambda o, t: t.ExponentialLR(o, 0.95)),
    "cosine": (
        S.Cosine(0.2, final=0.01, steps=40), lambda o, t: t.CosineAnnealingLR(o, 40, eta_min=0.01),
    ),
    "restarts": (
        S.Cosine(0.2, final=0.01, steps=70, restarts=2, t_mult=2.0),
        lambda o, t: t.CosineAnnealingWarmRestarts(o, 10, T_mult=2, eta_min=0.01),
    ),
    "one_cycle": (
        S.OneCycle(0.2, steps=40, pct_start=0.35, div_factor=10.0, final_div_factor=100.0),
        lambda o, t: t.OneCycleLR(
            o, 0.2, total_steps=41, pct_start=last_first(40, 0.35), div_factor=10.0,
            final_div_factor=100.0, cycle_momentum=False,
        ),
    ),
    "warm_up": (S.WarmUp(S.Cosine(0.2, steps=33), steps=7, start=0.02), warmed_up),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # SequentialLR calls its own parts the old way
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_rates_agree_with_pytorch(name):
    ours, make = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    scheduler = make(optimizer, torch.optim.lr_scheduler)
    net = dense((1, 1), ("identity",))
    trainer = dr.Trainer(net, optimizer=dr.SGD(ours))
    for k in range(40):
        net.theta[:] = 0
        trainer.apply(-np.ones(2))
        assert close(net.theta[0], optimizer.param_groups[0]["lr"], 1e-10), f"step {k}"
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("patience", [1, 3])
def test_plateaus_agree_with_pytorch(patience):
    """PyTorch waits for one epoch more than its patience."""
    g = rng(1)
    X, Y = g.uniform(-1, 1, (40, 5)), g.normal(size=(40, 2))
    ours = S.ReduceOnPlateau(0.5, 0.6, patience=patience, minimum=0.02)
    trainer = dr.Trainer(dense(SIZES, NAMES, dropout=0.2), optimizer=dr.SGD(ours))
    history = trainer.run(X, Y, epochs=80, batch_size=8)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.6, patience=patience - 1, threshold=0.0, threshold_mode="abs",
        min_lr=0.02,
    )  # fmt: skip
    expected = []
    for loss in history["loss"]:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(loss)
    assert len(set(expected)) > 3
    assert close(history["learning_rate"], expected, 1e-10)
