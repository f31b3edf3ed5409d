"""SparseCoding: a layer that codes its inputs by few of many learnt atoms."""

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_integer, require_not_negative, require_positive
from tfopt.sparse_coding import _data
from tfopt.sparse_coding._atoms import normalised
from tfopt.sparse_coding._codes import encode, encode_by_operations
from tfopt.sparse_coding._descent import descend
from tfopt.sparse_coding._sweep import Dictionary, cost, stream_step, sweep, traced


@keras.saving.register_keras_serializable(package="tfopt")
class SparseCoding(keras.layers.Layer):
    """Sparse coding, or dictionary learning: each sample as a combination of few of `n_atoms` learnt atoms.

    In the chapter's symbols, X with one sample in each column::

        J(H, W) = λ Σᵢⱼ |Hᵢⱼ| + Σᵢⱼ (X − WᵀH)ᵢⱼ²        ‖wₖ‖ = 1

    λ is `l1`. Here samples are rows: `x` is Xᵀ of [samples, features], the codes are Hᵀ of [samples, n_atoms]
    and `atoms` is W of [n_atoms, features], so that a reconstruction is ``codes @ atoms``. Without a bound on
    the atoms' lengths λ would mean nothing: codes could shrink as atoms grow. In scikit-learn, which
    minimises ½Σ(…)² + α Σ|…|, the same problem has α = λ/2, and its objective is J/2.

    J is minimised block by block, which each lower it:

    * the codes of all samples by cyclic coordinate descent on the Gram matrix WWᵀ, where each coordinate has
      a closed form, until the duality gap of every sample is at most `code_tolerance` ‖x‖²;
    * the atoms, each in turn at its exact minimum in the unit ball given all else, from HHᵀ and HXᵀ alone;
      those that end inside it are brought to length 1 and their codes reduced by as much, which lowers J;
    * atoms that no sample uses take the direction of the worst represented samples' residuals.

    `fit` does so with all samples, in sweeps. `partial_fit` takes minibatches of a stream: past codes are
    kept as the sums HHᵀ and HXᵀ alone, where the t-th minibatch multiplies what was before by
    (1 − 1/t)^ρ, ρ = `forgetting`. The first samples seen, drawn at random, are the first atoms.

    As a layer it answers with codes, in eager mode, graphs and under `jit_compile=True`. Its weights are
    non-trainable, and no gradient passes: training a model around it leaves it as fitted. It computes in the
    dtype of its variables, float32 or float64. Inputs are neither centred nor scaled.

    Args:
        n_atoms: Number of atoms, at least 1; may exceed the number of features.
        l1: λ > 0, in units of the inputs; codes are all zero where λ ≥ 2 max ‖x‖.
        forgetting: ρ >= 0; 0 counts all minibatches equally.
        code_tolerance: Largest duality gap of a sample's code in units of ‖x‖², > 0; float32 reaches 8e-6.
        max_passes: Most passes over the coordinates of a code, at least 1.
        seed: Integer that fixes the choice of the first atoms; None draws as Keras does.
        **options: `name` and `dtype`, as in every Keras layer.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import numpy as np, tfopt
        >>> truth = np.eye(3)  # samples are multiples of one atom each
        >>> x = np.repeat(truth, 4, axis=0) * np.arange(1.0, 13.0)[:, None]
        >>> coding = tfopt.SparseCoding(n_atoms=3, l1=0.1, seed=1, dtype="float64")
        >>> found = coding.fit(x)
        >>> found.status.name, coding.transform(x).shape
        ('CONVERGED', (12, 3))
        >>> bool(np.abs(coding.inverse_transform(coding.transform(x)) - x).max() < 0.1)
        True

    Source: Olshausen and Field, Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code
    for Natural Images, 1996; Mairal, Bach, Ponce and Sapiro, Online Dictionary Learning for Sparse Coding,
    2009, algorithms 1 and 2 and section 3.4; chapter section 8.1.
    """

    def __init__(
        self, n_atoms, l1=1.0, forgetting=1.0, code_tolerance=1e-6, max_passes=999, seed=None, **options
    ):
        owner = "SparseCoding"
        require_integer(owner, 1, n_atoms=n_atoms, max_passes=max_passes)
        require_positive(owner, l1=l1, code_tolerance=code_tolerance)
        require_not_negative(owner, forgetting=forgetting)
        if seed is not None:
            require_integer(owner, 0, seed=seed)
        super().__init__(autocast=False, **options)
        fits = self.variable_dtype in ("float32", "float64")
        require(fits, owner, "dtype", self.variable_dtype, "variables of float32 or float64")
        self.n_atoms = n_atoms
        self.l1 = l1
        self.forgetting = forgetting
        self.code_tolerance = code_tolerance
        self.max_passes = max_passes
        self.seed = seed

    def build(self, input_shape):
        fits = len(input_shape) == 2 and input_shape[1] is not None
        require(fits, "SparseCoding", "input_shape", input_shape, "(samples, features) with known features")
        weights = {
            "atoms": (self.n_atoms, input_shape[1]),
            "codes_by_codes": (self.n_atoms, self.n_atoms),
            "codes_by_inputs": (self.n_atoms, input_shape[1]),
            "minibatches": (),
        }
        for name, shape in weights.items():
            made = self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False)
            setattr(self, name, made)

    def call(self, inputs):
        x = tf.cast(inputs, self.variable_dtype)
        zeros = tf.zeros([tf.shape(x)[0], self.n_atoms], x.dtype)
        # Models are exported, and compiled by XLA: no kernels here.
        return tf.stop_gradient(
            self._traced(encode_by_operations)(x, self.atoms.value, zeros, *self._solver())
        )

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.n_atoms)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.variable_dtype)

    def fit(self, x, max_sweeps=100, tolerance=1e-4, verbose=0):
        """Fit the atoms to all samples, from the atoms there are, or from samples where there are none.

        Memory: the samples and their codes.

        Args:
            x: Samples: an array of [samples, features] or a finite, batched `tf.data.Dataset` of such, which
                is read once; of tuples the first component counts.
            max_sweeps: Sweeps at most, at least 1.
            tolerance: Stop when a sweep lowers J by no more than `tolerance` J, >= 0.
            verbose: 1 shows a progress bar, 0 none.

        Returns:
            A named tuple of `objective`, `history` (J after each sweep, which never rises), `sweeps` and
            `status`, an enumeration whose value is a sentence.

        Raises:
            ValueError: If `x` is not of that form, or an argument lies outside its range.
        """
        owner = "SparseCoding.fit"
        require_integer(owner, 1, max_sweeps=max_sweeps)
        require_not_negative(owner, tolerance=tolerance)
        x = _data.gathered(owner, x, self.variable_dtype)
        self._admit(owner, x)
        step, solver = self._traced(sweep), self._solver()
        bar = keras.utils.Progbar(max_sweeps, verbose=verbose, stateful_metrics=["J"], unit_name="sweep")
        start = self._first_atoms(x), tf.zeros([x.shape[0], self.n_atoms], x.dtype)
        dictionary, found = descend(
            lambda atoms, codes: step(x, codes, atoms, *solver),
            start,
            max_sweeps,
            tolerance,
            lambda sweeps, value, last: bar.update(sweeps, [("J", value)], finalize=last),
        )
        self._keep(dictionary, 1)
        return found

    def partial_fit(self, x, verbose=0):
        """Fit the atoms further, to one minibatch or to each one of a dataset.

        Args:
            x: A minibatch of [samples, features], or a batched `tf.data.Dataset`, whose batches are taken one
                after the other, once; of tuples the first component counts.
            verbose: 1 shows a progress bar, 0 none.

        Returns:
            An array with J per sample of each minibatch, measured before the atoms have seen it.

        Raises:
            ValueError: If `x` is not of that form.
        """
        owner, costs = "SparseCoding.partial_fit", []
        total = int(x.cardinality()) if isinstance(x, tf.data.Dataset) else 1
        bar = keras.utils.Progbar(total if total > 0 else None, verbose=verbose, unit_name="minibatch")
        for batch in _data.batches(owner, x, self.variable_dtype):
            self._admit(owner, batch)
            costs.append(self._take_in(batch) / batch.shape[0])
            bar.update(len(costs), [("J per sample", costs[-1])])
        return np.array(costs)

    def transform(self, x):
        """Codes of samples.

        Args:
            x: An array of [samples, features], or a finite, batched `tf.data.Dataset` of such.

        Returns:
            An array of [samples, n_atoms].

        Raises:
            ValueError: If `x` is not of that form, or there are no atoms yet.
        """
        return self._codes("SparseCoding.transform", x)[1].numpy()

    def inverse_transform(self, codes):
        """The samples that codes stand for.

        Args:
            codes: An array of [samples, n_atoms].

        Returns:
            An array of [samples, features], ``codes @ atoms``.

        Raises:
            ValueError: If `codes` are not of that form, or there are no atoms yet.
        """
        owner = "SparseCoding.inverse_transform"
        self._require_atoms(owner)
        codes = _data.matrix(owner, codes, self.variable_dtype)
        fits = codes.shape[1] == self.n_atoms
        require(fits, owner, "codes.shape", tuple(codes.shape), f"(samples, {self.n_atoms})")
        return tf.matmul(codes, self.atoms).numpy()

    def objective(self, x):
        """J of samples, summed over them, at the best codes for the atoms there are.

        Args:
            x: An array of [samples, features], or a finite, batched `tf.data.Dataset` of such.

        Returns:
            A Python number.

        Raises:
            ValueError: If `x` is not of that form, or there are no atoms yet.
        """
        x, codes = self._codes("SparseCoding.objective", x)
        return float(cost(x - tf.matmul(codes, self.atoms), codes, self.l1))

    def get_config(self):
        names = ("n_atoms", "l1", "forgetting", "code_tolerance", "max_passes", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}

    def _solver(self):
        """λ, the tolerance and the passes of a code, as tensors."""
        real = (tf.constant(value, self.variable_dtype) for value in (self.l1, self.code_tolerance))
        return *real, tf.constant(self.max_passes)

    def _traced(self, function):
        return traced(function, self.variable_dtype, *self.atoms.shape)

    def _admit(self, owner, x):
        """Build for the samples, or see that they are as wide as those before."""
        if not self.built:
            self.build((None, x.shape[1]))
        width = self.atoms.shape[1]
        require(x.shape[1] == width, owner, "x.shape", tuple(x.shape), f"(samples, {width})")

    def _require_atoms(self, owner):
        there = self.built and np.any(self.atoms.numpy())
        require(there, owner, "atoms", None, "a fit or partial_fit before")

    def _codes(self, owner, x):
        self._require_atoms(owner)
        x = _data.gathered(owner, x, self.variable_dtype)
        self._admit(owner, x)
        zeros = tf.zeros([x.shape[0], self.n_atoms], x.dtype)
        return x, self._traced(encode)(x, self.atoms.value, zeros, *self._solver())

    def _first_atoms(self, x):
        """The atoms at length 1; of a new layer, where all are zero, directions of samples."""
        atoms = self.atoms.numpy()
        if not atoms.any():
            order = keras.random.shuffle(np.arange(x.shape[0]), seed=self.seed)
            chosen = tf.gather(normalised(x)[0], order).numpy()
            chosen = chosen[chosen.any(axis=1)][: self.n_atoms]
            atoms[: len(chosen)] = chosen
        return normalised(tf.constant(atoms))[0]

    def _take_in(self, batch):
        """One step of the stream; returns the minibatch's cost before it."""
        count = float(self.minibatches) + 1
        keep = tf.constant((1 - 1 / count) ** self.forgetting, self.variable_dtype)
        past = map(tf.convert_to_tensor, (self.codes_by_codes, self.codes_by_inputs))
        dictionary = Dictionary(self._first_atoms(batch), *past)
        dictionary, value = self._traced(stream_step)(batch, dictionary, keep, *self._solver())
        self._keep(dictionary, count)
        return float(value)

    def _keep(self, dictionary, minibatches):
        """Make a dictionary the layer's own."""
        weights = (self.atoms, self.codes_by_codes, self.codes_by_inputs, self.minibatches)
        for weight, value in zip(weights, (*dictionary, minibatches), strict=True):
            weight.assign(value)
