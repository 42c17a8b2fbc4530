"""``deltarule info``: what a model file holds, or what this installation is."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltarule import _file
from deltarule._cli import files, options
from deltarule._cli.report import plain
from deltarule._dispatch import build_info
from deltarule._model_file import load
from deltarule._network import Network
from deltarule._training import Trainer

if TYPE_CHECKING:
    from deltarule._table.columns import Column
    from deltarule._table.model import TableModel

_MORE = """\
Shows the network, how the columns of a table become its inputs, how it was trained, and the
checksum of the file; without MODEL, what this installation of deltarule is."""

_EXAMPLE = "  deltarule info model.safetensors"
_MOST = 60  # characters of the levels of a category
_RECORD = ("rows", "optimizer", "batch_size", "seed", "epochs", "best_epoch", "stopped_by")


def add_to(commands: Any) -> None:
    """Add the sub-command."""
    parser = options.command(
        commands,
        "info",
        run,
        summary="look into a model, or at this installation",
        more=_MORE,
        example=_EXAMPLE,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a model file or a checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options.add_common(parser)


def run(args: Namespace) -> None:
    """Print what is known."""
    if args.model is None:
        build = build_info()
        print(_json(build) if args.json else "\n".join(_pairs(build)))
        return
    metadata, _ = _file.read_with_checksum(args.model)
    # Either checks all that is in the file.
    model = Trainer.resume(args.model).network if "trainer" in metadata else load(args.model)
    metadata = {"file": args.model, "bytes": Path(args.model).stat().st_size} | metadata
    if args.json:
        print(_json(metadata))
        return
    lines = _of_file(args.model, metadata)
    if isinstance(model, Network):
        lines += ["", model.summary()]
        lines += _of_trainer(metadata["trainer"]) if "trainer" in metadata else []
    else:
        lines += ["", model.network.summary(), *_of_table(model), *_of_record(model.record)]
    print("\n".join(lines))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False)


def _pairs(values: Any) -> list[str]:
    width = max(map(len, values), default=0)
    return [f"{key:<{width}}  {plain(value)}" for key, value in values.items()]


def _of_file(path: str, metadata: Any) -> list[str]:
    kind = "a network"
    if "table" in metadata:
        kind = "a model of tables"
    elif "trainer" in metadata:
        kind = "a checkpoint: a network and its trainer"
    return [
        f"{plain(path)}: {kind}, {files.size(path)}",
        f"  format    {metadata['format']}, saved by deltarule {plain(metadata['version'])} "
        f"at CPU level {plain(metadata['cpu_level'])}",
        f"  checksum  sha256 {metadata['sha256']} (matches)",
        f"  seed      {metadata['seed']}, after {metadata['n_steps']:,} steps of training",
    ]


def _of_trainer(section: Any) -> list[str]:
    loss, optimizer = dict(section["loss"]), dict(section["optimizer"])
    scalars = section["scalars"]
    return [
        "",
        "trainer",
        f"  loss       {_call(loss)}",
        f"  optimizer  {_call(optimizer)}",
        f"  progress   {scalars['epoch']} epochs, {scalars['step']:,} steps",
        "  go on      deltarule.Trainer.resume(path), in Python",
    ]


def _call(settings: dict[str, Any]) -> str:
    name = settings.pop("name")
    return f"{name}({', '.join(f'{key}={value}' for key, value in settings.items())})"


def _of_table(model: TableModel) -> list[str]:
    columns = model._encoder.columns
    lines = ["", f"columns: {len(columns)}, as {model.network.n_inputs} inputs of the network"]
    names = [plain(column.name) for column in columns]
    width = min(max(map(len, names)), 32)
    for name, column in zip(names, columns, strict=True):
        lines.append(f"  {name:<{width}}  {column.kind:<8}  {_encoding(column)}")
    lines += ["", f"target: {plain(model.target)}, {_of_target(model)}"]
    return lines


def _encoding(column: Column) -> str:
    from deltarule._table.columns import Category, Number
    from deltarule._table.encoder import DIMENSION

    if isinstance(column, Category):
        if column.embedded:
            return f"{len(column.levels):,} levels, each a vector of {DIMENSION} learned numbers"
        levels = [plain(level) for level in column.levels] + ["missing"] * column.missing
        text = ", ".join(levels)
        text = text if len(text) <= _MOST else text[:_MOST] + "…"
        return f"one input for each of {len(levels)} levels: {text}" if levels else "not used"
    missing = "; missing: 0 and an indicator" if column.missing else "; missing: 0"
    if not isinstance(column, Number):
        return f"-1 or 1{missing}"
    if not column.factor:
        return f"0, being always the same in training{missing if column.missing else ''}"
    return f"(x - {column.center:.6g}) / {1 / column.factor:.6g}, clipped{missing}"


def _of_target(model: TableModel) -> str:
    if model.classes is None:
        return "a number"
    labels = ", ".join(plain(label) for label in model.classes.tolist())
    labels = labels if len(labels) <= _MOST else labels[:_MOST] + "…"
    return f"{len(model.classes)} classes: {labels}"


def _of_record(record: dict[str, Any]) -> list[str]:
    """Return the training record; it may come from a file of any origin, so nothing is expected."""
    lines = []
    known = [key for key in _RECORD if key in record]
    for key in dict.fromkeys([*known, *record]):
        value = record[key]
        if isinstance(value, dict):
            value = ", ".join(f"{name} {_short(each)}" for name, each in value.items())
        lines.append(f"  {plain(key):<12}{plain(_short(value))}")
    return ["", "training", *lines] if lines else []


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
