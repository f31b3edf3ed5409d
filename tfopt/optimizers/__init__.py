"""Every optimizer, one import line each.

All take, beside their own arguments, these options by keyword; methods with a line search only those that
leave alone what the search compares.

Keras' own, with Keras' meaning: `weight_decay`, `clipnorm`, `global_clipnorm`, `clipvalue`, `use_ema`,
`ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`, `gradient_accumulation_steps`, `name`. Under a
`tf.distribute` strategy they act on the all-reduced gradient, so that replicas take the step one device would
take. Differs from Keras: schedules and `use_ema` count updates, not the train steps of an accumulation.

tfopt's:

* `learning_rate_multipliers`: dict from regular expression on variable paths to a factor on ε; the first
  that matches counts, 0 freezes.
* `weight_decay_exclude`: regular expressions on the paths of variables that do not decay.
* `skip_nonfinite`: leave weights and slots untouched where a gradient holds NaN or Inf, and count such
  updates in `skipped_steps`. Default False: they pass through, as in Keras. Methods with a line search
  refuse it: they never stay where there is one.
* `fused`: use a fused kernel where there is one (`tfopt.kernels.status()`).
"""

from tfopt.optimizers.adadelta import AdaDelta
from tfopt.optimizers.adagrad import AdaGrad
from tfopt.optimizers.adam import Adam
from tfopt.optimizers.adam_then_sgd import AdamThenSGD
from tfopt.optimizers.amsgrad import AMSGrad
from tfopt.optimizers.bfgs import BFGS
from tfopt.optimizers.block_coordinate_descent import BlockCoordinateDescent
from tfopt.optimizers.conjugate_gradient import ConjugateGradient
from tfopt.optimizers.coordinate_descent import CoordinateDescent
from tfopt.optimizers.delta_bar_delta import DeltaBarDelta
from tfopt.optimizers.gaussian_smoothing import GaussianSmoothing
from tfopt.optimizers.lbfgs import LBFGS
from tfopt.optimizers.momentum import Momentum
from tfopt.optimizers.nadam import NAdam
from tfopt.optimizers.nesterov import Nesterov
from tfopt.optimizers.newton import Newton
from tfopt.optimizers.newton_cg import NewtonCG
from tfopt.optimizers.polyak_average import PolyakAverage
from tfopt.optimizers.rmsprop import RMSProp
from tfopt.optimizers.sgd import SGD
from tfopt.optimizers.steepest_descent import SteepestDescent

__all__ = [
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamThenSGD",
    "BFGS",
    "BlockCoordinateDescent",
    "ConjugateGradient",
    "CoordinateDescent",
    "DeltaBarDelta",
    "GaussianSmoothing",
    "LBFGS",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Newton",
    "NewtonCG",
    "PolyakAverage",
    "RMSProp",
    "SGD",
    "SteepestDescent",
]
# Directions with a line search: several evaluations of one function per update.
DIRECTION_METHODS = (
    "BFGS",
    "ConjugateGradient",
    "CoordinateDescent",
    "LBFGS",
    "Newton",
    "NewtonCG",
    "SteepestDescent",
)
# Around another optimizer, with something to decide that depends on the task: blocks, a width.
COMPOSED = ("BlockCoordinateDescent", "GaussianSmoothing")
# The others: one update per gradient, whatever the batch.
FIRST_ORDER = tuple(name for name in __all__ if name not in (*DIRECTION_METHODS, *COMPOSED))
