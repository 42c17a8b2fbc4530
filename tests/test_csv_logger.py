"""CSVLogger: a line for each epoch, once, whatever happens to the file."""

import csv
import os

import pytest

import deltarule as dr
from callback_helpers import Stop, fit, network, stop_after
from deltarule.callbacks import Checkpoint, CSVLogger
from helpers import problem


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_every_number(tmp_path):
    path = tmp_path / "log.csv"
    seen = []
    look = lambda state: seen.append(len(rows(path)))  # noqa: E731
    history = fit(network(), callbacks=[CSVLogger(path), look])
    assert seen == list(range(1, 10))  # each line is there before the next epoch
    table = rows(path)
    assert list(table[0]) == ["epoch", *history]
    assert [row["epoch"] for row in table] == [str(i) for i in range(1, 10)]
    for key, values in history.items():
        assert [float(row[key]) for row in table] == values.tolist()


def test_a_new_fit_begins_a_new_log_and_append_goes_on_below(tmp_path):
    path = tmp_path / "log.csv"
    logger = CSVLogger(path)
    for n in (3, 2):
        fit(network(), epochs=n, callbacks=[logger])
        assert len(rows(path)) == n
    fit(network(), epochs=3, callbacks=[CSVLogger(path, append=True)])
    assert [row["epoch"] for row in rows(path)] == ["1", "2", "1", "2", "3"]
    logger = CSVLogger(path, append=True)
    for _ in range(2):
        fit(network(), epochs=1, callbacks=[logger])
    assert [row["epoch"] for row in rows(path)] == ["1", "2", "1", "2", "3", "1", "1"]


def test_equal_trainings_that_took_equally_long_are_all_kept(tmp_path):
    path, X, Y = tmp_path / "log.csv", *problem()

    def timeless(state):
        state.history["seconds"][:] = 1.0

    for _ in range(3):
        trainer = dr.Trainer(dr.Network([3, 2], seed=0))
        trainer.run(X, Y, epochs=2, callbacks=[timeless, CSVLogger(path, append=True)])
    assert [row["epoch"] for row in rows(path)] == ["1", "2"] * 3


def test_what_is_between_the_lines_of_a_resumed_training_stays(tmp_path):
    path, saved, (X, Y) = tmp_path / "log.csv", tmp_path / "run.safetensors", problem()
    for epochs in (1, 3):
        trainer = dr.Trainer(dr.Network([3, 2], seed=0))
        trainer.run(X, Y, epochs=epochs, callbacks=[CSVLogger(path, append=True)])
        if epochs == 1:
            trainer.save(saved)
    trainer = dr.Trainer.resume(saved)
    trainer.run(X, Y, epochs=2, callbacks=[CSVLogger(path, append=True)])
    assert [row["epoch"] for row in rows(path)] == ["1", "2", "3", "1", "2"]


@pytest.mark.parametrize("append", [False, True])
def test_a_resumed_training_has_each_epoch_once(tmp_path, append):
    path, checkpoint = tmp_path / "log.csv", Checkpoint(tmp_path / "last", every=3)
    arguments = {"resume_from": checkpoint}
    if append:
        fit(network(), epochs=2, callbacks=[CSVLogger(path)])
    logger = CSVLogger(path, append=append)
    with pytest.raises(Stop):  # after lines that no checkpoint has
        fit(network(), callbacks=[logger, checkpoint, stop_after(5)], **arguments)
    with path.open("a") as file:
        file.write("6,0.12")  # a line that a kill cut off
    history = fit(network(), callbacks=[CSVLogger(path, append=append), checkpoint], **arguments)
    table = rows(path)
    before = ["1", "2"] if append else []
    assert [row["epoch"] for row in table] == before + [str(i) for i in range(1, 10)]
    assert [float(row["loss"]) for row in table[len(before) :]] == history["loss"].tolist()


