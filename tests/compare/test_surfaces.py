"""Paths on the valley and the saddle, against references and the chapter's statements."""

import numpy as np
import pytest

from tfopt.analysis._surface import SADDLE, SURFACES, VALLEY, Surface
from tfopt.compare.specs import parse_optimizer
from tfopt.compare.surfaces import Walker

GRADIENTS = {
    "valley": lambda x, y: np.array([x / 50, 2 * y]),
    "saddle": lambda x, y: np.array([8 * x, y**3 - y]),
}


def reference(surface, rate, steps, momentum=0.0, lookahead=False):
    """Gradient descent, momentum and Nesterov in float64, from their two lines."""
    theta, velocity = np.array(surface.start, np.float64), np.zeros(2)
    path = [theta]
    for _ in range(steps):
        point = theta + momentum * velocity if lookahead else theta
        velocity = momentum * velocity - rate * GRADIENTS[surface.name](*point)
        theta = theta + velocity
        path.append(theta)
    return np.array(path)


@pytest.fixture(scope="module")
def paths():
    names = ["SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta"]
    found = {}
    for name in names:
        walker = Walker(parse_optimizer(name))
        found |= {(name, surface.name): walker.best(surface) for surface in SURFACES}
    return found


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {}),
        ("Momentum", dict(momentum=0.9)),
        ("Nesterov", dict(momentum=0.9, lookahead=True)),
        ("keras:SGD(momentum=0.9)", dict(momentum=0.9)),
    ],
)
def test_path_is_that_of_the_iterates(name, options, surface):
    walked = Walker(parse_optimizer(name)).walk(surface, 0.1, 25)
    np.testing.assert_allclose(walked.path, reference(surface, 0.1, 25, **options), rtol=1e-4, atol=1e-5)


def test_walking_again_gives_the_same_path():
    walker = Walker(parse_optimizer("Adam"))
    first = walker.walk(VALLEY, 0.3, 20)
    walker.walk(SADDLE, 1.0, 20)
    assert walker.walk(VALLEY, 0.3, 20) == first


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_minima_and_saddle_are_what_they_are_called(surface):
    around = 1e-3 * np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16)])
    for minimum in surface.minima:
        assert np.all(surface.heights(np.array(minimum) + around) > surface.heights([minimum]))
    if surface.saddle is not None:
        change = surface.heights(np.array(surface.saddle) + around) - surface.heights([surface.saddle])
        assert change.min() < 0 < change.max()


def test_paths_stay_inside_the_figure(paths):
    for (_, name), walked in paths.items():
        assert {surface.name: surface for surface in SURFACES}[name].contains(walked.path)


def test_in_the_valley_sgd_is_slow_and_adaptive_methods_are_fast(paths):
    left = {name: paths[name, "valley"].heights[50] for name in ("SGD", "AdaGrad", "RMSProp", "AdaDelta")}
    assert left["SGD"] > 2 * max(left["AdaGrad"], left["RMSProp"], left["AdaDelta"])


def test_in_the_valley_momentum_leaves_the_direction_at_first_and_finds_it_again(paths):
    for name in ("Momentum", "Nesterov"):
        y = np.array(paths[name, "valley"].path)[:, 1]
        assert y.min() < -0.1
        assert abs(y[-1]) < 0.1
    assert np.array(paths["SGD", "valley"].path)[:, 1].min() > -1e-6


def test_sgd_stays_at_the_saddle_and_the_others_leave_it(paths):
    rise = {
        name: np.abs(np.array(paths[name, "saddle"].path)[:, 1]) for name in ("SGD", "Momentum", "Nesterov")
    }
    assert rise["SGD"][-1] < 0.1
    assert rise["Momentum"][-1] > 0.9
    assert rise["Nesterov"][-1] > 0.9


def test_adaptive_methods_leave_the_saddle_first(paths):
    def leaves(name):
        return np.argmax(np.abs(np.array(paths[name, "saddle"].path)[:, 1]) > 0.5)

    assert max(map(leaves, ("AdaGrad", "RMSProp", "AdaDelta"))) < min(map(leaves, ("Momentum", "Nesterov")))


def test_a_rate_that_leaves_the_figure_is_not_taken():
    chosen = Walker(parse_optimizer("SGD")).best(VALLEY, rates=(0.01, 3.0))
    assert chosen.learning_rate == 0.01


def test_a_path_ends_where_it_stops_being_finite():
    walked = Walker(parse_optimizer("SGD")).walk(SADDLE, 1e20, 20)
    assert 1 < len(walked.path) < 21
    assert np.all(np.isfinite(walked.path))
    assert isinstance(SADDLE, Surface)
