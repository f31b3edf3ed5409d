"""What came of taking weights from another model."""

import collections
import dataclasses

STATUSES = ("matched", "in another shape", "not in the source", "not in the model")


@dataclasses.dataclass(frozen=True)
class Row:
    """One weight of either model.

    Attributes:
        status: "matched", "in another shape", "not in the source" or "not in the model".
        layer: Name of the layer, behind those of the models it lies in.
        weight: Name of the weight.
        shape: Its shape in the model, None where it has none there.
        source_shape: Its shape in the source, likewise.
    """

    status: str
    layer: str
    weight: str
    shape: tuple | None
    source_shape: tuple | None


@dataclasses.dataclass(frozen=True)
class ModelMatch:
    """Which weights were taken from another model; `rich.print` shows it as a table.

    Attributes:
        rows: A `Row` for each weight: those of the model in its order, then those that only the source has.
            Where weight normalization is in one of them alone, one for each kernel w, none for g and v.
    """

    rows: tuple

    def names(self, status):
        """Names "layer/weight" of the rows of a status."""
        return [f"{row.layer}/{row.weight}" for row in self.rows if row.status == status]

    @property
    def matched(self):
        """Names of the weights that were taken."""
        return self.names("matched")

    @property
    def mismatched(self):
        """Names of the weights that have another shape in the source."""
        return self.names("in another shape")

    @property
    def missing(self):
        """Names of the weights that the source does not have."""
        return self.names("not in the source")

    @property
    def unused(self):
        """Names of the weights that only the source has."""
        return self.names("not in the model")

    def __str__(self):
        counts = collections.Counter(row.status for row in self.rows)
        return (
            ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]) or "no weights"
        )

    def __rich__(self):
        from rich import box
        from rich.table import Table

        table = Table(title="Weights from another model", caption=str(self), box=box.SIMPLE_HEAD)
        for heading in ("Layer", "Weight", "Shape", "Shape in the source", "Outcome"):
            table.add_column(heading)
        colours = dict(zip(STATUSES, ("green", "red", "yellow", "dim"), strict=True))
        for row in self.rows:
            shapes = ("" if shape is None else str(shape) for shape in (row.shape, row.source_shape))
            table.add_row(row.layer, row.weight, *shapes, row.status, style=colours[row.status])
        return table
