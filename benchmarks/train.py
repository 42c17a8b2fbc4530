"""Time per training step of whole epochs, by network, optimiser, batch, depth and width.

    python -m benchmarks.train [--sizes XS,S] [--optimizer sgd,adam] [--sweep batch,depth,width]
        [--only race,variants,shuffled,step,fit] [--quick] [--json FILE] [--plot FILE]

Also what people train with, AdamW, dropout, layer norm and batch norm; one shuffled race; a single
`step` called from Python; and what `fit` costs beyond its steps.
"""

from __future__ import annotations

import sys

from benchmarks import calls, report
from benchmarks.command import Session, finish_arguments, names, parser
from benchmarks.networks import SIZES, Task

OPTIMIZERS = ("sgd", "adam")
PARTS = ("race", "variants", "shuffled", "step", "fit")
VARIANTS = (("adamw", ""), ("adam", "dropout"), ("adam", "layer_norm"), ("adam", "batch_norm"))
SWEEPS = ("batch", "depth", "width")
BATCHES = (1, 8, 32, 128, 512)
DEPTHS, DEPTH_WIDTHS, DEPTH_BATCH = (2, 4, 8, 16), (64, 256), 64
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)


def epochs_of(task: Task, seconds: float) -> Task:
    """The number of epochs that takes a fast contender about `seconds`."""
    step = 2e-5 + task.step_flops / 150e9
    fields = dict(task.__dict__)
    fields.pop("n_batches", None)
    return Task(**(fields | {"count": max(1, round(seconds / (step * task.n_batches)))}))


def networks(sizes: list[str], optimizers: list[str]) -> list[Task]:
    return [
        Task("train", name, *SIZES[name], optimizer=optimizer)
        for optimizer in optimizers
        for name in sizes
    ]


def variants(sizes: list[str]) -> list[Task]:
    """What is raced against plain Adam: from S on, where layers are worth a norm."""
    return [
        Task("train", name, *SIZES[name], optimizer=optimizer, extra=extra)
        for optimizer, extra in VARIANTS
        for name in sizes
        if name != "XS"
    ]


def sweeps(kinds: list[str], optimizers: list[str]) -> dict[str, list[Task]]:
    """Tasks by the title of their panel; the label is the swept number."""
    found: dict[str, list[Task]] = {}
    for optimizer in optimizers:
        if "batch" in kinds:
            for name in ("S", "L"):
                found[f"batch size, {name}, {optimizer}"] = [
                    Task("train", str(n), SIZES[name][0], n, optimizer) for n in BATCHES
                ]
        if "depth" in kinds:
            for width in DEPTH_WIDTHS:
                found[f"depth at width {width}, {optimizer}"] = [
                    Task("train", str(depth), deep(depth, width), DEPTH_BATCH, optimizer)
                    for depth in DEPTHS
                ]
        if "width" in kinds:
            found[f"width at depth 3, {optimizer}"] = [
                Task("train", str(width), (width,) * 3 + (10,), DEPTH_BATCH, optimizer)
                for width in WIDTHS
            ]
    return found


def deep(depth: int, width: int) -> tuple[int, ...]:
    """`depth` layers: 32 inputs, hidden layers of one width, 8 outputs."""
    return (32, *(width,) * (depth - 1), 8)


def main(argv: list[str] | None = None) -> int:
    arguments_of = parser(__doc__.splitlines()[0], ",".join(SIZES))
    arguments_of.add_argument("--optimizer", type=names(OPTIMIZERS), default="sgd,adam")
    arguments_of.add_argument("--sweep", type=names(SWEEPS), default=[], help="batch,depth,width")
    arguments_of.add_argument("--only", type=names(PARTS), default=",".join(PARTS))
    arguments = finish_arguments(arguments_of.parse_args(argv))
    if arguments.quick:  # XL is only large
        arguments.sizes = [name for name in arguments.sizes if name != "XL"]
    session, optimizers = Session(arguments), arguments.optimizer
    tasks = networks(arguments.sizes, optimizers) if "race" in arguments.only else []
    if "variants" in arguments.only:
        tasks += variants(arguments.sizes)
    if "shuffled" in arguments.only:
        tasks.append(Task("train", "S", *SIZES["S"], shuffle=True))
    found = session.race("train", [epochs_of(task, arguments.seconds) for task in tasks])
    for title, group in sweeps(arguments.sweep, optimizers).items():
        print(f"\n== {title}")
        timed = [epochs_of(task, arguments.seconds) for task in group]
        session.groups[title] = session.race("train", timed)
        found += session.groups[title]
    if "step" in arguments.only:
        print("\n== one step from Python")
        found += session.race("step", calls.steps(arguments.quick))
    report.print_summary(found)
    if "fit" in arguments.only:
        session.facts["fit_beyond_steps"] = calls.fit_beyond_steps(arguments.quick)
    return session.end()


if __name__ == "__main__":
    sys.exit(main())
