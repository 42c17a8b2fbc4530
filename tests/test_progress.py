"""What a training shows: a bar on a terminal of any width, a few lines in a file."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from functools import partial

import numpy as np
import pytest

import deltarule as dr
from deltarule import _progress

SOURCE = """
import sys
import numpy as np
import deltarule as dr
X = np.linspace(-1, 1, 3000).reshape(-1, 1)
net = dr.Network([1, 48, 48, 1], seed=0)
net.fit(X, X**2, epochs=int(sys.argv[1]), validation_fraction=0.2, tol=float(sys.argv[2]),
        patience=2, progress=eval(sys.argv[3]))
"""


def on_a_terminal(columns, epochs=40, tol=0.0, progress=None):
    """Returns the states that a terminal of some width showed, one after another."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", SOURCE, str(epochs), str(tol), str(progress)]
    process = subprocess.Popen(command, stdout=follower, stderr=follower, stdin=follower)
    os.close(follower)
    received = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        received += data
    os.close(leader)
    assert process.wait() == 0, received
    return received.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [120, 80, 40, 20])
def test_on_a_terminal(columns):
    text = on_a_terminal(columns)
    assert text.count("\n") == 1  # one line, redrawn; at the end it stays
    assert text.endswith("\n")
    assert "\x1b" not in text
    states = [state for state in text.strip("\n").split("\r") if state.strip()]
    assert all(len(state) < columns for state in states)
    last = states[-1]
    assert re.match(r"(epoch )?\d+/40 +\d+%", last)
    if columns >= 40:
        assert re.search(r" loss \S+", last)
    if columns >= 80:
        pattern = r" val(_loss)? \S+ +(converged +)?\d\d:\d\d<\d\d:\d\d +lr \S+"
        assert re.search(pattern, last)


def test_silence_if_it_is_asked_for():
    assert on_a_terminal(80, epochs=2, progress=False) == ""


def in_a_file(capsys, epochs, progress=True, **settings):
    X = np.linspace(-1, 1, 200).reshape(-1, 1)
    net = dr.Network([1, 8, 1], seed=0)
    net.fit(X, X**2, epochs=epochs, progress=progress, **settings)
    return capsys.readouterr().err


def test_in_a_file(capsys):
    text = in_a_file(capsys, 20_000, validation_fraction=0.2)
    assert "\r" not in text
    assert "\x1b" not in text
    lines = text.splitlines()
    assert 1 <= len(lines) <= 11
    pattern = r"epoch +(\d+)/20000 +(\d+)%  loss \S+ +val_loss \S+ +\d\d:\d\d<\d\d:\d\d +lr \S+"
    epochs = [int(re.fullmatch(pattern, line)[1]) for line in lines]
    assert epochs == sorted({*epochs})
    assert epochs[-1] == 20_000
    assert in_a_file(capsys, 3, progress=None) == ""  # nobody asked


def test_a_short_training_in_a_file_is_one_line(capsys):
    (line,) = in_a_file(capsys, 3).splitlines()
    assert re.match(r"epoch 3/3  100%  loss ", line)


def test_why_it_stopped_is_said(capsys):
    X = np.linspace(-1, 1, 64).reshape(-1, 1)
    net = dr.Network([1, 4, 1], seed=0)
    net.fit(X, X, epochs=100, tol=100.0, patience=3, progress=True)
    assert capsys.readouterr().err.splitlines()[-1].count("  converged  ") == 1
    text = on_a_terminal(120, tol=100.0)
    assert "  converged  " in text.rstrip("\n").split("\r")[-1]


def test_nothing_to_train(capsys):
    (line,) = in_a_file(capsys, 0).splitlines() or [""]
    assert line == ""


