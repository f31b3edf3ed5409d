"""Make every picture of the chapter: ``python examples/chapter --output FOLDER``."""

import importlib

PICTURES = (
    "gradient_norm",
    "cliff",
    "growing_batches",
    "momentum",
    "variants",
    "conjugate_gradients",
    "coordinate_descent",
    "polyak",
    "pretraining",
    "blurred",
    "initialization",
)

if __name__ == "__main__":
    for picture in PICTURES:
        importlib.import_module(picture).main()
