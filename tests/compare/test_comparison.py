"""The comparison as a whole: budgets, resuming, settings."""

import json
import shutil

import pytest

from tfopt.compare import Settings, compare
from tfopt.compare.comparison import Plan
from tfopt.compare.export import results
from tfopt.compare.progress import Silent

NAMES = ["SGD", "keras:Adam"]


class Interrupter(Silent):
    """Presses Ctrl-C in the middle of the run after so many finished pieces."""

    def __init__(self, pieces):
        self.left = pieces

    def share(self, share):
        if self.left == 0 and share > 0.5:
            raise KeyboardInterrupt

    def done(self):
        self.left -= 1


class Counter(Silent):
    """Counts the pieces that were really made."""

    def __init__(self):
        self.made = 0

    def done(self):
        self.made += 1


def without_seconds(comparison):
    def strip(value):
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if "seconds" not in key}
        return [strip(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    return strip(json.loads(json.dumps(results(comparison))))


@pytest.fixture(scope="module")
def whole(small):
    return compare(NAMES, **small)


@pytest.mark.parametrize("pieces", [pytest.param(2, marks=pytest.mark.slow), 7])
def test_interrupted_and_resumed_equals_uninterrupted(pieces, small, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compare(NAMES, output=tmp_path, progress=Interrupter(pieces), **small)
    assert len(list((tmp_path / "runs").glob("*.json"))) == pieces
    assert not (tmp_path / "index.html").exists()
    counter = Counter()
    resumed = compare(NAMES, output=tmp_path, progress=counter, **small)
    assert counter.made == 2 * (2 + 2 + 2) - pieces
    assert without_seconds(resumed) == without_seconds(whole)
    assert not list((tmp_path / "runs").glob(".*"))


def test_all_optimizers_have_the_same_budget(whole):
    for groups, evaluations in ((whole.runs, 10), (whole.trials, 2)):
        assert {run.last.evaluations for group in groups.values() for run in group} == {evaluations}
    assert {run.task.seed for group in whole.runs.values() for run in group} == {1, 2}
    assert {run.task.seed for group in whole.trials.values() for run in group} == {0}


def test_the_tuned_rate_is_the_one_used(whole):
    for label, group in whole.runs.items():
        assert {run.task.learning_rate for run in group} == {whole.rates[label].value}
        losses = {run.task.learning_rate: run.last.validation_loss for run in whole.trials[label]}
        assert min(losses, key=losses.get) == whole.rates[label].value


def test_more_seeds_and_optimizers_reuse_what_is_there(finished, small, tmp_path):
    before, folder = finished
    shutil.copytree(folder, tmp_path / "copy")
    counter = Counter()
    arguments = small | {"seeds": 3, "target_accuracy": 0.5}
    more = compare(["SGD", "Momentum"], output=tmp_path / "copy", progress=counter, **arguments)
    assert counter.made == 1 + (2 + 3 + 2)
    assert more.runs["SGD"][:2] == before.runs["SGD"]
    assert more.settings.target_accuracy == 0.5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 16}, "batch_size=16): expected 32"),
        ({"evaluations": 12}, "evaluations=12): expected 10"),
        ({"model": "cnn"}, "model='cnn'): expected 'mlp'"),
        ({"tuning_share": 0.5}, "tuning_share=0.5): expected 0.25"),
    ],
)
def test_other_settings_refuse_the_stored_runs(change, named, finished, small):
    _, folder = finished
    with pytest.raises(ValueError, match="--fresh") as caught:
        Plan(["SGD"], output=folder, **(small | change))
    assert named in str(caught.value)


def test_fresh_starts_over(small, tmp_path):
    arguments = small | {"learning_rates": 0.1, "seeds": 1}
    compare(["SGD"], output=tmp_path, **arguments)
    counter = Counter()
    compare(["SGD"], output=tmp_path, fresh=True, progress=counter, **(arguments | {"batch_size": 16}))
    assert counter.made == 3


def test_a_damaged_piece_is_named(small, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "half.json").write_text('{"settings": ')
    with pytest.raises(ValueError, match=r"half\.json.*--fresh"):
        Plan(["SGD"], output=tmp_path, **small)


def test_given_rates(small):
    plan = Plan(["SGD", "Adam", "keras:Adam(learning_rate=0.5)"], learning_rates={"SGD": 0.2}, **small)
    assert {label: (rate.value, rate.source) for label, rate in plan.given.items()} == {
        "SGD": (0.2, "given"),
        "keras:Adam(learning_rate=0.5)": (0.5, "given"),
    }
    plan = Plan(["SGD", "Adam"], learning_rates="default", **small)
    assert [plan.given[label].value for label in ("SGD", "Adam")] == [0.01, 0.001]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (dict(optimizers=[]), "optimizers"),
        (dict(optimizers=["SGD", "SGD()"]), "each optimizer once"),
        (dict(learning_rates="fast"), "learning_rates"),
        (dict(learning_rates=-1.0), "learning_rate"),
        (dict(learning_rates={"Adam": 0.1}), "one of the optimizers SGD"),
        (dict(batch_size=10**6), "batch_size"),
        (dict(seeds=0), "seeds"),
        (dict(evaluations=2.5), "evaluations"),
        (dict(seconds=1.0), "not both"),
        (dict(seconds=float("nan"), evaluations=None), "seconds"),
        (dict(tuning_rates=()), "tuning_rates"),
        (dict(tuning_rates=(0.1, -1.0)), "tuning_rates"),
        (dict(tuning_share=0.0), "tuning_share"),
        (dict(target_accuracy=1.5), "target_accuracy"),
        (dict(target_loss=0.0), "target_loss"),
        (dict(model="mpl"), "did you mean mlp"),
        (dict(data="mnist"), "did you mean mnist5k"),
    ],
)
def test_bad_arguments_are_named(arguments, named, small):
    with pytest.raises(ValueError, match=r"^compare") as caught:
        Plan(**({"optimizers": ["SGD"]} | small | arguments))
    assert named in str(caught.value)


def test_settings_need_exactly_one_budget():
    with pytest.raises(ValueError, match="not both"):
        Settings()
