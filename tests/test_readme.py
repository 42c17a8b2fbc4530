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


def test_first_command_prints_what_it_says(tmp_path):
    """The part after the installation; the last digits depend on the CPU level."""
    command = re.search(r"```sh\n(.*?)\n```", README, re.DOTALL).group(1)
    fit, predict = (part.split() for part in command.split(" && ")[-2:])
    root = Path(__file__).parent.parent
    outputs = []
    for each in (fit, predict):
        arguments = [str(root / word) if word.startswith("examples/") else word for word in each]
        run = [sys.executable, "-m", "deltarule", *arguments[1:]]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    said = re.findall(r"```text\n(.*?)```", README, re.DOTALL)[0]
    model, baseline = map(float, re.findall(r"\d\.\d+", said))
    printed = re.search(r"accuracy +(\S+) +(\S+)", outputs[0])
    assert float(printed[1]) == pytest.approx(model, abs=0.05)
    assert float(printed[2]) == baseline
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 345
