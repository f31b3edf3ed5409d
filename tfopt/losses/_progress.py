"""How far a continuation has come, and what every schedule of its stages answers."""

import dataclasses
import itertools

from tfopt._check import require, require_integer


@dataclasses.dataclass
class Progress:
    """The stage, and what a schedule has seen of it: all that a resumed run has to know."""

    stage: int = 0
    best: float = float("nan")
    wait: int = 0

    def as_numbers(self):
        """The fields as floats, to be saved."""
        return [float(self.stage), self.best, float(self.wait)]

    @classmethod
    def from_numbers(cls, numbers):
        """Undo `as_numbers`."""
        stage, best, wait = (float(number) for number in numbers)
        return cls(int(stage), best, int(wait))


class StageSchedule:
    """Says when a continuation moves on: abstract.

    Every schedule must lead to the last stage; `require_count` and `require_run` see to it.
    """

    by_step = False

    def require_count(self, count):
        """Require this schedule to lead through `count` stages."""

    def require_run(self, count, first, last):
        """Require a run over epochs or steps `first` … `last` − 1 to train the last of `count` stages."""

    def stage(self, progress, now, count, last):
        """The stage at epoch (or step) `now` of a run until `last`."""
        raise NotImplementedError

    def observe(self, progress, logs):
        """Take note of an epoch's logs."""


class Starts(StageSchedule):
    """Stages that begin at given epochs or steps; abstract."""

    unit = ""

    def __init__(self, starts):
        owner = type(self).__name__
        starts = list(starts) if isinstance(starts, (list, tuple)) else starts
        filled = isinstance(starts, list) and len(starts) > 0
        require(filled, owner, "starts", starts, "a list of at least one integer")
        for start in starts:
            require_integer(owner, 1, starts=start)
        rising = all(a < b for a, b in itertools.pairwise(starts))
        require(rising, owner, "starts", starts, "integers that rise")
        self.starts = starts

    def require_count(self, count):
        """One start for each stage after the first."""
        expected = (
            f"{count - 1} starts for {count} stages, the first of which starts at 0; otherwise the last "
            "objective is never reached"
        )
        require(len(self.starts) == count - 1, type(self).__name__, "starts", self.starts, expected)

    def require_run(self, count, first, last):
        """The last start lies before the end."""
        expected = (
            f"starts below the {last} {self.unit} of this fit; otherwise the last objective is never reached"
        )
        require(self.starts[-1] < last, type(self).__name__, "starts", self.starts, expected)

    def stage(self, progress, now, count, last):
        """The number of starts that are past."""
        return sum(start <= now for start in self.starts)

    def get_config(self):
        """Constructor arguments."""
        return {"starts": self.starts}

    @classmethod
    def from_config(cls, config):
        """The schedule that `get_config` described."""
        return cls(**config)
