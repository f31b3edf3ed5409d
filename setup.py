"""Packaging: every version number and range comes from tfopt/version.py, read without importing tfopt."""

import os
import pathlib
import runpy
import shutil
import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

HERE = pathlib.Path(__file__).resolve().parent
HOST = runpy.run_path(str(HERE / "tfopt" / "version.py"))


def in_range(distribution, bounds):
    """Requirement for `distribution` within the half-open range `bounds`."""
    first, past_the_last = bounds
    return f"{distribution}>={first},<{past_the_last}"


class BuildOps(build_ext):
    """Compiles the fused kernels; where that fails the wheel holds Python alone, which works without them."""

    def run(self):
        """Build into the wheel, or beside the sources for a build in place."""
        base = HERE if self.inplace else pathlib.Path(self.build_lib)
        build = runpy.run_path(str(HERE / "custom_ops" / "build.py"))["build"]
        try:
            build(base / "tfopt" / "kernels", HERE / "build" / "ops")
        except Exception as error:
            print(f"tfopt: no fused kernels, the Python rules will run: {error}", file=sys.stderr)


class TagWheel(bdist_wheel):
    """The libraries depend on the platform and on TensorFlow, not on the Python."""

    def get_tag(self):
        """Python 3 of any version, on this platform."""
        tag = super().get_tag()
        return tag if self.root_is_pure else ("py3", "none", tag[2])


def compiles():
    """Whether there is a compiler, and a TensorFlow to compile for."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    find = runpy.run_path(str(HERE / "custom_ops" / "build.py"))["find_tensorflow"]
    return sys.platform == "linux" and compiler and find() is not None


setup(
    name="tfopt",
    version=HOST["VERSION"],
    description="Optimizers, line searches and curvature tools for TensorFlow and Keras 3",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["tfopt", "tfopt.*"]),
    include_package_data=True,
    ext_modules=[Extension("tfopt.kernels.libtfopt_cpu", sources=[])] if compiles() else [],
    cmdclass={"build_ext": BuildOps, "bdist_wheel": TagWheel},
    python_requires=">=3.11",
    # TensorFlow is left to the extras: its wheel has several names, and only the user knows which one fits.
    install_requires=[in_range("keras", HOST["KERAS"]), "numpy>=1.26"],
    extras_require={
        "cpu": [in_range("tensorflow-cpu", HOST["TENSORFLOW"])],
        "cuda": [in_range("tensorflow[and-cuda]", HOST["TENSORFLOW"])],
        "compare": [
            # tensorflow-datasets imports it without asking for it.
            "importlib_resources>=6",
            "jinja2>=3.1",
            "matplotlib>=3.8",
            "mlxtend>=0.23",
            "rich>=13",
            "scikit-learn>=1.4",
            "tensorflow-datasets>=4.9",
        ],
        "tune": ["keras-tuner>=1.4.8", "rich>=13"],
        "dev": [
            "mypy>=1.11",
            "packaging>=24",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "scipy>=1.12",
        ],
    },
    entry_points={"console_scripts": ["tfopt=tfopt.__main__:main"]},
    keywords=["tensorflow", "keras", "optimization", "optimizer", "deep learning"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Mathematics",
    ],
)
