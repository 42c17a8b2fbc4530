"""The schedules that several tests go through, each beside its reference."""

import reference
from deltarule import schedules

RULE = reference.SCHEDULES


def _warm(steps, start, name, *settings):
    rate = lambda s, T: RULE[name](s, T, *settings)  # noqa: E731
    return lambda s, T: reference.warmed_up(s, T, steps, start, rate)


# name: (the schedule, the rate of step s of T). Those with an end are as long as the run.
PURE = {
    "step_decay": (
        schedules.StepDecay(0.2, 0.5, every=7),
        lambda s, T: RULE["step_decay"](s, T, 0.2, 0.5, 7),
    ),
    "exponential": (
        schedules.Exponential(0.2, 0.97),
        lambda s, T: RULE["exponential"](s, T, 0.2, 0.97),
    ),
    "exponential_every": (
        schedules.Exponential(0.01, 1.5, every=9),
        lambda s, T: RULE["exponential"](s, T, 0.01, 1.5, 9),
    ),
    "inverse_scaling": (
        schedules.InverseScaling(0.2),
        lambda s, T: RULE["inverse_scaling"](s, T, 0.2),
    ),
    "inverse_scaling_power": (
        schedules.InverseScaling(0.2, power=0.9),
        lambda s, T: RULE["inverse_scaling"](s, T, 0.2, 0.9),
    ),
    "cosine": (schedules.Cosine(0.2), lambda s, T: RULE["cosine"](s, T, 0.2)),
    "cosine_final": (
        schedules.Cosine(0.1, final=0.03),
        lambda s, T: RULE["cosine"](s, T, 0.1, 0.03),
    ),
    "cosine_restarts": (
        schedules.Cosine(0.2, final=0.01, restarts=2),
        lambda s, T: RULE["cosine"](s, T, 0.2, 0.01, 2),
    ),
    "cosine_t_mult": (
        schedules.Cosine(0.2, restarts=3, t_mult=1.7),
        lambda s, T: RULE["cosine"](s, T, 0.2, 0.0, 3, 1.7),
    ),
    "one_cycle": (schedules.OneCycle(0.2), lambda s, T: RULE["one_cycle"](s, T, 0.2)),
    "one_cycle_settings": (
        schedules.OneCycle(0.2, pct_start=0.45, div_factor=4, final_div_factor=10),
        lambda s, T: RULE["one_cycle"](s, T, 0.2, 0.45, 4, 10),
    ),
    "cos_log4": (schedules.CosLog4(0.2), lambda s, T: RULE["cos_log4"](s, T, 0.2)),
    "warm_constant": (
        schedules.WarmUp(0.2, steps=6, start=0.01),
        _warm(6, 0.01, "constant", 0.2),
    ),
    "warm_cosine": (
        schedules.WarmUp(schedules.Cosine(0.2), steps=6),
        _warm(6, 0.0, "cosine", 0.2),
    ),
    "warm_one_cycle": (
        schedules.WarmUp(schedules.OneCycle(0.2), steps=5, start=0.3),
        _warm(5, 0.3, "one_cycle", 0.2),
    ),
    "warm_exponential": (
        schedules.WarmUp(schedules.Exponential(0.2, 0.9), steps=10),
        _warm(10, 0.0, "exponential", 0.2, 0.9),
    ),
}


def by_epoch(epoch):
    return 0.03 * 0.8**epoch


# Those with a state.
PLATEAU = schedules.ReduceOnPlateau(0.05, 0.5, patience=2, tol=0.05, minimum=0.001)
STATEFUL = {
    "plateau": PLATEAU,
    "warm_plateau": schedules.WarmUp(PLATEAU, steps=8),
    "callable": by_epoch,
}
ALL = {name: schedule for name, (schedule, _) in PURE.items()} | STATEFUL
