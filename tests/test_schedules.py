"""Schedules of the learning rate: their published rules, their state, and what is refused."""

import dataclasses

import numpy as np
import pytest

import deltarule as dr
import reference
from deltarule import schedules
from helpers import OPTIMIZERS, dense, problem, rng
from schedule_cases import ALL, PLATEAU, PURE, STATEFUL, by_epoch
from tolerances import FLOAT64, close

NAN, INF = float("nan"), float("inf")


def with_steps(schedule, steps):
    """The same, of a fixed length if it has an end."""
    if isinstance(schedule, schedules.WarmUp):
        if isinstance(schedule.learning_rate, float):
            return schedule
        inner = with_steps(schedule.learning_rate, steps - schedule.steps)
        return dataclasses.replace(schedule, learning_rate=inner)
    if hasattr(schedule, "steps"):
        return dataclasses.replace(schedule, steps=steps)
    return schedule


def applied(schedule, n):
    """The rates that n single steps truly have: from zero, a gradient of -1 leads to the rate."""
    net = dense((1, 1), ("identity",))
    trainer, rates = dr.Trainer(net, optimizer=dr.SGD(schedule)), []
    for _ in range(n):
        net.theta[:] = 0
        trainer.apply(-np.ones(2))
        assert net.theta[0] == net.theta[1]
        rates.append(net.theta[0])
    return np.array(rates)


def small(optimizer, dtype="float64", seed=0, **layers):
    return dr.Trainer(
        dense((3, 6, 2), ("tanh", "identity"), dtype=dtype, **layers),
        optimizer=optimizer,
        seed=seed,
    )


def fitted(rate, **settings):
    """A trainer after a run in which a step is an epoch."""
    trainer = small(dr.SGD(rate))
    trainer.run(*problem(), **{"batch_size": None, "epochs": 40, **settings})
    return trainer


# ---- the rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [1, 2, 3, 40, 41])
@pytest.mark.parametrize("name", list(PURE))
def test_single_steps_follow_the_published_rule(name, T):
    """Beyond the end too."""
    schedule, rule = PURE[name]
    if isinstance(schedule, schedules.WarmUp) and schedule.steps >= T:
        T += schedule.steps
    found = applied(with_steps(schedule, T), T + 5)
    assert close(found, [rule(s, T) for s in range(T + 5)], FLOAT64)


@pytest.mark.parametrize("name", list(PURE))
def test_a_schedule_lasts_as_long_as_the_planned_run(name):
    schedule, rule = PURE[name]
    history = fitted(schedule).history
    assert close(history["learning_rate"], [rule(s, 40) for s in range(40)], FLOAT64)
    trainer = small(dr.SGD(schedule))
    history = trainer.run(*problem(), batch_size=9, epochs=6)  # 5 batches an epoch
    assert close(history["learning_rate"], [rule(5 * k + 4, 30) for k in range(6)], FLOAT64)
    assert list(history) == ["loss", "learning_rate", "seconds"]


@pytest.mark.parametrize("name", list(PURE))
def test_what_a_run_applies_is_what_single_steps_apply(name):
    """The parameters after a run, by the bits."""
    schedule, _ = PURE[name]
    (X, Y), ran = problem(24), small(dr.Adam(schedule))
    ran.run(X, Y, epochs=7, batch_size=8, shuffle=False)
    stepped = small(dr.Adam(with_steps(schedule, 21)))
    for k in range(21):
        i = 8 * (k % 3)
        stepped.step(X[i : i + 8], Y[i : i + 8])
    assert np.array_equal(ran.network.theta, stepped.network.theta)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "irprop+"])
def test_every_optimiser_has_the_rate_of_the_step(name):
    sizes, names, penalties = (3, 6, 2), ("tanh", "identity"), {"l2": 0.01}
    ours, theirs = OPTIMIZERS[name](weight_decay=0.3, **penalties)
    schedule = schedules.WarmUp(schedules.Cosine(ours.learning_rate, steps=17), steps=3)
    net = dense(sizes, names)
    theta = net.theta.copy()
    trainer = dr.Trainer(net, optimizer=dataclasses.replace(ours, learning_rate=schedule))
    peak = theirs.learning_rate
    rule = lambda s, T: reference.cosine(s, T, peak)  # noqa: E731
    for k in range(20):
        g = rng(k, 5)
        X, Y = g.uniform(-1, 1, (24, 3)), g.normal(size=(24, 2))
        theirs.learning_rate = reference.warmed_up(k, 20, 3, 0.0, rule)
        trainer.step(X, Y)
        reference.step(theta, sizes, names, X, Y, "mse", theirs, weight_decay=0.3, **penalties)
        assert close(net.theta, theta, FLOAT64), k


