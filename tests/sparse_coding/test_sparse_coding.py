"""SparseCoding against NumPy, the conditions of a minimum, scikit-learn, and Keras' ways with layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.decomposition import DictionaryLearning

import tfopt
from tfopt.sparse_coding import _codes, _sweep
from tfopt.sparse_coding._atoms import reseed, update
from tfopt.sparse_coding._descent import Status, descend

L1 = 0.5


# -- The reference: float64, one number at a time ----------------------------------------------------------


def reference_code(x, atoms, l1, passes=3000):
    """The code of one sample."""
    code = np.zeros(len(atoms))
    for _ in range(passes):
        before = code.copy()
        for k, atom in enumerate(atoms):
            value = atom @ (x - code @ atoms + code[k] * atom)
            code[k] = np.sign(value) * max(abs(value) - l1 / 2, 0) / (atom @ atom)
        if np.abs(code - before).max() < 1e-14:
            break
    return code


def reference_atoms(x, codes, atoms, passes):
    """Each atom in turn at its minimum in the unit ball, with the residuals of all samples at hand."""
    atoms = atoms.copy()
    for _ in range(passes):
        for k in range(len(atoms)):
            others = x - codes @ atoms + np.outer(codes[:, k], atoms[k])
            free = codes[:, k] @ others / (codes[:, k] @ codes[:, k])
            atoms[k] = free / max(np.linalg.norm(free), 1)
    return atoms


def cost(x, codes, atoms, l1=L1):
    return np.sum((x - codes @ atoms) ** 2) + l1 * np.abs(codes).sum()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def directions(count, width, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(count, width)))


def made(atoms, dtype="float64", **options):
    """A layer with given atoms."""
    layer = tfopt.SparseCoding(len(atoms), L1, dtype=dtype, **options)
    layer.build((None, atoms.shape[1]))
    layer.atoms.assign(atoms)
    return layer


@pytest.fixture(params=["kernels", "operations"])
def way(request, monkeypatch):
    """With kernels, and without."""
    if request.param == "kernels":
        request.getfixturevalue("loaded")
    else:
        monkeypatch.setenv("TFOPT_KERNELS", "off")
    _sweep.traced.cache_clear()
    yield request.param
    _sweep.traced.cache_clear()


# -- Codes -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
# A block of rows less one, one, one more, and several; fewer and more atoms than features.
@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_codes_are_those_of_coordinate_descent_one_number_at_a_time(patches, count):
    atoms = directions(count, 25)
    codes = made(atoms, code_tolerance=1e-13).transform(patches[:20])
    expected = np.stack([reference_code(x, atoms, L1) for x in patches[:20]])
    assert 0 < np.mean(expected != 0) < 0.9
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert cost(patches[:20], codes, atoms) <= cost(patches[:20], expected, atoms) * (1 + 1e-9)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 8e-6)])
def test_codes_meet_the_conditions_of_a_minimum(patches, dtype, tolerance):
    atoms = directions(40, 25)
    codes = made(atoms, dtype, code_tolerance=tolerance).transform(patches)
    slopes = 2 * (patches - codes @ atoms) @ atoms.T
    assert codes.dtype == dtype
    assert (codes != 0).any(axis=1).mean() > 0.5
    # A duality gap is of second order in what slopes exceed λ by.
    assert np.abs(slopes).max() < L1 * (1 + 10 * tolerance**0.5)
    # Where a code is not zero the slope of the squares balances that of λ|h|.
    assert np.abs(codes * (L1 - np.sign(codes) * slopes)).max() < 10 * L1 * tolerance**0.5


@pytest.mark.usefixtures("way")
def test_one_pass_visits_the_coordinates_one_after_the_other(patches):
    atoms, x = directions(40, 25), patches[:5]
    codes = _codes.encode(*map(tf.constant, (x, atoms, np.zeros((5, 40)), np.float64(L1))), 1e-30, 1).numpy()
    expected = [reference_code(sample, atoms, L1, passes=_codes.PASSES) for sample in x]
    np.testing.assert_allclose(codes, expected, atol=1e-12)


def test_the_duality_gap_bounds_what_is_left_to_gain(patches):
    atoms, x = directions(40, 25), patches[:20]
    best = np.stack([reference_code(sample, atoms, L1) for sample in x])
    gram, target, squares = atoms @ atoms.T, atoms @ x.T, np.sum(x**2, axis=1)
    for codes, tight in ((best, True), (best * 0.9, False), (best * 0, False), (best + 0.1, False)):
        left = [
            cost(*rows, atoms) - cost(*others, atoms)
            for (*rows,) in zip(x, codes, strict=True)
            for others in [(rows[0], reference_code(rows[0], atoms, L1))]
        ]
        gap = _codes.duality_gap(target - gram @ codes.T, target, codes.T, squares, L1).numpy()
        assert (gap >= np.array(left) - 1e-12).all()
        if tight:
            assert np.abs(gap).max() < 1e-10


def test_samples_over_several_chunks_keep_their_codes(patches, monkeypatch):
    monkeypatch.setenv("TFOPT_KERNELS", "off")
    _sweep.traced.cache_clear()
    atoms = directions(20, 25)
    whole = made(atoms, code_tolerance=1e-12)(patches[:50])
    monkeypatch.setattr(_codes, "CHUNK", 8)
    _sweep.traced.cache_clear()
    parts = made(atoms, code_tolerance=1e-12)(patches[:50])
    _sweep.traced.cache_clear()
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.usefixtures("way")
def test_codes_are_zero_where_l1_outweighs_every_sample(patches):
    longest = np.linalg.norm(patches, axis=1).max()
    layer = made(directions(10, 25))
    layer.l1 = 2 * longest
    assert not layer.transform(patches).any()
    assert layer.objective(patches) == pytest.approx(np.sum(patches**2))


# -- Atoms and sweeps --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_a_sweep_is_that_of_the_reference(patches):
    x, atoms = patches[:60], unit(patches[60:80])
    layer = made(atoms, code_tolerance=1e-14)
    found = layer.fit(x, max_sweeps=1)
    codes = np.stack([reference_code(sample, atoms, L1) for sample in x])
    assert (codes != 0).any(axis=0).all()
    expected = reference_atoms(x, codes, atoms, passes=5)
    lengths = np.linalg.norm(expected, axis=1)
    assert (lengths > 1 - 1e-12).any()
    np.testing.assert_allclose(layer.atoms, expected / lengths[:, None], atol=1e-5)
    scaled = codes * lengths
    assert found.objective == pytest.approx(cost(x, scaled, unit(expected)), rel=1e-7)
    np.testing.assert_allclose(layer.codes_by_codes, scaled.T @ scaled, atol=1e-4)
    np.testing.assert_allclose(layer.codes_by_inputs, scaled.T @ x, atol=1e-4)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_atoms_are_at_their_minimum_inside_the_ball_and_on_it(patches, scale):
    x, atoms = patches[:50], directions(20, 25)
    codes = scale * np.random.default_rng(1).normal(size=(50, 20))
    found = update(*map(tf.constant, (atoms, codes.T @ codes, codes.T @ x))).numpy()
    np.testing.assert_allclose(found, reference_atoms(x, codes, atoms, passes=5), atol=1e-10)
    assert (np.linalg.norm(found, axis=1).max() < 1 - 1e-3) == (scale > 0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_the_objective_never_rises_and_atoms_have_length_one(patches, dtype, count):
    layer = tfopt.SparseCoding(count, L1, dtype=dtype, seed=0)
    found = layer.fit(patches[:300], max_sweeps=60, tolerance=0.0)
    assert len(found.history) == found.sweeps > 5
    assert (np.diff(found.history) <= 0).all()
    assert found.history[-1] < 0.95 * found.history[0]
    np.testing.assert_allclose(np.linalg.norm(layer.atoms, axis=1), 1, rtol=1e-6)
    assert layer.atoms.dtype == dtype
    # The codes are a sweep fresher than the atoms they belong to.
    assert layer.objective(patches[:300]) <= found.objective * (1 + 1e-5)
    codes = layer.transform(patches[:300])
    assert layer.objective(patches[:300]) == pytest.approx(
        cost(patches[:300], codes, layer.atoms.numpy()), rel=1e-5
    )


@pytest.mark.slow
def test_a_fixed_point_is_a_minimum_over_each_block(patches):
    layer = tfopt.SparseCoding(8, L1, dtype="float64", seed=0, code_tolerance=1e-12)
    found = layer.fit(patches[:200], max_sweeps=1000, tolerance=1e-12)
    assert found.status is Status.CONVERGED
    codes = layer.transform(patches[:200])
    again = reference_atoms(patches[:200], codes, layer.atoms.numpy(), passes=1)
    np.testing.assert_allclose(layer.atoms, again, atol=1e-3)


def test_dead_atoms_are_put_to_use_and_nothing_rises(patches):
    x = patches[:200]
    atoms = unit(patches[200:210])
    # The last two are orthogonal to everything.
    layer = made(np.concatenate([atoms, np.full((2, 25), 0.2)]))
    used = (layer.transform(x) != 0).any(axis=0)
    assert (~used[10:]).all()
    before = layer.objective(x)
    found = layer.fit(x, max_sweeps=20, tolerance=0.0)
    history = [before, *found.history]
    assert (np.diff(history) <= 0).all()
    assert (layer.transform(x) != 0).any(axis=0).all()


def test_dead_atoms_point_where_the_worst_residuals_do():
    residuals = np.diag([3.0, 1.0, 5.0, 0.2])
    dead = np.array([False, True, False, True, True, True, True])
    atoms, replaced = reseed(*map(tf.constant, (np.ones((7, 4)), dead, residuals, np.float64(0.5))))
    np.testing.assert_array_equal(replaced, [False, True, False, True, True, False, False])
    expected = np.ones((7, 4))
    expected[[1, 3, 4]] = np.eye(4)[[2, 0, 1]]
    np.testing.assert_array_equal(atoms, expected)


def test_atoms_that_generated_the_data_are_found():
    truth, rng = directions(12, 20, seed=3), np.random.default_rng(4)
    codes = rng.normal(size=(600, 12)) * (rng.random((600, 12)) < 0.15)
    layer = tfopt.SparseCoding(12, 0.05, seed=0)
    layer.fit(codes @ truth, max_sweeps=300, tolerance=1e-6)
    assert np.abs(truth @ layer.atoms.numpy().T).max(axis=1).min() > 0.99


class Scripted:
    """Sweeps with given costs and numbers of replaced atoms."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, atoms, codes):
        value, replaced = self.steps.pop(0)
        return _sweep.Dictionary(value, None, None), None, value, replaced


