"""Hessian and Gauss–Newton products against dense float64 matrices; batches against the whole; bad input."""

import logging

import keras
import numpy as np
import pytest
import scipy.sparse.linalg
import tensorflow as tf

import tfopt
from tfopt.curvature import gauss_newton_operator, hessian_operator
from tfopt.repair import stopped_moments

DTYPE = {"dtype": "float64"}
EACH = pytest.mark.parametrize("name", ["mlp", "convolution", "lstm", "two outputs"])


def dense(operator):
    return operator @ np.eye(operator.shape[0])


def of(problem, make=hessian_operator, **options):
    return make(problem.model, problem.x, problem.y, problem.sample_weight, **options)


def apart(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def cross_entropy(**options):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **DTYPE, **options)


# -- The Hessian ----------------------------------------------------------------------------------------


@EACH
def test_products_make_the_dense_hessian(network, name):
    problem = network(name)
    operator = of(problem)
    assert operator.shape == (problem.size, problem.size)
    assert operator.dtype == np.float64
    found = dense(operator)
    assert apart(found, problem.hessian()) < 1e-6
    assert apart(found, found.T) < 1e-12
    assert apart(operator.gradient(), problem.gradient()) < 1e-13


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    # XLA lacks the second derivative of max pooling in float64.
    [
        ("mlp", {}, 1e-11),
        pytest.param("lstm", {}, 1e-11, marks=pytest.mark.slow),
        ("convolution", {"dtype": "float32"}, 1e-4),
    ],
)
@pytest.mark.parametrize("make", [hessian_operator, gauss_newton_operator])
def test_xla_makes_the_same_products(network, name, options, tolerance, make):
    problem = network(name, **options)
    vector = np.random.default_rng(0).normal(size=problem.size)
    jitted = of(problem, make, jit_compile=True)
    assert apart(jitted @ vector, of(problem, make) @ vector) < tolerance
    assert apart(jitted.gradient(), problem.gradient()) < tolerance


@pytest.mark.parametrize("make", [hessian_operator, gauss_newton_operator])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_make_the_whole(network, make, reduction, weighted):
    """13 samples in batches of 5, 5 and 3, and a regularizer that must count once."""
    options = {"regularizer": keras.regularizers.L2(0.3), "weighted": weighted}
    problem = network("mlp", loss=cross_entropy(reduction=reduction), **options)
    vector = np.random.default_rng(1).normal(size=problem.size)
    whole, parts = of(problem, make), of(problem, make, batch_size=5)
    assert apart(parts @ vector, whole @ vector) < 1e-13
    assert apart(parts.gradient(), problem.gradient()) < 1e-13


def test_batches_of_several_inputs_and_outputs_make_the_whole(network):
    problem = network("two outputs")
    vector = np.random.default_rng(1).normal(size=problem.size)
    assert apart(of(problem, batch_size=3) @ vector, of(problem) @ vector) < 1e-13


class Sequence(keras.utils.PyDataset):
    def __init__(self, problem):
        super().__init__()
        self.parts = (problem.x, problem.y, problem.sample_weight)

    @property
    def num_batches(self):
        return 3

    def __getitem__(self, index):
        return tuple(part[5 * index : 5 * index + 5] for part in self.parts)


@pytest.mark.parametrize(
    "wrap",
    [lambda p: tf.data.Dataset.from_tensor_slices((p.x, p.y, p.sample_weight)).batch(5), Sequence],
    ids=["tf.data", "PyDataset"],
)
def test_data_sets_are_read_batch_by_batch(network, wrap):
    problem = network("mlp", weighted=True)
    operator = hessian_operator(problem.model, wrap(problem))
    vector = np.random.default_rng(2).normal(size=problem.size)
    for _ in range(2):
        assert apart(operator @ vector, of(problem) @ vector) < 1e-13


def test_products_follow_the_weights_of_the_model(network):
    problem = network("mlp")
    operator = of(problem)
    before = dense(operator)
    problem.model.trainable_variables[0].assign_add(tf.ones((4, 5), tf.float64))
    assert apart(dense(operator), before) > 1e-2
    assert apart(dense(operator), problem.hessian()) < 1e-6


