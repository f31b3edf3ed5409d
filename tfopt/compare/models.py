"""The four networks that a comparison can train, built for the data at hand."""

import keras
from keras import layers


def mlp(shape, classes):
    """Two hidden layers of ReLU units."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(classes),
        ]
    )


def cnn(shape, classes):
    """Two convolutions with pooling, then a linear layer."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(classes),
        ]
    )


def lstm(shape, classes):
    """An LSTM that reads the image row by row."""
    height, width, channels = shape
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Reshape((height, width * channels)),
            layers.LSTM(64),
            layers.Dense(classes),
        ]
    )


def resnet(shape, classes):
    """Three residual stages of one block each, with batch normalization."""
    inputs = keras.Input(shape)
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        x = _block(x, filters, stride)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))


def _block(x, filters, stride):
    before = layers.Activation("relu")(layers.BatchNormalization()(x))
    y = layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False)(before)
    y = layers.Activation("relu")(layers.BatchNormalization()(y))
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(y)
    if stride != 1 or x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, strides=stride, padding="same", use_bias=False)(before)
    return layers.Add()([x, y])


BUILDERS = {"mlp": mlp, "cnn": cnn, "lstm": lstm, "resnet": resnet}


def build_model(name, shape, classes, seed):
    r"""Build a classifier whose initial weights depend on the seed alone.

    Sets Keras' global seed, so that every optimizer starts from the same weights at the same seed. The
    outputs are logits.

    Args:
        name: "mlp", "cnn", "lstm" or "resnet".
        shape: Shape of one image, (height, width, channels).
        classes: Number of classes.
        seed: Seed of the initial weights.

    Returns:
        An uncompiled `keras.Model`.

    Example:
        >>> build_model("lstm", (28, 28, 1), 10, seed=1).output_shape
        (None, 10)
    """
    keras.utils.set_random_seed(seed)
    return BUILDERS[name](shape, classes)
