"""The choice of a learning rate from short trials."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Rate:
    """A learning rate and how it was come by.

    Attributes:
        value: ε.
        source: "tuned", "given" or "default".
        at_edge: Whether it is the smallest or largest of those tried, so that a better one may lie beyond.
    """

    value: float
    source: str
    at_edge: bool = False


def choose_rate(trials):
    r"""The rate whose trial ended with the lowest validation loss.

    The loss rather than the accuracy, because on a few hundred examples neighbouring rates often tie in
    accuracy. A trial that diverged loses against any that did not; the smaller rate wins a tie.

    Args:
        trials: `Run`s of one optimizer at different learning rates.

    Returns:
        `Rate`.

    Example:
        >>> from tfopt.compare.run import Point, Run, Task
        >>> def trial(rate, loss):
        ...     return Run(Task("SGD", rate, 0, "tuning"), (Point(1, 0.1, loss, loss, 0.5),), None, False)
        >>> choose_rate([trial(0.1, 2.0), trial(1.0, 0.5), trial(10.0, 0.7)])
        Rate(value=1.0, source='tuned', at_edge=False)
    """
    best = min(trials, key=lambda run: (score(run), run.task.learning_rate)).task.learning_rate
    rates = [run.task.learning_rate for run in trials]
    return Rate(best, "tuned", len(rates) > 1 and best in (min(rates), max(rates)))


def score(run):
    """Validation loss at the end, +∞ if the run diverged."""
    return math.inf if run.diverged else run.last.validation_loss