@pytest.mark.parametrize(
    ("steps", "status", "sweeps"),
    [
        ([(10.0, 0), (9.0, 0), (8.9999, 0)], Status.CONVERGED, 3),
        ([(10.0, 0), (9.0, 0), (8.9999, 1), (8.0, 0), (7.0, 0), (6.0, 0)], Status.MAX_SWEEPS, 6),
        ([(10.0, 0), (9.0, 0), (8.9999, 1), (8.9998, 1)], Status.CONVERGED, 4),
        ([(10.0, 0), (9.0, 0), (9.0001, 0)], Status.STALLED, 2),
        ([(float(10 - k), 0) for k in range(6)], Status.MAX_SWEEPS, 6),
    ],
)
def test_statuses(steps, status, sweeps):
    told = []
    best, found = descend(Scripted(*steps), (None, None), 6, 1e-4, lambda *told_: told.append(told_))
    assert (found.status, found.sweeps) == (status, sweeps)
    assert best.atoms == found.objective == found.history[-1] == min(value for value, _ in steps)
    assert [last for *_, last in told] == [False] * (len(told) - 1) + [True]
    assert found.status.value.endswith(".")


# -- scikit-learn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [15, pytest.param(50, marks=pytest.mark.slow)])
def test_the_objective_is_as_low_as_scikit_learns(patches, count):
    peer = DictionaryLearning(count, alpha=L1 / 2, fit_algorithm="cd", max_iter=40, tol=1e-4, random_state=0)
    peer.fit(patches)
    layer = tfopt.SparseCoding(count, L1, dtype="float64", seed=0)
    layer.fit(patches, max_sweeps=40)
    theirs = made(peer.components_).objective(patches)
    assert layer.objective(patches) <= 1.01 * theirs