def test_cycles_begin_at_whole_steps():
    schedule = schedules.Cosine(1.0, steps=70, restarts=2, t_mult=2.0)
    rates = applied(schedule, 75)
    assert [s for s in range(75) if rates[s] == 1] == [0, 10, 30]
    assert (rates[70:] == 0).all()
    many = applied(schedules.Cosine(1.0, steps=5, restarts=1000, t_mult=50.0), 8)  # one is left
    assert close(many, [reference.cosine(s, 5, 1.0) for s in range(8)], 1e-3)
    assert (applied(schedules.Cosine(1.0, steps=3, restarts=1000), 5) == [1, 1, 1, 0, 0]).all()


def test_a_warm_up_longer_than_the_run_rises_to_its_end():
    history = fitted(schedules.WarmUp(schedules.Cosine(0.2), steps=80)).history
    assert close(history["learning_rate"], 0.2 * np.arange(40) / 80, FLOAT64)


def test_a_number_and_schedules_that_do_not_change_have_the_same_bits():
    same = [
        0.1, schedules.StepDecay(0.1, 1.0, every=3), schedules.Exponential(0.1, 1.0),
        schedules.WarmUp(0.1, steps=4, start=0.1),
        schedules.ReduceOnPlateau(0.1, patience=1000), lambda epoch: 0.1,
    ]  # fmt: skip
    thetas = {fitted(rate).network.theta.tobytes() for rate in same}
    assert len(thetas) == 1
    assert "learning_rate" not in fitted(0.1).history


def test_a_longer_run_has_a_longer_schedule():
    """Going on with more epochs takes the rates of the longer plan from where it stands."""
    trainer, rule = fitted(schedules.Cosine(0.2), epochs=10), PURE["cosine"][1]
    rates = trainer.run(*problem(), batch_size=None, epochs=20)["learning_rate"]
    expected = [rule(s, 10) for s in range(10)] + [rule(s, 20) for s in range(10, 20)]
    assert close(rates, expected, FLOAT64)


def test_the_present_rate_is_in_the_progress_of_the_core():
    for rate, first in [(0.1, 0.1), (schedules.Exponential(0.1, 0.5), 0.1), (by_epoch, NAN)]:
        trainer = small(dr.SGD(rate))
        assert np.array_equal(trainer._core.progress["learning_rate"], first, equal_nan=True)
        history = trainer.run(*problem(), batch_size=None, epochs=3)
        last = history["learning_rate"][-1] if "learning_rate" in history else 0.1
        assert trainer._core.progress["learning_rate"] == last


def test_the_rates_are_drawn_in_a_panel_of_their_own(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    history = fitted(schedules.Exponential(0.1, 0.8)).history
    axes = history.plot(ax=Figure().subplots()).figure.axes
    assert len(axes) == 1  # a figure of the user's own shows the losses alone
    panels = history.plot(tmp_path / "rates.png").figure.axes
    assert [ax.get_ylabel() for ax in panels] == ["loss", "learning_rate"]
    assert panels[1].get_yscale() == "log"


# ---- reduce on plateau --------------------------------------------------------------------------


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"patience": 1},
        {"patience": 2, "factor": 0.5},
        {"patience": 3, "tol": 0.01},
        {"patience": 1, "minimum": 0.02},
    ],
)
def test_plateaus_follow_the_rule(settings, validated):
    trainer = small(dr.SGD(schedules.ReduceOnPlateau(0.4, **settings)), dropout=0.3)
    validation = problem(seed=1) if validated else None
    history = trainer.run(*problem(), epochs=60, batch_size=8, validation_data=validation)
    losses = history["val_loss" if validated else "loss"]
    settings = {{"factor": "f"}.get(key, key): value for key, value in settings.items()}
    expected = reference.plateau(losses, 0.4, **settings)
    assert close(history["learning_rate"], expected, FLOAT64)
    assert len(set(expected)) > 2  # so that something was seen


def test_a_plateau_stays_while_single_steps_are_made():
    assert (applied(schedules.ReduceOnPlateau(0.25, patience=1), 9) == 0.25).all()


