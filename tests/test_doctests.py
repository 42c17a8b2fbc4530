"""The examples in the docstrings of the installed package, and on the page about training."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import deltarule

PYTHON_MODULES = [
    info.name
    for info in pkgutil.iter_modules(deltarule.__path__, "deltarule.")
    if not info.name.startswith(("deltarule._core", "deltarule._cpu"))
]


def test_there_are_modules():
    assert "deltarule._network" in PYTHON_MODULES


@pytest.mark.parametrize("name", ["deltarule", *PYTHON_MODULES])
def test_examples_in_docstrings(name):
    if name in ("deltarule._history", "deltarule._passes"):
        pytest.importorskip("matplotlib")  # History.plot, Network.plot_flow
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_examples_in_docs():
    page = Path(__file__).parent.parent / "docs" / "training.md"
    failed, attempted = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert failed == 0
    assert attempted > 10