# -- Streams -----------------------------------------------------------------------------------------------


def stream(x, epochs, size=50):
    return tf.data.Dataset.from_tensor_slices(x).shuffle(len(x), seed=0).batch(size).repeat(epochs)


@pytest.mark.slow
def test_minibatches_come_near_the_full_batch(patches):
    full, streamed = (tfopt.SparseCoding(20, L1, seed=0) for _ in range(2))
    full.fit(patches)
    costs = streamed.partial_fit(stream(patches, 15))
    assert len(costs) == 300
    assert costs[-20:].mean() < costs[1:20].mean()
    assert streamed.objective(patches) <= 1.02 * full.objective(patches)
    np.testing.assert_allclose(np.linalg.norm(streamed.atoms, axis=1), 1, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("forgetting", [0.0, 2.0])
def test_past_minibatches_count_by_their_age(patches, forgetting):
    layer = made(unit(patches[:4]), forgetting=forgetting, code_tolerance=1e-14)
    batches, sums = np.split(patches[100:190], 3), np.zeros((4, 4))
    for t, batch in enumerate(batches, start=1):
        atoms = layer.atoms.numpy()
        codes = np.stack([reference_code(x, atoms, L1) for x in batch])
        layer.partial_fit(batch)
        sums = (1 - 1 / t) ** forgetting * sums + codes.T @ codes
        # What brought the atoms to length 1 went into the codes.
        scale = np.sqrt(np.diag(layer.codes_by_codes) / np.diag(sums))
        assert (scale <= 1 + 1e-6).all()
        sums *= np.outer(scale, scale)
        np.testing.assert_allclose(layer.codes_by_codes, sums, atol=1e-5)
    assert float(layer.minibatches) == 3


def test_a_stream_goes_on_from_a_fit_and_a_fit_from_atoms(patches):
    layer = tfopt.SparseCoding(20, L1, seed=0)
    layer.fit(patches)
    before = layer.objective(patches)
    layer.partial_fit(stream(patches, 1))
    assert layer.objective(patches) < 1.01 * before
    assert layer.fit(patches).history[0] < 1.01 * before


def test_atoms_wait_for_samples_where_a_stream_begins_with_few(patches):
    layer = tfopt.SparseCoding(20, L1, seed=0)
    layer.partial_fit(patches[:7])
    assert 7 <= (np.linalg.norm(layer.atoms, axis=1) > 0).sum() < 20
    layer.partial_fit(stream(patches, 1))
    np.testing.assert_allclose(np.linalg.norm(layer.atoms, axis=1), 1, rtol=1e-6)


def test_a_dataset_is_its_samples(patches):
    one, other = (tfopt.SparseCoding(6, L1, seed=0) for _ in range(2))
    batched = tf.data.Dataset.from_tensor_slices((patches[:90], np.arange(90))).batch(40)
    assert one.fit(batched, max_sweeps=3).history == other.fit(patches[:90], max_sweeps=3).history
    np.testing.assert_array_equal(one.transform(batched), other.transform(patches[:90]))


def test_the_number_of_samples_does_not_trace_anew(patches):
    layer = made(unit(patches[:7]), "float32")
    layer.partial_fit(patches[:31])
    layer.partial_fit(patches[:32])
    function = _sweep.traced(_sweep.stream_step, "float32", 7, 25)
    traces = function.experimental_get_tracing_count()
    assert traces > 0
    for count in range(33, 40):
        layer.partial_fit(patches[:count])
    assert function.experimental_get_tracing_count() == traces


# -- The layer ---------------------------------------------------------------------------------------------


def test_seeds_fix_the_first_atoms(patches):
    def atoms(seed):
        layer = tfopt.SparseCoding(5, L1, seed=seed)
        layer.fit(patches, max_sweeps=2)
        return layer.atoms.numpy()

    np.testing.assert_array_equal(atoms(1), atoms(1))
    assert np.abs(atoms(1) - atoms(2)).max() > 1e-2
    keras.utils.set_random_seed(3)
    first = atoms(None)
    assert np.abs(first - atoms(None)).max() > 1e-2
    keras.utils.set_random_seed(3)
    np.testing.assert_array_equal(first, atoms(None))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "jit"])
