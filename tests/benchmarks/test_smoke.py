"""The benchmarks run, and their arithmetic is right; what they measure is not tested."""

import itertools
import json
import sys

import numpy as np
import pytest

import tfopt


@pytest.fixture
def shapes(benchmarks):
    """The sets of variables."""
    return benchmarks("_shapes")


# What tests look into; a smoke run of all the others takes longer, and runs with the slow tests.
LOOKED_INTO = ("graph_cost", "every_rule", "first_step", "peers")


def smoke_run(benchmarks, folder, names):
    """Results of a smoke run, as kept in JSON, by name."""
    benchmarks("_cli").main(["--smoke", "--output", str(folder), *names])
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}


@pytest.fixture(scope="module")
def kept(benchmarks, tmp_path_factory):
    """Those of `LOOKED_INTO`."""
    return smoke_run(benchmarks, tmp_path_factory.mktemp("results"), LOOKED_INTO)


class Clock:
    """Time that passes only where a contender says so."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self):
        return self.now

    def contender(self, name, durations):
        durations = iter(durations)

        def work():
            self.calls.append(name)
            self.now += next(durations)

        return work


def test_smoke_run_keeps_its_tables(kept):
    assert kept.keys() == set(LOOKED_INTO)
    assert_tables(kept)


@pytest.mark.slow
def test_smoke_run_of_all_others_keeps_every_table(benchmarks, tmp_path):
    others = benchmarks("_cli").BENCHMARKS.keys() - LOOKED_INTO
    found = smoke_run(benchmarks, tmp_path, sorted(others))
    assert found.keys() == others
    assert_tables(found)


def assert_tables(results):
    for name, result in results.items():
        assert result["rows"], name
        assert all(row.keys() == result["rows"][0].keys() for row in result["rows"])
        assert result["machine"]["cores"] >= 1
        assert result["machine"]["keras"]


def test_every_optimizer_has_a_row(benchmarks):
    cases = benchmarks("every_rule").CASES
    assert {type(case.make()).__name__ for case in cases.values()} == set(tfopt.optimizers.FIRST_ORDER)


def test_tfopt_adds_fewer_nodes_than_keras(kept):
    (row,) = kept["graph_cost"]["rows"]
    assert row["fused nodes"] < row["tfopt nodes"] < row["keras nodes"]


def test_contenders_take_turns_in_changing_order(benchmarks):
    clock = Clock()
    contenders = {name: clock.contender(name, itertools.repeat(1.0)) for name in "abc"}
    benchmarks("_timing").measure(contenders, 20, clock)
    rounds = [tuple(clock.calls[i : i + 3]) for i in range(0, len(clock.calls), 3)]
    assert len(rounds) == 21
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(set(rounds)) == 6


def test_ratios_are_taken_round_by_round(benchmarks):
    clock = Clock()
    # The machine slows down from round to round; the first round, as slow as any, does not count.
    slow, fast = [99.0, 2.0, 20.0, 300.0], [1.0, 1.0, 10.0, 100.0]
    contenders = {"slow": clock.contender("slow", slow), "fast": clock.contender("fast", fast)}
    times = benchmarks("_timing").measure(contenders, 3, clock)
    assert times.ratio("slow", "fast") == (2.0, 2.0, 2.5)
    assert times.milliseconds("slow") == 20_000.0


def test_times_of_two_builds_join(benchmarks):
    clock = Clock()
    first, second = (
        benchmarks("_timing").measure({"a": clock.contender("a", [0.0, *durations])}, 2, clock)
        for durations in ([1.0, 2.0], [4.0, 8.0])
    )
    assert (first + second).seconds["a"].tolist() == [1.0, 2.0, 4.0, 8.0]


def test_resnet50_has_the_known_tensors(shapes):
    tensors = shapes.resnet50()
    assert len(tensors) == 214
    assert shapes.parameters(tensors) == 25_583_592  # keras.applications.ResNet50: trainable parameters


def test_adam_must_move_28_bytes_per_parameter(benchmarks):
    assert benchmarks("_bandwidth").bytes_moved(10, slots=2) == 280


def test_the_limit_moves_every_byte_once(benchmarks, monkeypatch):
    bandwidth = benchmarks("_bandwidth")
    touched = []
    monkeypatch.setattr(bandwidth, "_add", lambda pair: touched.append(sum(a.nbytes for a in pair)))
    bandwidth.bandwidth_limit(1_200_000)()
    # Two arrays are read and one of them is written.
    assert sum(touched) * 3 / 2 == pytest.approx(1_200_000, rel=1e-3)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["plain", "jit"])
@pytest.mark.parametrize(
    "sizes", [[(4,)], [(4,)] * 3, [(2, 3), (), (5,), (2, 3)]], ids=["one", "equal", "mixed"]
)
def test_gradients_reach_the_optimizer_in_order_as_one_argument(benchmarks, sizes, jit_compile):
    steps = benchmarks("_steps")
    step = steps.Step(tfopt.SGD(learning_rate=1.0), steps.random_gradients(sizes), jit_compile)
    step()
    for variable, gradient in zip(step.variables, step.gradients, strict=True):
        np.testing.assert_array_equal(-variable.numpy(), gradient)
    inputs = step.function.get_concrete_function(step.argument).inputs
    assert sum(t.dtype != "resource" for t in inputs) == 1


def test_tables_show_a_ratio_with_its_quartiles(benchmarks):
    report, ratio = benchmarks("_report"), benchmarks("_timing").Ratio(0.9, 1.0, 1.25)
    assert report.text(ratio) == report.text(ratio._asdict()) == "1.00 (0.90–1.25)"
    assert [report.text(value) for value in (None, 0.01234, 1234.5)] == ["–", "0.0123", "1234"]


def test_a_table_in_a_file_is_as_wide_as_it_must_be(benchmarks, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    columns = {f"column number {k}": f"value {k}" for k in range(20)}
    result = {"title": "Wide", "rows": [columns], "machine": {}, "rounds": 1, "load": [0.0, 0.0]}
    benchmarks("_report").show(result)
    shown = capsys.readouterr().out
    assert all(text in shown for pair in columns.items() for text in pair)


@pytest.mark.parametrize(("value", "said"), [("true", "kept"), ("false", None), (None, None)])
def test_a_table_says_that_memory_was_kept(benchmarks, monkeypatch, value, said):
    name = benchmarks("_machine").USE_POOL
    monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert benchmarks("_machine").description().get("memory") == said


def test_readme_holds_the_kept_results(benchmarks):
    report = benchmarks("_report")
    readme = report.README.read_text(encoding="utf-8")
    for path in sorted(report.RESULTS.glob("*.json")):
        assert report.markdown(json.loads(path.read_text(encoding="utf-8"))) in readme


# -- Other libraries -------------------------------------------------------------------------------------


def test_a_library_that_is_not_there_is_named_in_its_row(benchmarks, shapes, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    rows = {row["update"]: row for row in benchmarks("peers").compare(shapes.single(3), 1)}
    assert "torch" in rows["torch fused"]["note"]
    assert rows["torch fused"]["ms"] is None
    assert rows["ResourceApplyAdam"]["ms"] > 0
    assert rows["ResourceApplyAdam"]["note"] == ""


def test_slow_contenders_are_left_out_by_name(kept):
    rows = [row for row in kept["peers"]["rows"] if row["update"] == "keras"]
    assert [row["ms"] is None for row in rows] == ["--slow" in row["note"] for row in rows] == [False, True]


class Computed:
    """A contender in NumPy, with some β₂ and δ's place, that may forget a variable."""

    def __init__(self, adam, changes, forgets=False):
        self.adam, self.changes, self.forgets, self.fed = adam, changes, forgets, []

    def feed(self, gradients):
        self.gradients = gradients

    def __call__(self):
        self.fed.append(self.gradients)

    def weights(self):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.changes.items():
                patch.setitem(self.adam.__globals__["ADAM"], name, value)
            made = [self.adam(*tensors).astype(np.float32) for tensors in zip(*self.fed, strict=True)]
        return [0 * w if self.forgets and i == 1 else w for i, w in enumerate(made)]


