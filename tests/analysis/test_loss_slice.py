"""Slices of the loss: exact on quadratics, scales of directions, paths by PCA, pictures, bad input."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.analysis import loss_slice

SPECTRUM = np.diag([1.0, 10.0, 100.0])
START = np.array([3.0, -2.0, 0.5])


def value(w):
    return 0.5 * w @ SPECTRUM @ w


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_line_through_a_quadratic(quadratic, jit_compile):
    problem = quadratic(SPECTRUM, START)
    direction = np.array([1.0, 2.0, -0.3])
    arguments = dict(directions=[direction], span=2.0, points=9, jit_compile=jit_compile)
    found = loss_slice(problem.compiled(), problem.x, problem.x, **arguments)
    np.testing.assert_allclose(found.axes[0], np.linspace(-2, 2, 9), rtol=1e-12)
    np.testing.assert_allclose(
        found.losses, [value(START + a * direction) for a in found.axes[0]], rtol=1e-12
    )
    np.testing.assert_array_equal(problem.weights, START)


def test_a_plane_through_a_quadratic(quadratic):
    problem = quadratic(SPECTRUM, START)
    rows = np.array([[1.0, 0, 0], [0, 1.0, 1.0]])
    found = loss_slice(
        problem.compiled(), problem.x, problem.x, directions=[[r[None]] for r in rows], points=5
    )
    wanted = [[value(START + a * rows[0] + b * rows[1]) for b in found.axes[1]] for a in found.axes[0]]
    np.testing.assert_allclose(found.losses, wanted, rtol=1e-12)
    assert found.lowest == tuple(
        axis[i] for axis, i in zip(found.axes, np.unravel_index(np.argmin(wanted), (5, 5)), strict=True)
    )


def test_filters_of_random_directions_have_the_norms_of_the_weights():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((6, 6, 2)), *layers, keras.layers.Dense(3)])
    model.compile(loss="mse")
    x, y = np.ones((2, 6, 6, 2)), np.ones((2, 3))
    found = loss_slice(model, x, y, points=3, dimensions=2, seed=3)
    operator = tfopt.curvature.hessian_operator(model, x, y)
    for row in found.directions:
        for part, weight in zip(operator.nest(row), model.trainable_variables, strict=True):
            if len(weight.shape) < 2:
                assert not part.any()
                continue
            axes = tuple(range(part.ndim - 1))
            norms = [np.sqrt(np.sum(a**2, axis=axes)) for a in (part, weight.numpy())]
            np.testing.assert_allclose(*norms, rtol=1e-5)
    again = loss_slice(model, x, y, points=3, seed=3)
    np.testing.assert_array_equal(again.directions, found.directions)
    assert not np.allclose(*found.directions)
    layerwise = loss_slice(model, x, y, points=3, dimensions=1, normalize="layer").directions[0]
    norms = [np.linalg.norm(part) for part in operator.nest(layerwise)]
    wanted = [np.linalg.norm(v.numpy()) for v in model.trainable_variables]
    np.testing.assert_allclose(norms, wanted, rtol=1e-5, atol=1e-12)
    plain = loss_slice(model, x, y, points=3, dimensions=1, normalize=None).directions[0]
    assert np.std(plain) == pytest.approx(1.0, rel=0.15)


def test_filter_normalisation_does_not_see_the_scale_of_rectified_units():
    """Equivalent models have equal slices; without normalisation they have not."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Dense(4, "relu", name="hidden", dtype="float64"),
        keras.layers.Dense(1, dtype="float64"),
    ]
    model = keras.Sequential([keras.Input((3,)), *layers])
    other = tfopt.symmetry.rescale_units(model, "hidden", 16.0)
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.ones((8, 1))
    slices = {}
    for normalize in ("filter", None):
        for name, one in (("model", model), ("other", other)):
            one.compile(loss="mse")
            slices[normalize, name] = loss_slice(
                one, x, y, dimensions=1, points=7, normalize=normalize
            ).losses
    np.testing.assert_allclose(slices["filter", "model"], slices["filter", "other"], rtol=1e-6)
    assert np.abs(slices[None, "model"] / slices[None, "other"] - 1).max() > 0.5


