"""The register of fused kernels, by name of the rule they compute."""

import os
from typing import Protocol

from tfopt.kernels import library

_KERNELS: dict[str, "Kernel"] = {}


class Kernel(Protocol):
    """Computes one rule for all variables of a step, in place.

    A kernel may have an attribute `fuses`, a set of what it takes over beside the rule: "gradients",
    "average" and "exposure". Only then it is called with the arguments, and has the methods, named under
    that word.
    """

    def supports(self, weights):
        """Whether it can update these native variables (dtype, device) in the graph that is being traced."""

    def __call__(self, gradients, weights, slots, scalars, following, keep):
        """Update `weights` and `slots` in place.

        Args:
            gradients: Dense tensors in the compute dtype, unscaled and clipped; one per weight.
            weights: Native variables; they hold the query point of a rule that looks ahead.
            slots: One list of native variables per slot of the rule, aligned with `weights`.
            scalars: The rule's scalars for this update, one namespace per weight; weights that share them
                share the object.
            following: The same for the coming update, which places the next query point; `scalars` again for
                a rule that does not look ahead.
            keep: Factor 1 − λε of decoupled weight decay on the iterate, one tensor per weight, or None
                where a weight does not decay.

        With "gradients" in `fuses`, `gradients` are what its method `prepare` made of the tensors and
        IndexedSlices, of any float type, that came, and also:
            accumulators: Native variables aligned with `weights`, or an empty list. They are added to the
                gradients, and zeroed.
            factors: What the gradients are to be multiplied by: a number, a scalar or a vector with a factor
                per weight.
            bound: Where they are cut off then, at ±bound.

        Such a kernel has the methods ``prepare(gradients, weights)``, ``norms(gradients, accumulators)`` and
        ``accumulate(accumulators, gradients)`` of `tfopt.kernels.fused_update.FusedUpdate`.

        With "average" in `fuses` also:
            averages: Native variables of the exponential averages of the iterates, or an empty list.
            average_rate: How far they move towards the new iterate.

        With "exposure" in `fuses` it has the methods ``swap(weights, averages)`` and
        ``displace(weights, slots, scalars)`` of `tfopt.kernels.fused_update.FusedUpdate`.
        """


def register(rule, kernel):
    """Use `kernel` for the rule named `rule` in every optimizer built from now on with ``fused=True``."""
    _KERNELS[rule] = kernel


def unregister(rule):
    """Undo `register`; a kernel of tfopt's own for this rule serves again."""
    del _KERNELS[rule]


def find(rule, weights):
    """The kernel for the rule named `rule` on these variables, or None where the Python rule must run."""
    if switched_off():
        return None
    kernel = _KERNELS.get(rule) or library.load().kernels.get(rule)
    return kernel if kernel is not None and kernel.supports(weights) else None


class Status(dict):
    """Rule name -> kernel, for each rule that has one; as text, a table with what is to be said beside it.

    Attributes:
        instructions: The instruction set the kernels of tfopt's library run on; empty if it is not loaded.
        reason: Why it is not; empty if it is.
        lowering_reason: Why XLA cannot compile them; empty if it can.
        gpu_reason: Why there are none on a GPU; empty if there are.
    """

    def __init__(self, kernels, instructions="", reason="", lowering_reason="", gpu_reason=""):
        super().__init__(kernels)
        self.instructions = instructions
        self.reason = reason
        self.lowering_reason = lowering_reason
        self.gpu_reason = gpu_reason

    def __str__(self):
        rows = [f"  {rule:36s}{_described(kernel)}" for rule, kernel in sorted(self.items())]
        if self.reason:
            return "\n".join([f"tfopt's own fused kernels are not in use: {self.reason}", *rows])
        head = f"Fused kernels on CPU, instruction set {self.instructions}:"
        xla, gpu = (f"no: {why}" if why else "yes" for why in (self.lowering_reason, self.gpu_reason))
        foot = (
            "The Python rule runs for other rules and devices, beside constraints, and with fused=False.\n"
            "Normalisation layers, L-BFGS and sparse coding have kernels of their own on the same terms."
        )
        return "\n".join([head, *rows, f"Under jit_compile=True: {xla}", f"On NVIDIA GPUs: {gpu}", foot])


def status():
    """What is active: which rule has a fused kernel, on which instruction set, and why not where not.

    Where a rule has no kernel every optimizer runs its Python rule, which TensorFlow executes op by op and
    XLA (``jit_compile=True``) fuses; so do normalisation layers, in training, the products of L-BFGS
    and sparse coding without theirs. The environment variable ``TFOPT_KERNELS=off`` switches all kernels
    off, ``fused=False`` does so for one optimizer, and ``TFOPT_ISA`` names an instruction set ("baseline",
    "avx2" or "avx512") in place of the widest this machine has. ``python -m tfopt kernels`` prints it.

    Returns:
        A new dict ``{rule name: kernel}`` with the attributes `instructions`, `reason`, `lowering_reason` and
        `gpu_reason`; empty where all are switched off.

    Example:
        >>> import tfopt
        >>> status = tfopt.kernels.status()
        >>> bool(status) or bool(status.reason)  # there are kernels, or it says why not
        True
    """
    if switched_off():
        return Status({}, reason="TFOPT_KERNELS=off is set.")
    loaded = library.load()
    own = {**loaded.kernels, **_KERNELS}
    return Status(own, loaded.instructions, loaded.reason, loaded.lowering_reason, loaded.gpu_reason)


def switched_off():
    """Whether the environment says that no kernels are to be used."""
    return os.environ.get("TFOPT_KERNELS") == "off"


def _described(kernel):
    return getattr(kernel, "instructions", "") or f"registered: {type(kernel).__name__}"
