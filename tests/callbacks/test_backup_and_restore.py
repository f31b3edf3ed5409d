"""BackupAndRestore: an interrupted `fit` ends where the undisturbed one does; no save spoils the last."""

import json
import logging
import pathlib
import random
import resource

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.callbacks._backups import Backups
from tfopt.callbacks._random_state import random_state, set_random_state

EPOCHS, SAMPLES = 3, 60
X = np.random.default_rng(0).normal(size=(SAMPLES, 4)).astype("float32")
Y = (X.sum(1, keepdims=True) > 0).astype("float32")


class Interrupt(keras.callbacks.Callback):
    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


class Shuffled(keras.utils.PyDataset):
    """Draws its batches from NumPy's and Python's global random numbers."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        rows = np.random.permutation(SAMPLES)[: 5 + random.randrange(5)]
        return X[rows], Y[rows]


def pipeline():
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(SAMPLES, seed=4).batch(10)


DATA = {
    "arrays": lambda: dict(x=X, y=Y, batch_size=10),
    "reshuffled": lambda: dict(x=pipeline(), shuffle=False),
    "endless": lambda: dict(x=pipeline().repeat(), steps_per_epoch=4, shuffle=False),
    "generator": lambda: dict(x=Shuffled(workers=1)),
}


def run(data, *callbacks, epochs=EPOCHS, **compiled):
    """History, and all state at the end; None where training was interrupted."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dropout(0.3), keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(tfopt.Momentum(0.3), "binary_crossentropy", metrics=["accuracy"], **compiled)
    try:
        history = model.fit(**DATA[data](), epochs=epochs, verbose=0, callbacks=list(callbacks))
    except KeyboardInterrupt:
        return None
    return history, [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize(
    ("data", "save_freq", "after"),
    [
        ("arrays", 2, 9),
        pytest.param("reshuffled", 3, 12, marks=pytest.mark.slow),
        pytest.param("endless", 1, 7, marks=pytest.mark.slow),
        ("generator", "epoch", 8),
        ("generator", 2, 9),
    ],
    ids=[*DATA, "generator in mid-epoch"],
)
def test_an_interrupted_run_ends_where_the_undisturbed_one_does(data, save_freq, after, tmp_path):
    history, state = run(data)
    folder = tmp_path / "backups"
    assert run(data, tfopt.callbacks.BackupAndRestore(folder, save_freq), Interrupt(after)) is None
    resumed, found = run(data, tfopt.callbacks.BackupAndRestore(folder, save_freq))
    assert len(found) == len(state)
    for left, right in zip(found, state, strict=True):
        np.testing.assert_array_equal(left, right)
    assert 0 < resumed.epoch[0] == EPOCHS - len(resumed.epoch)
    for name, values in history.history.items():
        assert resumed.history[name] == values[resumed.epoch[0] :]
    assert not folder.exists()


@pytest.mark.parametrize("epochs", [EPOCHS, EPOCHS + 1])
def test_a_fit_that_follows_a_resumed_one_begins_at_its_own_epoch(epochs, tmp_path):
    """With nothing left to train in the resumed one, too."""
    run("arrays", tfopt.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False))
    backup = tfopt.callbacks.BackupAndRestore(tmp_path)
    history, _ = run("arrays", backup, epochs=epochs)
    assert history.epoch == list(range(EPOCHS, epochs))
    assert history.model.fit(X, Y, epochs=2, verbose=0).epoch == [0, 1]


@pytest.mark.slow
def test_several_steps_in_one_execution_and_a_second_interruption(tmp_path):
    _, state = run("arrays", steps_per_execution=2)
    for after in (2, 2):
        backup = tfopt.callbacks.BackupAndRestore(tmp_path / "b", save_freq=2)
        assert run("arrays", backup, Interrupt(after), steps_per_execution=2) is None
    _, found = run("arrays", tfopt.callbacks.BackupAndRestore(tmp_path / "b", 2), steps_per_execution=2)
    for left, right in zip(found, state, strict=True):
        np.testing.assert_array_equal(left, right)


def kept_after(folder, epochs):
    backup = tfopt.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    return run("arrays", backup, epochs=epochs)


def begins_with(folder):
    """Epoch with which a new run on the backups in `folder` begins."""
    return run("arrays", tfopt.callbacks.BackupAndRestore(folder))[0].epoch[0]


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-9] + b"?" + path.read_bytes()[-8:]),
    "gone": pathlib.Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
}


