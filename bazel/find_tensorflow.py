"""Prints as JSON, for tensorflow.bzl, where TensorFlow lies, its version, and custom_ops/build.py's flags.

TensorFlow is looked up, not imported: that takes seconds.
"""

import importlib.metadata
import importlib.util
import json
import pathlib
import runpy
import sys

# As in ``tf.sysconfig.get_compile_flags()``.
DEFINES = ["_GLIBCXX_USE_CXX11_ABI=1", "EIGEN_MAX_ALIGN_BYTES=64"]


def main(build):
    """Print what is found; exit with a sentence where there is no TensorFlow."""
    found = importlib.util.find_spec("tensorflow")
    if found is None:
        sys.exit(
            f"{sys.executable} has no TensorFlow: activate an environment that has, or run `make bazel`."
        )
    settings = runpy.run_path(build)
    facts = {
        "folder": str(pathlib.Path(found.origin).parent),
        "version": version(),
        "defines": DEFINES,
        "loops": settings["LOOPS"].split(),
        "glue": settings["GLUE"].split(),
        "instructions": {name: flags.split() for name, flags in settings["INSTRUCTIONS"].items()},
    }
    print(json.dumps(facts))


def version():
    """Version of the distribution that holds the package, which has several names."""
    (name, *_) = importlib.metadata.packages_distributions()["tensorflow"]
    return importlib.metadata.version(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