# ---- callables ----------------------------------------------------------------------------------


class Asked:
    """Keeps the epochs that it was asked about."""

    def __init__(self, values=None):
        self.epochs, self.values = [], values or {}

    def __call__(self, epoch):
        self.epochs.append(epoch)
        value = self.values.get(epoch, by_epoch(epoch))
        return value() if callable(value) else value


HOW = {
    "whole": {},
    "with a bar": {"progress": True},
    "with metrics": {"metrics": ["rmse"]},
    "with callbacks": {"callbacks": [lambda state: None]},
    "step by step": {"max_steps": 1},
    "in parts": {"max_steps": 7},
}


@pytest.mark.parametrize("how", list(HOW))
def test_a_callable_is_asked_once_an_epoch(how):
    asked = Asked()
    trainer = small(dr.SGD(asked))
    while trainer.history.stopped_by != "epochs":
        history = trainer.run(*problem(), epochs=6, batch_size=9, **HOW[how])
    assert asked.epochs == [*range(6)]
    assert history["learning_rate"].tolist() == [by_epoch(k) for k in range(6)]
    trainer.run(*problem(), epochs=6, batch_size=9)
    assert asked.epochs == [*range(6)]


def test_a_callable_sees_the_epochs_that_ended():
    seen = []
    trainer = small(dr.SGD(lambda epoch: seen.append(len(trainer.history["loss"])) or 0.1))
    trainer.run(*problem(), epochs=4, callbacks=[lambda state: state.epoch == 3])
    assert seen == [0, 1, 2]  # and none is asked about that does not begin


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"max_steps": 0}, {"max_seconds": 0}])
def test_no_epoch_no_question(settings):
    asked = Asked()
    small(dr.SGD(asked)).run(*problem(), **settings)
    assert asked.epochs == []


def test_single_steps_ask_once_and_keep_the_rate():
    (X, Y), asked = problem(), Asked({0: 0.5})
    trainer = small(dr.SGD(asked))
    assert asked.epochs == []
    constant = small(dr.SGD(0.5))
    for _ in range(2):
        gradient = trainer.network.gradient(X, Y)[1]
        for each in (trainer, constant):
            each.step(X, Y)
            each.step(X.tolist(), Y.tolist())
            each.apply(gradient)
    assert np.array_equal(trainer.network.theta, constant.network.theta)
    assert asked.epochs == [0]
    trainer.run(X, Y, epochs=2)
    assert asked.epochs == [0, 1]
    trainer.step(X, Y)
    assert asked.epochs == [0, 1]


def test_apply_that_is_refused_asks_nothing():
    asked = Asked()
    trainer = small(dr.SGD(asked))
    with pytest.raises(ValueError, match="gradient"):
        trainer.apply(np.zeros(3))
    assert asked.epochs == []


@pytest.mark.parametrize("value", [-0.1, NAN, INF, "0.1", None, True, [0.1], 1j, np.ones(1)])
def test_what_a_callable_says_is_checked(value):
    asked = Asked({2: value})
    trainer = small(dr.SGD(asked))
    with pytest.raises((ValueError, TypeError), match=r"learning_rate\(2\) must be"):
        trainer.run(*problem(), epochs=5, batch_size=9)
    assert trainer.history.n_epochs == 2
    assert trainer.network.n_steps == 10
    asked.values = {}
    trainer.run(*problem(), epochs=5, batch_size=9)
    assert asked.epochs == [0, 1, 2, 2, 3, 4]
    whole = small(dr.SGD(by_epoch))
    whole.run(*problem(), epochs=5, batch_size=9)
    assert np.array_equal(trainer.network.theta, whole.network.theta)


def test_an_exception_in_a_callable_ends_the_fit():
    def fail():
        raise KeyError("mine")

    net = dense((3, 6, 2), ("tanh", "identity"))
    with pytest.raises(KeyError, match="mine"):
        net.fit(*problem(), optimizer=dr.Adam(Asked({1: fail})), epochs=5)
    assert net.history.n_epochs == 1
    net.fit(*problem(), epochs=1)


def test_a_callable_cannot_train_the_network_it_is_asked_for():
    net = dense((3, 6, 2), ("tanh", "identity"))
    inner = Asked({1: lambda: net.fit(*problem(), epochs=1)})
    with pytest.raises(RuntimeError):
        net.fit(*problem(), optimizer=dr.SGD(inner), epochs=3)


