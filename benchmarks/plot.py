"""One picture a run: dots with their spread by network, or lines along a sweep."""

from __future__ import annotations

from pathlib import Path

from benchmarks.networks import Task
from benchmarks.race import Row, best

COLOURS = {
    "deltarule": "#d62728",
    "deltarule out=": "#ff9896",
    "NumPy": "#7f7f7f",
    "scikit-learn": "#ff7f0e",
    "PyTorch": "#9467bd",
    "PyTorch bf16": "#c5b0d5",
    "JAX": "#1f77b4",
    "ONNX Runtime": "#2ca02c",
}
Result = tuple[Task, list[Row]]


def draw(path: str, results: list[Result], groups: dict[str, list[Result]]) -> None:
    """`groups` are the sweeps by title, drawn into FILE_sweeps; all other results into FILE."""
    try:
        import matplotlib
    except ImportError:
        print("missing: matplotlib, so no plot")
        return
    matplotlib.use("Agg")
    swept = [id(task) for group in groups.values() for task, _ in group]
    plain = [(task, rows) for task, rows in results if id(task) not in swept]
    if plain:
        title = "median, whiskers min to max; each at its better thread count"
        save(Path(path), {title: plain}, dots, 1, 0.8 * len(plain) + 1.5)
    if groups:
        file = Path(path)
        save(file.with_stem(file.stem + "_sweeps"), groups, lines, 2, 3.8)


def save(path: Path, panels: dict[str, list[Result]], kind, n_columns: int, height: float) -> None:
    """One panel a group, one legend below them all."""
    from matplotlib import pyplot

    n_rows = -(-len(panels) // n_columns)
    size = (10 if n_columns == 1 else 12, height * n_rows)
    figure, axes = pyplot.subplots(n_rows, n_columns, figsize=size, squeeze=False)
    handles = {}
    for axis, (title, group) in zip(axes.flat, panels.items(), strict=False):
        kind(axis, group)
        axis.set_title(title, fontsize=10)
        handles |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    n_lines = -(-len(handles) // 5)
    figure.legend(handles.values(), handles, loc="lower center", ncols=min(len(handles), 5))
    figure.tight_layout(rect=(0, (0.1 + 0.25 * n_lines) / size[1], 1, 1))
    figure.savefig(path, dpi=140)
    pyplot.close(figure)
    print(f"plot: {path}")


def times(axis) -> None:
    """Label a logarithmic axis with 1 µs, 10 µs ..."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 3) if narrow(axis) else (1,)))
    axis.set_major_formatter(EngFormatter(unit="s"))
    axis.set_minor_formatter(NullFormatter())


def narrow(axis) -> bool:
    low, high = axis.get_view_interval()
    return high < 300 * low


def better(rows: list[Row]) -> dict[str, Row]:
    """Each contender at its better thread count."""
    names = dict.fromkeys(row.contender for row in rows)
    found = {name: best([row for row in rows if row.contender == name]) for name in names}
    return {name: row for name, row in found.items() if row is not None}


def style(name: str) -> dict:
    ours = name.startswith("deltarule")
    return {
        "color": COLOURS.get(name, "#8c564b"),
        "label": name,
        "marker": "D" if ours else "o",
        "markersize": 7 if ours else 5.5,
        "zorder": 3 if ours else 2,
        "capsize": 2,
    }


def spread(row: Row) -> list[list[float]]:
    return [[row.median - min(row.seconds)], [max(row.seconds) - row.median]]


def dots(axis, group: list[Result]) -> None:
    """Time along a logarithmic axis, one line a task, contenders slightly apart."""
    for y, (_, rows) in enumerate(group):
        found = list(better(rows).items())
        axis.axhspan(y - 0.5, y + 0.5, color="#f4f4f4" if y % 2 else "white", zorder=0)
        for i, (name, row) in enumerate(found):
            offset = 0.6 * ((i + 0.5) / len(found) - 0.5)
            axis.errorbar([row.median], [y + offset], xerr=spread(row), linestyle="", **style(name))
    labels = [task.describe().replace(", ", "\n", 1) for task, _ in group]
    axis.set_yticks(range(len(group)), labels, fontsize=8)
    axis.set_ylim(len(group) - 0.5, -0.5)
    axis.set_xscale("log")
    times(axis.xaxis)
    axis.set_xlabel("time per " + ("step" if group[0][0].mode in ("train", "step") else "call"))
    axis.grid(axis="x", alpha=0.4)


def lines(axis, group: list[Result]) -> None:
    """Time against the label of each task, which is the swept number."""
    names = dict.fromkeys(name for _, rows in group for name in better(rows))
    for name in names:
        points = [(float(task.label), better(rows).get(name)) for task, rows in group]
        points = [(x, row) for x, row in points if row is not None]
        sides = zip(*(spread(row) for _, row in points), strict=True)
        errors = [[below_or_above for (below_or_above,) in side] for side in sides]
        x, y = [x for x, _ in points], [row.median for _, row in points]
        axis.errorbar(x, y, yerr=errors, **style(name))
    ticks = [float(task.label) for task, _ in group]
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    times(axis.yaxis)
    axis.set_ylabel("time per step")
    axis.grid(alpha=0.4)
