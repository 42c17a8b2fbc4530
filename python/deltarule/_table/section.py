"""The table section of a model file: columns, target and record as JSON and back, all checked."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from deltarule._errors import ModelFileError
from deltarule._layers import Embedding
from deltarule._settings import shown
from deltarule._table.columns import Boolean, Category, Column, Number
from deltarule._table.encoder import Encoder
from deltarule._table.model import TableModel
from deltarule._table.target import Amount, Classes, Label, Target

if TYPE_CHECKING:
    from deltarule._network import Network

Json = dict[str, Any]

MAX_BYTES = 15 * 2**20  # of the header's 16 MiB


def describe(model: TableModel) -> Json:
    """Return what a model file keeps of a model, besides its network."""
    return {
        "columns": [_encode_column(column) for column in model._encoder.columns],
        "target": _encode_target(model._target),
        "record": model.record,
    }


def check_size(model: TableModel) -> None:
    """Refuse, before training, levels that take more than the header of a model file can hold."""
    section = describe(model)
    text = json.dumps(json.dumps(section))  # the header is JSON within JSON
    if len(text) > MAX_BYTES:
        largest = max(section["columns"], key=lambda entry: len(json.dumps(entry)))
        raise ValueError(
            f"the texts in the table need {len(text) / 2**20:.0f} MiB of a model file, which has "
            f"{MAX_BYTES / 2**20:.0f}: leave out (ignore) {largest['name']!r}, the largest column"
        )


def _encode_column(column: Column) -> Json:
    entry: Json = {"kind": column.kind, "name": column.name, "missing": column.missing}
    if isinstance(column, Number):
        entry |= {"center": column.center, "factor": column.factor}
    if isinstance(column, Category):
        entry |= {"levels": list(column.levels)}
    return entry


def _encode_target(target: Target) -> Json:
    entry: Json = {"kind": target.kind, "name": target.name}
    return entry if isinstance(target, Amount) else entry | {"labels": list(target.labels)}


def rebuild(section: Any, network: Network) -> TableModel:
    """Return the model of a file's table section, or refuse what does not fit."""
    _check_keys("the table section", section, {"columns", "target", "record"})
    entries, record = section["columns"], section["record"]
    ignored = record.get("ignored", []) if isinstance(record, dict) else None
    if not isinstance(entries, list) or not isinstance(ignored, list):
        raise ModelFileError("has a damaged table section")
    columns = tuple(_decode_column(entry) for entry in entries)
    if len({column.name for column in columns}) < max(len(columns), 1):
        raise ModelFileError("has a table section without columns, or with one name twice")
    for name in ignored:
        _text(name)
    encoder, target = Encoder(columns), _decode_target(section["target"])
    if (encoder.width, target.width) != (network.n_inputs, network.n_outputs):
        raise ModelFileError("has a table section that does not fit the widths of the network")
    first = network.layers[0].settings
    if encoder.embedding() != (first if isinstance(first, Embedding) else None):
        raise ModelFileError("has a table section that does not fit the network's embedding")
    return TableModel(encoder, target, network, record)


def _decode_column(entry: Any) -> Column:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    keys = {"kind", "name", "missing"}
    if kind == "number":
        _check_keys("a number column", entry, keys | {"center", "factor"})
        center, factor = _real(entry["center"]), _real(entry["factor"])
        return Number(_text(entry["name"]), center, factor, missing=_flag(entry["missing"]))
    if kind == "boolean":
        _check_keys("a boolean column", entry, keys)
        return Boolean(_text(entry["name"]), missing=_flag(entry["missing"]))
    if kind != "category":
        raise ModelFileError(f"has an unknown kind of column: {shown(entry)}")
    _check_keys("a category column", entry, keys | {"levels"})
    name, levels = _text(entry["name"]), _distinct(entry["levels"])
    return Category(name, tuple(map(_text, levels)), missing=_flag(entry["missing"]))


def _decode_target(entry: Any) -> Target:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if kind == "number":
        _check_keys("the target", entry, {"kind", "name"})
        return Amount(_text(entry["name"]))
    _check_keys("the target", entry, {"kind", "name", "labels"})
    labels: list[Label] = _distinct(entry["labels"])
    labels = [_text(label) if isinstance(label, str) else label for label in labels]
    of_one_type = len({type(label) for label in labels}) == 1
    if kind != "classes" or not of_one_type or type(labels[0]) not in (str, int, float, bool):
        raise ModelFileError(f"has a damaged target: {shown(entry)}")
    return Classes(_text(entry["name"]), tuple(labels))


def _check_keys(name: str, entry: Any, keys: set[str]) -> None:
    if not isinstance(entry, dict) or entry.keys() != keys:
        raise ModelFileError(f"has other keys in {name} than {', '.join(sorted(keys))}")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ModelFileError(f"has {shown(value)} in its table section, where text belongs")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half a character: JSON can spell it, nothing can print it
        raise ModelFileError(f"has damaged text in its table section: {value!a}") from error
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ModelFileError(
            f"has {shown(value)} in its table section, where true or false belongs"
        )
    return value


def _real(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ModelFileError(f"has {shown(value)} in its table section, where a number belongs")
    return float(value)


def _distinct(values: Any) -> list[Any]:
    kinds = (str, int, float, bool)
    if not isinstance(values, list) or not all(isinstance(value, kinds) for value in values):
        raise ModelFileError(f"has {shown(values)} in its table section, where a list belongs")
    if len(set(values)) < len(values):
        raise ModelFileError("has a table section that lists a value twice")
    return values
