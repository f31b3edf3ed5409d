"""The CUDA kernels as Python calls them: custom_ops/apply/cuda/api.h by ctypes, on PyTorch's tensors."""

import ctypes
import functools
import math
import pathlib
import runpy
from typing import NamedTuple

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
MOST_SLOTS = 3
MESSAGE = 256


class Tensor(ctypes.Structure):
    """``tfopt_tensor``."""

    _fields_ = [
        ("gradient", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("slots", ctypes.c_void_p * MOST_SLOTS),
        ("average", ctypes.c_void_p),
        ("accumulator", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("factor", ctypes.c_double),
        ("group", ctypes.c_int32),
    ]


class Update(ctypes.Structure):
    """``tfopt_update``."""

    _fields_ = [
        ("rule", ctypes.c_char_p),
        ("weight_type", ctypes.c_int32),
        ("gradient_type", ctypes.c_int32),
        ("tensor_count", ctypes.c_int32),
        ("group_count", ctypes.c_int32),
        ("tensors", ctypes.POINTER(Tensor)),
        ("scalars", ctypes.POINTER(ctypes.c_double)),
        ("following", ctypes.POINTER(ctypes.c_double)),
        ("keep", ctypes.POINTER(ctypes.c_double)),
        ("average_rate", ctypes.c_double),
        ("bound", ctypes.c_double),
        ("factors", ctypes.c_void_p),
        ("factor_count", ctypes.c_int32),
    ]


class Values(ctypes.Structure):
    """``tfopt_values``."""

    _fields_ = [("values", ctypes.c_void_p), ("accumulator", ctypes.c_void_p), ("size", ctypes.c_int64)]


class Norms(ctypes.Structure):
    """``tfopt_norms``."""

    _fields_ = [
        ("type", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("values", ctypes.POINTER(Values)),
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_int64),
        ("norm", ctypes.c_void_p),
        ("each", ctypes.c_void_p),
        ("factor", ctypes.c_void_p),
        ("limit", ctypes.c_double),
    ]


class Rule(NamedTuple):
    """A rule as the library describes it."""

    name: str
    slots: tuple[str, ...]
    scalars: tuple[str, ...]
    looks_ahead: bool


class Numbers(NamedTuple):
    """What is the same for all elements of a step; one group."""

    scalars: list[float]
    following: list[float]
    keep: float = 1.0
    factor: float = 1.0
    average_rate: float = 0.0
    bound: float = math.inf


class Library:
    """The library at `path`; its work runs on the current GPU, or if `emulated` in loops on the CPU."""

    def __init__(self, path, emulated):
        self.native = ctypes.CDLL(str(path))
        self.native.tfopt_cuda_rules.restype = ctypes.c_char_p
        self.native.tfopt_cuda_norms_workspace.restype = ctypes.c_int64
        self.stream = 0 if emulated else torch.cuda.current_stream().cuda_stream

    def rules(self):
        """Every rule there is."""
        for line in self.native.tfopt_cuda_rules().decode().splitlines():
            name, slots, scalars, looks_ahead = line.split(";")
            yield Rule(name, _names(slots), _names(scalars), looks_ahead == "1")

    def update(self, rule, gradients, weights, slots, numbers, averages=(), accumulators=(), factors=None):
        """A function without arguments that updates the tensors in place; see api.h.

        `slots` holds a list of tensors per slot; `factors` is a tensor on the device.
        """
        tensors = (Tensor * len(weights))()
        for i, weight in enumerate(weights):
            state = [slot[i].data_ptr() for slot in slots]
            tensors[i] = Tensor(
                gradients[i].data_ptr(),
                weight.data_ptr(),
                (ctypes.c_void_p * MOST_SLOTS)(*state),
                averages[i].data_ptr() if averages else None,
                accumulators[i].data_ptr() if accumulators else None,
                weight.numel(),
                numbers.factor,
                0,
            )
        update = Update(
            rule.encode(),
            TYPES[weights[0].dtype],
            TYPES[gradients[0].dtype],
            len(weights),
            1,
            tensors,
            _doubles(numbers.scalars),
            _doubles(numbers.following),
            _doubles([numbers.keep]),
            numbers.average_rate,
            numbers.bound,
            None if factors is None else factors.data_ptr(),
            0 if factors is None else factors.numel(),
        )
        # The library holds addresses only.
        held = gradients, weights, slots, averages, accumulators, factors
        return functools.partial(self.call, self.native.tfopt_cuda_update, update, held)

    def norms(self, tensors, limit):
        """A function without arguments that measures `tensors`; the norm, the norms, the factor it writes."""
        values = (Values * len(tensors))(*(Values(t.data_ptr(), None, t.numel()) for t in tensors))
        size = self.native.tfopt_cuda_norms_workspace(values, len(tensors))
        sizes = (size, 1, len(tensors), 1)
        workspace, norm, each, factor = (tensors[0].new_empty(n, dtype=torch.float64) for n in sizes)
        found = Norms(TYPES[tensors[0].dtype], len(tensors), values)
        found.workspace, found.workspace_size, found.limit = workspace.data_ptr(), size, limit
        found.norm, found.each, found.factor = (one.data_ptr() for one in (norm, each, factor))

        held = tensors, workspace, norm, each, factor
        measure = functools.partial(self.call, self.native.tfopt_cuda_norms, found, held)
        return measure, norm, each, factor

    def call(self, function, argument, held):
        """Call a function of the library; `held` are the tensors that it must find where they lie."""
        message = ctypes.create_string_buffer(MESSAGE)
        code = function(
            ctypes.byref(argument), ctypes.c_void_p(self.stream), message, ctypes.c_size_t(MESSAGE)
        )
        if code:
            raise RuntimeError(f"{function.__name__}: {message.value.decode()}")


def build(folder, emulated):
    """Compile the library with nvcc, or to be emulated with g++; its path."""
    return runpy.run_path(str(ROOT / "custom_ops" / "build_cuda.py"))["build_plain"](folder, emulated)


def _names(text):
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _doubles(values):
    return (ctypes.c_double * max(1, len(values)))(*values)