def test_without_stderr(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    X = np.ones((4, 1))
    for progress in (None, True):
        dr.Network([1, 1], seed=0).fit(X, X, epochs=2, progress=progress)


class Wrapper:
    """What stands in for stderr and passes on what is written, as to a logger."""

    def __init__(self):
        self.text = io.StringIO()
        self.write, self.flush = self.text.write, self.text.flush


def test_a_stderr_that_cannot_say_if_it_is_a_terminal(monkeypatch):
    X = np.ones((4, 1))
    for progress, n_lines in ((None, 0), (True, 1)):
        monkeypatch.setattr(sys, "stderr", wrapper := Wrapper())
        dr.Network([1, 1], seed=0).fit(X, X, epochs=2, progress=progress)
        assert wrapper.text.getvalue().count("\n") == n_lines


def test_a_terminal_of_unknown_width(monkeypatch):
    monkeypatch.setattr(sys, "stderr", wrapper := Wrapper())
    wrapper.isatty = lambda: True
    X = np.ones((4, 1))
    dr.Network([1, 1], seed=0).fit(X, X, epochs=2)
    last = wrapper.text.getvalue().rstrip("\n").split("\r")[-1]
    assert last.startswith("epoch 2/2 100%")
    assert len(last) < 80


def drawn(monkeypatch, columns, epoch, numbers, percent=50):
    """Returns the line of a bar, with # for the bar."""
    monkeypatch.setattr(_progress, "_columns", lambda: columns)
    bar = _progress._Bar.__new__(_progress._Bar)
    bar._in_notebook = False
    text = bar._format(_progress.State(percent, 100, epoch, numbers))
    return re.sub(r"\{bar:(\d+)\}", lambda match: "#" * int(match[1]), text)


@pytest.mark.parametrize("columns", range(10, 130, 3))
def test_no_line_is_wider_than_its_terminal(columns, monkeypatch):
    """The most telling first: epoch, loss, validation loss, time, learning rate."""
    numbers = {
        "loss": "loss 0.01234",
        "val_loss": "val_loss 1.234e-05",
        "time": "1:00:03<10:00:00",
        "lr": "lr 0.001",
    }
    shown = drawn(monkeypatch, columns, "epoch 50/100", numbers)
    assert len(shown) < max(columns, len("50/100  50%") + 1)
    assert re.match(r"(epoch )?50/100  50%", shown)
    there = [
        text in shown for text in ("loss 0.01234", "1.234e-05", "1:00:03<10:00:00", "lr 0.001")
    ]
    assert there == sorted(there, reverse=True)
    assert there[0] == (columns >= 25)
    assert all(there) == (columns >= 65)
    assert ("#" in shown) <= all(there)
    assert columns < 100 or "#####" in shown


def test_numbers_come_before_the_bar(monkeypatch):
    """Small losses of a long training; the last epoch moves nothing."""
    numbers = {
        "loss": "loss 1.234e-05",
        "val_loss": "val_loss 1.234e-05",
        "time": "00:12<00:34",
        "lr": "lr 0.00025",
    }
    narrow = "loss 1.234e-05 val 1.234e-05 00:12<00:34"
    for percent, epoch in ((0, "   1"), (50, " 500"), (100, "1000")):
        start = f"{epoch}/1000 {percent:3d}%"
        see = partial(
            drawn, monkeypatch, epoch=f"epoch {start[:9]}", numbers=numbers, percent=percent
        )
        assert see(80) == f"{start} {'#' * 12} {narrow} lr 0.00025"
        assert see(70) == f"{start} {narrow} lr 0.00025"
        assert see(60) == f"{start} {narrow}"


def test_a_learning_rate_is_shown():
    history = dr.History({"loss": [0.5], "val_loss": [0.25]})
    now = {"epoch": 1, "position": 5, "loss": 0.125, "learning_rate": 0.00025}
    progress = _progress.Progress.__new__(_progress.Progress)
    progress._epochs, progress._rows, progress._start, progress._first = 4, 10, 0.0, 0
    state = progress._state(now, history)
    assert state.epoch == "epoch 2/4"
    progress._epochs = 1000
    assert progress._state(now, history).epoch == "epoch    2/1000"
    assert (state.done, state.total, state.percent) == (15, 40, " 37%")
    assert [*state.numbers] == ["loss", "val_loss", "time", "lr"]
    assert state.numbers["loss"].strip() == "loss 0.125"
    assert state.numbers["val_loss"].strip() == "val_loss 0.25"
    assert state.numbers["lr"] == "lr 0.00025"


def test_a_bar_in_a_notebook(monkeypatch):
    """The widget's own bar, between texts of any width."""
    bar = _progress._Bar.__new__(_progress._Bar)
    bar._in_notebook = True
    state = _progress.State(50, 100, "epoch 50/100", {"loss": "loss 0.1", "time": "00:01<00:01"})
    assert bar._format(state) == "epoch 50/100  50% {bar}  loss 0.1  00:01<00:01"