# ---- divergence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["schedule", "callable"])
def test_after_divergence_the_epoch_has_its_rates_again(kind):
    asked = Asked({3: 1e200})
    rate = schedules.StepDecay(0.01, 1e200, every=15) if kind == "schedule" else asked
    trainer, where = small(dr.SGD(rate)), []
    for _ in range(2):
        with pytest.raises(dr.DivergenceError) as caught:
            trainer.run(*problem(), epochs=6, batch_size=9)
        where.append((caught.value.epoch, caught.value.step, caught.value.loss))
        assert (trainer.history.n_epochs, trainer.network.n_steps) == (3, 15)
    assert where[0] == where[1]
    assert where[0][0] == 4
    assert asked.epochs == ([] if kind == "schedule" else [0, 1, 2, 3])


# ---- single steps without a horizon -------------------------------------------------------------

ENDLESS = [schedules.Cosine(0.1), schedules.OneCycle(0.1), schedules.CosLog4(0.1)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("schedule", [*ENDLESS, schedules.WarmUp(schedules.Cosine(0.1), steps=9)])
def test_single_steps_need_the_length_of_the_schedule(schedule, dtype):
    trainer = small(dr.Adam(schedule), dtype)
    X, Y = (each.astype(dtype) for each in problem())
    calls = [
        lambda: trainer.step(X[:4], Y[:4]),  # small calls
        lambda: trainer.step(X[:4].tolist(), Y[:4].tolist(), sample_weight=np.ones(4)),
        lambda: trainer.step(np.tile(X, (50, 1)), np.tile(Y, (50, 1))),
        lambda: trainer.apply(np.ones(trainer.network.n_parameters)),
    ]
    for _ in range(2):
        kept, n_steps = trainer.network.theta.copy(), trainer.network.n_steps
        for call in calls:
            with pytest.raises(ValueError, match=r"learning_rate .*steps="):
                call()
        assert np.array_equal(trainer.network.theta, kept)
        assert trainer.network.n_steps == n_steps
        trainer.run(X, Y, epochs=2)  # then it had a horizon; single steps still have none


# ---- interruptions ------------------------------------------------------------------------------

ONE_OF_EACH = [
    "step_decay", "exponential", "inverse_scaling", "cosine_t_mult", "one_cycle", "cos_log4",
    "warm_cosine", *STATEFUL,
]  # fmt: skip
RUN = {"epochs": 9, "batch_size": 9, "validation_data": problem(20, seed=1)}


def make(name):
    return small(dr.Adam(ALL[name], weight_decay=0.1), seed=3, dropout=0.2)


def outcome(trainer):
    history = {key: each.tobytes() for key, each in trainer.history.items() if key != "seconds"}
    return history, trainer.network.theta.tobytes(), trainer._core.progress["learning_rate"]


def given(name):
    return {"learning_rate": by_epoch} if name == "callable" else {}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_resume_at_each_of_forty_steps(tmp_path, name):
    X, Y = problem()
    whole, stopped, path = make(name), make(name), tmp_path / "t.safetensors"
    whole.run(X, Y, **RUN)
    expected = outcome(whole)
    if "plateau" in name:
        assert len(set(whole.history["learning_rate"][3:])) > 2
    for step in range(1, 41):
        stopped.run(X, Y, max_steps=1, **RUN)
        stopped.save(path)
        resumed = dr.Trainer.resume(path, **given(name))
        assert resumed.optimizer == stopped.optimizer
        resumed.run(X, Y, **RUN)
        assert outcome(resumed) == expected, f"resumed at step {step}"


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_same_bits_on_any_number_of_threads(name):
    def bits(n_threads):
        layers = [dr.Input(61), dr.Dense(230, "relu"), dr.Dense(190, "tanh"), dr.Dense(3)]
        net = dr.Network(layers, seed=3)
        g = rng(2)
        X, Y = g.normal(size=(413, 61)), g.normal(size=(413, 3))
        settings = {"epochs": 3, "batch_size": 300, "validation_data": (X[:90], Y[:90])}
        net.fit(X, Y, optimizer=dr.SGD(ALL[name]), n_threads=n_threads, **settings)
        return net.theta.tobytes(), net.history["learning_rate"].tobytes()

    first = bits(1)
    assert bits(2) == first
    assert bits(5) == first


# ---- checkpoints --------------------------------------------------------------------------------


def test_a_callable_is_asked_for_again(tmp_path):
    asked, path = Asked(), tmp_path / "t.safetensors"
    trainer = small(dr.Adam(asked))
    trainer.run(*problem(), epochs=6, batch_size=9, max_steps=7)
    trainer.save(path)
    with pytest.raises(ValueError, match="learning_rate must be given"):
        dr.Trainer.resume(path)
    for wrong in (0.1, schedules.Cosine(0.1), "0.1", Asked):
        with pytest.raises(TypeError, match="learning_rate must be a callable"):
            dr.Trainer.resume(path, learning_rate=wrong)
    again = Asked({1: 1e10})  # the running epoch keeps its rate: it is not asked about
    resumed = dr.Trainer.resume(path, learning_rate=again)
    assert resumed.optimizer.learning_rate is again
    history = resumed.run(*problem(), epochs=6, batch_size=9)
    assert again.epochs == [2, 3, 4, 5]
    assert history["learning_rate"].tolist() == [by_epoch(k) for k in range(6)]


@pytest.mark.parametrize("rate", [0.1, schedules.Cosine(0.1)])
def test_a_callable_that_no_file_asks_for_is_refused(tmp_path, rate):
    small(dr.Adam(rate)).save(tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="learning_rate must be left out"):
        dr.Trainer.resume(tmp_path / "t.safetensors", learning_rate=by_epoch)


def changed_checkpoint(path, name, change):
    """Saves a trainer with the metadata of its file changed."""
    from deltarule import _file

    trainer = small(dr.Adam(ALL[name]))
    trainer.run(*problem(), epochs=4, batch_size=9, max_steps=12)
    trainer.save(path)
    metadata, tensors = _file.read(path)
    del metadata["format"], metadata["version"]  # which write adds
    change(metadata["trainer"])
    _file.write(path, metadata, dict(tensors))


def set_rate(**settings):
    return lambda section: section["optimizer"]["learning_rate"].update(settings)


def set_scalar(**scalars):
    return lambda section: section["scalars"].update(scalars)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cosine", set_rate(name="os.system")),
        ("cosine", set_rate(name=["cosine"])),
        ("cosine", set_rate(initial=-1.0)),
        ("cosine", set_rate(initial="nan")),
        ("cosine", set_rate(restarts=10**9)),
        ("cosine", set_rate(more=1)),
        ("cosine", lambda section: section["optimizer"]["learning_rate"].pop("initial")),
        ("cosine", set_scalar(sampled_epoch=0, sampled_rate=0.1)),
        ("warm_cosine", set_rate(learning_rate={"name": "callable"})),
        ("warm_cosine", set_rate(learning_rate={"name": "warm_up"})),
        ("warm_cosine", set_rate(learning_rate=None)),
        ("plateau", set_scalar(plateau_reductions=-1)),
        ("plateau", set_scalar(plateau_reductions=10**6)),
        ("plateau", set_scalar(plateau_epochs=-1)),
        ("plateau", set_scalar(plateau_best="nan")),
        ("plateau", lambda section: section["scalars"].pop("plateau_best")),
        ("callable", set_scalar(sampled_epoch=0)),  # the epoch that runs is another
        ("callable", set_scalar(sampled_epoch=3)),
        ("callable", set_scalar(sampled_epoch=-1)),
        ("callable", set_scalar(sampled_rate="nan")),
        ("callable", set_scalar(sampled_rate=-0.5)),
    ],
)
def test_damaged_schedules_are_refused(tmp_path, name, change):
    path = tmp_path / "t.safetensors"
    changed_checkpoint(path, name, lambda section: None)
    dr.Trainer.resume(path, **given(name))
    changed_checkpoint(path, name, change)
    with pytest.raises(dr.ModelFileError):
        dr.Trainer.resume(path, **given(name))


