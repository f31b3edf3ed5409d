"""What the tests of the kernels share: tfopt's library, and a switch between its instruction sets."""

import ctypes

import pytest

from tfopt.kernels import library

INSTRUCTIONS = ("baseline", "avx2", "avx512")


@pytest.fixture(scope="session")
def loaded():
    """tfopt's own library, where it was built."""
    found = library.load()
    if found.reason:
        pytest.skip(found.reason)
    return found


@pytest.fixture
def lowering(loaded):
    """Skips a test where XLA cannot compile the kernels."""
    if loaded.lowering_reason:
        pytest.skip(loaded.lowering_reason)


@pytest.fixture
def portably(lowering):
    """portably(function): the function's result, with lowerings to XLA's own operations while it runs."""
    lower = ctypes.CDLL(str(library.PATH.with_name(library.LOWERING))).tfopt_lower_portably

    def call(function):
        lower(1)
        try:
            return function()
        finally:
            lower(0)

    return call


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
