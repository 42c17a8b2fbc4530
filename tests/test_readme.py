"""The README's example prints what the README says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_example_prints_what_it_says(tmp_path):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    said = re.findall(r"```text\n(.*?)```", README, re.DOTALL)[1]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    printed_first, printed_metrics = run.stdout.splitlines()
    said_first, said_metrics = said.splitlines()
    assert printed_first == said_first
    # The last digits depend on the CPU level, and training makes more of them.
    assert ast.literal_eval(printed_metrics) == pytest.approx(
        ast.literal_eval(said_metrics), rel=0.02
    )
    assert (tmp_path / "diabetes.safetensors").exists()