# ---- settings -----------------------------------------------------------------------------------

GOOD = {
    schedules.StepDecay: {"initial": 0.1, "factor": 0.5, "every": 3},
    schedules.Exponential: {"initial": 0.1, "factor": 0.5, "every": 3},
    schedules.InverseScaling: {"initial": 0.1, "power": 0.3},
    schedules.Cosine: {"initial": 0.1, "final": 0.2, "steps": 3, "restarts": 1, "t_mult": 2.0},
    schedules.OneCycle: {
        "peak": 0.1, "steps": 3, "pct_start": 0.2, "div_factor": 5.0, "final_div_factor": 6.0,
    },
    schedules.CosLog4: {"initial": 0.1, "steps": 3},
    schedules.ReduceOnPlateau: {
        "initial": 0.1, "factor": 0.5, "patience": 2, "tol": 0.1, "minimum": 0.05,
    },
    schedules.WarmUp: {"learning_rate": 0.1, "steps": 3, "start": 0.2},
}  # fmt: skip
COUNTS = {"every", "steps", "restarts", "patience"}
NUMBERS = [-0.1, NAN, INF, -INF, "0.1", True, [0.1], 1j, None]
OF_ITS_OWN = {
    "factor": [0.0], "pct_start": [0.0, 1.0], "div_factor": [0.5], "final_div_factor": [0.0],
    "t_mult": [0.5], "every": [0], "steps": [0], "patience": [0], "restarts": [1001],
    "minimum": [0.11],
    "learning_rate": [by_epoch, schedules.WarmUp(0.1, steps=2), schedules.Cosine],
}  # fmt: skip


