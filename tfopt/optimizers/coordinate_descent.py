"""Coordinate descent."""

import keras
import tensorflow as tf

from tfopt._check import require_choice, require_integer, require_not_negative
from tfopt.line_search._named import line_search_of
from tfopt.line_search._search import choose, double
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import CurvedDirection, Direction
from tfopt.optimizers._direction_optimizer import DirectionOptimizer
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._noise import index_below, key_of
from tfopt.optimizers._vectors import dot

ORDERS = ("cyclic", "random", "greedy")
STEPS = ("newton", "line_search")


class Coordinates:
    """Which coordinate is next: in turn, at random, or the one with the largest |gᵢ|.

    Those with gᵢ = 0 are passed over, since nothing can be gained along them.
    """

    def __init__(self, order, seed):
        self.order, self.seed = order, seed

    def choose(self, g, turn):
        """The coordinate, an int32 scalar, for the turn's number, a float64 scalar."""
        size = g.shape[0]
        if self.order == "greedy":
            return tf.argmax(tf.abs(g), output_type=tf.int32)
        start = tf.cast(turn, tf.int32) % size
        if self.order == "random":
            key = key_of({"seed": self.seed}, turn)
            start = tf.cast(index_below(size, key), tf.int32)
        places = (start + tf.range(size)) % size
        useful = tf.not_equal(tf.gather(g, places), 0)
        return tf.gather(places, tf.argmax(useful, output_type=tf.int32))

    def next_turn(self, turn, chosen, size):
        """The number of the turn after the one that led to `chosen`."""
        # In cycles a turn is the coordinate itself, so that one passed over is not visited at once again.
        return tf.cast((chosen + 1) % size, tf.float64) if self.order == "cyclic" else turn + 1.0


def along(gradient, coordinate, factor):
    """−factor · gᵢ eᵢ."""
    unit = tf.one_hot(coordinate, gradient.shape[0], dtype=gradient.dtype)
    return -tf.cast(factor, gradient.dtype) * gradient * unit


def steepest_coordinate(gradient):
    """−gᵢ eᵢ with the largest |gᵢ|."""
    return along(gradient, tf.argmax(tf.abs(gradient), output_type=tf.int32), 1.0)


class OneCoordinate(Direction):
    """d = −gᵢ eᵢ; how far is for the line search to find."""

    slots = (Slot("turn", scalar=True),)

    def __init__(self, coordinates):
        self.coordinates = coordinates

    def keep(self, state):
        return {"turn": state["turn"]}

    def next(self, move, state):
        """Down along the next coordinate."""
        g = move.gradient
        chosen = self.coordinates.choose(g, state["turn"])
        turn = self.coordinates.next_turn(state["turn"], chosen, g.shape[0])
        return along(g, chosen, 1.0), {"turn": turn}

    def first_trial(self, move, slope):
        """What one coordinate's step was says little of the next one's, but its order of magnitude."""
        return tf.maximum(move.step, 1e-12)

    def fallback(self, gradient):
        return steepest_coordinate(gradient)


class CurvedCoordinate(CurvedDirection):
    """d = −(gᵢ / Hᵢᵢ) eᵢ, the exact minimum along the coordinate where the function is quadratic."""

    slots = tuple(Slot(name, scalar=True) for name in ("turn", "chosen", "bend", "solved"))

    def __init__(self, coordinates):
        self.coordinates = coordinates

    def begin(self, move, state):
        """Ask for the column of H."""
        g = move.gradient
        chosen = self.coordinates.choose(g, state["turn"])
        return {
            "turn": self.coordinates.next_turn(state["turn"], chosen, g.shape[0]),
            "chosen": double(chosen),
            "bend": double(0.0),
            "solved": double(0.0),
        }

    def asks(self, state):
        return tf.equal(state["solved"], 0.0)

    def probe(self, state):
        g = state["gradient"]
        return tf.one_hot(tf.cast(state["chosen"], tf.int32), g.shape[0], dtype=g.dtype)

    def absorb(self, answer, state):
        """Hᵢᵢ."""
        bend = tf.cast(tf.gather(answer, tf.cast(state["chosen"], tf.int32)), tf.float64)
        return self.keep(state) | {"bend": bend, "solved": double(1.0)}

    def direction(self, state):
        return along(state["gradient"], tf.cast(state["chosen"], tf.int32), 1.0)

    def trial(self, state, slope):
        """1/Hᵢᵢ, or where the function does not bend up a unit step."""
        d = self.direction(state)
        unit = tf.minimum(1.0 / tf.sqrt(dot(d, d)), 1.0)
        return choose(state["bend"] > 0.0, 1.0 / state["bend"], unit)

    def fallback(self, gradient):
        return steepest_coordinate(gradient)