def test_a_model_keeps_it_and_answers_with_codes(patches, tmp_path, jit_compile):
    layer = tfopt.SparseCoding(9, L1, seed=0, forgetting=2.0, name="codes")
    layer.fit(patches, max_sweeps=5)
    layer.partial_fit(patches[:100])
    model = keras.Sequential([keras.Input((25,)), layer])
    assert model.output_shape == (None, 9)
    assert model.trainable_weights == []
    model.compile(jit_compile=jit_compile)
    codes = model.predict(patches[:70], batch_size=32, verbose=0)
    np.testing.assert_allclose(codes, layer.transform(patches[:70]), atol=1e-3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").get_layer("codes")
    assert loaded.get_config() == layer.get_config()
    for one, other in zip(loaded.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    for one in (layer, loaded):
        one.partial_fit(patches[100:200])
    np.testing.assert_array_equal(loaded.atoms, layer.atoms)


def test_what_a_model_exports_needs_nothing_of_tfopt(patches):
    layer = made(unit(patches[:7]), "float32")
    function = tf.function(layer).get_concrete_function(tf.TensorSpec([None, 25]))
    names = {node.op for one in function.graph.as_graph_def().library.function for node in one.node_def}
    assert "MatMul" in names
    assert not [name for name in names if name.startswith("Tfopt")]


def test_a_config_round_trip_keeps_every_argument():
    options = dict(l1=0.3, forgetting=0.5, code_tolerance=1e-3, max_passes=7, seed=5, dtype="float64")
    layer = tfopt.SparseCoding.from_config(tfopt.SparseCoding(4, **options).get_config())
    assert {name: getattr(layer, name) for name in options} == options | {"dtype": "float64"}
    assert layer.n_atoms == 4


def test_training_around_it_leaves_it_alone(patches):
    layer = tfopt.SparseCoding(9, L1, seed=0)
    layer.fit(patches, max_sweeps=5)
    atoms = layer.atoms.numpy()
    model = keras.Sequential([keras.Input((25,)), keras.layers.Dense(25), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    kernels = [w.numpy() for w in model.trainable_weights]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        model.fit(patches[:64], patches[:64, :1], verbose=0)
    np.testing.assert_array_equal(layer.atoms, atoms)
    np.testing.assert_array_equal(model.trainable_weights[0], kernels[0])
    assert np.abs(model.trainable_weights[2].numpy() - kernels[2]).max() > 0


def test_reconstructions_are_codes_times_atoms(patches):
    layer = made(directions(5, 25))
    codes = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(layer.inverse_transform(codes), codes @ layer.atoms.numpy())


def test_the_progress_bar_counts_sweeps(patches, capsys):
    layer = tfopt.SparseCoding(3, L1, seed=0)
    layer.fit(patches, max_sweeps=2, tolerance=0.0, verbose=1)
    assert "2/2" in capsys.readouterr().out
    layer.partial_fit(stream(patches[:100], 1), verbose=1)
    assert "2/2" in capsys.readouterr().out
    layer.fit(patches, max_sweeps=2)
    assert capsys.readouterr().out == ""


# -- Bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"n_atoms": 0}, "n_atoms"),
        ({"n_atoms": 2.5}, "n_atoms"),
        ({"l1": 0.0}, "l1"),
        ({"l1": float("nan")}, "l1"),
        ({"forgetting": -1.0}, "forgetting"),
        ({"code_tolerance": 0.0}, "code_tolerance"),
        ({"max_passes": 0}, "max_passes"),
        ({"seed": 1.5}, "seed"),
        ({"dtype": "bfloat16"}, "dtype"),
    ],
)
def test_arguments_out_of_range_are_named(options, argument):
    with pytest.raises(ValueError, match=rf"^SparseCoding\({argument}=.*expected "):
        tfopt.SparseCoding(**{"n_atoms": 3} | options)


BAD_SAMPLES = {
    "x.shape": np.zeros((2, 3, 4)),
    "x.shape=(0, 25)": np.zeros((0, 25)),
    "x.shape=(3, 7)": np.ones((3, 7)),
    "x.dtype='complex128'": np.ones((3, 25), complex),
    "x=array": np.full((3, 25), np.nan),
    "x=<": tf.data.Dataset.from_tensors(np.ones((2, 25))).repeat(),
    "x=<_Ski": tf.data.Dataset.from_tensors(np.ones((2, 25))).skip(1),
}


@pytest.mark.parametrize("method", ["fit", "transform", "objective"])
@pytest.mark.parametrize("start", BAD_SAMPLES)
def test_samples_of_another_form_are_named(start, method):
    with pytest.raises(ValueError, match="expected ") as raised:
        getattr(made(directions(3, 25)), method)(BAD_SAMPLES[start])
    assert str(raised.value).startswith(f"SparseCoding.{method}({start}")


def test_what_needs_atoms_says_so(patches):
    layer = tfopt.SparseCoding(3)
    for method in (layer.transform, layer.inverse_transform, layer.objective):
        with pytest.raises(ValueError, match=r"\(atoms=None\): expected a fit or partial_fit before"):
            method(patches)
    with pytest.raises(ValueError, match=r"codes.shape=\(1, 4\)\): expected \(samples, 3\)"):
        made(directions(3, 25)).inverse_transform(np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"input_shape=\(2, 3, 4\)"):
        layer(np.ones((2, 3, 4)))


@pytest.mark.parametrize(
    ("options", "argument"), [({"max_sweeps": 0}, "max_sweeps"), ({"tolerance": -1.0}, "tolerance")]
)
def test_arguments_of_fit_are_named(patches, options, argument):
    with pytest.raises(ValueError, match=rf"SparseCoding.fit\({argument}="):
        tfopt.SparseCoding(3).fit(patches, **options)
