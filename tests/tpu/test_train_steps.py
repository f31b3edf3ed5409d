"""Whole Keras train steps compiled for a TPU v5e ahead of time: every optimizer, models of every kind."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tfopt.repair._glue import layers_within

OPTIONS = dict(global_clipnorm=1.0, weight_decay=0.01, use_ema=True, gradient_accumulation_steps=2)
# What one step accesses by the compiler's count, in 1,000 bytes. Most of Adam's are powers in float64, which
# a TPU has to put together from smaller numbers; most of the methods', their branches, which all count.
OPTIMIZERS = {
    "SGD": (tfopt.SGD, 227),
    "Momentum": (tfopt.Momentum, 341),
    "Nesterov": (tfopt.Nesterov, 346),
    "DeltaBarDelta": (tfopt.DeltaBarDelta, 528),
    "AdaGrad": (tfopt.AdaGrad, 341),
    "RMSProp": (tfopt.RMSProp, 352),
    "AdaDelta": (tfopt.AdaDelta, 466),
    "Adam": (tfopt.Adam, 7112),
    "AMSGrad": (tfopt.AMSGrad, 7114),
    "NAdam": (tfopt.NAdam, 8199),
    "Newton": (tfopt.Newton, 19259),
    "NewtonCG": (tfopt.NewtonCG, 8102),
    "BFGS": (tfopt.BFGS, 11696),
    "LBFGS": (tfopt.LBFGS, 19726),
    "SteepestDescent": (tfopt.SteepestDescent, 4524),
    "ConjugateGradient": (tfopt.ConjugateGradient, 8327),
    "CoordinateDescent": (tfopt.CoordinateDescent, 5891),
    "AdamThenSGD": (lambda: tfopt.AdamThenSGD(switch_at=5), 9465),
    "PolyakAverage": (lambda: tfopt.PolyakAverage(tfopt.Momentum()), 3556),
    "GaussianSmoothing": (lambda: tfopt.GaussianSmoothing(tfopt.SGD(), sigma=0.1), 11473),
    "BlockCoordinateDescent": (lambda: tfopt.BlockCoordinateDescent(tfopt.SGD(), blocks="layer"), 988),
    "AdaptiveClip": (lambda: tfopt.transforms.AdaptiveClip(tfopt.SGD()), 500),
    "options": (lambda: tfopt.Momentum(**OPTIONS), 6929),
    "options, Python rule": (lambda: tfopt.Momentum(fused=False, **OPTIONS), 6530),
}
LAYERS = keras.layers


def perceptron():
    """Dense layers with this library's normalisations, on whitened inputs."""
    whitening = tfopt.layers.Whitening()
    whitening.adapt(np.random.default_rng(0).normal(size=(64, 16)))
    return keras.Sequential(
        [
            keras.Input((16,)),
            whitening,
            tfopt.layers.WeightNormalization(LAYERS.Dense(8, "tanh"), data_init=False),
            tfopt.layers.BatchNormalization(),
            LAYERS.Dropout(0.2),
            tfopt.layers.Maxout(8, 2),
            tfopt.layers.LayerNormalization(),
            LAYERS.Dense(3),
        ]
    )


def convolutional():
    """Convolutions with group and instance normalisation."""
    return keras.Sequential(
        [
            keras.Input((16,)),
            LAYERS.Reshape((4, 4, 1)),
            LAYERS.Conv2D(8, 3, padding="same", activation="relu"),
            tfopt.layers.GroupNormalization(4),
            LAYERS.Conv2D(8, 3, padding="same"),
            tfopt.layers.InstanceNormalization(),
            LAYERS.GlobalAveragePooling2D(),
            LAYERS.Dense(3),
        ]
    )


def recurrent():
    """Recurrent layers with normalisation in their cells."""
    return keras.Sequential(
        [
            keras.Input((16,)),
            LAYERS.Reshape((4, 4)),
            LAYERS.RNN(tfopt.layers.LayerNormLSTMCell(6), return_sequences=True),
            LAYERS.RNN(tfopt.layers.LayerNormGRUCell(6)),
            LAYERS.Dense(3),
        ]
    )


MODELS = {"perceptron": perceptron, "convolutional": convolutional, "recurrent": recurrent}


def small():
    return keras.Sequential([keras.Input((16,)), LAYERS.Dense(8, "tanh"), LAYERS.Dense(3)])


def exported(program_of, model, optimizer):
    """StableHLO of the train step, and the bytes of all it keeps."""
    keras.utils.set_random_seed(0)
    x, y = np.ones((8, 16), "float32"), np.arange(8) % 3
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    # Builds what a step needs, as `fit` does.
    model.train_on_batch(x, y)
    text = program_of(model.train_step, (tf.constant(x), tf.constant(y)))
    kept = [v for v in (*model.variables, *optimizer.variables) if v.trainable or len(v.shape)]
    return text, sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in kept)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_train_step_of_every_optimizer(compiled, program_of, name):
    make, thousands = OPTIMIZERS[name]
    text, kept = exported(program_of, small(), make())
    report = compiled({"step": text})["step"]
    assert report["in place"] >= 4 * small().count_params()
    # Weights and slots are read and written; what a step moves on top is its own.
    assert kept <= report["bytes"] <= 1.1e3 * thousands


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_train_step_of_models(compiled, program_of, name, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = MODELS[name]()
    finally:
        keras.config.set_dtype_policy(before)
    text, kept = exported(program_of, model, tfopt.Momentum(0.1))
    report = compiled({"step": text})["step"]
    assert report["in place"] >= 8 * sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert report["bytes"] >= kept


def test_the_models_have_every_layer():
    parts = [layer for make in MODELS.values() for layer in layers_within(make())]
    assert set(tfopt.layers.__all__) - {type(part).__name__ for part in parts} == {"recalibrate_batch_norm"}


def called_back(x):
    y = tf.numpy_function(np.tanh, [x], tf.float32)
    y.set_shape(x.shape)
    return y


@pytest.mark.parametrize(
    ("function", "op"),
    [(called_back, "PyFunc"), (lambda x: tf.strings.to_number(tf.strings.as_string(x)), "AsString")],
)
def test_what_a_tpu_cannot_run_is_refused(program_of, function, op):
    model = keras.Sequential([keras.Input((16,)), LAYERS.Lambda(function), LAYERS.Dense(3)])
    with pytest.raises(ValueError, match=rf"unsupported operations.*{op}"):
        exported(program_of, model, tfopt.SGD(0.1))
