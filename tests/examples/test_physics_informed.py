"""The example: its exact solution, its equation, and that it runs and learns."""

import json

import numpy as np
import tensorflow as tf


def test_the_exact_solution_solves_the_equation(example):
    """By central differences, away from the shock; and starts from −sin πx, 0 at the walls."""
    x = np.linspace(-1.0, 1.0, 41)
    np.testing.assert_allclose(example.exact(np.zeros(41), x), -np.sin(np.pi * x), atol=1e-5)
    t, h = np.full(41, 0.25), 1e-4
    u = lambda dt, dx: example.exact(t + dt, x + dx)  # noqa: E731
    u_t = (u(h, 0) - u(-h, 0)) / (2 * h)
    u_x = (u(0, h) - u(0, -h)) / (2 * h)
    u_xx = (u(0, h) - 2 * u(0, 0) + u(0, -h)) / h**2
    np.testing.assert_allclose(u_t + u(0, 0) * u_x - example.NU * u_xx, 0.0, atol=1e-4)
    np.testing.assert_allclose(example.exact(t[:2], np.array([-1.0, 1.0])), 0.0, atol=1e-9)


def test_the_residual_is_that_of_the_equation(example):
    """Against differences of the network itself, in float64."""
    model = example.BurgersNetwork(width=6, depth=2, dtype="float64")
    points = np.random.default_rng(0).uniform(-0.9, 0.9, size=(7, 2))
    h = 1e-4
    u = lambda dt, dx: model.net(points + np.array([dt, dx])).numpy()  # noqa: E731
    u_t = (u(h, 0) - u(-h, 0)) / (2 * h)
    u_x = (u(0, h) - u(0, -h)) / (2 * h)
    u_xx = (u(0, h) - 2 * u(0, 0) + u(0, -h)) / h**2
    found = model.residual(tf.constant(points))
    np.testing.assert_allclose(found, u_t + u(0, 0) * u_x - example.NU * u_xx, atol=1e-6)


def test_it_runs_and_lbfgs_gets_closer_than_adam(example, tmp_path):
    arguments = ["--evaluations", "300", "--inside", "300", "--edge", "60", "--width", "10", "--depth", "2"]
    example.main([*arguments, "--dtypes", "float64", "--no-jit", "--output", str(tmp_path)])
    rows = {row["way"]: row for row in json.loads((tmp_path / "burgers.json").read_text())}
    assert list(rows) == list(example.WAYS)
    assert rows["LBFGS"]["loss"] < 0.5 * rows["Adam"]["loss"]
    assert rows["Adam, then LBFGS"]["loss"] < rows["Adam"]["loss"]
    assert (tmp_path / "burgers.png").stat().st_size > 10_000
