"""Every picture of the chapter is made, can be read without colour, and shows what its page says."""

import importlib
import itertools
import pathlib
import re
import sys

import matplotlib
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "chapter"
GALLERY = ROOT / "docs" / "gallery.md"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no source tree around the tests")

PICTURES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


@pytest.fixture(scope="module", autouse=True)
def _scripts_import_each_other():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield
    for name in ("_figure", *PICTURES):
        sys.modules.pop(name, None)


def seen(name, folder):
    """What a script measured in a smoke run, its picture's size, and its figure looked over."""
    script = importlib.import_module(name)
    found = script.main(["--smoke", "--output", str(folder)])
    assert 3_000 < (folder / f"{name}.png").stat().st_size < 60_000
    with matplotlib.rc_context(importlib.import_module("_figure").RC):
        figure = script.draw(found)
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_title()
        named = [line for line in axes.lines if not line.get_label().startswith("_")]
        looks = [(str(line.get_linestyle()), line.get_marker()) for line in named]
        assert len(set(looks)) == len(looks), "lines that differ in colour alone"
    assert any(axes.get_legend() for axes in figure.axes)
    return found


def test_momentum_needs_fewer_steps(tmp_path):
    found = seen("momentum", tmp_path)
    plain, momentum = found["steps"].values()
    # (1 − 2/101)^2k · 100 = 1e-3 at k = 288.
    assert plain == 288
    assert momentum < plain / 2


def test_the_gradient_grows_while_the_error_falls(tmp_path):
    found = seen("gradient_norm", tmp_path)
    assert found["reading"].reading.name == "GROWING"
    assert np.median(found["norm"][-5:]) > 5 * np.median(found["norm"][:5])
    assert found["error"][-1] < found["error"][0] - 20.0
    assert max(found["curvature"]) > 100 * found["curvature"][0]


def test_clipped_steps_stay_at_the_cliff(tmp_path):
    found = seen("cliff", tmp_path)
    plain, clipped = found["lengths"].values()
    norms = np.linalg.norm(found["paths"]["AdaptiveClip"][:-1], axis=1)
    assert plain.max() > 10 * clipped.max()
    assert np.all(clipped <= 0.02 * norms * (1 + 1e-4))
    assert found["costs"]["AdaptiveClip"][-1] < found["costs"]["without clipping"][-1] / 3


def test_conjugate_gradients_end_in_as_many_steps_as_dimensions(tmp_path):
    found = seen("conjugate_gradients", tmp_path)
    steepest, conjugate = (len(path) - 1 for path in found["plane"].values())
    assert conjugate == 2
    assert steepest > 20
    lines = np.diff(found["plane"]["steepest descent"][:8], axis=0)
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    np.testing.assert_allclose(np.sum(lines[1:] * lines[:-1], axis=1), 0.0, atol=1e-6)
    steepest, conjugate = found["space"].values()
    assert len(conjugate) - 1 <= 20
    assert conjugate[-1] < 1e-9 * steepest[20]


@pytest.mark.slow
def test_coordinate_descent_slows_as_alpha_falls(tmp_path):
    found = seen("coordinate_descent", tmp_path)
    steps = {alpha: len(path) - 1 for alpha, path in found["coordinates"].items()}
    assert all(len(path) - 1 == 1 for path in found["newton"].values())
    fast, middle, slow = (steps[alpha] for alpha in sorted(steps, reverse=True))
    assert slow > 3 * middle > 9 * fast
    # One exact step multiplies the other coordinate by 1/(1 + α).
    path = found["coordinates"][0.1]
    np.testing.assert_allclose(path[10, 0] / path[8, 0], 1.1**-2, rtol=1e-6)


def test_the_mean_is_nearer_to_the_minimum(tmp_path):
    found = seen("polyak", tmp_path)
    iterate, mean = (np.median(np.linalg.norm(paths[-1], axis=-1)) for paths in found.values())
    assert mean < iterate / 2
    paths, means = found.values()
    np.testing.assert_allclose(means[-1], paths[21:].mean(axis=0), atol=1e-4)


@pytest.mark.slow
def test_blurring_leads_to_the_lowest_minimum(tmp_path):
    found = seen("blurred", tmp_path)
    assert np.all(np.abs(found["SGD"][-1]) > 1.5)
    assert np.all(np.abs(found["GaussianSmoothing"][-1]) < 0.2)


def test_a_step_for_each_weight_leaves_the_saddle_first(tmp_path):
    found = seen("variants", tmp_path)
    left_at = importlib.import_module("variants").left_at
    left = {name: left_at(path) or np.inf for name, path in found["saddle"].items()}
    assert max(left[name] for name in ("AdaGrad", "AdaDelta", "RMSProp", "Adam")) < left["Nesterov"]
    assert max(left["Momentum"], left["Nesterov"]) < left["SGD"]
    overshoot = {name: path[:, 1].min() for name, path in found["valley"].items()}
    assert overshoot["Momentum"] < -0.5 < overshoot["SGD"]


def test_growing_batches_join_both_merits(tmp_path):
    small, full, growing = seen("growing_batches", tmp_path).values()
    assert growing["excess"][1] < full["excess"][1] / 5
    assert growing["excess"][-1] < small["excess"][-1] / 5
    assert growing["updates"][-1] < small["updates"][-1] / 2


def test_scale_and_symmetry_decide(tmp_path):
    found = seen("initialization", tmp_path)
    small, fit, large = found["scale"].mean(axis=1)
    assert fit < min(small, large) - 0.2
    constant, random = found["symmetry"].values()
    assert (constant["different"], random["different"]) == (1, 16)
    assert random["losses"][-1] < constant["losses"][-1] - 0.3


def test_pretraining_goes_through_its_stages(tmp_path):
    found = seen("pretraining", tmp_path)
    (greedy,) = found["greedy pretraining"]
    assert len(set(greedy["stage"])) == 4
    assert len(greedy["accuracy"]) == len(found["all layers at once"][0]["accuracy"])


@pytest.mark.slow
def test_pretraining_reaches_what_joint_training_does_not():
    found = importlib.import_module("pretraining").measure(smoke=False)
    jointly, greedily = ([run["accuracy"] for run in runs] for runs in found.values())
    assert min(run[-1] for run in greedily) > max(run.max() for run in jointly) + 10


def test_the_gallery_shows_every_picture():
    text = GALLERY.read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^]]+\]\(figures/(\w+)\.png\)", text)
    assert sorted(shown) == PICTURES
    assert sorted(path.stem for path in (GALLERY.parent / "figures").iterdir()) == PICTURES
    for name in PICTURES:
        assert f"python examples/chapter/{name}.py" in text
        assert (GALLERY.parent / "figures" / f"{name}.png").stat().st_size <= 60_000


def test_the_styles_differ_without_colour():
    looks = importlib.import_module("_figure").LOOKS
    for one, other in itertools.combinations(looks, 2):
        assert one["linestyle"] != other["linestyle"] or one["marker"] != other["marker"]
