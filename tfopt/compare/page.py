"""The page: one HTML file with everything in it."""

import re

import jinja2

from tfopt.analysis._surface import SURFACES
from tfopt.compare import wording
from tfopt.compare.figures.paths import path_panel
from tfopt.compare.figures.progress import ACCURACY, AXES, LOSS, QUANTITIES, overview, panel
from tfopt.compare.figures.sensitivity import sensitivity_panel
from tfopt.compare.figures.style import styles
from tfopt.compare.surfaces import EVALUATIONS


def render_page(comparison):
    """The page as text: no script, no external resource, figures inline as SVG.

    Args:
        comparison: `Comparison`.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfopt.compare", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        comparison=comparison,
        settings=comparison.settings,
        columns=wording.columns(comparison.settings),
        target=wording.target(comparison.settings),
        overviews=_overviews(comparison),
        progress=_progress(comparison),
        sensitivity=_sensitivity(comparison),
        surfaces=_surfaces(comparison),
        evaluations_on_surfaces=EVALUATIONS,
        facts=_facts(comparison),
    )


def _overviews(comparison):
    return [
        {
            "title": f"{quantity.title} against {AXES[axis]}",
            "svg": _svg(overview(f"overview-{quantity.name}-{axis}", comparison.runs, axis, quantity)),
            "alt": f"Line chart of {quantity.title.lower()} against {AXES[axis]}, one line per optimizer. "
            f"At the end, best first: {_ends(comparison, quantity)}.",
        }
        for quantity in QUANTITIES
        for axis in AXES
    ]


def _ends(comparison, quantity):
    text = {
        ACCURACY: lambda row: wording.percent(row.final_accuracy),
        LOSS: lambda row: wording.loss(row.train_loss),
    }
    return ", ".join(f"{row.optimizer} {text[quantity](row)}" for row in comparison.rows)


def _progress(comparison):
    """Groups of small figures, one optimizer each."""
    return [
        {
            "title": f"{quantity.title} against {AXES[axis]}",
            "panels": [_progress_panel(comparison, row, axis, quantity) for row in comparison.rows],
        }
        for quantity in QUANTITIES
        for axis in AXES
    ]


def _progress_panel(comparison, row, axis, quantity):
    name = f"progress-{quantity.name}-{axis}-{_slug(row.optimizer)}"
    value = wording.percent(row.final_accuracy) if quantity is ACCURACY else wording.loss(row.train_loss)
    return {
        "title": row.optimizer,
        "caption": value,
        "svg": _svg(panel(name, row.optimizer, comparison.runs, axis, quantity)),
        "alt": f"{row.optimizer}: {quantity.title.lower()} against {AXES[axis]}, {value} at the end.",
    }


def _sensitivity(comparison):
    tuned = {row.optimizer: comparison.trials[row.optimizer] for row in comparison.rows}
    return [
        {
            "title": label,
            "caption": f"ε = {comparison.rates[label].value:g}",
            "svg": _svg(
                sensitivity_panel(f"rates-{_slug(label)}", label, comparison.trials, comparison.rates[label])
            ),
            "alt": f"{label}: validation accuracy after trials. " + _trial_list(trials),
        }
        for label, trials in tuned.items()
        if trials
    ]


def _trial_list(trials):
    parts = [
        f"rate {run.task.learning_rate:g}: "
        + ("diverged" if run.diverged else f"{100 * run.last.validation_accuracy:.1f} %")
        for run in trials
    ]
    return "; ".join(parts) + "."


def _surfaces(comparison):
    looks = styles(comparison.runs)
    paths = {(path.optimizer, path.surface): path for path in comparison.trajectories}
    return [
        {
            "surface": surface,
            "formula": surface.height.__doc__,
            "panels": [
                _surface_panel(surface, paths[row.optimizer, surface.name], looks[row.optimizer])
                for row in comparison.rows
            ],
        }
        for surface in SURFACES
    ]


def _surface_panel(surface, trajectory, look):
    label, end = trajectory.optimizer, trajectory.heights[-1]
    return {
        "title": label,
        "caption": f"ε = {trajectory.learning_rate:g}; left: {wording.height(end)}",
        "svg": _svg(path_panel(f"{surface.name}-{_slug(label)}", surface, trajectory, look)),
        "alt": f"{label} on the {surface.title.lower()}: from {_place(trajectory.path[0])} to "
        f"{_place(trajectory.path[-1])} in {len(trajectory.path) - 1} evaluations, "
        f"{wording.height(end)} above the minimum.",
    }


def _place(point):
    return f"({point[0]:.3g}, {point[1]:.3g})"


def _facts(comparison):
    settings, facts = comparison.settings, comparison.facts
    data = facts["data"]
    parts = ", ".join(f"{data[part]:,} {part}" for part in ("train", "validation", "test") if part in data)
    size = " × ".join(str(length) for length in data["image"])
    tuned = [label for label, trials in comparison.trials.items() if trials]
    rates = ", ".join(f"{rate:g}" for rate in sorted(settings.tuning_rates))
    return [
        ("Model", f"{settings.model}, {facts['parameters']:,} parameters"),
        ("Data", f"{data['name']} {data['version']}: {size}, {data['classes']} classes; {parts}"),
        ("Budget of a run", str(settings.budget)),
        ("Batch size", str(settings.batch_size)),
        ("Seeds", ", ".join(str(seed + 1) for seed in range(settings.seeds))),
        ("Learning rates tried", f"{rates}; {settings.tuning_budget} each, seed 0" if tuned else "none"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("Python, machine", f"{facts['python']}, {facts['machine']}"),
    ]


def _svg(text):
    """Our own drawing, the only thing on the page that is not escaped."""
    return jinja2.utils.markupsafe.Markup(text)


def _slug(label):
    return re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-").lower()
