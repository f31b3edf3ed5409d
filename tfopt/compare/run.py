"""The record of one training run."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Task:
    """One run to be made: which optimizer, at which rate, from which seed, and what for.

    Attributes:
        optimizer: Canonical name.
        learning_rate: ε.
        seed: Seed of the initial weights and of the order of the data; 0 is kept for tuning.
        purpose: "tuning" or "comparison".
    """

    optimizer: str
    learning_rate: float
    seed: int
    purpose: str


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement during a run, at the weights the optimizer stands for.

    Attributes:
        evaluations: Gradient evaluations so far.
        seconds: Seconds of training so far.
        train_loss: Mean loss over a fixed sample of the training part.
        validation_loss: Mean loss over the validation part.
        validation_accuracy: Share of the validation part classified correctly.
    """

    evaluations: int
    seconds: float
    train_loss: float
    validation_loss: float
    validation_accuracy: float


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        task: What was asked.
        points: Its measurements, in order.
        test_accuracy: Share of the test part classified correctly at the end, or None without a test part.
        diverged: Whether it was stopped because a loss was no longer finite.
        report: What the optimizer itself has to say of the run, or the empty string.
    """

    task: Task
    points: tuple[Point, ...]
    test_accuracy: float | None
    diverged: bool
    report: str = ""

    @property
    def last(self):
        """The last measurement."""
        return self.points[-1]

    @property
    def best_accuracy(self):
        """The best validation accuracy measured."""
        return max(point.validation_accuracy for point in self.points)

    def first_reaching(self, accuracy=None, loss=None):
        """The first measurement at which every target given is met, or None."""
        for point in self.points:
            accurate = accuracy is None or point.validation_accuracy >= accuracy
            if accurate and (loss is None or point.train_loss <= loss):
                return point
        return None

    def to_json(self):
        """Plain values; a loss that is not finite becomes null."""
        points = {
            field.name: [_plain(getattr(point, field.name)) for point in self.points]
            for field in dataclasses.fields(Point)
        }
        return {
            "task": dataclasses.asdict(self.task),
            "points": points,
            "test_accuracy": self.test_accuracy,
            "diverged": self.diverged,
            "report": self.report,
        }

    @classmethod
    def from_json(cls, values):
        """Inverse of `to_json`; null becomes NaN."""
        columns = [[math.nan if v is None else v for v in column] for column in values["points"].values()]
        names = list(values["points"])
        points = tuple(Point(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))
        return cls(
            Task(**values["task"]), points, values["test_accuracy"], values["diverged"], values["report"]
        )


def _plain(value):
    return value if math.isfinite(value) else None
