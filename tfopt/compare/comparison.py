"""The comparison: which runs to make, in which order, and what came out."""

import dataclasses
import importlib.metadata
import pathlib
import platform

from tfopt._check import is_number, require, require_positive
from tfopt.analysis._surface import SURFACES
from tfopt.compare import export
from tfopt.compare.images import load_images
from tfopt.compare.leaderboard import Row, leaderboard
from tfopt.compare.progress import Silent
from tfopt.compare.run import Run, Task
from tfopt.compare.settings import Settings
from tfopt.compare.specs import default_names, parse_optimizer
from tfopt.compare.store import Store, check_writable
from tfopt.compare.surfaces import Trajectory, Walker
from tfopt.compare.trainer import Trainer
from tfopt.compare.tuning import Rate, choose_rate
from tfopt.version import VERSION

TUNING_SEED = 0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        settings: `Settings`.
        rates: Dictionary from optimizer to its `Rate`.
        trials: Dictionary from optimizer to the `Run`s of its learning-rate trials; empty if not tuned.
        runs: Dictionary from optimizer to its `Run`s, one per seed.
        trajectories: List of `Trajectory`, every optimizer on both surfaces.
        rows: The leaderboard, a list of `Row`, best first.
        facts: Dictionary of what the comparison ran on: data, model, versions, machine.

    Example:
        >>> import tempfile, tfopt.compare
        >>> folder = tempfile.mkdtemp()
        >>> arguments = dict(data="digits", learning_rates=0.1, evaluations=5, seeds=1, data_dir=folder)
        >>> found = tfopt.compare.compare(["SGD"], **arguments)
        >>> found.save(folder).name
        'index.html'
        >>> found.rates["SGD"].source, [path.surface for path in found.trajectories]
        ('given', ['valley', 'saddle'])
    """

    settings: Settings
    rates: dict[str, Rate]
    trials: dict[str, list[Run]]
    runs: dict[str, list[Run]]
    trajectories: list[Trajectory]
    rows: list[Row]
    facts: dict

    def save(self, directory):
        """Write index.html, results.json and results.csv into a folder.

        Args:
            directory: An existing folder.

        Returns:
            Path of the page.
        """
        from tfopt.compare.page import render_page  # drawing is the only part that needs matplotlib

        directory = pathlib.Path(directory)
        export.write_json(self, directory / "results.json")
        export.write_csv(self, directory / "results.csv")
        return export.write_text(directory / "index.html", render_page(self))


class Plan:
    """A comparison that has been checked and can be run: everything a user can get wrong fails here.

    Args:
        optimizers: Names as `parse_optimizer` reads them, or None for all of tfopt and Keras' Adam.
        learning_rates: "tune", "default", a number for all, or a dictionary from name to number; what the
            dictionary leaves out is tuned.
        output: Folder for pieces and results, or None.
        fresh: Whether to remove the pieces stored there.
        data_dir: Where prepared data live.
        **settings: Fields of `Settings`.
    """

    def __init__(
        self, optimizers=None, *, learning_rates="tune", output=None, fresh=False, data_dir=None, **settings
    ):
        if settings.get("evaluations") is None and settings.get("seconds") is None:
            settings["evaluations"] = 1000
        self.settings = Settings(**settings)
        self.specs = _parse_all(default_names() if optimizers is None else optimizers)
        self.given = _given_rates(self.specs, learning_rates)
        self.output = output
        if output is not None:
            check_writable(output)  # before the data, which may take long
        self.images = load_images(self.settings.data, data_dir)
        _check_batch(self.settings, self.images)
        self.trainer = Trainer(self.settings, self.images)
        self.store = Store(output, self._identity(), fresh)

    def execute(self, progress=None):
        """Make every run that is not stored yet.

        Args:
            progress: An object like `tfopt.compare.progress.Silent`.

        Returns:
            `Comparison`; its files are in the output folder, if there is one.
        """
        with progress or Silent() as progress:
            self.progress = progress
            progress.begin(*self._count())
            comparison = self._run_all()
        if self.output is not None:
            comparison.save(self.output)
        return comparison

    def _run_all(self):
        rates, trials, runs, trajectories = {}, {}, {}, []
        for spec in self.specs:
            trials[spec.label] = [self._run(spec, task) for task in self._trials(spec)]
            rates[spec.label] = self.given.get(spec.label) or choose_rate(trials[spec.label])
            tasks = self._tasks(spec, rates[spec.label])
            runs[spec.label] = [self._run(spec, task) for task in tasks]
            trajectories.extend(self._trajectories(spec))
            self.progress.say(_summary(spec, rates[spec.label], runs[spec.label]))
        settings = self.settings
        rows = leaderboard(self.specs, rates, runs, settings.target_accuracy, settings.target_loss)
        return Comparison(settings, rates, trials, runs, trajectories, rows, self._facts())

    def _trials(self, spec):
        if spec.label in self.given:
            return []
        rates = sorted(set(self.settings.tuning_rates))
        return [Task(spec.label, rate, TUNING_SEED, "tuning") for rate in rates]

    def _tasks(self, spec, rate):
        seeds = range(TUNING_SEED + 1, TUNING_SEED + 1 + self.settings.seeds)
        return [Task(spec.label, rate.value, seed, "comparison") for seed in seeds]

    def _run(self, spec, task):
        key = dataclasses.asdict(task)
        stored = self.store.get(key)
        if stored is not None:
            return Run.from_json(stored)
        self.progress.piece(f"{spec.label} ε={task.learning_rate:g} {task.purpose} seed {task.seed}")
        budget = self.settings.tuning_budget if task.purpose == "tuning" else self.settings.budget
        run = self.trainer.run(spec, task, budget, self.progress.share)
        self.store.put(key, run.to_json())
        self.progress.done()
        return run

    def _trajectories(self, spec):
        keys = [{"optimizer": spec.label, "surface": surface.name} for surface in SURFACES]
        if None in map(self.store.get, keys):
            self.progress.piece(f"{spec.label} on the surfaces")
            walker = Walker(spec)
            for key, surface in zip(keys, SURFACES, strict=True):
                self.store.put(key, dataclasses.asdict(walker.best(surface)))
                self.progress.done()
        return [Trajectory.from_json(self.store.get(key)) for key in keys]

    def _count(self):
        """Number of pieces, and how many of them are stored."""
        pieces = sum(len(self._trials(spec)) + self.settings.seeds + len(SURFACES) for spec in self.specs)
        return pieces, min(pieces, len(self.store))

    def _identity(self):
        """Everything that shapes a piece, beside its own key."""
        settings = dataclasses.asdict(self.settings)
        names = ("model", "data", "evaluations", "seconds", "batch_size", "points", "tuning_share")
        identity = {name: settings[name] for name in names}
        return identity | {"data_version": self.images.version} | versions()

    def _facts(self):
        return {
            "data": {
                "name": self.images.name,
                "version": self.images.version,
                "image": list(self.images.shape),
                "classes": self.images.classes,
                **self.images.sizes(),
            },
            "parameters": self.trainer.model.count_params(),
            "versions": versions(),
            "python": platform.python_version(),
            "machine": platform.platform(),
        }


def versions():
    """Versions of what decides a run's result."""
    found = {"tfopt": VERSION, "keras": importlib.metadata.version("keras")}
    import tensorflow as tf

    return found | {"tensorflow": tf.__version__}


