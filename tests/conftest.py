"""Puts this folder on the path, so that tests say `import reference`, `import helpers`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model_files import path, saved, watchdog  # noqa: F401  (fixtures)


def pytest_configure(config: pytest.Config) -> None:
    # When a property fails, hypothesis imports libcst if it is there, and that may warn.
    ignored = "ignore:mypy_extensions.TypedDict is deprecated:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)
