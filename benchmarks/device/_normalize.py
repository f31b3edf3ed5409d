"""The kernels for normalisation as Python calls them, with the functions of custom_ops/apply/cuda/api.h."""

import ctypes
import functools
from typing import NamedTuple

import torch

from benchmarks.device._library import TYPES

EPSILON = 1e-3


class Geometry(ctypes.Structure):
    """``tfopt_geometry``."""

    _fields_ = [(name, ctypes.c_int64) for name in ("outer", "inner", "groups", "width", "parameters", "run")]


class Forward(ctypes.Structure):
    """``tfopt_normalize``."""

    _fields_ = [
        ("type", ctypes.c_int32),
        ("geometry", Geometry),
        ("epsilon", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("x", "gamma", "beta", "y", "mean", "variance", "workspace")),
        ("workspace_size", ctypes.c_int64),
    ]


class Backward(ctypes.Structure):
    """``tfopt_normalize_backward``."""

    _fields_ = [
        ("type", ctypes.c_int32),
        ("geometry", Geometry),
        ("epsilon", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("x", "upstream", "gamma", "mean", "variance")),
        *((name, ctypes.c_void_p) for name in ("by_x", "by_gamma", "by_beta", "workspace")),
        ("workspace_size", ctypes.c_int64),
    ]


class Shape(NamedTuple):
    """How a tensor lies under its statistics, and γ and β under it; see custom_ops/norm/layout.h."""

    outer: int
    inner: int
    groups: int
    width: int
    parameters: int
    run: int = 1

    @property
    def size(self):
        """Number of elements."""
        return self.outer * self.inner * self.groups * self.width


class Normalization:
    """Both passes over `x` and `upstream`, the gradient with respect to y, with `gamma` and `beta`.

    `forward` writes `y`, `mean` and `variance`; `backward` writes `by_x`, `by_gamma` and `by_beta`.
    """

    def __init__(self, library, shape, x, upstream, gamma, beta):
        self.x, self.upstream, self.gamma, self.beta = x, upstream, gamma, beta
        self.y, self.by_x = torch.empty_like(x), torch.empty_like(x)
        self.mean, self.variance = gamma.new_empty(2, shape.outer * shape.groups)
        self.by_gamma, self.by_beta = torch.empty_like(gamma), torch.empty_like(gamma)
        native, geometry = library.native, Geometry(*shape)
        self._workspaces = [
            self._workspace(one, geometry)
            for one in (native.tfopt_cuda_normalize_workspace, native.tfopt_cuda_normalize_backward_workspace)
        ]
        head = TYPES[x.dtype], geometry, EPSILON
        outputs = self.y, self.mean, self.variance
        forward = self._step(Forward, head, (x, gamma, beta, *outputs), self._workspaces[0])
        given = x, upstream, gamma, self.mean, self.variance
        outputs = self.by_x, self.by_gamma, self.by_beta
        backward = self._step(Backward, head, (*given, *outputs), self._workspaces[1])
        self.forward = functools.partial(library.call, native.tfopt_cuda_normalize, forward, self)
        self.backward = functools.partial(library.call, native.tfopt_cuda_normalize_backward, backward, self)

    def __call__(self):
        """Both passes."""
        self.forward()
        self.backward()

    def _workspace(self, measure, geometry):
        measure.restype = ctypes.c_int64
        return self.gamma.new_empty(measure(ctypes.byref(geometry)), dtype=torch.float64)

    @staticmethod
    def _step(kind, head, tensors, workspace):
        return kind(*head, *(t.data_ptr() for t in (*tensors, workspace)), workspace.numel())
