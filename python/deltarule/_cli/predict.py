"""``deltarule predict``: one prediction for every row of a table, in their order."""

from __future__ import annotations

import io
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule import _atomic
from deltarule._cli import files, options
from deltarule._errors import ModelFileError
from deltarule._model_file import load
from deltarule._network import Network
from deltarule._table import frames

if TYPE_CHECKING:
    from deltarule._table.model import TableModel

_MORE = """\
DATA needs the columns that the model was trained on, in any order; others are named and not used.
The result has one row for every row of DATA, in their order, and one column with the name of the
target. --proba adds a column for every class: species=Adelie holds the probability of Adelie."""

_EXAMPLE = "  deltarule predict model.safetensors new.csv --output predictions.csv"
_SUFFIXES = (".csv", ".parquet")


def add_to(commands: Any) -> None:
    """Add the sub-command."""
    parser = options.command(
        commands, "predict", run, summary="predict with a model", more=_MORE, example=_EXAMPLE
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="a file that deltarule fit saved")
    add("data", metavar="DATA", help="a CSV or Parquet file, or - for standard input")
    add("--output", metavar="FILE", help="a .csv or .parquet file (default: CSV to the terminal)")
    add("--proba", action="store_true", help="add the probability of every class")
    options.add_threads(parser)
    options.add_common(parser)


def run(args: Namespace) -> None:
    """Predict and write."""
    n_threads = options.threads(args)
    _check_output(args)
    model = _load(args)
    frame = files.read_table(args.data, infer=False)
    table = _predictions(model, frame, n_threads, proba=args.proba)
    used = {*model.columns, model.target, *model.record.get("ignored", [])}
    if extra := [name for name in frame.columns if name not in used]:
        print(f"deltarule: columns not used: {frames.listed(extra)}", file=sys.stderr)
    content = io.BytesIO()
    if args.output is not None and args.output.lower().endswith(".parquet"):
        table.write_parquet(content)
    else:
        table.write_csv(content)
    if args.output is None:
        sys.stdout.buffer.write(content.getbuffer())
    else:
        _atomic.replace_file(args.output, [content.getbuffer()])


def _check_output(args: Namespace) -> None:
    if args.output is None:
        return
    if Path(args.output).suffix.lower() not in _SUFFIXES:
        message = f"must end in .csv or .parquet, got {args.output!r}"
        raise options.wrong(args, message, "output")
    files.check_output(args, "output", args.model, args.data)


def _load(args: Namespace) -> TableModel:
    model = load(args.model)
    if isinstance(model, Network):
        raise ModelFileError(
            f"{args.model!r} is a bare network, which takes matrices: only a model that deltarule "
            "fit saved knows what to do with a table"
        )
    if args.proba and model.classes is None:
        raise options.wrong(args, f"{model.target!r} is a number, without classes", "proba")
    return model


def _predictions(model: TableModel, frame: Any, n_threads: int | None, *, proba: bool) -> Any:
    polars = frames.optional("polars", "cli")
    if not proba:
        return polars.DataFrame({model.target: model.predict(frame, n_threads=n_threads)})
    probabilities = model.predict_proba(frame, n_threads=n_threads)
    classes: Any = model.classes
    columns = {model.target: classes[np.argmax(probabilities, axis=1)]}
    for label, column in zip(classes.tolist(), probabilities.T, strict=True):
        name = str(label).lower() if isinstance(label, bool) else label  # as polars writes them
        columns[f"{model.target}={name}"] = np.ascontiguousarray(column)
    return polars.DataFrame(columns)
