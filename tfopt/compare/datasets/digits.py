"""`digits`: 1,797 handwritten digits of 8 × 8 pixels, without a download."""

import numpy as np
import tensorflow_datasets as tfds

from tfopt.compare.datasets.builder import image_info, split_examples

_CITATION = """@misc{alpaydin1998optical,
  title={Optical Recognition of Handwritten Digits}, author={Alpaydin, E. and Kaynak, C.},
  howpublished={UCI Machine Learning Repository}, year={1998}}"""


class Digits(tfds.core.GeneratorBasedBuilder):
    """The 1,797 digits of scikit-learn, 8 × 8 × 1 uint8 with the 17 grey levels spread over 0 to 255.

    Small enough that a whole comparison takes seconds. Divided stratified into about 80 % train, 10 %
    validation and 10 % test. Prepared on first use, read like any other tensorflow-datasets set, with
    nothing fetched from a network.

    Example:
        >>> import tempfile
        >>> builder = Digits(data_dir=tempfile.mkdtemp())
        >>> builder.info.features["image"].shape
        (8, 8, 1)

    Source: Alpaydin and Kaynak (1998), UCI repository; the selection is `sklearn.datasets.load_digits`.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Stratified 80/10/10 split."}

    def _info(self):
        return image_info(
            self,
            shape=(8, 8, 1),
            description="1,797 handwritten digits of 8 × 8 pixels.",
            homepage="https://scikit-learn.org/stable/modules/generated/sklearn.datasets.load_digits.html",
            citation=_CITATION,
        )

    def _split_generators(self, dl_manager):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        return split_examples(images[..., None], digits.target)

    def _generate_examples(self):
        raise NotImplementedError("The splits carry their own generators.")
