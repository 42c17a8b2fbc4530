"""Pictures of a history: what is drawn where, and what saving one leaves behind."""

import sys

import numpy as np
import pytest

import deltarule as dr
from helpers import dense, problem, run_python

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def plt():
    """Pyplot without windows; afterwards no figure is open."""
    pytest.importorskip("matplotlib")
    from matplotlib import pyplot

    old = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield pyplot
    pyplot.close("all")
    pyplot.switch_backend(old)


def history(**columns):
    return dr.History(columns)


def curves(ax):
    """The curves of one panel by their labels, the line of the best epoch apart."""
    lines = {line.get_label(): line for line in ax.get_lines()}
    return {label: line for label, line in lines.items() if not label.startswith("best")}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_real_run(plt):
    net = dense((3, 6, 2), ("tanh", "identity"))
    run = net.fit(
        *problem(), epochs=30, validation_data=problem(20, seed=1), metrics=["rmse", "r2"]
    )
    first = run.plot()
    panels = first.figure.axes
    assert first is panels[0]
    assert [ax.get_ylabel() for ax in panels] == ["loss", "rmse", "r2"]
    assert [ax.get_xlabel() for ax in panels] == ["", "", "epoch"]
    assert legend(first) == ["training", "validation", f"best epoch: {run.best_epoch}"]
    for ax, key in zip(panels, ("loss", "rmse", "r2"), strict=True):
        assert list(curves(ax)) == ["training", "validation"]
        for line, name in zip(curves(ax).values(), (key, f"val_{key}"), strict=True):
            assert np.array_equal(line.get_xdata(), np.arange(1, 31))
            assert np.array_equal(line.get_ydata(), run[name])
        best = ax.get_lines()[-1]
        assert list(best.get_xdata()) == [run.best_epoch] * 2
    colours = [[line.get_color() for line in ax.get_lines()] for ax in panels]
    assert colours[0] == colours[1] == colours[2]
    assert plt.get_fignums() == [first.figure.number]


def test_without_validation_and_metrics_there_is_one_panel(plt):
    ax = history(loss=[3.0, 1.0, 2.0], seconds=[1.0, 1.0, 1.0]).plot()
    assert ax.figure.axes == [ax]
    assert legend(ax) == ["training", "best epoch: 2"]
    assert ax.get_xlabel() == "epoch"


@pytest.mark.parametrize("name", ["p.png", "p.svg", "p.pdf"])
def test_saving(tmp_path, name, plt):
    before = plt.get_fignums()
    ax = history(loss=[3.0, 1.0], accuracy=[0.1, 0.7]).plot(tmp_path / name)
    assert ax.get_ylabel() == "loss"
    assert plt.get_fignums() == before
    start = (tmp_path / name).read_bytes()[:100]
    assert start.startswith({"p.png": b"\x89PNG", "p.svg": b"<?xml", "p.pdf": b"%PDF"}[name])


def test_a_format_that_matplotlib_does_not_know(tmp_path, plt):
    with pytest.raises(ValueError, match="xyz"):
        history(loss=[3.0, 1.0]).plot(tmp_path / "p.xyz")


def test_saving_does_not_touch_pyplot_or_the_backend(tmp_path):
    pytest.importorskip("matplotlib")
    modules = run_python(
        """
        import json, sys
        import deltarule as dr
        dr.History({"loss": [3.0, 1.0]}).plot(sys.argv[1])
        print(json.dumps(sorted(sys.modules)))
        """,
        tmp_path / "p.png",
    )
    assert "matplotlib" in modules
    assert "matplotlib.pyplot" not in modules


def test_a_picture_is_drawn_into_axes_of_the_users_own(plt):
    figure, (left, right) = plt.subplots(1, 2)
    run = history(loss=[3.0, 1.0, 2.0], val_loss=[3.0, 2.0, 1.0], r2=[0.1, 0.2, 0.3])
    assert run.plot(ax=right) is right
    assert figure.axes == [left, right]
    assert not left.get_lines()
    assert legend(right) == ["training", "validation", "best epoch: 3"]
    assert (right.get_xlabel(), right.get_ylabel()) == ("epoch", "loss")
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([20.0, 1.0], "linear"),
        ([20.1, 1.0], "log"),
        ([1e9, 1e-9], "log"),
        ([1e-9, 3e-9], "linear"),
        ([20.1, 1.0, 0.0], "linear"),
        ([20.1, -1.0], "linear"),
        ([20.1, NAN, 1.0], "log"),
        ([INF, 2.0, 1.0], "linear"),
    ],
)
def test_the_scale_of_the_losses(plt, values, scale):
    ax = history(loss=values, accuracy=values).plot()
    ax.figure.canvas.draw()
    assert [each.get_yscale() for each in ax.figure.axes] == [scale, "linear"]


def test_a_validation_loss_counts_for_the_scale(plt):
    assert history(loss=[1.0, 1.0], val_loss=[1.0, 30.0]).plot().get_yscale() == "log"


def test_few_epochs_and_those_between_gaps_are_points(plt):
    def marker(values):
        (line,) = curves(history(loss=values).plot()).values()
        return line.get_marker()

    assert marker([1.0]) == "."
    assert marker(list(range(1, 21))) == "."
    assert marker(list(range(1, 22))) == "None"
    assert marker([*range(1, 22), NAN, 1.0, NAN]) == "."
    assert marker([*range(1, 22), NAN, 1.0, 2.0]) == "None"


def test_keys_that_are_there_in_part(plt):
    run = history(loss=[NAN, INF], val_rmse=[1.0, 2.0], val_r2=[NAN, NAN], r2=[0.1, NAN])
    panels = {ax.get_ylabel(): list(curves(ax)) for ax in run.plot().figure.axes}
    assert panels == {"val_rmse": ["training"], "r2": ["training"]}
    run = history(val_loss=[2.0, 1.0], rmse=[1.0, 2.0])
    panels = {ax.get_ylabel(): list(curves(ax)) for ax in run.plot().figure.axes}
    assert panels == {"loss": ["validation"], "rmse": ["training"]}


@pytest.mark.parametrize("columns", [{}, {"loss": []}, {"loss": [NAN]}, {"seconds": [1.0]}])
def test_nothing_to_plot(plt, tmp_path, columns):
    with pytest.raises(ValueError, match="no epoch was finished"):
        history(**columns).plot(tmp_path / "p.png")
    assert not list(tmp_path.iterdir())


def test_wrong_arguments(plt, tmp_path):
    run = history(loss=[1.0])
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes, got str"):
        run.plot(ax="left")
    figure, ax = plt.subplots()
    with pytest.raises(TypeError, match="got Figure"):
        run.plot(ax=figure)
    with pytest.raises(ValueError, match="path or ax, not both"):
        run.plot(tmp_path / "p.png", ax=ax)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'deltarule\[plot\]'"):
        history(loss=[1.0]).plot()
