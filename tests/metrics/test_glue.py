"""Guard of the private hook that tfopt/metrics/_glue.py stands on."""

import keras
import numpy as np

from tfopt.metrics import _glue


def test_direction_is_where_callbacks_look_for_what_is_better():
    metric = keras.metrics.MeanMetricWrapper(lambda y, p: p, name="odd")
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[metric])
    model.evaluate(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    stop = keras.callbacks.EarlyStopping("odd")
    stop.set_model(model)
    stop.on_train_begin()
    assert not hasattr(metric, "_direction")
    _glue.prefer_low(metric)
    stop.on_epoch_end(0, {"odd": 1.0})
    assert stop.monitor_op is keras.ops.less
