"""What a comparison is to do, checked."""

import dataclasses
import difflib
import re

from tfopt._check import is_number, require, require_integer, require_positive

MODELS = ("mlp", "cnn", "lstm", "resnet")
BUNDLED_DATA = ("mnist5k", "digits")

# Half decades; wide enough for plain SGD and for methods whose steps are as long as ε.
RATE_GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Settings:
    r"""The settings of one comparison.

    Attributes:
        model: "mlp", "cnn", "lstm" or "resnet".
        data: "mnist5k", "digits" or "tfds:NAME".
        evaluations: Budget of every run in gradient evaluations (minibatches), or None.
        seconds: Budget of every run in seconds of training, or None.
        seeds: Number of repetitions; seed s fixes initial weights and order of the data.
        batch_size: Examples per gradient evaluation.
        tuning_rates: Learning rates that every optimizer tries.
        tuning_share: Share of the budget that each of those trials gets.
        target_accuracy: Validation accuracy to reach, in (0, 1), or None.
        target_loss: Training loss to reach, or None.
        points: Number of times that a run is measured.

    Raises:
        ValueError: If a setting lies outside its range, or not exactly one budget is given.

    Example:
        >>> Settings(evaluations=100, seeds=1).points
        20
    """

    model: str = "mlp"
    data: str = "mnist5k"
    evaluations: int | None = None
    seconds: float | None = None
    seeds: int = 3
    batch_size: int = 64
    tuning_rates: tuple[float, ...] = RATE_GRID
    tuning_share: float = 0.25
    target_accuracy: float | None = 0.9
    target_loss: float | None = None
    points: int = 20

    def __post_init__(self):
        if self.model not in MODELS:
            raise input_error("model", self.model, one_of(self.model, MODELS))
        if self.data not in BUNDLED_DATA and not re.fullmatch("tfds:.+", self.data):
            raise input_error("data", self.data, one_of(self.data, [*BUNDLED_DATA, "tfds:NAME"]))
        one = (self.evaluations is None) != (self.seconds is None)
        require(one, "compare", "evaluations", self.evaluations, "either evaluations or seconds, not both")
        if self.evaluations is not None:
            require_integer("compare", 1, evaluations=self.evaluations)
        else:
            require_positive("compare", seconds=self.seconds)
        require_integer("compare", 1, seeds=self.seeds, batch_size=self.batch_size, points=self.points)
        rates = self.tuning_rates
        positive = len(rates) > 0 and all(is_number(rate) and rate > 0 for rate in rates)
        require(positive, "compare", "tuning_rates", rates, "finite numbers above 0")
        require_share(tuning_share=self.tuning_share)
        if self.target_accuracy is not None:
            require_share(target_accuracy=self.target_accuracy)
        if self.target_loss is not None:
            require_positive("compare", target_loss=self.target_loss)

    @property
    def budget(self):
        """The full budget of a run."""
        return Budget(self.evaluations, self.seconds)

    @property
    def tuning_budget(self):
        """The budget of one trial of a learning rate."""
        return self.budget.share(self.tuning_share)


def input_error(argument, value, expected):
    """The error of a wrong argument; `expected` ends the sentence and may be a question."""
    return ValueError(
        f"compare({argument}={value!r}): expected {expected}{'' if expected.endswith('?') else '.'}"
    )


def near_names(name, known):
    """Known names that `name` may be a slip of, joined by "or"; the empty string if there are none."""
    lowered = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.6)
    return " or ".join(lowered[match] for match in near)


def one_of(name, known):
    """The end of a sentence that lists the known names and proposes near ones."""
    near = near_names(name, known)
    return f"one of {', '.join(known)}" + (f"; did you mean {near}?" if near else "")


def require_share(**arguments):
    """Require each keyword argument to lie in (0, 1]."""
    for name, value in arguments.items():
        require(is_number(value) and 0 < value <= 1, "compare", name, value, f"0 < {name} <= 1")


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a run lasts: a number of gradient evaluations, or seconds of training."""

    evaluations: int | None = None
    seconds: float | None = None

    def share(self, fraction):
        """A part of this budget, at least one evaluation."""
        if self.evaluations is None:
            return Budget(seconds=self.seconds * fraction)
        return Budget(evaluations=max(1, round(self.evaluations * fraction)))

    def __str__(self):
        if self.evaluations is None:
            return f"{self.seconds:g} s of training"
        return f"{self.evaluations:,} gradient evaluations"
