"""Optimizers by name."""

import keras
import pytest

import tfopt
from tfopt.compare.specs import default_names, parse_optimizer


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Adam", "Adam"),
        (" Adam( beta_1 = 0.8 ) ", "Adam(beta_1=0.8)"),
        ("keras:Adam", "keras:Adam"),
        ("keras:SGD(momentum=0.5, nesterov=True)", "keras:SGD(momentum=0.5, nesterov=True)"),
        ("PolyakAverage", "PolyakAverage(SGD)"),
        ("PolyakAverage(Adam(beta_1=0.8), decay=0.9)", "PolyakAverage(Adam(beta_1=0.8), decay=0.9)"),
        ("PolyakAverage(inner=Adam)", "PolyakAverage(Adam)"),
    ],
)
def test_label_is_canonical_and_reads_back_as_itself(text, label):
    assert parse_optimizer(text).label == label
    assert parse_optimizer(label) == parse_optimizer(text)


def test_builds_the_class_with_its_options():
    optimizer = parse_optimizer("Adam(beta_1=0.8, epsilon_mode='hat')").build(0.5)
    assert type(optimizer) is tfopt.Adam
    assert (optimizer.beta_1, optimizer.epsilon_mode, float(optimizer.learning_rate)) == (0.8, "hat", 0.5)
    assert type(parse_optimizer("keras:Adam").build(0.1)) is keras.optimizers.Adam


def test_a_wrapper_hands_the_learning_rate_to_what_it_wraps():
    spec = parse_optimizer("PolyakAverage(Momentum(momentum=0.5))")
    optimizer = spec.build(0.25)
    assert type(optimizer.inner) is tfopt.Momentum
    assert float(optimizer.inner.learning_rate) == float(optimizer.learning_rate) == 0.25
    assert spec.default_rate == parse_optimizer("Momentum").default_rate


def test_a_rate_in_the_name_counts_as_given():
    assert parse_optimizer("Adam(learning_rate=0.5)").given_rate == 0.5
    assert parse_optimizer("PolyakAverage(SGD(learning_rate=0.5))").given_rate == 0.5
    assert parse_optimizer("Adam").given_rate is None


def test_every_default_name_builds():
    names = default_names()
    assert set(names) == {*tfopt.optimizers.FIRST_ORDER, "keras:Adam"}
    for name in names:
        spec = parse_optimizer(name)
        assert float(spec.build(0.125).learning_rate) == 0.125
        assert spec.is_tfopt is not name.startswith("keras:")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Adm", "did you mean Adam"),
        ("keras:Adm", "did you mean keras:Adam"),
        ("zzz", "PolyakAverage"),
        ("", "a name such as"),
        ("Adam(", "a name such as"),
        ("Adam(0.8)", "options by name"),
        ("Adam(**{})", "by name"),
        ("Adam(beta_1=1.5)", "beta_1"),
        ("Adam(beta_9=1)", "beta_9"),
        ("Adam(beta_1=SGD)", "beta_1"),
        ("Adam(beta_1=0.5 + 0.1)", "plain values"),
        ("Adam(learning_rate=-1.0)", "learning_rate"),
        ("PolyakAverage(keras:Adam)", "tfopt's optimizers inside"),
        ("PolyakAverage(3)", "tfopt's optimizers inside"),
        ("PolyakAverage(SGD, inner=SGD)", "each option once"),
        ("keras:Optimizer", "did you mean"),
        ("keras:LossScaleOptimizer", "optimizers that exist"),
        ("optimizers.Adam", "optimizers that exist"),
        ("__all__", "optimizers that exist"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, part):
    with pytest.raises(ValueError, match=r"^compare") as caught:
        parse_optimizer(text)
    message = str(caught.value)
    assert part in message
    assert "\n" not in message


def test_no_code_is_run(tmp_path):
    witness = tmp_path / "witness"
    for text in (f"Adam(name=open({str(witness)!r}, 'w'))", f"open({str(witness)!r}, 'w')"):
        with pytest.raises(ValueError, match="open"):
            parse_optimizer(text)
    assert not witness.exists()
