"""Every optimizer, one import line each.

All take, beside their own arguments, these options by keyword.

Keras' own, with Keras' meaning: `weight_decay`, `clipnorm`, `global_clipnorm`, `clipvalue`, `use_ema`,
`ema_momentum`, `ema_overwrite_frequency`, `loss_scale_factor`, `gradient_accumulation_steps`, `name`. Under a
`tf.distribute` strategy they act on the all-reduced gradient, so that replicas take the step one device would
take. Differs from Keras: schedules and `use_ema` count updates, not the train steps of an accumulation.

tfopt's:

* `learning_rate_multipliers`: dict from regular expression on variable paths to a factor on ε; the first
  that matches counts, 0 freezes.
* `weight_decay_exclude`: regular expressions on the paths of variables that do not decay.
* `skip_nonfinite`: leave weights and slots untouched where a gradient holds NaN or Inf, and count such
  updates in `skipped_steps`. Default False: they pass through, as in Keras.
* `fused`: use a fused kernel where there is one (`tfopt.kernels.status()`).
"""

from tfopt.optimizers.adadelta import AdaDelta
from tfopt.optimizers.adagrad import AdaGrad
from tfopt.optimizers.adam import Adam
from tfopt.optimizers.adam_then_sgd import AdamThenSGD
from tfopt.optimizers.amsgrad import AMSGrad
from tfopt.optimizers.delta_bar_delta import DeltaBarDelta
from tfopt.optimizers.momentum import Momentum
from tfopt.optimizers.nadam import NAdam
from tfopt.optimizers.nesterov import Nesterov
from tfopt.optimizers.polyak_average import PolyakAverage
from tfopt.optimizers.rmsprop import RMSProp
from tfopt.optimizers.sgd import SGD

__all__ = [
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamThenSGD",
    "DeltaBarDelta",
    "Momentum",
    "NAdam",
    "Nesterov",
    "PolyakAverage",
    "RMSProp",
    "SGD",
]
