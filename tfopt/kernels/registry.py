"""The register of fused kernels, by name of the rule they compute."""

import os
from typing import Protocol

_KERNELS: dict[str, "Kernel"] = {}


class Kernel(Protocol):
    """Computes one rule for all variables of a step, in place."""

    def supports(self, weights):
        """Whether it can update these native variables (dtype, device)."""

    def __call__(self, gradients, weights, slots, scalars, following, keep):
        """Update `weights` and `slots` in place.

        Args:
            gradients: Dense tensors in the compute dtype, unscaled and clipped; one per weight.
            weights: Native variables; they hold the query point of a rule that looks ahead.
            slots: One list of native variables per slot of the rule, aligned with `weights`.
            scalars: The rule's scalars for this update, one namespace per weight.
            following: The same for the coming update, which places the next query point.
            keep: Factor 1 − λε of decoupled weight decay on the iterate, one tensor per weight, or None
                where a weight does not decay.
        """


def register(rule, kernel):
    """Use `kernel` for the rule named `rule` in every optimizer built from now on with ``fused=True``."""
    _KERNELS[rule] = kernel


def unregister(rule):
    """Undo `register`."""
    del _KERNELS[rule]


def find(rule, weights):
    """The kernel for the rule named `rule` on these variables, or None where the Python rule must run."""
    kernel = _KERNELS.get(rule)
    if kernel is None or os.environ.get("TFOPT_KERNELS") == "off" or not kernel.supports(weights):
        return None
    return kernel


def status():
    r"""What is active: a dict from rule name to the kernel that computes it.

    An empty dict means that every optimizer runs its Python rule, which TensorFlow executes op by op and
    XLA (``jit_compile=True``) fuses. The environment variable ``TFOPT_KERNELS=off`` switches all kernels
    off; ``fused=False`` does so for one optimizer.

    Returns:
        A new dict ``{rule name: kernel}``; empty where no kernel is registered or all are switched off.

    Example:
        >>> import tfopt
        >>> sorted(tfopt.kernels.status())
        []
    """
    return {} if os.environ.get("TFOPT_KERNELS") == "off" else dict(_KERNELS)
