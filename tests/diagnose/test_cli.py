"""The command line, in this process."""

import keras
import numpy as np
import pytest

from tfopt.__main__ import main
from tfopt.diagnose import diagnose

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 4)).astype("float32"), np.array([0] * 38 + [1] * 2)


def network(**options):
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(6, name="before"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.Dense(5, "relu", bias_initializer=keras.initializers.Constant(-90.0), name="idle"),
        keras.layers.Dense(2, "softmax", name="out"),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers], name="planted")
    if options:
        model.compile(**options)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saved models and data."""
    made = tmp_path_factory.mktemp("diagnose")
    network(optimizer="sgd", loss="sparse_categorical_crossentropy").save(made / "planted.keras")
    network().save(made / "bare.keras")
    np.savez(made / "train.npz", x=X, y=Y)
    np.savez(made / "wide.npz", x=np.ones((4, 7)), y=Y[:4])
    np.savez(made / "uneven.npz", x=X, y=Y[:5])
    np.savez(made / "nameless.npz", inputs=X)
    (made / "text.npz").write_text("no archive")
    (made / "text.keras").write_text("no model")
    return made


def test_everything_planted_is_found_and_written(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    options = ["--batch-size", "4", "--steps", "3"]
    assert main(["diagnose", "planted.keras", "--data", "train.npz", *options]) == 0
    printed, errors = capsys.readouterr()
    page = (folder / "planted-diagnosis.html").read_text(encoding="utf-8")
    assert str(folder / "planted-diagnosis.html") in printed.replace("\n", "")
    assert "Traceback" not in errors
    for name in (
        "dead units in idle",
        "redundant bias in before",
        "batch too small for batch normalisation",
        "output bias of planted far from the labels",
    ):
        assert name[1:] in page
    assert page.count("What to try") == page.count("Why it matters") == page.count("<article>") >= 4
    assert "redundant bias in before" in printed
    for part in ("Critical ε", "Condition number", "Noise scale", "Suggested batch", "Gradient by layer"):
        assert part in page
    assert page.count("<svg") == page.count('aria-hidden="true"') == page.count("<figure") >= 2
    assert not any(part in page for part in ("<script", "http://", "https://", "<link"))


@pytest.mark.parametrize(
    ("model", "data", "further", "part"),
    [
        ("none.keras", "train.npz", [], "file that exists"),
        ("text.keras", "train.npz", [], "that Keras can load"),
        ("bare.keras", "train.npz", [], "with a loss"),
        ("planted.keras", "none.npz", [], "file that exists"),
        ("planted.keras", "text.npz", [], ".npz file with arrays x and y"),
        ("planted.keras", "nameless.npz", [], "it has inputs"),
        ("planted.keras", "uneven.npz", [], "one number of samples"),
        ("planted.keras", "wide.npz", [], "data that fit the model"),
        ("planted.keras", "minst", [], "did you mean mnist5k"),
        ("planted.keras", "train.npz", ["--batch-size", "0"], "batch_size=0"),
        ("planted.keras", "train.npz", ["--samples", "1"], "samples=1"),
        ("planted.keras", "train.npz", ["--learning-rate", "-1"], "learning_rate"),
        ("planted.keras", "train.npz", ["--output", "no/folder/page.html"], "folder that exists"),
        ("planted.keras", "train.npz", ["--import", "no_such_module"], "can be imported"),
        ("planted.keras", "train.npz", ["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_wrong_argument_is_one_line_and_code_2(model, data, further, part, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    try:
        code = main(["diagnose", model, "--data", data, *further])
    except SystemExit as left:
        code = left.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("tfopt diagnose")
    assert part in lines[0]


def test_named_inputs_and_nothing_changes():
    inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((4,), name="b")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(1, name="out")(keras.layers.Dropout(0.5)(joined)))
    model.compile("sgd", "mse")
    before = [v.numpy() for v in model.variables]
    titles = []
    found = diagnose(model, {"a": X, "b": X}, X[:, :1], steps=2, progress=titles.append)
    assert [section.title for section in found.sections] == titles
    assert len(set(titles)) == 11
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.variables, strict=True))
    # Of a regression there is no 0–1 error.
    assert [section.title for section in found.sections if section.skipped] == ["Surrogate and true cost"]