def test_a_damaged_backup_is_passed_over_for_the_one_before(tmp_path, caplog):
    kept_after(tmp_path, 2)
    newest = max(tmp_path.iterdir())
    original = {path: path.read_bytes() for path in newest.iterdir()}
    assert sorted(path.name for path in original) == ["model.weights.h5", "state.npz", "summary.json"]
    backups = Backups(tmp_path)
    (folder, summary), bad = backups.read()
    assert (folder, summary["epoch"], bad) == (newest, 2, [])
    for path, content in original.items():
        for damage in DAMAGE.values():
            damage(path)
            (folder, summary), bad = backups.read()
            assert (summary["epoch"], bad) == (1, [newest.name])
            path.write_bytes(content)
    assert backups.read()[0][1]["epoch"] == 2
    DAMAGE["cut"](newest / "model.weights.h5")
    with caplog.at_level(logging.WARNING, "tfopt"):
        assert begins_with(tmp_path) == 1
    assert f"{newest.name} in {tmp_path} is damaged" in caplog.text


@pytest.mark.parametrize("moment", ["first file", "second file", "summary", "rename", "removal"])
def test_a_kill_at_any_moment_of_a_save_leaves_a_good_backup(moment, tmp_path, monkeypatch):
    """The process ends at the given moment: nothing is cleaned up after it."""
    calls = []

    def content(number):
        return {name: f"{name} of {number}".encode() for name in ("first file", "second file")}

    def half(path, data):
        calls.append(path.name)
        name = "summary" if path.name == "summary.json" else path.name
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2] if name == moment else data)
        if name == moment:
            raise SystemExit

    def dying(*_, **__):
        raise SystemExit

    backups = Backups(tmp_path)
    for number in range(2):
        backups.write(content(number), {"number": number})
    # A killed process removes no draft; where it dies is the removal, that does not happen either.
    monkeypatch.setattr("shutil.rmtree", dying if moment == "removal" else lambda *_, **__: None)
    monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    if moment == "rename":
        monkeypatch.setattr(pathlib.Path, "rename", dying)
    with pytest.raises(SystemExit):
        backups.write(content(2), {"number": 2})
    monkeypatch.undo()
    assert calls
    good = 2 if moment == "removal" else 1
    (folder, summary), bad = Backups(tmp_path).read()
    assert (summary["number"], bad) == (good, [])
    assert {name: (folder / name).read_bytes() for name in content(good)} == content(good)
    backups.sweep()
    assert not list(tmp_path.glob("draft-*"))
    backups.write(content(3), {"number": 3})
    assert Backups(tmp_path).read()[0][1] == {"number": 3}


@pytest.mark.parametrize("limit", [0, 500, 60_000])
def test_a_full_disk_leaves_the_backup_before_and_says_so(limit, tmp_path, caplog):
    class Fill(keras.callbacks.Callback):
        """From the second epoch on no file may grow beyond a limit, as on a disk that is full."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    backup = tfopt.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
    try:
        with caplog.at_level(logging.WARNING, "tfopt"):
            # Training itself goes on.
            assert len(run("arrays", backup, Fill(), epochs=2)[0].epoch) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    fits = sum("no backup of epoch 2, batch 0 was saved" in message for message in caplog.messages)
    assert fits == (limit < 60_000)
    assert not list(tmp_path.glob("draft-*"))
    (_, summary), bad = Backups(tmp_path).read()
    assert (summary["epoch"], bad) == (1 if fits else 2, [])
    assert begins_with(tmp_path) == summary["epoch"]


def test_two_backups_are_kept_and_old_ones_go(tmp_path):
    kept_after(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup-00000001", "backup-00000002"]
    (tmp_path / "mine").touch()
    Backups(tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.slow
def test_keras_own_starts_an_epoch_over_and_cannot_read_half_a_file(tmp_path):
    """What tfopt's callback is there for; the day this fails Keras may be mended."""
    _, state = run("arrays")
    own = keras.callbacks.BackupAndRestore
    assert run("arrays", own(tmp_path / "a", save_freq=2), Interrupt(9)) is None
    _, found = run("arrays", own(tmp_path / "a", save_freq=2))
    assert any(np.any(left != right) for left, right in zip(found, state, strict=True))
    assert run("arrays", own(tmp_path / "b"), Interrupt(9)) is None
    weights = tmp_path / "b" / "latest.weights.h5"
    weights.write_bytes(weights.read_bytes()[:3000])
    with pytest.raises(OSError, match="truncated"):
        run("arrays", own(tmp_path / "b"))


