"""Steepest descent with a line search."""

import keras

from tfopt._check import require_not_negative
from tfopt.line_search._named import line_search_of
from tfopt.optimizers._descent import DescentMachine
from tfopt.optimizers._direction import Downhill
from tfopt.optimizers._direction_optimizer import DirectionOptimizer


@keras.saving.register_keras_serializable(package="tfopt")
class SteepestDescent(DirectionOptimizer):
    """Steepest descent: straight down the gradient, as far as it pays.

    With the exact search::

        ε* = argmin J(θ − ε ∇J(θ)) over ε
        θ ← θ − ε* ∇J(θ)

    Consecutive gradients are at right angles, so that in a long valley the path is a zig-zag;
    `ConjugateGradient` costs no more and avoids it. Each train step is one evaluation; what is said at
    `tfopt.LBFGS` on batches holds here too. Memory: 3 vectors of the size of all weights,
    with `gradient_accumulation_steps` one more.

    Args:
        learning_rate: Length of the very first trial step; later ones follow from the last step taken. With
            "fixed" ε itself.
        line_search: "strong_wolfe", "backtracking", "exact", "fixed", or a search of `tfopt.line_search`.
        tolerance: Largest |∂J/∂θᵢ| at which the method stands still; units of the loss per unit of weight.
        **options: Options of every tfopt optimizer but those that would change the function behind the
            search's back: `weight_decay`, clipping, `learning_rate_multipliers`, `use_ema`; see
            `tfopt.optimizers`.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> bowl = lambda x: tf.reduce_sum((x - 1) ** 2)
        >>> tfopt.minimize(bowl, tf.zeros(3, tf.float64), method="SteepestDescent").iterations
        1

    Source: Cauchy, Méthode générale pour la résolution des systèmes d'équations simultanées, 1847; chapter
    section 7.1.
    """

    def __init__(self, learning_rate=1.0, line_search="exact", tolerance=0.0, **options):
        require_not_negative("SteepestDescent", tolerance=tolerance)
        line_search_of("SteepestDescent", line_search)
        super().__init__(learning_rate, dict(line_search=line_search, tolerance=tolerance), **options)

    def make_machine(self, *, line_search, tolerance):
        """The pure machine behind this optimizer."""
        return DescentMachine(Downhill(), line_search_of("SteepestDescent", line_search), tolerance)
