"""The command line and bad input: one line on stderr, the exit code, no traceback."""

import os
import re
import subprocess
import sys
import warnings

import polars as pl
import pytest

import deltarule as dr
from cli_helpers import FAST, fit, only, refused, run, table, write
from deltarule._table import training
from helpers import run_python


def deltarule(*arguments, stdin=b"", env=None, **streams):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "deltarule", *map(str, arguments)],
        input=stdin, stderr=subprocess.PIPE, timeout=120, check=False,
        env={**os.environ, **(env or {})}, **{"stdout": subprocess.PIPE, **streams},
    )  # fmt: skip


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data.csv", only(table(), "kind"))


def rows(n, line):
    return "".join(f"{line(i)}\n" for i in range(n))


BAD_TABLES = {
    "empty": ("", "is empty"),
    "only line ends": ("\r\n\r\n", "is empty"),
    "header only": ("a,y\n", "the table has no rows: at least 10"),
    "one row": ("a,y\n1,2.5\n", "only 1 row: at least 10"),
    "few rows": ("a,y\n" + rows(9, lambda i: f"{i},{i / 2}"), "only 9 rows: at least 10"),
    "few targets": (
        "a,y\n" + rows(20, lambda i: f"{i},{i if i < 5 else ''}"),
        "5 of 20 rows .* at least 10",
    ),
    "no column": ("name,y\n" + rows(20, lambda i: f"n{i}.x,{i}"), "no column teaches anything"),
    "no target": ("a,b\n" + rows(20, lambda i: f"{i},{i}"), "no column 'y'; it has 'a', 'b'"),
    "one column": ("y\n" + rows(20, lambda i: i / 2), "no columns to learn from"),
    "name twice": ("a,a,y\n" + rows(20, lambda i: f"{i},{i},{i}"), "two columns .* name 'a'"),
    "no name": ("a,,y\n" + rows(20, lambda i: f"{i},{i},{i}"), "column 2 has no name"),
    "target constant": ("a,y\n" + rows(20, lambda i: f"{i},3.5"), "3.5 in every row"),
    "target missing": ("a,y\n" + rows(20, lambda i: f"{i},"), "'y' is missing in every row"),
    "target all different": ("a,y\n" + rows(20, lambda i: f"{i},t{i}"), "labels must repeat"),
    "dates": ("a,y\n" + rows(20, lambda i: f"2024-01-{i + 1:02},{i / 2}"), "'a' holds dates"),
    "too many fields": ("a,y\n" + rows(20, lambda i: f"{i},{i / 2},7"), "more fields"),
    "open quote": ("a,y\n" + rows(20, lambda i: f"{i},{i / 2}") + '"x,1\n', "quoted field"),
    "infinite": ("a,y\n" + rows(20, lambda i: f"{i if i != 4 else 'inf'},{i / 2}"), "'a', row 5"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables(tmp_path, name):
    content, message = BAD_TABLES[name]
    (tmp_path / "data.csv").write_text(content)
    model = tmp_path / "model.safetensors"
    said = refused("fit", tmp_path / "data.csv", "--target", "y", *FAST, "--output", model)
    assert re.search(message, said), said
    assert not model.exists()


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "data.csv").write_bytes("a,y\nM\u00fcnchen,1\n".encode("latin-1") * 20)
    assert "not UTF-8" in refused("fit", tmp_path / "data.csv", "--target", "y")
    (tmp_path / "data.parquet").write_bytes(b"PAR1 and then something else")
    assert "cannot be read" in refused("fit", tmp_path / "data.parquet", "--target", "y")


def test_nested_columns_of_parquet(tmp_path):
    frame = only(table(), "kind").with_columns(parts=pl.Series([[1, 2]] * 60))
    data, model = write(tmp_path / "data.parquet", frame), tmp_path / "model.safetensors"
    message = refused("fit", data, "--target", "kind", "--output", model)
    assert "column 'parts' holds List" in message
    fit(data, "kind", "--ignore", "parts")


def test_dates_in_parquet(tmp_path):
    frame = only(table(), "kind").with_columns(day=pl.date(2024, 1, 1))
    assert "'day' holds dates" in refused(
        "fit", write(tmp_path / "data.parquet", frame), "--target", "kind",
        "--output", tmp_path / "model.safetensors",
    )  # fmt: skip


def test_an_unknown_column_is_named_beside_those_there_are(data, tmp_path):
    output = ("--output", tmp_path / "model.safetensors")
    message = refused("fit", data, "--target", "Kind", *output)
    assert "no column 'Kind'; it has 'size', 'count', 'color', 'fresh', 'kind'" in message
    assert "no column 'x'" in refused("fit", data, "--target", "kind", "--ignore", "x", *output)
    assert "'kind' cannot be left out" in refused(
        "fit", data, "--target", "kind", "--ignore", "kind", *output
    )


def test_names_with_commas_are_ignored_in_quotes(tmp_path):
    frame = only(table(), "kind").rename({"size": "size, cm"})
    _, done = fit(write(tmp_path / "data.csv", frame), "kind", "--ignore", '"size, cm",count')
    assert re.search(r"left out +2: size, cm, count", done.out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--frobnicate", "unrecognized arguments: --frobnicate"),
        ("--epo 3", "unrecognized arguments: --epo 3"),
        ("--epochs many", "argument --epochs: invalid int value: 'many'"),
        ("--epochs", "argument --epochs: expected one argument"),
        ("--epochs -1", "epochs must be an integer >= 0"),
        ("--hidden 12,x", "argument --hidden: must be whole numbers"),
        ("--hidden 12,0", "hidden must be an integer >= 1, got 0"),
        ("--activation zelu", "activation must be one of 'identity', .* got 'zelu'"),
        ("--dropout 1", "dropout must be .* < 1"),
        ("--dropout nan", "dropout must be"),
        ("--optimizer sgdd", "optimizer must be one of 'sgd', 'adam'"),
        ("--optimizer sgdd --learning-rate 1", "optimizer must be one of"),
        ("--learning-rate -1", "learning_rate must be"),
        ("--batch-size 0", "batch_size must be an integer >= 1"),
        ("--batch-size big", "argument --batch-size: must be auto or a whole number"),
        ("--validation 0", "validation must be .* > 0"),
        ("--validation 0.5 --test 0.5", "must leave rows to train on"),
        ("--patience 0", "patience must be an integer >= 1"),
        ("--max-seconds -1", "max_seconds must be"),
        ("--seed -1", "seed must be"),
        ("--threads 0", "argument --threads: .* >= 1"),
        ("--task ranking", "argument --task: invalid choice"),
        ("--plot loss.xyz", "argument --plot: must end in"),
    ],
)
def test_wrong_options(data, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    said = refused("fit", data, "--target", "kind", *options.split(), code=2)
    assert re.search(message, said), said
    assert said.endswith("(see: deltarule fit --help)")
    assert os.listdir(tmp_path) == ["data.csv"]  # noqa: PTH208


def test_what_is_left_out(data):
    assert "--target" in refused("fit", data, code=2)
    assert "MODEL" in refused("predict", code=2)
    assert "invalid choice: 'train'" in refused("train", data, code=2)
    done = run()
    assert done.code == 2
    assert done.err.startswith("usage: deltarule")


@pytest.mark.parametrize("command", [(), ("fit",), ("predict",), ("info",)])
def test_help_has_an_example(command):
    done = run(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"\n  deltarule {' '.join(command)}" in done.out


def test_help_states_the_defaults_of_the_settings():
    text = re.sub(r"\s+", " ", run("fit", "--help").out)
    settings = training.TableSettings()
    for name in ("dropout", "epochs", "patience", "seed", "validation", "test"):
        option = re.search(rf"--{name} [A-Z] .*?\(default: (.*?)\)", text)
        assert option[1] == str(getattr(settings, name))


def test_version():
    assert run("--version") == (0, f"deltarule {dr.__version__}\n", "")


def test_places_are_checked_before_the_data_are_read(data, tmp_path):
    def said(*options, code=1):
        return refused("fit", "/nothing.csv", "--target", "y", *options, code=code)

    assert "directory does not exist" in said("--output", tmp_path / "no" / "model")
    assert "Is a directory" in said("--output", tmp_path)
    assert "/proc" in said("--output", "/proc/model.safetensors")  # root may not write there either
    assert "cannot be replaced" in said("--output", "/dev/null")
    model = tmp_path / "model.safetensors"
    assert "directory does not exist" in said("--output", model, "--plot", "/no/loss.png")
    picture = tmp_path / "loss.png"
    assert "same file" in said("--output", picture, "--plot", picture, code=2)
    assert "must name a file" in said("--output", "", code=2)
    assert os.listdir(tmp_path) == ["data.csv"]  # noqa: PTH208


def test_the_data_are_never_replaced(data, tmp_path):
    before = data.read_bytes()
    link = tmp_path / "link.csv"
    link.symlink_to(data)
    hard = tmp_path / "hard.csv"
    hard.hardlink_to(data)
    for place in (data, link, hard, tmp_path / "." / "data.csv"):
        assert "same file" in refused("fit", data, "--target", "kind", "--output", place, code=2)
    assert data.read_bytes() == before


def test_files_that_cannot_be_read(tmp_path):
    output = ("--output", tmp_path / "model.safetensors")
    none = tmp_path / "none.csv"
    assert refused("fit", none, "--target", "y", *output) == f"'{none}': No such file or directory"
    assert "Is a directory" in refused("fit", tmp_path, "--target", "y", *output)
    (tmp_path / "text").write_text("no model")
    assert "not a deltarule model file" in refused("info", tmp_path / "text")
    assert "is empty" in refused("fit", "-", "--target", "y", *output)


def test_divergence_is_a_sentence(tmp_path):
    data = write(tmp_path / "data.csv", only(table(), "price"))
    said = refused(
        "fit", data, "--target", "price", "--learning-rate", "1e30", "--quiet",
        "--output", tmp_path / "model.safetensors",
    )  # fmt: skip
    assert "diverged in epoch" in said
    assert "--learning-rate" in said


def test_an_error_that_nobody_expected_is_one_line_or_a_traceback(data, tmp_path, monkeypatch):
    def fail(plan):
        raise RuntimeError("a bug\nof two lines")

    monkeypatch.setattr(training, "train", fail)
    arguments = ("fit", data, "--target", "kind", "--quiet", "--output", tmp_path / "model")
    said = refused(*arguments)
    assert said == "RuntimeError: a bug of two lines (unexpected; --debug shows where)"
    done = run(*arguments, "--debug")
    assert done.code == 1
    assert done.err.startswith("Traceback")
    assert done.err.splitlines()[-1] == f"deltarule: error: {said}"


def test_ctrl_c_elsewhere(data, tmp_path, monkeypatch):
    def stop(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "prepare", stop)
    output = ("--output", tmp_path / "model.safetensors")
    assert refused("fit", data, "--target", "kind", *output) == "interrupted"


def test_warnings_are_one_line(data, tmp_path, monkeypatch):
    train = training.train

    def warn(plan):
        warnings.warn("something\nodd", UserWarning, stacklevel=1)
        return train(plan)

    monkeypatch.setattr(training, "train", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert fit(data, "kind")[1].err == "deltarule: warning: something odd\n"
        assert fit(data, "kind", "--quiet")[1].err == ""


def test_exit_codes_and_no_traceback_of_the_process(data, tmp_path):
    done = deltarule("info")
    assert (done.returncode, done.stderr) == (0, b"")
    done = deltarule("fit", tmp_path / "none.csv", "--target", "y")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
    assert deltarule("fit").returncode == 2


def test_a_table_through_a_pipe_and_names_that_no_terminal_shows(data, tmp_path):
    frame = pl.read_csv(data).rename({"size": "größe"})
    model = tmp_path / "model.safetensors"
    done = deltarule(
        "fit", "-", "--target", "kind", *FAST, "--output", model,
        stdin=frame.write_csv().encode(), env={"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb"gr\xf6\xdfe" in done.stdout
    done = deltarule("predict", model, "-", stdin=frame.write_csv().encode())
    assert done.stdout.count(b"\n") == 61


def test_a_pipe_that_closes_early_is_no_news(data, tmp_path):
    model, _ = fit(data, "kind")
    many = write(tmp_path / "many.csv", pl.concat([pl.read_csv(data)] * 2000))
    for arguments in (("predict", model, many, "--proba"), ("info", model)):
        reader, writer = os.pipe()
        os.close(reader)
        done = deltarule(*arguments, stdout=writer)
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")


def test_a_full_disk_is_one_line(data):
    model, _ = fit(data, "kind")
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = deltarule("predict", model, data, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"deltarule: error: No space left on device\n"


def test_closed_streams(data, tmp_path):
    model = tmp_path / "model.safetensors"
    command = f"{sys.executable} -m deltarule"
    for arguments, code in (
        (f"fit {data} --target kind {' '.join(FAST)} --output {model} >&-", 0),
        (f"predict {model} {data} >&-", 0),
        (f"predict {model} - <&-", 1),
    ):
        done = subprocess.run(f"{command} {arguments}", shell=True, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert done.stderr == ("deltarule: error: standard input is closed\n" if code else "")


def test_without_polars_the_error_says_what_to_install(data):
    done = run_python(
        """
        import json, sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "polars":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        from deltarule._cli import main
        print(json.dumps(main(["fit", sys.argv[1], "--target", "kind", "--output", sys.argv[2]])))
        """,
        data,
        data.parent / "model",
        check=False,
    )
    assert done.stdout == "1\n"
    assert "pip install 'deltarule[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
