"""Paths over functions of the plane: references, the chapter's statements, pictures, bad input."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageSequence

import tfopt
from tfopt.analysis import trajectories


@pytest.fixture(autouse=True)
def double():
    """Single precision here, unlike in the other tests of this folder."""


@pytest.fixture(scope="module")
def saddle():
    return trajectories([tfopt.SGD, tfopt.Momentum, tfopt.AdaGrad, tfopt.RMSProp], "saddle", steps=80)


def rosenbrock(x, y):
    return (1 - x) ** 2 + 10 * tf.square(y - x**2)


def test_descent_and_momentum_against_their_two_lines():
    made = trajectories({"plain": tfopt.SGD(0.2), "heavy": tfopt.Momentum(0.1, 0.8)}, steps=15)
    for path, rate, alpha in zip(made.paths, (0.2, 0.1), (0.0, 0.8), strict=True):
        theta, velocity, points = np.array([-8.0, 2.0]), np.zeros(2), []
        for _ in range(16):
            points.append(theta)
            velocity = alpha * velocity - rate * theta * [0.02, 2.0]
            theta = theta + velocity
        np.testing.assert_allclose(path.points, points, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(path.heights, np.square(points) @ [0.01, 1.0], rtol=1e-4, atol=1e-6)
        assert path.learning_rate == pytest.approx(rate)
    assert [path.label for path in made.paths] == ["plain", "heavy"]


def test_what_the_chapter_says_of_the_saddle(saddle):
    plain, momentum, *adaptive = saddle.paths

    def leaves(path):
        away = np.abs(path.points[:, 1]) > 0.5
        return np.argmax(away) if away.any() else np.inf

    assert leaves(plain) == np.inf
    assert max(map(leaves, adaptive)) < leaves(momentum) < np.inf


@pytest.mark.slow
def test_line_searches_and_instances_on_a_function_of_ones_own():
    optimizer = tfopt.SGD(0.01)
    made = trajectories([tfopt.LBFGS, tfopt.LBFGS(), optimizer], rosenbrock, (-1.0, 1.0), steps=60)
    first, second, plain = made.paths
    assert [path.label for path in made.paths] == ["LBFGS", "LBFGS (2)", "SGD"]
    np.testing.assert_allclose(first.points[-1], [1, 1], atol=1e-3)
    np.testing.assert_array_equal(first.points, second.points)
    assert first.learning_rate is None
    np.testing.assert_allclose(first.points[0], [-1, 1])
    left, right, bottom, top = made.surface.window
    for path in made.paths:
        assert np.all((left < path.points[:, 0]) & (path.points[:, 0] < right))
        assert np.all((bottom < path.points[:, 1]) & (path.points[:, 1] < top))
        assert np.all(path.heights >= 0)
    assert not optimizer.built
    steps = np.diff(plain.points[:2], axis=0)[0]
    np.testing.assert_allclose(steps, [0.04, 0.0], atol=1e-6)


def test_classes_get_the_fastest_rate_that_stays_inside():
    bowl = lambda x, y: 0.5 * (x * x + y * y)  # noqa: E731
    (path,) = trajectories([tfopt.SGD], bowl, (1.0, 1.0), steps=5, window=(-2, 2, -2, 2)).paths
    assert path.learning_rate == 1.0
    np.testing.assert_allclose(path.points[1:], 0, atol=1e-6)


def test_averages_are_shown_not_the_points_behind_them():
    made = trajectories([tfopt.PolyakAverage(tfopt.SGD(0.2)), tfopt.SGD(0.2)], steps=6)
    averaged, plain = (path.points for path in made.paths)
    assert np.linalg.norm(averaged[-1] - plain[-1]) > 0.01


def test_the_figure_can_be_read_without_colours(saddle):
    plane, falls = saddle.plot().axes
    lines = [line for line in plane.lines if line.get_label()[0] != "_"]
    assert len(lines) == len(falls.lines) == 4
    for one, other in itertools.combinations(lines, 2):
        assert one.get_marker() != other.get_marker()
    np.testing.assert_allclose(lines[0].get_xydata(), saddle.paths[0].points)
    assert plane.get_xlabel() == "x"
    assert falls.get_yscale() == "log"


def test_picture_and_animation(saddle, tmp_path):
    saddle.save(tmp_path / "paths.png", dpi=50)
    with Image.open(tmp_path / "paths.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    saddle.save(tmp_path / "paths.gif", frames=3, dpi=50)
    with Image.open(tmp_path / "paths.gif") as moving:
        pictures = [np.asarray(one.convert("L"), int) for one in ImageSequence.Iterator(moving)]
    assert len(pictures) >= 3
    assert abs(pictures[0] - pictures[1]).max() > 50


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"optimizers": []}, "at least one"),
        ({"optimizers": ["Adam"]}, "optimizers of tfopt or Keras"),
        ({"optimizers": [tfopt.PolyakAverage]}, "inner"),
        ({"function": "hill"}, "valley, saddle"),
        ({"function": rosenbrock}, "where to start"),
        ({"function": rosenbrock, "start": (0, 0), "optimizers": [tfopt.SGD]}, "window"),
        ({"function": lambda x, y: tf.stack([x, y]), "start": (0, 0)}, "scalar"),
        ({"start": (1, 2, 3)}, "two finite numbers"),
        ({"window": (1, 0, 0, 1)}, "rising"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_bad_input(change, part):
    arguments = {"optimizers": [tfopt.SGD(0.1)], "steps": 2} | change
    with pytest.raises(ValueError) as error:
        trajectories(**arguments)
    assert part in str(error.value)


def test_endings_and_frames(saddle, tmp_path):
    with pytest.raises(ValueError, match=r"save\(path='.bmp'\)"):
        saddle.save(tmp_path / "paths.bmp")
    with pytest.raises(ValueError, match="frames=1"):
        saddle.animate(1)


def test_keras_optimizers_walk_too():
    (path,) = trajectories([keras.optimizers.SGD(0.2)], steps=3).paths
    (own,) = trajectories([tfopt.SGD(0.2)], steps=3).paths
    np.testing.assert_allclose(path.points, own.points, rtol=1e-6)
