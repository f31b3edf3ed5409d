"""What the tests of the kernels share: the plain C side, and a switch between its instruction sets."""

import ctypes

import pytest

from tfopt.kernels import library

INSTRUCTIONS = ("baseline", "avx2", "avx512")


@pytest.fixture(scope="session")
def native(loaded):
    """The library's plain C side."""
    made = ctypes.CDLL(str(library.PATH))
    made.tfopt_instructions.restype = ctypes.c_char_p
    return made


@pytest.fixture(params=INSTRUCTIONS)
def instructions(request, native):
    """Every instruction set that this machine can run, one after the other."""
    before = native.tfopt_instructions()
    if not native.tfopt_use_instructions(request.param.encode()):
        pytest.skip(f"this machine has no {request.param}")
    yield request.param
    native.tfopt_use_instructions(before)
