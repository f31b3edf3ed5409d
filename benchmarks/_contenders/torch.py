"""Contenders on PyTorch's tensors: its own Adam and DeepSpeed's."""

import os

from benchmarks._bandwidth import THREADS
from benchmarks._contenders import ADAM

SETTINGS = dict(lr=ADAM["learning_rate"], betas=(ADAM["beta_1"], ADAM["beta_2"]), eps=ADAM["epsilon"])


class OnTensors:
    """The update of an optimizer that `make` builds from parameters."""

    def __init__(self, gradients, make):
        import torch

        torch.set_num_threads(THREADS)
        self.from_numpy = torch.tensor
        self.parameters = [torch.zeros(g.shape, requires_grad=True) for g in gradients]
        self.feed(gradients)
        self.optimizer = make(self.parameters)

    def __call__(self):
        self.optimizer.step()

    def feed(self, gradients):
        """Replace the gradients."""
        for parameter, g in zip(self.parameters, gradients, strict=True):
            parameter.grad = self.from_numpy(g)

    def weights(self):
        """The weights."""
        return [p.detach().numpy() for p in self.parameters]


def torch_fused(gradients):
    """``torch.optim.Adam(fused=True)``."""
    return OnTensors(gradients, lambda parameters: _adam(parameters, fused=True))


def torch_foreach(gradients):
    """``torch.optim.Adam(foreach=True)``."""
    return OnTensors(gradients, lambda parameters: _adam(parameters, foreach=True))


def deepspeed(gradients):
    """``deepspeed.ops.adam.DeepSpeedCPUAdam``."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    return OnTensors(gradients, lambda parameters: DeepSpeedCPUAdam(parameters, **SETTINGS))


def _adam(parameters, **form):
    import torch

    return torch.optim.Adam(parameters, **SETTINGS, **form)