@pytest.fixture
def places(monkeypatch):
    """Epoch and batch of every backup that is written."""
    found, write = [], Backups.write

    def told(self, files, summary):
        found.append((summary["epoch"], summary["batch"]))
        write(self, files, summary)

    monkeypatch.setattr(Backups, "write", told)
    return found


@pytest.mark.parametrize("steps", [1, 2])
def test_so_many_batches_lie_between_two_saves(steps, tmp_path, places):
    run("arrays", tfopt.callbacks.BackupAndRestore(tmp_path, 4), steps_per_execution=steps)
    assert places == [(0, 4), (1, 2), (1, 6), (2, 4)]


def test_a_resumed_run_saves_as_often_as_one_from_the_start(tmp_path, places):
    assert run("arrays", tfopt.callbacks.BackupAndRestore(tmp_path / "b", 4), Interrupt(9)) is None
    assert places == [(0, 4), (1, 2)]
    places.clear()
    backup = tfopt.callbacks.BackupAndRestore(tmp_path / "b", 4)
    run("arrays", backup)
    # The two batches that were passed over do not count, and in the next epoch none is.
    assert places == [(1, 6), (2, 4)]
    assert backup.resumed_batches == 0


def test_what_an_interrupted_save_has_left_goes(tmp_path):
    draft = tmp_path / "draft-1"
    draft.mkdir()
    (draft / "state.npz").write_bytes(b"half")
    kept_after(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["backup-00000000"]


def test_of_several_workers_the_others_read_and_do_not_write(tmp_path, monkeypatch):
    """To a process that must not checkpoint, as TensorFlow's strategy tells all but the first."""
    _, state = run("arrays")
    assert run("arrays", tfopt.callbacks.BackupAndRestore(tmp_path, 4), Interrupt(9)) is None
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    extended = type(tf.distribute.get_strategy().extended)
    monkeypatch.setattr(extended, "should_checkpoint", property(lambda self: False))
    resumed, found = run("arrays", tfopt.callbacks.BackupAndRestore(tmp_path, 2))
    assert resumed.epoch == [1, 2]
    for left, right in zip(found, state, strict=True):
        np.testing.assert_array_equal(left, right)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_random_states_come_back():
    state = random_state()
    drawn = random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand()
    set_random_state(state)
    assert drawn == (random.random(), random.gauss(0, 1), np.random.normal(), np.random.rand())
    random.gauss(0, 1)
    np.random.normal()
    state = random_state()
    drawn = random.gauss(0, 1), np.random.normal()
    set_random_state(state)
    assert drawn == (random.gauss(0, 1), np.random.normal())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(dict(backup_dir=""), "backup_dir"), (dict(backup_dir="a", save_freq=0), "save_freq")],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        tfopt.callbacks.BackupAndRestore(**arguments)


def test_a_model_that_is_not_built_is_refused(tmp_path):
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="built before fit"):
        model.fit(X, Y, verbose=0, callbacks=[tfopt.callbacks.BackupAndRestore(tmp_path)])


def test_a_backup_of_another_model_is_refused(tmp_path):
    kept_after(tmp_path, 1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError):
        model.fit(X, Y, verbose=0, callbacks=[tfopt.callbacks.BackupAndRestore(tmp_path)])


def test_the_summary_is_readable(tmp_path):
    kept_after(tmp_path, 1)
    (backup,) = tmp_path.iterdir()
    found = json.loads((backup / "summary.json").read_text())
    assert found["summary"] == {"epoch": 1, "batch": 0, "iterators": 1, "position": 0}
    assert all(len(digest) == 64 for digest in found["files"].values())


@pytest.mark.parametrize("save_freq", [3, "epoch"])
def test_growing_batches_go_on_where_the_backup_says(save_freq, tmp_path):
    def trained(*callbacks, begin=0):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(tfopt.Momentum(0.1), "mse")
        batches = tfopt.data.GrowingBatches(X, Y, [10, 15, 20], seed=2, initial_epoch=begin)
        model.fit(batches, epochs=4, verbose=0, callbacks=list(callbacks))
        return model.get_weights()

    backup = lambda: tfopt.callbacks.BackupAndRestore(tmp_path, save_freq)  # noqa: E731
    assert backup().next_epoch == 0
    with pytest.raises(KeyboardInterrupt):
        trained(backup(), Interrupt(12))
    # 6 batches, 4, and the second of the third epoch.
    again = backup()
    assert again.next_epoch == 2
    for a, b in zip(trained(again, begin=again.next_epoch), trained(), strict=True):
        np.testing.assert_array_equal(a, b)
