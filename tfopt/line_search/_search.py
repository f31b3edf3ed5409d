"""What a line search is: scalars in, scalars out."""

import keras
import tensorflow as tf

# Values of a search's scalar "verdict".
SEARCHING, ACCEPTED, FAILED, ENDLESS = 0.0, 1.0, 2.0, 3.0

# How many times the first trial a step must be before one that has no end is believed in.
FAR_OUT = 1e6


class LineSearch:
    """Finds a step α > 0 along a direction d, for φ(α) = f(θ + αd).

    The state is a dict of float64 scalars, one per name in `names`. "step" is the trial step whose φ and φ′
    `advance` expects next, "verdict" is SEARCHING, ACCEPTED (the trial just reported is the new point),
    FAILED (no step was found that is better than 0) or ENDLESS (the trial just reported is good, and so, it
    seems, is every longer one).

    Attributes:
        needs: What must be known at a trial, of "value" and "slope".
        names: Names of the state's scalars.
        searches: Whether the first trial is no more than a guess, for the method to make a good one.
    """

    needs: frozenset[str] = frozenset()
    searches = True
    names: tuple[str, ...] = ("step", "verdict")

    def begin(self, value, slope, step, precision):
        """The state at the start of a search.

        Args:
            value: φ(0).
            slope: φ′(0) < 0.
            step: First trial, above 0.
            precision: Relative precision of φ.
        """
        raise NotImplementedError

    def advance(self, state, value, slope):
        """The state after φ and φ′ were measured at ``state["step"]``."""
        raise NotImplementedError

    def get_config(self):
        """Constructor arguments."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        """The search that `get_config` described."""
        return cls(**config)

    def __repr__(self):
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def double(value):
    """A float64 scalar."""
    if isinstance(value, (int, float)):
        return tf.constant(value, tf.float64)
    return tf.cast(value, tf.float64)


def doubles(**values):
    """A dict of float64 scalars."""
    return {name: double(value) for name, value in values.items()}


def choose(condition, yes, no):
    """`yes` or `no`, numbers or float64 tensors; tf.where would take a Python number for float32."""
    return tf.where(condition, double(yes), double(no))


def noise(value, precision):
    """How much of a value may be rounding."""
    return 8.0 * precision * tf.abs(value)


def usable(value, slope):
    """Whether a trial lies where the function and its slope are finite."""
    return tf.math.is_finite(value) & tf.math.is_finite(slope)


def register(cls):
    """Make a search part of what Keras can save."""
    return keras.saving.register_keras_serializable(package="tfopt")(cls)
