"""FanInUniform and Sparse: moments, exact counts, independence of the places, seeds and types."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfopt.initializers import FanInUniform, Sparse

KERNELS = {
    "dense": ((200, 300), None, (0,)),
    "convolution": ((3, 3, 20, 300), None, (0, 1, 2)),
    "depthwise": ((5, 5, 60, 5), (0, 1), (0, 1)),
    "transposed": ((3, 3, 300, 20), (0, 1, -1), (0, 1, 3)),
    "recurrent": ((50, 4 * 200), None, (0,)),
}


@pytest.fixture(params=KERNELS, ids=str)
def kernel(request):
    return KERNELS[request.param]


def drawn(initializer, shape, dtype=None):
    return keras.ops.convert_to_numpy(initializer(shape, dtype=dtype)).astype(np.float64)


def test_fan_in_uniform_has_the_range_and_the_moments(kernel):
    shape, input_axes, axes = kernel
    m = np.prod([shape[axis] for axis in axes])
    values = drawn(FanInUniform(input_axes, seed=1), shape)
    limit = np.sqrt(1 / m)
    n = values.size
    assert np.abs(values).max() <= limit * (1 + 1e-6)
    assert np.abs(values).max() > limit * (1 - 20 / n)
    # Five standard errors of the mean, the variance and the kurtosis of a uniform distribution.
    assert abs(values.mean()) < 5 * limit / np.sqrt(3 * n)
    np.testing.assert_allclose(values.var(), 1 / (3 * m), rtol=5 * np.sqrt(0.8 / n))
    np.testing.assert_allclose((values**4).mean() / values.var() ** 2, 1.8, rtol=10 / np.sqrt(n))


def test_fan_in_uniform_of_a_vector_takes_its_length():
    assert 0.09 < np.abs(drawn(FanInUniform(seed=0), (100,))).max() <= 0.1


@pytest.mark.parametrize("k", [1, 15, 25])
def test_sparse_has_exactly_k_weights_per_unit(kernel, k):
    shape, input_axes, axes = kernel
    values = drawn(Sparse(k, input_axes=input_axes, seed=2), shape)
    np.testing.assert_array_equal((values != 0).sum(axis=axes), k)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_sparse_is_exact_in_every_type(dtype):
    value = Sparse(15, stddev=1e-4, seed=0)((300, 2000), dtype=dtype)
    assert keras.backend.standardize_dtype(value.dtype) == dtype
    np.testing.assert_array_equal((tf.cast(value, tf.float64).numpy() != 0).sum(axis=0), 15)


def test_sparse_draws_normal_values_wherever_they_stand():
    values = drawn(Sparse(15, stddev=0.5, seed=3), (60, 20_000))
    kept = values[values != 0]
    n = kept.size
    assert abs(kept.mean()) < 5 * 0.5 / np.sqrt(n)
    np.testing.assert_allclose(kept.var(), 0.25, rtol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose((kept**4).mean() / kept.var() ** 2, 3, rtol=5 * np.sqrt(96 / n) / 3)
    # A large or positive value is no likelier than another to be kept or to stand early.
    rows = np.nonzero(values)[0]
    for statistic in (values[values != 0], np.abs(values[values != 0])):
        assert abs(np.corrcoef(rows, statistic)[0, 1]) < 5 / np.sqrt(n)


def test_sparse_treats_inputs_alike_and_units_independently():
    chosen = drawn(Sparse(15, seed=4), (60, 20_000)) != 0
    share = 15 / 60
    np.testing.assert_allclose(chosen.mean(axis=1), share, atol=5 * np.sqrt(share * (1 - share) / 20_000))
    # Two inputs go together as often as drawing without replacement says.
    together = (chosen[0] & chosen[1]).mean()
    expected = 15 * 14 / (60 * 59)
    assert abs(together - expected) < 5 * np.sqrt(expected / 20_000)
    assert len({tuple(column) for column in chosen.T}) > 19_990


def test_sparse_keeps_the_variance_of_a_units_input():
    x = np.random.default_rng(0).normal(size=(200, 500))
    inputs = x @ drawn(Sparse(15, seed=5), (500, 2000))
    np.testing.assert_allclose(inputs.var(), 15, rtol=0.05)


@pytest.mark.parametrize("make", [FanInUniform, Sparse])
class TestSeeds:
    def test_an_integer_repeats_and_matters(self, make):
        first = drawn(make(seed=7), (30, 8))
        initializer = make(seed=7)
        for _ in range(2):
            np.testing.assert_array_equal(drawn(initializer, (30, 8)), first)
        assert (drawn(make(seed=8), (30, 8)) != first).any()

    def test_none_repeats_in_one_object_and_differs_between_two(self, make):
        one, other = make(), make()
        np.testing.assert_array_equal(drawn(one, (30, 8)), drawn(one, (30, 8)))
        assert (drawn(one, (30, 8)) != drawn(other, (30, 8))).any()

    def test_a_generator_goes_on(self, make):
        initializer = make(seed=keras.random.SeedGenerator(7))
        first, second = drawn(initializer, (30, 8)), drawn(initializer, (30, 8))
        assert (first != second).any()
        again = make(seed=keras.random.SeedGenerator(7))
        np.testing.assert_array_equal(drawn(again, (30, 8)), first)
        np.testing.assert_array_equal(drawn(again, (30, 8)), second)

    @pytest.mark.parametrize(
        "seed", [None, 7, keras.random.SeedGenerator(7)], ids=["none", "int", "generator"]
    )
    def test_config_round_trip(self, make, seed):
        initializer = make(input_axes=(0, 1), seed=seed)
        again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
        assert again.get_config() == initializer.get_config()
        if seed == 7:
            np.testing.assert_array_equal(drawn(again, (3, 8, 8)), drawn(initializer, (3, 8, 8)))

    def test_in_a_layer_that_is_saved(self, make, tmp_path):
        layer = keras.layers.Conv2D(4, 3, kernel_initializer=make(seed=1))
        model = keras.Sequential([keras.Input((8, 8, 3)), layer])
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras").layers[0]
        np.testing.assert_array_equal(loaded.kernel.numpy(), layer.kernel.numpy())
        assert loaded.kernel_initializer.get_config() == layer.kernel_initializer.get_config()

    def test_in_a_compiled_function(self, make):
        initializer = make(seed=1)
        compiled = tf.function(lambda: initializer((30, 8)), jit_compile=True)
        assert (compiled().numpy() != 0).any(axis=0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sparse(0), r"Sparse\(k=0\): expected an integer with k >= 1"),
        (lambda: Sparse(stddev=-1), r"Sparse\(stddev=-1\)"),
        (lambda: Sparse(seed="a"), r"Sparse\(seed='a'\): expected an integer, a keras.random.SeedGenerator"),
        (lambda: Sparse(10)((3, 3, 1, 8)), r"Sparse\(k=10\): expected k <= 9, .*\(3, 3, 1, 8\)"),
        (lambda: Sparse(3)((8,)), r"Sparse\(shape=\(8,\)\)"),
        (lambda: Sparse(3, input_axes=(0, 4))((8, 8, 2)), r"Sparse\(input_axes=\(0, 4\)\)"),
        (lambda: FanInUniform(input_axes=(0, -3))((8, 8, 2)), r"FanInUniform\(input_axes=\(0, -3\)\)"),
        (lambda: FanInUniform(input_axes=()), r"FanInUniform\(input_axes=\(\)\)"),
        (lambda: FanInUniform(input_axes=0.5), r"FanInUniform\(input_axes=0.5\)"),
        (lambda: FanInUniform(seed=0.5), r"FanInUniform\(seed=0.5\)"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
