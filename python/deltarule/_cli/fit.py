"""``deltarule fit``: understand a table, train, score on rows held out, save one file."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, TextIO

from deltarule import optimizers
from deltarule._cli import files, options, report
from deltarule._table import frames, training
from deltarule._table.training import HIDDEN_ACTIVATIONS, TableSettings

_MORE = """\
Of the rows, some train the network, some choose the epoch that is kept (validation), and some are
never looked at before the end (test): the metrics are theirs, beside those of a guess that does
not look at the columns. Ctrl-C ends the training early and keeps the best epoch so far."""

_EXAMPLE = "  deltarule fit penguins.csv --target species --ignore year --plot loss.png"


def add_to(commands: Any) -> None:
    """Add the sub-command."""
    parser = options.command(
        commands, "fit", run, summary="train on a table", more=_MORE, example=_EXAMPLE
    )
    default = TableSettings()
    add = parser.add_argument
    add("data", metavar="DATA", help="a CSV or Parquet file, or - for standard input")
    add("--target", metavar="COLUMN", required=True, help="the column to predict")
    add(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="what the target is: classes, or a number (default: auto, as its values look)",
    )
    add(
        "--ignore",
        type=options.columns,
        action="extend",
        default=[],
        metavar="COL,...",
        help="columns to leave out",
    )
    group = parser.add_argument_group("network and training")
    add_setting = _setting_of(group, default)
    add_setting("hidden", "N,N", "units of the hidden layers; '' for none", type=options.units)
    add_setting("activation", "NAME", f"of the hidden layers: {', '.join(HIDDEN_ACTIVATIONS)}")
    add_setting("dropout", "R", "share of hidden units switched off in training", type=float)
    add_setting("optimizer", "NAME", ", ".join(optimizers.BY_NAME))
    group.add_argument(
        "--learning-rate", type=float, metavar="R", help="(default: the optimizer's)"
    )
    add_setting("epochs", "N", "passes over the rows, at most", type=int)
    add_setting(
        "batch_size", "N", "rows of a step, or auto: by their number", type=options.batch_size
    )
    add_setting("validation", "R", "share of the rows that choose the epoch", type=float)
    add_setting("test", "R", "share of the rows for the metrics", type=float)
    add_setting("patience", "N", "stop after so many epochs without a better one", type=int)
    add_setting("max_seconds", "S", "stop after this time", type=float)
    add_setting("seed", "N", "same seed, same model", type=int)
    options.add_threads(parser)
    group = parser.add_argument_group("results")
    group.add_argument(
        "--output",
        metavar="FILE",
        default="model.safetensors",
        help="where the model goes; an older one is replaced (default: %(default)s)",
    )
    group.add_argument("--plot", metavar="FILE", help="draw the losses (png, pdf, svg)")
    group.add_argument("--quiet", action="store_true", help="print nothing but errors")
    group.add_argument(
        "--json",
        action="store_true",
        help="print the results as one JSON object; the text goes to standard error",
    )
    options.add_common(parser)


def _setting_of(group: Any, default: TableSettings) -> Any:
    """Return what adds the option of one field of the settings, whose default is the field's."""

    def add(name: str, metavar: str, text: str, **kind: Any) -> None:
        value = getattr(default, name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        absent = "auto" if name == "batch_size" else "none"
        text = f"{text} (default: {absent if value is None else shown})"
        option = f"--{name.replace('_', '-')}"
        group.add_argument(option, metavar=metavar, default=value, help=text, **kind)

    return add


def run(args: Namespace) -> None:
    """Train and save."""
    settings = options.checked(args, _settings, args)
    _check_places(args)
    out = _text_stream(args)
    frame = files.read_table(args.data, infer=True)
    ignored = list(dict.fromkeys(args.ignore))
    plan = training.prepare(frame, args.target, settings, task=args.task, ignore=ignored)
    if out is not None:  # it looks at every value again
        _show(out, report.of_plan(args.data, frame, plan, task=args.task))
    start = time.monotonic()
    result = training.train(plan)
    seconds = time.monotonic() - start
    result.model.save(args.output)  # before anything else can fail
    _show(out, report.of_training(plan, result, seconds))
    _show(out, report.of_metrics(plan, result))
    _show(out, report.of_file(args.output))
    if drawn := bool(args.plot and result.history.n_epochs):
        result.history.plot(args.plot)
        _show(out, [f"drew {report.plain(args.plot)}"])
    if args.json:
        summary = report.as_json(args.data, frame, plan, result, seconds)
        saved = {"output": args.output, "plot": args.plot if drawn else None}
        print(json.dumps(summary | saved, indent=2, allow_nan=False))


def _settings(args: Namespace) -> TableSettings:
    """Return the settings, each of them checked before the table is read."""
    names = {field.name for field in dataclasses.fields(TableSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    if args.learning_rate is not None:
        kind = type(optimizers.resolve(args.optimizer))
        given["optimizer"] = kind(learning_rate=args.learning_rate)
    progress = False if args.quiet else None
    return TableSettings(**given, n_threads=options.threads(args), progress=progress)


def _check_places(args: Namespace) -> None:
    """Refuse what would lose the work of an hour at its end."""
    if args.output == files.STDIO:
        raise options.wrong(args, "must be the name of a file", "output")
    files.check_output(args, "output", args.data)
    files.check_is_model(args, "output")
    if args.plot is None:
        return
    files.check_output(args, "plot", args.data, args.output)
    frames.optional("matplotlib", "plot")
    canvas = importlib.import_module("matplotlib.backend_bases").FigureCanvasBase
    kinds = sorted(canvas.get_supported_filetypes())
    if not any(args.plot.lower().endswith(f".{kind}") for kind in kinds):
        raise options.wrong(args, f"must end in one of {', '.join(kinds)}", "plot")


def _text_stream(args: Namespace) -> TextIO | None:
    if args.quiet:
        return None
    return sys.stderr if args.json else sys.stdout


def _show(out: TextIO | None, lines: Sequence[str]) -> None:
    if out is not None:
        print("\n".join(lines), file=out, flush=True)
