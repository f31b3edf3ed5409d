"""Whether the metrics of a model are sums over batches, as the metrics of many workers have to be."""

import keras
import numpy as np

from tfopt._check import require

# Relative error that rounding may make of a sum.
ROUNDING = 1e-5


def require_additive(owner, model, batch):
    """Raise ValueError unless a batch adds the same to the metrics' state, whatever was there before.

    Args:
        owner: Name of the class or function that needs it.
        model: A built, compiled model.
        batch: Function without arguments that gives a batch, called only where there are metrics of others
            than Keras and tfopt.
    """
    metrics = [metric for metric in _flat(model.metrics) if not _known(metric)]
    if not metrics and type(model).compute_metrics is keras.Model.compute_metrics:
        return
    wrong = not_additive(model, batch())
    expected = "metrics whose state is a sum over batches, since each worker has batches of its own"
    require(not wrong, owner, "metrics", wrong, expected)


def not_additive(model, batch):
    """Paths of the variables of metrics that a second update with a batch moves by another step."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    y_pred = model(x, training=False)
    variables = model.metrics_variables
    states = [[value for metric in model.metrics for value in metric.stateless_reset_state()]]
    for _ in range(2):
        with keras.StatelessScope(state_mapping=list(zip(variables, states[-1], strict=True))) as scope:
            model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
        states.append([scope.get_current_value(variable) for variable in variables])
    moves = zip(variables, *states, strict=True)
    return [variable.path for variable, *values in moves if not _adds(*values)]


def _flat(metrics):
    """Metrics and the metrics that they hold."""
    for metric in metrics:
        yield metric
        yield from _flat(getattr(metric, "metrics", ()))


def _known(metric):
    return type(metric).__module__.split(".")[0] in ("keras", "tfopt")


def _adds(*states):
    """Whether the second step of a state is as long as the first."""
    start, once, twice = (np.asarray(state).astype(np.float64) for state in states)
    return np.allclose(
        twice - once, once - start, rtol=ROUNDING, atol=ROUNDING * np.abs(twice).max(initial=0)
    )