def test_a_path_in_a_plane_is_held_by_its_principal_directions(quadratic):
    """Descent from a point without a part along the second axis stays in the plane of the others."""
    problem = quadratic(SPECTRUM, [0.0, 0.0, 0.0])
    w, path = np.array([3.0, 0.0, 0.5]), []
    for _ in range(30):
        path.append([w[None].copy()])
        w = w - 0.015 * SPECTRUM @ w
    found = loss_slice(problem.compiled(), problem.x, problem.x, path=path, points=5)
    np.testing.assert_allclose(found.explained.sum(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(2), atol=1e-12)
    points = found.path @ found.directions
    np.testing.assert_allclose(points, [p[0][0] for p in path], atol=1e-10)
    np.testing.assert_allclose(found.path_losses, [value(p[0][0]) for p in path], rtol=1e-10)
    for axis, column in zip(found.axes, found.path.T, strict=True):
        assert axis[0] < column.min()
        assert axis[-1] > column.max()


def test_a_path_out_of_the_plane_is_projected(quadratic):
    problem = quadratic(SPECTRUM, [0.0, 0.0, 0.0])
    path = [np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, -1.0])]
    rows = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    found = loss_slice(problem.compiled(), problem.x, problem.x, path=path, directions=rows, points=3)
    np.testing.assert_allclose(found.path, [[2.0, -1.0], [1.0, -1.0]], atol=1e-12)
    assert found.explained is None
    np.testing.assert_allclose(found.path_losses, [value(p) for p in path])


def test_weights_recorded_during_fit_with_statistics_among_them():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile(tfopt.SGD(0.05), "mse")
    x = np.random.default_rng(0).normal(size=(16, 3))
    path = []
    record = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: path.append(model.get_weights()))
    model.fit(x, x[:, :1], epochs=6, verbose=0, callbacks=[record])
    found = loss_slice(model, x, x[:, :1], path=path, points=5)
    np.testing.assert_allclose(found.path[-1], 0.0, atol=1e-6)
    assert found.path_losses[-1] == pytest.approx(model.evaluate(x, x[:, :1], verbose=0), rel=1e-5)
    assert 0.5 < found.explained.sum() <= 1.0 + 1e-9


def test_pictures(quadratic):
    problem = quadratic(SPECTRUM, START)
    arguments = (problem.compiled(), problem.x, problem.x)
    path = [START + 0.1 * k * np.array([1.0, k, 0]) for k in range(5, -1, -1)]
    (axes,) = loss_slice(*arguments, path=path, points=7).plot().axes
    assert "direction 1" in axes.get_xlabel()
    assert "%" in axes.get_ylabel()
    assert axes.get_legend().get_texts()[0].get_text() == "the run"
    (axes,) = loss_slice(*arguments, path=path, directions=[[1.0, 0, 0]], points=7).plot().axes
    assert axes.get_ylabel() == "loss"
    assert len(axes.lines) == 3
    (axes,) = loss_slice(lambda x: 0.0 * tf.reduce_sum(x), tf.ones(3), points=3, normalize=None).plot().axes
    assert axes.get_title()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dimensions": 3}, r"loss_slice\(dimensions=3\): expected 1 or 2"),
        ({"span": 0}, "span > 0"),
        ({"points": 2}, "points >= 3"),
        ({"normalize": "unit"}, 'one of "filter", "layer", None'),
        ({"directions": [[1.0, 2.0]]}, "expected 3 finite numbers"),
        ({"directions": [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]}, "directions other than 0 and than each other"),
        ({"directions": []}, "a list of one or two directions"),
        ({"path": [[1.0, 2.0]]}, r"path='2 numbers'"),
        ({"path": [START]}, "weights of at least 2 moments"),
        ({"path": []}, "at least one point"),
    ],
)
def test_bad_arguments(quadratic, arguments, message):
    problem = quadratic(SPECTRUM, START)
    with pytest.raises(ValueError, match=message):
        loss_slice(problem.compiled(), problem.x, problem.x, **arguments)
    np.testing.assert_array_equal(problem.weights, START)
