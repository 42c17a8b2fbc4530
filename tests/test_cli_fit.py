"""``deltarule fit``: what it says, what it saves."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

import deltarule as dr
from cli_helpers import FAST, fit, only, predict, run, table, write


def data_for(tmp_path, target, n=60):
    return write(tmp_path / "data.csv", only(table(n), target))


def test_says_what_it_understood_of_classes(tmp_path):
    data = data_for(tmp_path, "kind")
    _, done = fit(data, "kind")
    text = re.sub(r"\s+", " ", done.out)
    for words in (
        "data.csv: 60 rows, 5 columns",
        "target kind: 2 classes: big (",
        "numbers 2: size, count",
        "booleans fresh",
        "categories color (3 levels)",
        "rows 36 to train, 12 to choose the epoch (validation), 12 to test",
        "network 6 inputs, 8 relu, 2 softmax: 74 parameters, dropout 0.1",
        "training adam, learning rate 0.001, batches of 16, seed 0; at most 5 epochs",
        "trained 5 epochs in",
        "all epochs done kept epoch",
        "on the 12 test rows model baseline accuracy 0.",
        "baseline: always the most frequent class, ",
        "Measured on 12 rows only",
        f"saved {data.parent}/model.safetensors (",
        "use it: deltarule predict",
    ):
        assert words in text, words
    assert done.err == ""  # no bar: this is no terminal
    said_about_data = done.out.partition("saved ")[0]
    assert max(map(len, said_about_data.splitlines())) <= 100


def test_says_what_it_understood_of_a_number(tmp_path):
    _, done = fit(data_for(tmp_path, "price", 200), "price", "--learning-rate", "0.02", "--test=.3")
    text = re.sub(r"\s+", " ", done.out)
    for words in (
        "target price: a number from ",
        "8 relu, 1 output: 65 parameters",
        "learning rate 0.02",
        "on the 60 test rows model baseline R² 0.",
        "RMSE",
        "MAE",
        "baseline: always the mean of the training rows, ",
    ):
        assert words in text, words
    for words in ("BETTER", "no better", "Measured on"):
        assert words not in text


def test_says_which_columns_are_missing_left_out_embedded_or_of_no_use(tmp_path):
    n = 300
    more = {
        "id": pl.int_range(n, eager=True),
        "constant": pl.Series([7] * n),
        "empty": pl.Series([None] * n, dtype=pl.String),
        "name": pl.Series([f"name {i}" for i in range(n)]),
        "city": pl.Series([f"city {i % 40}" for i in range(n)]),
    }
    frame = only(table(n), "kind").with_columns(**more)
    frame = frame.with_columns(size=pl.when(pl.arange(n) % 100 > 0).then("size"))
    frame = frame.with_columns(kind=pl.when(pl.arange(n) % 60 > 0).then("kind"))
    data = write(tmp_path / "data.csv", frame)
    model, done = fit(data, "kind", "--ignore", "id,fresh", "--ignore", "count")
    text = re.sub(r"\s+", " ", done.out)
    for words in (
        "5 rows without it, not used",
        "numbers size",
        "left out 3: id, fresh, count",
        "of no use 3: constant (always the same), empty (empty), name (no value repeats)",
        "missing empty (300), kind (5), size (3)",
    ):
        assert words in text, words
    assert re.search(r"categories 2: color \(3 levels\), city \([34]\d levels, embedded\)", text)
    assert "booleans" not in text
    predictions, _ = predict(model, data)
    assert predictions.shape == (n, 1)


def test_a_column_that_is_text_because_of_one_value_is_named(tmp_path):
    data = tmp_path / "data.csv"
    rows = "".join(f"{i}.5,{'unknown' if i == 17 else i / 4},{i % 7}.25\n" for i in range(40))
    data.write_text("a,b,y\n" + rows)
    _, done = fit(data, "y")
    assert re.search(r"of no use +b \(no value repeats, and it is text for 'unknown'\)", done.out)
    rows = "".join(f"{i}.5,{'unknown' if i == 17 else i % 5},{i % 7}.25\n" for i in range(40))
    data.write_text("a,b,y\n" + rows)
    _, done = fit(data, "y")
    assert re.search("look at +b is text for 'unknown'", done.out)


def test_what_is_written_for_nothing_is_named(tmp_path):
    data = tmp_path / "data.csv"
    rows = "".join(f"{i},{'NA' if i % 4 == 0 else 'EU' if i % 2 else 'US'}\n" for i in range(40))
    data.write_text("a,region\n" + rows)
    _, done = fit(data, "region")
    assert "10 rows without it: 'NA', not used" in done.out


def test_only_models_are_replaced(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("a,y\n" + "".join(f"{i},{i / 3}\n" for i in range(40)))
    other = tmp_path / "keep.csv"
    other.write_text("precious data\n")
    for output in (other, "-"):
        done = run("fit", data, "--target", "y", *FAST, "--output", output)
        assert done.code == 2
        assert "argument --output: " in done.err
    assert other.read_text() == "precious data\n"
    fit(data, "y")
    fit(data, "y")  # replaces the model of the first


@pytest.mark.parametrize("offset", [1e8, 1.7e9])
def test_a_number_far_from_zero_is_learned(tmp_path, offset):
    data = tmp_path / "data.csv"
    rows = "".join(f"{i / 100},{offset + 3 * i}\n" for i in range(200))
    data.write_text("a,y\n" + rows)
    done = run("fit", data, "--target", "y", "--json", "--output", tmp_path / "m.safetensors")
    assert json.loads(done.out)["metrics"]["r2"] > 0.9


def test_a_name_that_would_disturb_the_lines_is_escaped(tmp_path):
    frame = only(table(), "kind").rename({"size": "si\nze\x1b[31m"})
    _, done = fit(write(tmp_path / "data.csv", frame), "kind")
    assert r"'si\nze\x1b[31m'" in done.out
    assert "\x1b" not in done.out


@pytest.mark.parametrize(
    ("target", "labels"),
    [("kind", ["big", "small"]), ("grade", [0, 1, 2]), ("sold", [False, True])],
)
def test_labels_keep_their_type(tmp_path, target, labels):
    frame = only(table(), target)
    model, done = fit(write(tmp_path / "data.csv", frame), target)
    assert dr.load(model).classes.tolist() == labels
    assert all(type(label) is type(labels[0]) for label in dr.load(model).classes.tolist())
    predictions, _ = predict(model, tmp_path / "data.csv")
    assert predictions.schema == {target: frame[target].dtype}
    assert ("--task regression" in done.out) == (target == "grade")


def test_the_task_can_be_chosen(tmp_path):
    data = data_for(tmp_path, "grade")
    model, _ = fit(data, "grade", "--task", "regression")
    assert dr.load(model).classes is None


def test_json_is_all_that_is_on_standard_output(tmp_path):
    data = data_for(tmp_path, "kind")
    model, done = fit(data, "kind", "--json")
    result = json.loads(done.out)
    assert "60 rows, 5 columns" in done.err
    assert result["task"] == "classification"
    assert result["classes"] == ["big", "small"]
    assert result["columns"]["number"] == ["size", "count"]
    assert result["rows"] == {
        "all": 60, "without_target": 0, "train": 36, "validation": 12, "test": 12,
    }  # fmt: skip
    assert (result["epochs"], result["stopped_by"]) == (5, "epochs")
    assert 1 <= result["best_epoch"] <= 5
    assert result["metrics"].keys() == result["baseline"].keys() == {"accuracy", "log_loss"}
    assert result["output"] == str(model)
    assert result["metrics"] == dr.load(model).record["metrics"]
    assert result["plot"] is None


def test_json_and_quiet_is_json_only(tmp_path):
    _, done = fit(data_for(tmp_path, "price"), "price", "--json", "--quiet")
    assert set(json.loads(done.out)["metrics"]) == {"r2", "rmse", "mae"}
    assert done.err == ""


def test_quiet_is_silent(tmp_path):
    model, done = fit(data_for(tmp_path, "kind"), "kind", "--quiet")
    assert (done.out, done.err) == ("", "")
    assert dr.load(model).target == "kind"


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    data = data_for(tmp_path, "kind")
    first, _ = fit(data, "kind", "--threads", "1")
    again, _ = fit(data, "kind", "--threads", "3", output="again.safetensors")
    other, _ = fit(data, "kind", "--seed", "1", output="other.safetensors")
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


def text_of(frame, separator=","):
    return frame.write_csv(separator=separator).encode()


FORMS = {
    "bom": lambda frame: b"\xef\xbb\xbf" + text_of(frame),
    "crlf": lambda frame: text_of(frame).replace(b"\n", b"\r\n"),
    "semicolon": lambda frame: text_of(frame, ";"),
    "tab": lambda frame: text_of(frame, "\t"),
    "quoted": lambda frame: frame.write_csv(quote_style="always").encode(),
    "no_last_line_end": lambda frame: text_of(frame).rstrip(b"\n"),
    "excel": lambda frame: b"\xef\xbb\xbf" + text_of(frame, ";").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_file_does_not_matter(tmp_path, form):
    frame = only(table(), "kind")
    plain, _ = fit(write(tmp_path / "data.csv", frame), "kind")
    data = tmp_path / "form.csv"
    data.write_bytes(FORMS[form](frame))
    model, _ = fit(data, "kind", output="form.safetensors")
    assert model.read_bytes() == plain.read_bytes()


def test_parquet_and_standard_input_give_the_model_of_the_csv(tmp_path):
    frame = only(table(), "price")
    plain, _ = fit(write(tmp_path / "data.csv", frame), "price")
    parquet, _ = fit(write(tmp_path / "data.parquet", frame), "price", output="b.safetensors")
    assert parquet.read_bytes() == plain.read_bytes()
    piped = tmp_path / "c.safetensors"
    arguments = ("fit", "-", "--target", "price", *FAST, "--output", piped)
    done = run(*arguments, stdin=(tmp_path / "data.csv").read_bytes())
    assert done.out.startswith("standard input: 60 rows")
    assert piped.read_bytes() == plain.read_bytes()


def test_the_settings_reach_the_training(tmp_path):
    settings = "--hidden 5,4 --activation tanh --dropout 0 --optimizer sgd --learning-rate 0.1"
    more = "--batch-size 7 --validation 0.3 --test 0.1 --seed 3 --patience 2 --epochs 4"
    model, _ = fit(data_for(tmp_path, "kind"), "kind", *settings.split(), *more.split())
    loaded = dr.load(model)
    layers = [(layer.n_outputs, layer.settings.kind) for layer in loaded.network.layers]
    assert layers == [(5, "dense"), (4, "dense"), (2, "dense")]
    assert loaded.network.layers[0].settings.activation in ("tanh", dr.Activation("tanh"))
    assert loaded.record["optimizer"] == "SGD(learning_rate=0.1)"
    assert loaded.record["batch_size"] == 7
    assert loaded.record["rows"] == {"train": 36, "validation": 18, "test": 6}
    assert (loaded.record["seed"], loaded.network.seed) == (3, 3)


def test_no_hidden_layers_and_no_test_rows(tmp_path):
    _, done = fit(data_for(tmp_path, "price"), "price", "--hidden", "", "--test", "0")
    assert "6 inputs, 1 output: 7 parameters\n" in done.out
    assert "on the 12 validation rows" in done.out
    assert "flatter" in done.out


def test_stops_early_and_says_so(tmp_path):
    data = data_for(tmp_path, "kind")
    _, done = fit(data, "kind", "--learning-rate", "0", "--patience", "3", "--epochs", "50")
    assert "stopped: 3 epochs without a lower loss on the validation rows" in done.out
    _, done = fit(data, "kind", "--max-seconds", "0.2", "--epochs", "100000000",
                  "--patience", "100000000")  # fmt: skip
    assert "at most 100,000,000 epochs or 0.2 s" in re.sub(r"\s+", " ", done.out)
    assert "stopped: the time is over" in done.out
    _, done = fit(data, "kind", "--epochs", "0")
    assert "no epoch was finished" in done.out


def test_a_model_that_learned_nothing_is_called_so(tmp_path):
    rng = np.random.default_rng(5)
    noise = pl.DataFrame({"a": rng.normal(size=200), "y": rng.normal(size=200)})
    data = write(tmp_path / "data.csv", noise)
    _, done = fit(data, "y", "--learning-rate", "0", "--json")
    assert json.loads(done.out)["better_than_baseline"] is False
    assert "NO BETTER than the baseline: the columns do not tell y" in done.err


def test_classes_too_rare_to_train_are_named(tmp_path):
    frame = only(table(), "kind")
    for i in range(5):
        frame[i, "kind"] = f"odd{i}"
    _, done = fit(write(tmp_path / "data.csv", frame), "kind")
    text = re.sub(r"\s+", " ", done.out)
    assert re.search(r"too rare to train, so never predicted: (\d: )?odd\d", text)


def test_the_plot_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "loss.png"
    _, done = fit(data_for(tmp_path, "kind"), "kind", "--plot", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"drew {picture}" in done.out


def test_a_thousand_columns(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"column {i}": rng.normal(size=40).round(3) for i in range(1000)})
    frame = frame.with_columns(y=frame["column 7"] > 0)
    data = write(tmp_path / "data.csv", frame)
    model, done = fit(data, "y")
    assert "40 rows, 1001 columns" in done.out.replace(",0", "0")
    assert re.search(r"numbers +1000: column 0, .* and 9\d\d more", re.sub(r"\s+", " ", done.out))
    assert predict(model, data)[0].shape == (40, 1)


def test_ctrl_c_ends_the_training_keeps_the_best_epoch_and_saves(tmp_path):
    data, model = data_for(tmp_path, "kind"), tmp_path / "model.safetensors"
    endless = ["--epochs", "1000000000", "--patience", "1000000000", "--hidden", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "deltarule", "fit", data, "--target", "kind", "--output", model,
         *endless],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("  training") for line in lines)  # said before it trains
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "stopped by Ctrl-C\nkept epoch " in out
    assert err == ""
    assert dr.load(model).record["stopped_by"] == "interrupted"
