"""Puts this folder on the path, so that tests say `import reference`, `import helpers`."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from model_files import path, saved, watchdog  # noqa: F401  (fixtures)


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts jobs in the background with SIGINT ignored, and children inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # When a property fails, hypothesis imports libcst if it is there, and that may warn.
    ignored = "ignore:mypy_extensions.TypedDict is deprecated:DeprecationWarning"
    config.addinivalue_line("filterwarnings", ignored)
