"""Initializers that draw at random, with seeds as Keras has them."""

import numbers
import random

import keras

from tfopt._check import require
from tfopt.initializers._fans import as_axes


class KernelInitializer(keras.initializers.Initializer):
    """Draws a kernel, knowing which of its axes lead into a unit.

    An integer or None gives the same numbers at every call, a `keras.random.SeedGenerator` new ones.
    """

    def __init__(self, input_axes, seed):
        owner = type(self).__name__
        self.input_axes = as_axes(owner, input_axes)
        self.given_seed = seed
        if seed is None:
            # As Keras draws its own, which `keras.utils.set_random_seed` governs.
            seed = random.randint(1, 10**9)
        elif isinstance(seed, dict):
            seed = keras.saving.deserialize_keras_object(seed)
        known = isinstance(seed, (numbers.Integral, keras.random.SeedGenerator)) and not isinstance(
            seed, bool
        )
        require(known, owner, "seed", seed, "an integer, a keras.random.SeedGenerator or None")
        self.seed = seed

    def get_config(self):
        return {
            "input_axes": self.input_axes,
            "seed": keras.saving.serialize_keras_object(self.given_seed),
        }
