"""The sets of variables that updates are timed on."""

import math


def single(size=50_000_000):
    """One variable."""
    return [(size,)]


def resnet50():
    """The 214 trainable tensors of ResNet-50 with biased convolutions, 25.6 million parameters."""
    shapes = _convolution(7, 3, 64)
    channels = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            shapes += _bottleneck(channels, width, projected=block == 0)
            channels = 4 * width
    return [*shapes, (channels, 1000), (1000,)]


def many(count=2_000, size=1_000):
    """Many small variables."""
    return [(size,)] * count


def parameters(shapes):
    """Number of parameters."""
    return sum(math.prod(shape) for shape in shapes)


def _bottleneck(channels, width, projected):
    shortcut = _convolution(1, channels, 4 * width) if projected else []
    return [
        *shortcut,
        *_convolution(1, channels, width),
        *_convolution(3, width, width),
        *_convolution(1, width, 4 * width),
    ]


def _convolution(kernel, inputs, outputs):
    """Kernel and bias, then scale and offset of the batch normalization behind it."""
    return [(kernel, kernel, inputs, outputs), (outputs,), (outputs,), (outputs,)]