def compare(optimizers=None, *, progress=None, **arguments):
    r"""Train one model on one data set with many optimizers, all with the same budget.

    Every optimizer starts at the same weights and sees the same batches in the same order at the same seed.
    Its learning rate is given, or chosen from a common set of rates by short trials on a seed that the
    comparison itself does not use. Seconds are those of the train step alone: it is traced before the first
    run, and measuring happens outside the clock.

    Keras' global seed is set anew.

    With `output` every finished run is kept there, and the same call goes on where an interrupted one was.

    Args:
        optimizers: List of names such as ``"Adam"``, ``"keras:Adam"``, ``"Adam(beta_1=0.8)"``,
            ``"PolyakAverage(Momentum)"``; default is all of tfopt and Keras' Adam.
        progress: Object to report to, such as `tfopt.compare.progress.Bars()`; default is silence.
        **arguments: `learning_rates` ("tune", "default", a number, or a dictionary from name to number);
            `output` (folder for index.html, results.json, results.csv and the runs); `fresh` (start over
            there); `data_dir` (where prepared data live); and the fields of `tfopt.compare.Settings`:
            `model`, `data`, `evaluations` or `seconds`, `seeds`, `batch_size`, `tuning_rates`,
            `tuning_share`, `target_accuracy`, `target_loss`, `points`.

    Returns:
        `Comparison`.

    Raises:
        ValueError: If an argument is out of range, a name unknown, or the stored runs do not fit.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> budget = dict(evaluations=20, seeds=1)
        >>> found = compare(["SGD"], data="digits", learning_rates=0.1, data_dir=folder, **budget)
        >>> found.rows[0].optimizer, found.runs["SGD"][0].last.evaluations
        ('SGD', 20)
    """
    return Plan(optimizers, **arguments).execute(progress)


def _parse_all(names):
    require(len(names) > 0, "compare", "optimizers", names, "at least one optimizer")
    specs = [parse_optimizer(name) for name in names]
    labels = [spec.label for spec in specs]
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    require(not twice, "compare", "optimizers", ", ".join(twice), "each optimizer once")
    return specs


def _given_rates(specs, learning_rates):
    """Dictionary from label to `Rate` for those that are not to be tuned."""
    written = {spec.label: Rate(spec.given_rate, "given") for spec in specs if spec.given_rate}
    if learning_rates == "tune":
        return written
    if learning_rates == "default":
        return {spec.label: Rate(spec.default_rate, "default") for spec in specs} | written
    if is_number(learning_rates):
        learning_rates = {spec.label: learning_rates for spec in specs}
    fits = isinstance(learning_rates, dict)
    require(fits, "compare", "learning_rates", learning_rates, "'tune', 'default', a number or NAME=RATE")
    return _named_rates(specs, learning_rates) | written


def _named_rates(specs, learning_rates):
    labels = [spec.label for spec in specs]
    given = {}
    for name, rate in learning_rates.items():
        label = parse_optimizer(name).label
        require(
            label in labels, "compare", "learning_rates", name, f"one of the optimizers {', '.join(labels)}"
        )
        require_positive("compare", learning_rate=rate)
        given[label] = Rate(float(rate), "given")
    return given


def _check_batch(settings, images):
    available = images.sizes()["train"]
    expected = f"at most the {available} training examples"
    require(settings.batch_size <= available, "compare", "batch_size", settings.batch_size, expected)


def _summary(spec, rate, runs):
    accuracy = sum(run.last.validation_accuracy for run in runs) / len(runs)
    return f"{spec.label}: ε={rate.value:g} ({rate.source}), validation accuracy {100 * accuracy:.1f} %"