def noisy_model():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, activation="tanh", **DTYPE),
            keras.layers.Dropout(0.5, seed=3, **DTYPE),
            keras.layers.BatchNormalization(momentum=0.5, **DTYPE),
            keras.layers.Dense(2, **DTYPE),
        ]
    )


@pytest.mark.parametrize("make", [hessian_operator, gauss_newton_operator])
def test_training_mode_is_one_matrix_and_leaves_the_model_alone(compiled, make):
    rng = np.random.default_rng(0)
    problem = compiled(noisy_model(), rng.normal(size=(12, 4)), rng.normal(size=(12, 2)))
    state = [v.numpy() for v in problem.model.variables]
    with tfopt.repair_keras():
        operator = of(problem, make, training=True, batch_size=4)
        found = dense(operator)
    assert apart(found, found.T) < 1e-11
    np.testing.assert_array_equal(dense(operator), found)
    assert apart(found, dense(of(problem, make))) > 1e-2
    for variable, before in zip(problem.model.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)


def test_metrics_keep_their_values(network):
    problem = network("two outputs")
    problem.model.evaluate(problem.x, problem.y, verbose=0)
    before = [v.numpy() for v in problem.model.metrics_variables]
    assert len(before) > 2
    of(problem) @ np.ones(problem.size)
    for variable, value in zip(problem.model.metrics_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_float32_models_give_float32_products_of_their_accuracy(network):
    problem = network("mlp")
    keras.config.set_floatx("float32")
    single = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(3)]
    )
    single.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    single.set_weights(problem.model.get_weights())
    operator = hessian_operator(single, problem.x.astype("float32"), problem.y, batch_size=4)
    vector = np.random.default_rng(3).normal(size=problem.size)
    assert (operator @ vector).dtype == operator.dtype == np.float32
    assert apart(operator @ vector, of(problem) @ vector) < 1e-5


