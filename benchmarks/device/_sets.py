"""The sets of variables, and where Adam's exported update of each lies."""

import pathlib

from benchmarks import _shapes

EXPORTED = pathlib.Path(__file__).with_name("exported")
ADAM_SCALARS = ("one_minus_beta_1", "one_minus_beta_2", "rate", "epsilon")

SETS = {
    "50M_x_1": _shapes.single(),
    "resnet50": _shapes.resnet50(),
    "1000_x_2000": _shapes.many(),
}
SMOKE = [(3, 5), (17,), (1,), (4100,)]