def test_columns_that_come_later(tmp_path):
    X, Y = problem()
    path = tmp_path / "log.csv"
    for append in (False, True):
        trainer, logger = dr.Trainer(dr.Network([3, 2], seed=0)), CSVLogger(path, append=append)
        trainer.run(X, Y, epochs=2, callbacks=[logger])
        if append:  # below lines that have no such column
            with pytest.raises(ValueError, match=r"log\.csv' has the columns epoch,loss,seconds"):
                trainer.run(X, Y, epochs=4, metrics=["r2"], callbacks=[logger])
            return
        trainer.run(X, Y, epochs=4, metrics=["r2"], callbacks=[logger])
        assert [row["r2"] == "nan" for row in rows(path)] == [True, True, False, False]
        trainer = dr.Trainer(dr.Network([3, 2], seed=0))
        with pytest.raises(ValueError, match=r"training has epoch,loss,seconds: append to another"):
            trainer.run(X, Y, epochs=4, callbacks=[CSVLogger(path, append=True)])
        dr.Trainer(dr.Network([3, 2], seed=0)).run(X, Y, epochs=1, callbacks=[CSVLogger(path)])


def test_a_log_on_a_full_disk_or_in_no_folder(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="path must be"):
        CSVLogger(3)
    with pytest.raises(TypeError, match="append must be True or False"):
        CSVLogger("log.csv", append="a")
    path = tmp_path / "log.csv"

    def full(state):
        if state.epoch == 2:
            path.unlink()
            path.symlink_to("/dev/full")

    net = network()
    with pytest.raises(OSError, match="No space left"):
        fit(net, callbacks=[CSVLogger(path), full])
    assert net.history.n_epochs == 3


@pytest.mark.parametrize("make", [Checkpoint, CSVLogger])
def test_a_path_that_no_file_can_have_is_refused_at_once(tmp_path, make):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for path, error, match in (
        ("", ValueError, "path must name a file, got ''"),
        ("log/", ValueError, "path must name a file"),
        ("a\0b", ValueError, "path must name a file"),
        (tmp_path, IsADirectoryError, f"'{tmp_path}'"),
        (tmp_path / "nowhere" / "log", FileNotFoundError, "nowhere'"),
        (tmp_path / "file" / "log", NotADirectoryError, "file/log'"),
        (tmp_path / "pipe", OSError, "Not a regular file: .*pipe'"),
        ("/dev/zero", OSError, "Not a regular file"),
    ):
        with pytest.raises(error, match=match):
            make(path)
    make(tmp_path / "file")
    make("log")


@pytest.mark.parametrize("special", ["pipe", "/dev/zero"])
def test_what_becomes_a_pipe_or_endless_is_not_appended_to(tmp_path, special):
    path = tmp_path / "log.csv"
    logger = CSVLogger(path, append=True)
    os.mkfifo(tmp_path / "pipe")
    path.symlink_to(special)
    with pytest.raises(ValueError, match=r"log\.csv' is not a regular file"):
        fit(network(), epochs=1, callbacks=[logger])


def test_a_foreign_line_without_an_end_is_not_taken_for_a_cut_one(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("my notes")
    with pytest.raises(ValueError, match="has the columns my notes"):
        fit(network(), epochs=1, callbacks=[CSVLogger(path, append=True)])
    assert path.read_text() == "my notes"
    path.write_text("epoch,lo")  # what a kill left
    fit(network(), epochs=2, callbacks=[CSVLogger(path, append=True)])
    assert len(path.read_text().splitlines()) == 3


def test_what_is_no_text_is_not_appended_to(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,loss\n\xff\n")
    with pytest.raises(ValueError, match=r"log\.csv' is no text: append to another file") as caught:
        fit(network(), epochs=1, callbacks=[CSVLogger(path, append=True)])
    assert type(caught.value) is ValueError
    assert path.read_bytes() == b"epoch,loss\n\xff\n"