@keras.saving.register_keras_serializable(package="tfopt")
class CoordinateDescent(DirectionOptimizer):
    """Coordinate descent: one weight at a time.

    With g = ∇J(θ), H = ∇²J(θ) and i the coordinate whose turn it is::

        θᵢ ← θᵢ − gᵢ / Hᵢᵢ          step="newton", Hᵢᵢ by an exact Hessian product
        θᵢ ← θᵢ − ε gᵢ              step="line_search", ε found by the search

    The first is the exact minimum along the coordinate where J is quadratic in it; the line search checks it
    and shortens it otherwise, or goes on to the minimum with `line_search="exact"`. `order` is "cyclic",
    "random" (with `seed`) or "greedy": the largest |gᵢ|. Coordinates with gᵢ = 0 are passed over. All other
    weights stay as they are, to the bit.

    Good where coordinates hardly depend on each other, slow where they do: on (x₁ − x₂)² + α(x₁² + x₂²) with
    a small α each visit gains only a share of about 2α, whereas Newton's method is there after one step. For
    a network use `BlockCoordinateDescent`. Each train step is one evaluation and, on one device, one product;
    over replicas and in accumulation the product has a train step (a pass) of its own. What is said at
    `tfopt.LBFGS` on batches holds here too. Memory: 3 vectors of the size of all weights, with
    `gradient_accumulation_steps` one more, for step="newton" two.

    Args:
        learning_rate: Length of the very first trial step where nothing is known of the scale.
        order: "cyclic", "random" or "greedy".
        step: "newton" or "line_search".
        seed: Of the random order; an integer.
        line_search: "backtracking", "strong_wolfe", "exact", "fixed", or a search of `tfopt.line_search`.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range; in `fit` with step="newton", if the model runs
            eagerly, where there is no graph to differentiate again.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> apart = lambda x: tf.reduce_sum([1.0, 10.0] * (x - 1.0) ** 2)
        >>> found = tfopt.minimize(apart, tf.zeros(2), method="CoordinateDescent")
        >>> found.iterations, found.x.numpy().tolist()
        (2, [1.0, 1.0])

    Source: Wright, Coordinate Descent Algorithms, 2015; chapter section 8.1.
    """

    def __init__(
        self,
        learning_rate=1.0,
        order="cyclic",
        step="newton",
        seed=0,
        line_search="backtracking",
        tolerance=0.0,
        **options,
    ):
        require_choice("CoordinateDescent", ORDERS, order=order)
        require_choice("CoordinateDescent", STEPS, step=step)
        require_integer("CoordinateDescent", 0, seed=seed)
        require_not_negative("CoordinateDescent", tolerance=tolerance)
        line_search_of("CoordinateDescent", line_search)
        hyper = dict(order=order, step=step, seed=seed, line_search=line_search, tolerance=tolerance)
        super().__init__(learning_rate, hyper, **options)

    def make_machine(self, *, order, step, seed, line_search, tolerance):
        """The pure machine behind this optimizer."""
        rule = CurvedCoordinate if step == "newton" else OneCoordinate
        search = line_search_of("CoordinateDescent", line_search)
        return DescentMachine(rule(Coordinates(order, seed)), search, tolerance)