class Physics(keras.Model):
    """Its loss is of its own derivative, as in a physics-informed network."""

    def __init__(self):
        super().__init__(**DTYPE)
        self.hidden = keras.layers.Dense(4, activation="tanh", **DTYPE)
        self.last = keras.layers.Dense(1, **DTYPE)

    def call(self, x):
        return self.last(self.hidden(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
        with tf.GradientTape() as tape:
            tape.watch(x)
            u = self(x)
        return tf.reduce_mean((tape.gradient(u, x) + u) ** 2) + tf.reduce_mean((y_pred - y) ** 2)


def test_a_model_with_a_loss_of_its_own(compiled):
    rng = np.random.default_rng(6)
    model = Physics()
    x = tf.constant(rng.normal(size=(7, 1)))
    model(x)
    problem = compiled(model, x, tf.constant(rng.normal(size=(7, 1))))
    problem.loss = lambda training: model.compute_loss(problem.x, problem.y, model(problem.x))
    assert apart(dense(of(problem, batch_size=3)), problem.hessian()) < 1e-6


# -- Functions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_functions_of_nests_and_variables(jit_compile):
    point = {"a": np.array([0.3, -1.2]), "b": tf.Variable([[0.5], [2.0]], dtype=tf.float64)}

    def function(x):
        return tf.reduce_sum(tf.sin(x["a"]) ** 2) * x["b"][0, 0] * x["b"][1, 0] ** 3

    operator = hessian_operator(function, point, jit_compile=jit_compile)
    (s, t), (p, q) = point["a"], point["b"].numpy()[:, 0]
    total, slope = np.sin(s) ** 2 + np.sin(t) ** 2, np.sin(2 * point["a"])
    expected = np.zeros((4, 4))
    expected[[0, 1], [0, 1]] = 2 * np.cos(2 * point["a"]) * p * q**3
    expected[:2, 2], expected[:2, 3] = slope * q**3, slope * 3 * p * q**2
    expected[2, 3], expected[3, 3] = total * 3 * q**2, total * 6 * p * q
    expected = np.triu(expected) + np.triu(expected, 1).T
    np.testing.assert_allclose(dense(operator), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        operator.gradient(), [*(slope * p * q**3), total * q**3, total * 3 * p * q**2], rtol=1e-12
    )


def test_vectors_and_structures_convert_both_ways():
    operator = hessian_operator(
        lambda x: tf.reduce_sum(x["a"]) * x["b"][0], {"a": tf.ones((2, 2)), "b": tf.ones(1)}
    )
    nest = operator.nest(np.arange(5.0))
    assert nest["a"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert nest["b"].tolist() == [4.0]
    assert operator.flatten(nest).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_weights_and_vectors_convert_both_ways(network):
    problem = network("mlp")
    operator = of(problem)
    vector = np.arange(float(problem.size))
    parts = operator.nest(vector)
    assert [part.shape for part in parts] == [tuple(v.shape) for v in problem.model.trainable_variables]
    assert operator.flatten(parts).tolist() == vector.tolist()


def test_unconnected_and_linear_functions_have_no_curvature():
    point = [tf.ones(2), tf.ones(3)]
    assert not (hessian_operator(lambda x: tf.reduce_sum(x[0]), point) @ np.ones(5)).any()


def test_scipy_takes_the_operator_as_one_of_its_own(network):
    problem = network("mlp")
    operator = of(problem)
    values = scipy.sparse.linalg.eigsh(
        scipy.sparse.linalg.aslinearoperator(operator), k=3, which="LA", return_eigenvectors=False
    )
    expected = np.linalg.eigvalsh(dense(operator))[-3:]
    np.testing.assert_allclose(np.sort(values), expected, rtol=1e-8)


def test_a_product_is_traced_once_for_each_batch_shape():
    calls = []

    def function(x):
        calls.append(1)
        return tf.reduce_sum(x**3)

    operator = hessian_operator(function, tf.ones(3))
    for _ in range(3):
        operator @ np.ones(3)
    assert len(calls) == 1


# -- Gauss–Newton ---------------------------------------------------------------------------------------


def test_gauss_newton_is_the_hessian_of_a_linear_model(network):
    problem = network("linear")
    found = dense(of(problem, gauss_newton_operator))
    assert apart(found, dense(of(problem))) < 1e-13
    assert np.linalg.eigvalsh(found)[0] > 0


@EACH
def test_gauss_newton_is_jacobian_loss_hessian_jacobian(network, name):
    problem = network(name)
    found = dense(of(problem, gauss_newton_operator))
    with tf.GradientTape(persistent=True) as tape:
        outputs = problem.model(problem.x)
        flat = tf.concat([tf.reshape(z, [-1]) for z in tf.nest.flatten(outputs)], 0)
    rows = tape.jacobian(flat, problem.weights, experimental_use_pfor=False, unconnected_gradients="zero")
    rows = [tf.stack([tf.convert_to_tensor(row) for row in part]) for part in rows]
    jacobian = np.concatenate([np.reshape(part, (flat.shape[0], -1)) for part in rows], axis=1)
    assert apart(found, jacobian.T @ loss_hessian(problem, outputs, flat) @ jacobian) < 1e-7
    assert np.linalg.eigvalsh(found)[0] > -1e-12 * np.abs(found).max()
    assert apart(found, dense(of(problem))) > 1e-3


def loss_hessian(problem, outputs, flat):
    """∂²L/∂z∂zᵀ by differences of the gradient."""
    leaves = tf.nest.flatten(outputs)
    sizes = [leaf.shape.num_elements() for leaf in leaves]

    def slope(z):
        z = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            parts = [tf.reshape(p, leaf.shape) for p, leaf in zip(tf.split(z, sizes), leaves, strict=True)]
            loss = problem.model.compute_loss(
                problem.x, problem.y, tf.nest.pack_sequence_as(outputs, parts), None
            )
        return tape.gradient(loss, z).numpy()

    start, step = flat.numpy(), 1e-4
    units = np.eye(len(start))
    central = lambda u, h: (slope(start + h * u) - slope(start - h * u)) / (2 * h)  # noqa: E731
    return np.stack([(4 * central(u, step / 2) - central(u, step)) / 3 for u in units], axis=1)


def test_gauss_newton_of_a_function_of_residuals():
    point = tf.constant([0.7, -1.1], tf.float64)

    def residuals(x):
        return {"a": x[0] * x[1], "b": tf.stack([tf.exp(x[0]), x[1] ** 2])}

    operator = gauss_newton_operator(
        residuals, point, loss=lambda r: (r["a"] ** 2 + tf.reduce_sum(r["b"] ** 2)) / 2
    )
    x, y = point.numpy()
    jacobian = np.array([[y, x], [np.exp(x), 0.0], [0.0, 2 * y]])
    np.testing.assert_allclose(dense(operator), jacobian.T @ jacobian, rtol=1e-12)


def test_regularizers_enter_gauss_newton_with_their_hessian(network):
    plain, penalised = network("mlp"), network("mlp", regularizer=keras.regularizers.L2(0.3))
    difference = dense(of(penalised, gauss_newton_operator)) - dense(of(plain, gauss_newton_operator))
    kernels = [np.full(v.shape, 0.6 * (v.shape.rank == 2)) for v in plain.weights]
    expected = np.diag(np.concatenate([np.ravel(k) for k in kernels]))
    np.testing.assert_allclose(difference, expected, atol=1e-12)


# -- Keras' normalisation -------------------------------------------------------------------------------


@pytest.fixture
def warnings_of(caplog):
    stopped_moments._warn.cache_clear()
    caplog.set_level(logging.WARNING, "tfopt")
    yield lambda: [record.getMessage() for record in caplog.records]
    stopped_moments._warn.cache_clear()


def normalised(compiled, layer, **options):
    rng = np.random.default_rng(0)
    layers = [
        keras.layers.Dense(4, activation="tanh", **DTYPE),
        layer,
        keras.layers.Dense(2, **DTYPE, **options),
    ]
    return compiled(
        keras.Sequential([keras.Input((3,)), *layers]), rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    )


NORMALISATIONS = {
    "batch": lambda: keras.layers.BatchNormalization(name="norm", **DTYPE),
    "layer": lambda: keras.layers.LayerNormalization(name="norm", **DTYPE),
    "group": lambda: keras.layers.GroupNormalization(2, name="norm", **DTYPE),
}


@pytest.mark.parametrize("make", NORMALISATIONS.values(), ids=NORMALISATIONS)
def test_a_warning_names_the_layer_once_and_the_repair_mends_it(compiled, warnings_of, make):
    problem = normalised(compiled, make())
    truth = problem.hessian(training=True)
    for _ in range(2):
        operator = of(problem, training=True, batch_size=9)
        wrong = dense(operator)
    (said,) = warnings_of()
    assert f"norm ({type(problem.model.layers[1]).__name__})" in said
    assert "tfopt.repair_keras()" in said
    assert apart(wrong, truth) > 1e-3
    with tfopt.repair_keras():
        assert apart(dense(of(problem, training=True)), truth) < 1e-6
    assert len(warnings_of()) == 1


def test_no_warning_where_nothing_is_wrong(compiled, warnings_of):
    problem = normalised(compiled, NORMALISATIONS["batch"]())
    assert apart(dense(of(problem)), problem.hessian()) < 1e-6
    vector = np.ones(problem.size)
    of(normalised(compiled, keras.layers.RMSNormalization(**DTYPE))) @ vector[:-4]
    assert warnings_of() == []


def test_gauss_newton_needs_no_repair(compiled, warnings_of):
    problem = normalised(compiled, NORMALISATIONS["layer"](), kernel_regularizer="l2")
    found = dense(of(problem, gauss_newton_operator))
    with tfopt.repair_keras():
        assert apart(dense(of(problem, gauss_newton_operator)), found) < 1e-12
    assert warnings_of() == []


def test_gauss_newton_warns_of_activity_losses(compiled, warnings_of):
    problem = normalised(compiled, NORMALISATIONS["layer"](), activity_regularizer="l2")
    of(problem, gauss_newton_operator) @ np.ones(problem.size)
    assert len(warnings_of()) == 1


def test_a_function_that_stops_the_gradient_itself_is_named(warnings_of):
    hessian_operator(lambda x: tf.reduce_sum(tf.nn.moments(x, [0])[1] ** 2), tf.ones((3, 2))) @ np.ones(6)
    (said,) = warnings_of()
    assert "tf.nn.moments" in said


# -- Bad input ------------------------------------------------------------------------------------------


def model(**options):
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    if options.get("compiled", True):
        made.compile(loss="mse")
    made.trainable = options.get("trainable", True)
    return made


X, Y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
ONES = tf.ones(2)


@pytest.mark.parametrize("make", [hessian_operator, gauss_newton_operator])
@pytest.mark.parametrize(
    ("arguments", "options", "part"),
    [
        (lambda: (model(compiled=False), X, Y), {}, "compiled"),
        (lambda: (model(trainable=False), X, Y), {}, "trainable"),
        (lambda: (keras.Sequential([keras.layers.Dense(1)]), X, Y), {}, "compiled"),
        (lambda: (model(), X, Y[:3]), {}, r"x=\[3, 4\]"),
        (lambda: (model(), X[:0], Y[:0]), {}, "at least one"),
        (lambda: (model(), None), {}, "x=None"),
        (lambda: (model(), 3.0, Y), {}, "first axis"),
        (lambda: (model(), X, Y), {"batch_size": 0}, "batch_size=0"),
        (lambda: (model(), X, Y), {"batch_size": 2.5}, "batch_size=2.5"),
        (lambda: (model(), X, Y), {"training": "yes"}, "training='yes'"),
        (lambda: (model(), X, Y), {"jit_compile": 1}, "jit_compile=1"),
        (lambda: (model(), tf.data.Dataset.from_tensors((X, Y)).repeat()), {}, "repeat"),
        (lambda: (model(), tf.data.Dataset.from_tensors((X, Y)), Y), {}, "y="),
        (lambda: (model(), tf.data.Dataset.from_tensors((X, Y))), {"batch_size": 2}, "batch_size"),
        (lambda: ("model", X, Y), {}, "target='model'"),
    ],
)
def test_bad_arguments_are_named(make, arguments, options, part):
    with pytest.raises(ValueError, match=part) as caught:
        make(*arguments(), **options)
    assert make.__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "options", "part"),
    [
        ((lambda x: x, tf.constant([1, 2])), {}, "real tensors"),
        ((lambda x: x, []), {}, "at least one element"),
        ((3, ONES), {}, "target=3"),
        ((tf.reduce_sum, ONES), {"batch_size": 2}, "batch_size=2"),
        ((tf.reduce_sum, ONES, ONES), {}, "y="),
    ],
)
def test_bad_functions_are_named(arguments, options, part):
    with pytest.raises(ValueError, match=part):
        hessian_operator(*arguments, **options)


def test_what_only_a_trace_can_see_is_named():
    with pytest.raises(ValueError, match=r"scalar.*shape \(2,\)"):
        hessian_operator(lambda x: x, ONES) @ ONES
    with pytest.raises(ValueError, match="depends on the outputs"):
        gauss_newton_operator(lambda x: x, ONES, loss=lambda _: tf.constant(1.0)) @ ONES
    with pytest.raises(ValueError, match="loss=None"):
        gauss_newton_operator(lambda x: x, ONES)
    with pytest.raises(ValueError, match="loss"):
        gauss_newton_operator(model(), X, Y, loss=tf.reduce_sum)


@pytest.mark.parametrize("vector", [np.ones(3), np.ones((2, 2, 2)), np.array(["a", "b"]), 1.0])
def test_vectors_of_another_size_are_refused(vector):
    operator = hessian_operator(lambda x: tf.reduce_sum(x**2), ONES)
    with pytest.raises(ValueError, match="2 real numbers"):
        operator @ vector
    with pytest.raises(ValueError, match="nest"):
        operator.flatten(np.ones(3))


def test_an_empty_data_set_is_refused():
    operator = hessian_operator(model(), tf.data.Dataset.from_tensors((X, Y)).take(0))
    with pytest.raises(ValueError, match="at least one sample"):
        operator @ np.ones(3)


@pytest.mark.parametrize("reductions", [("mean", "sum"), ("mean_with_sample_weight",) * 2])
def test_losses_that_no_share_of_a_batch_suits_need_one_batch(network, reductions):
    problem = network("two outputs")
    p, q = reductions
    mse = keras.losses.MeanSquaredError(reduction=q, **DTYPE)
    problem.model.compile(loss={"p": cross_entropy(reduction=p), "q": mse})
    assert apart(dense(of(problem)), problem.hessian()) < 1e-6
    with pytest.raises(ValueError, match="one batch"):
        of(problem, batch_size=3)
