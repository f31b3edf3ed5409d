"""Trial steps from two values and slopes: cubic, parabola, secant."""

import tensorflow as tf

from tfopt.line_search._search import choose


def cubic(a, fa, da, b, fb, db):
    """Minimiser of the cubic through values and slopes at a and b; NaN where there is none."""
    theta = 3.0 * (fa - fb) / (b - a) + da + db
    scale = tf.maximum(tf.maximum(tf.abs(theta), tf.abs(da)), tf.abs(db))
    inside = tf.square(theta / scale) - (da / scale) * (db / scale)
    gamma = scale * tf.sqrt(tf.maximum(inside, 0.0)) * tf.sign(b - a)
    share = ((gamma - da) + theta) / (((gamma - da) + gamma) + db)
    return a + share * (b - a)


def parabola(a, fa, da, b, fb):
    """Minimiser of the parabola through both values and the slope at a."""
    return a + 0.5 * da / ((fa - fb) / (b - a) + da) * (b - a)


def secant(a, da, b, db):
    """Zero of the straight line through both slopes."""
    return b + db / (db - da) * (a - b)


def closer(x, y, point):
    """The one of x and y that lies nearer to `point`."""
    return choose(tf.abs(x - point) < tf.abs(y - point), x, y)


def farther(x, y, point):
    """The one of x and y that lies farther from `point`."""
    return choose(tf.abs(x - point) > tf.abs(y - point), x, y)