WRONG = [{"beta_1": 0.89}, {"beta_2": 0.998}, {"learning_rate": 1.01e-3}, {"epsilon": 1e-3}]


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_another_update_than_adams_is_not_timed(benchmarks, changes):
    check, peers = benchmarks("_contenders.check"), benchmarks("peers")
    gradients = [np.float32([[0.3, -2.0, 1e-3]]), np.float32([0.7])]
    right = peers.checked(lambda _: Computed(check.adam, {}), gradients)
    assert right.contender.gradients is gradients
    with pytest.raises(ArithmeticError, match="weights are wrong"):
        peers.checked(lambda _: Computed(check.adam, changes), gradients)
    with pytest.raises(ArithmeticError, match="weights are wrong"):
        peers.checked(lambda _: Computed(check.adam, {}, forgets=True), gradients)


def test_a_weight_that_is_no_number_is_wrong(benchmarks):
    check = benchmarks("_contenders.check")
    contender = Computed(lambda *gradients: gradients[0] * np.nan, {})
    contender.adam = check.adam
    contender.weights = lambda: [np.float32([np.nan])]
    assert check.error_after_two_updates(contender, [np.float32([1.0])])[0] == np.inf


def test_the_fused_kernel_has_a_column_of_its_own(kept):
    rows = {row["optimizer"]: row for row in kept["every_rule"]["rows"]}
    assert rows["AdamThenSGD"]["limit / fused"] is None
    assert (rows["Adam"]["limit / fused"] is None) == (not tfopt.kernels.status())


def test_the_first_step_is_timed_without_the_models_variables(benchmarks, shapes, monkeypatch):
    first_step, clock = benchmarks("first_step"), Clock()
    monkeypatch.setattr(first_step.time, "perf_counter", clock)

    class Slow(first_step.Nothing):
        def build(self, variables):
            clock.now += len(variables)

        def apply(self, gradients, variables):
            clock.now += 10 * len(gradients)

    clock.now = 5.0
    assert first_step.first_step(Slow, benchmarks("_steps").random_gradients(shapes.many(3, 4))) == 33.0


def test_nodes_are_counted_beyond_the_gradients(kept):
    (row,) = kept["first_step"]["rows"]
    assert 0 <= row["fused nodes"] < row["keras nodes"]
