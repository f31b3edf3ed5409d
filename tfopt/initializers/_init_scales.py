"""What a search for the scale of the initial weights found."""

import dataclasses

from tfopt._check import require
from tfopt.initializers._matching import named_weights


def scalable(model):
    """{layer: its kernels or embeddings} of a model; under weight normalization their lengths."""
    found = {"/".join(path): _kernels(weights) for path, weights in named_weights(model).items()}
    return {name: kernels for name, kernels in found.items() if kernels}


def _kernels(weights):
    kernels = []
    for name, weight in weights.items():
        if weight.name.endswith("kernel") or weight.name == "embeddings":
            length = name.replace(weight.name, f"{weight.name}_g")
            kernels.append(weights.get(length, weight))
    return kernels


@dataclasses.dataclass(frozen=True)
class InitScales:
    """Scales of the initial weights, one for each layer; `rich.print` shows them as a table.

    Attributes:
        scales: {name of a layer: scale} of the best trial.
        value: Value of the objective there.
        untouched: Its value with every scale 1.
        trials: All trials in their order, as pairs (scales, value); +∞ where the value was not finite.
    """

    scales: dict
    value: float
    untouched: float
    trials: tuple

    def apply(self, model):
        """Multiply the kernels of a built model, untrained as well, by the scales.

        Raises:
            ValueError: If it lacks one of the layers.
        """
        known = scalable(model)
        missing = sorted(set(self.scales) - set(known))
        require(not missing, "InitScales.apply", "model", model.name, f"the layers {', '.join(missing)} too")
        for name, scale in self.scales.items():
            for kernel in known[name]:
                kernel.assign(kernel * scale)

    def __rich__(self):
        from rich import box
        from rich.table import Table

        caption = f"{self.value:.4g} at the end of {len(self.trials)} trials, {self.untouched:.4g} untouched"
        table = Table(title="Scale of the initial weights", caption=caption, box=box.SIMPLE_HEAD)
        table.add_column("Layer")
        table.add_column("Scale", justify="right")
        for name, scale in self.scales.items():
            table.add_row(name, f"{scale:.3g}")
        return table
