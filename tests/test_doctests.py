"""The examples in the docstrings of the installed package."""

import doctest
import importlib
import pkgutil

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
    if name == "deltarule._history":
        pytest.importorskip("matplotlib")  # History.plot
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0
