"""Whitening: inputs without correlation, of mean 0 and variance 1."""

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_choice, require_integer, require_not_negative
from tfopt.layers._covariance import StreamingCovariance, batches, rows_of


@keras.saving.register_keras_serializable(package="tfopt")
class Whitening(keras.layers.Layer):
    """Decorrelates the features and gives each of them mean 0 and variance 1, by PCA or ZCA.

    With μ the mean and C = V Λ Vᵀ the covariance of the data, λ_1 ≥ λ_2 ≥ …, and k = `n_components`::

        y = (x − μ) V_k (Λ_k + ε)^{−½}            method="pca", k outputs
        y = (x − μ) V_k (Λ_k + ε)^{−½} V_kᵀ       method="zca", as many outputs as inputs

    The ZCA output is, of all white ones, the nearest to the input; that of PCA is ordered by variance. With
    ε = 0 and k at most the rank of C the covariance of the output is the identity (for ZCA with fewer
    components a projection). Features are the last axis, all others count samples. Each column of V has its
    largest entry positive.

    `adapt` reads the data once, in pieces, in float64. Rank-deficient data is taken as it is: in a direction
    whose variance is no more than rounding leaves, the output is 0, not noise blown up: where
    λ ≤ max(n ε₆₄ λ_1, 4 ε_x² (λ_1 + max_i μ_i²)), with n features and a spacing ε_x of the data's type.
    `rank` counts the other directions.
    Features of very unequal units should be brought to similar ones first. Before `adapt` the layer hands its
    first k inputs on as they are.

    The map is linear, so gradients pass through it as through a dense layer; its weights are not trainable.
    It computes in float32 at least, whatever the policy, and answers in the policy's compute type.

    Args:
        method: "pca" or "zca".
        n_components: k >= 1, at most the number of features; None for all.
        epsilon: ε >= 0, damps directions of little variance; 0 by default.

    Attributes:
        rank: Number of the k directions that have variance, after `adapt`.

    Raises:
        ValueError: If an argument lies outside its range, or the data is not finite, has fewer than two
            samples or other features than the layer was built for.

    Example:
        >>> import numpy as np, tfopt
        >>> x = np.random.default_rng(0).normal(size=(500, 2)) @ [[3.0, 1.0], [0.0, 0.1]] + [5.0, 0.0]
        >>> layer = tfopt.layers.Whitening()
        >>> layer.adapt(x)
        >>> y = layer(x).numpy()
        >>> bool(np.allclose(np.cov(y.T), np.eye(2), atol=1e-4))
        True
        >>> bool(np.allclose(layer.inverse(y), x, atol=1e-4))
        True

    Source: Kessy, Lewin and Strimmer, Optimal Whitening and Decorrelation, 2018; Chan, Golub and LeVeque,
    Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979; chapter section 10.1.1.
    """

    def __init__(self, method="pca", n_components=None, epsilon=0.0, **kwargs):
        require_choice("Whitening", ("pca", "zca"), method=method)
        if n_components is not None:
            require_integer("Whitening", 1, n_components=n_components)
        require_not_negative("Whitening", epsilon=epsilon)
        # Rounding the inputs would come before the mean is taken off, and 1/σ may be beyond half precision.
        super().__init__(autocast=False, **kwargs)
        self.method = method
        self.n_components = n_components
        self.epsilon = epsilon
        self.supports_masking = True
        self.reset_state()

    def build(self, input_shape):
        features = input_shape[-1]
        fits = len(input_shape) >= 2 and features is not None
        require(
            fits, "Whitening", "input_shape", tuple(input_shape), "(samples, …, features), features known"
        )
        kept = self._kept(features)
        outputs = kept if self.method == "pca" else features
        wide = "float64" if self.variable_dtype == "float64" else "float32"
        for name, shape, initial in (
            ("mean", (features,), "zeros"),
            ("matrix", (features, outputs), _identity),
            ("inverse_matrix", (outputs, features), _identity),
        ):
            weight = self.add_weight(
                name=name, shape=shape, initializer=initial, dtype=wide, autocast=False, trainable=False
            )
            setattr(self, name, weight)
        self.directions = self.add_weight(
            name="directions", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    def adapt(self, data, batch_size=None):
        """Learn mean and covariance from data, forgetting what was learnt before.

        Args:
            data: Array or tensor of (samples, …, features), or a finite `tf.data.Dataset` or a
                `keras.utils.PyDataset` of batches of such; of tuples the first component counts. It is read
                once.
            batch_size: Samples of an array at a time, which bounds the memory of a float64 copy; None takes
                all at once.

        Raises:
            ValueError: If the data is not of that form, not finite, or fewer than two samples.
        """
        owner = "Whitening.adapt"
        if batch_size is not None:
            require_integer(owner, 1, batch_size=batch_size)
        self.reset_state()
        for batch in batches(owner, data, batch_size):
            self._take_in(owner, batch)
        self._make_map()

    def update_state(self, data):
        """Take a batch of (samples, …, features) into the statistics; `finalize_state` makes them count."""
        self._take_in("Whitening.update_state", data)

    def _take_in(self, owner, data):
        rows = rows_of(owner, data)
        known = self.mean if self.built else self._statistics.mean
        features = rows.shape[1] if known is None else known.shape[0]
        require(rows.shape[1] == features, owner, "data", f"{rows.shape[1]} features", f"{features} features")
        self._kept(features)
        self._statistics.update(rows)
        self._pending = True

    def _kept(self, features):
        """k for so many features, checked."""
        expected = f"at most the number of features, {features}"
        fits = self.n_components is None or self.n_components <= features
        require(fits, "Whitening", "n_components", self.n_components, expected)
        return self.n_components or features

    def reset_state(self):
        """Forget the statistics gathered so far; the layer's map stays."""
        self._statistics = StreamingCovariance()
        self._pending = False

    def finalize_state(self):
        """Make the map of the statistics gathered so far; more batches may follow, and another call.

        Without a batch since the last call a built layer keeps the map it has.

        Raises:
            ValueError: If they are of fewer than two samples.
        """
        # Keras calls it too, behind weights that it has loaded from an HDF5 file.
        if self._pending or not self.built:
            self._make_map()

    def _make_map(self):
        count = self._statistics.count
        require(count >= 2, "Whitening", "samples", count, "at least two samples")
        features = len(self._statistics.mean)
        # Not before: data that were refused leave the layer open to others.
        if not self.built:
            self.build((None, features))
            self.built = True
        variances, vectors = _principal(self._statistics.covariance, self._kept(features))
        present = variances > _floor(variances[0], self._statistics)
        deviation = np.sqrt(np.where(present, variances + self.epsilon, 1.0))
        matrix = vectors * np.where(present, 1 / deviation, 0.0)
        inverse = (vectors * np.where(present, deviation, 0.0)).T
        if self.method == "zca":
            matrix, inverse = matrix @ vectors.T, vectors @ inverse
        self.mean.assign(self._statistics.mean)
        self.matrix.assign(matrix)
        self.inverse_matrix.assign(inverse)
        self.directions.assign(int(present.sum()))
        self._pending = False

    def call(self, inputs):
        centred = tf.cast(inputs, self.mean.dtype) - self.mean
        return tf.cast(tf.linalg.matmul(centred, self.matrix), self.compute_dtype)

    def inverse(self, outputs):
        """The inputs that outputs stand for.

        Args:
            outputs: Array or tensor of (samples, …, outputs).

        Returns:
            A tensor of (samples, …, features): the inputs where no direction was left out, else the inputs'
            projection onto those that were kept.
        """
        require(self.built, "Whitening.inverse", "built", self.built, "a layer that has been adapted")
        restored = tf.linalg.matmul(tf.cast(outputs, self.mean.dtype), self.inverse_matrix) + self.mean
        return tf.cast(restored, self.compute_dtype)

    @property
    def rank(self):
        """Number of the kept directions that have variance."""
        require(self.built, "Whitening.rank", "built", self.built, "a layer that has been adapted")
        return int(self.directions.numpy())

    def compute_output_shape(self, input_shape):
        narrow = self.method == "pca" and self.n_components is not None
        return (*input_shape[:-1], self.n_components if narrow else input_shape[-1])

    def get_config(self):
        names = ("method", "n_components", "epsilon")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _identity(shape, dtype=None):
    return tf.eye(*shape, dtype=dtype)


def _principal(covariance, kept):
    """The largest variances, falling, and their directions as columns."""
    variances, vectors = np.linalg.eigh(covariance)
    variances, vectors = variances[::-1][:kept], vectors[:, ::-1][:, :kept]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0)
    return variances, vectors * np.where(largest < 0, -1.0, 1.0)


def _floor(largest, statistics):
    """Variance that rounding alone may leave: that of the covariance here, that of the data before."""
    here = len(statistics.mean) * np.finfo(np.float64).eps * largest
    return max(here, 4 * statistics.epsilon**2 * (largest + np.square(statistics.mean).max()))