@pytest.mark.parametrize("kind", list(GOOD))
def test_every_setting_is_checked(kind):
    for setting in GOOD[kind]:
        wrong = [-1, 2.5, "3", True, [3], 1j] if setting in COUNTS else NUMBERS
        for value in wrong + OF_ITS_OWN.get(setting, []):
            with pytest.raises((ValueError, TypeError), match=setting):
                kind(**{**GOOD[kind], setting: value})
    if kind is schedules.ReduceOnPlateau:
        with pytest.raises(ValueError, match="factor"):
            kind(0.1, 1.0)


@pytest.mark.parametrize("kind", list(GOOD))
def test_settings_are_frozen_have_reprs_and_names(kind):
    schedule = kind(**GOOD[kind])
    first = next(iter(GOOD[kind]))
    assert eval(repr(schedule), vars(schedules)) == schedule
    assert hash(kind(**GOOD[kind])) == hash(schedule)
    assert schedule != kind(**{**GOOD[kind], first: 0.07})
    assert repr(schedule).startswith(f"{kind.__name__}(0.1, ")
    with pytest.raises(AttributeError):
        schedule.steps = 7
    assert kind.__name__ in schedules.__all__
    assert repr(dr.SGD(schedule)) == f"SGD(learning_rate={schedule!r})"


def test_numbers_of_any_kind_are_taken():
    schedule = schedules.Cosine(np.float32(0.5), steps=np.int64(7), final=0)
    assert schedule == schedules.Cosine(0.5, steps=7)
    huge = schedules.Cosine(0.5, steps=2**70)
    assert (applied(huge, 3) == 0.5).all()


@pytest.mark.parametrize("optimizer", [dr.SGD, dr.Adam, dr.Lion])
def test_other_learning_rates_are_refused(optimizer):
    for wrong in ("cosine", None, [0.1], {"initial": 0.1}, 1j):
        with pytest.raises(TypeError, match=r"learning_rate .*number.* schedule .*callable, got"):
            optimizer(wrong)
    for kind in (schedules.Cosine, schedules.Schedule):
        with pytest.raises(TypeError, match=rf"learning_rate .*write {kind.__name__}\(\.\.\.\)"):
            optimizer(kind)


def test_schedules_of_other_kinds_are_refused():
    @dataclasses.dataclass(frozen=True)
    class Mine(schedules.Schedule):
        initial: float = 0.1

    with pytest.raises(TypeError, match=r"learning_rate .*StepDecay.*WarmUp"):
        small(dr.SGD(Mine()))


@pytest.mark.parametrize("rate", [schedules.Cosine(0.1), by_epoch])
def test_irprop_has_no_schedule(rate):
    with pytest.raises(TypeError, match=r"learning_rate must be a finite number > 0: .*IRpropPlus"):
        dr.IRpropPlus(rate)


def test_rates_of_zero_change_nothing():
    for rate in (schedules.Cosine(0.0), schedules.WarmUp(0.0, steps=3), lambda epoch: 0):
        trainer = small(dr.AdamW(rate))
        kept = trainer.network.theta.copy()
        trainer.run(*problem(), epochs=3)
        assert np.array_equal(trainer.network.theta, kept)
    assert STATEFUL["plateau"] is PLATEAU


def test_a_metric_cannot_be_called_like_the_rate():
    def learning_rate(y_true, y_pred):
        return 0.0

    with pytest.raises(ValueError, match="learning_rate"):
        small("adam").run(*problem(), metrics=[learning_rate])
