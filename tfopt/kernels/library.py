"""Loads the compiled library, once and only when a kernel is asked for; says once why where it cannot."""

import ctypes
import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfopt.kernels.fused_update import FusedUpdate
from tfopt.version import TENSORFLOW

PATH = pathlib.Path(__file__).with_name("libtfopt_cpu.so")
LOWERING = "libtfopt_xla.so"
GPU = "libtfopt_cuda.so"

log = logging.getLogger("tfopt")

_loading = threading.RLock()


@dataclasses.dataclass(frozen=True)
class Library:
    """What is loaded: a kernel per rule and the instruction set they run on, or why there is none.

    `ops` are TensorFlow's wrappers of all its ops. `lowering_reason` says why XLA cannot compile the kernels,
    `gpu_reason` why there are none on a GPU; they are empty where it can, and where there are.
    """

    kernels: Mapping[str, FusedUpdate] = dataclasses.field(default_factory=dict)
    instructions: str = ""
    reason: str = ""
    lowering_reason: str = ""
    gpu_reason: str = ""
    ops: Any = dataclasses.field(default=None, repr=False)


def load(path=PATH):
    """The library at `path`; an empty one, and one warning, where it cannot be used."""
    # The cache alone would let two threads load, and warn, at the same time.
    with _loading:
        return _loaded(path)


@functools.cache
def _loaded(path):
    try:
        return _load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        log.warning("tfopt runs without fused kernels, on its Python rules: %s", error)
        return Library(reason=str(error))


def _load(path):
    _check(path)
    ops = tf.load_op_library(str(path))
    native = ctypes.CDLL(str(path))
    native.tfopt_rules.restype = native.tfopt_instructions.restype = ctypes.c_char_p
    _choose_instructions(native, os.environ.get("TFOPT_ISA", ""))
    reason = _load_lowering(path.with_name(LOWERING))
    gpu_reason = _load_gpu(path.with_name(GPU))
    lines = native.tfopt_rules().decode().splitlines()
    instructions = native.tfopt_instructions().decode()
    made = [FusedUpdate.parse(line, ops, instructions, not reason, not gpu_reason) for line in lines]
    return Library({kernel.rule: kernel for kernel in made}, instructions, "", reason, gpu_reason, ops)


def _load_lowering(path):
    """Why XLA cannot compile the op; empty where it can."""
    return _load_beside(path, "under jit_compile=True")


def _load_gpu(path):
    """Why there are no kernels on a GPU; empty where there are."""
    if not tf.config.list_physical_devices("GPU"):
        return "TensorFlow sees no GPU."
    if not path.is_file():
        # No warning: it is built where asked for, and XLA, Keras' choice on a GPU, compiles the op as well.
        return f"{path.name} was not built when tfopt was installed; TFOPT_CUDA=1 asks for it."
    return _load_beside(path, "on GPUs")


def _load_beside(path, where):
    """Load a further library; where that fails, say so once, and why."""
    try:
        _check(path)
        tf.load_library(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        log.warning("tfopt runs its Python rules %s: %s", where, error)
        return str(error)
    return ""


def _check(path):
    """Require a whole file that was built for the TensorFlow that runs."""
    if not path.is_file():
        raise ValueError(f"{path.name} was not built when tfopt was installed.")
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if not (isinstance(facts, dict) and {"tensorflow", "sha256"} <= facts.keys()):
        raise ValueError(f"what {path.name} was built for is not known.")
    _check_version(facts["tensorflow"])
    # Loading a file that was cut off kills the process.
    if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
        raise ValueError(f"{path.name} is damaged: it is not the file that was built.")


def _check_version(built_for):
    """TensorFlow promises its C++ interface within a minor version only."""
    running = tf.__version__
    same = running.split(".")[:2] == built_for.split(".")[:2]
    if not (same and _numbers(TENSORFLOW[0]) <= _numbers(running) < _numbers(TENSORFLOW[1])):
        raise ValueError(f"the library was built for TensorFlow {built_for}, this is {running}.")


def _numbers(version):
    return tuple(int(part) for part in version.split(".")[:2])


def _choose_instructions(native, name):
    if not native.tfopt_use_instructions(name.encode()):
        log.warning("TFOPT_ISA=%s: this machine has no such instructions; using the widest it has.", name)
