"""What the bundled image sets share: a tensorflow-datasets builder fed from arrays."""

import tensorflow_datasets as tfds

from tfopt.compare.datasets.split import stratified_split


def image_info(builder, *, shape, description, homepage, citation):
    """Metadata of a ten-class image set whose supervised form is (image, label)."""
    features = {"image": tfds.features.Image(shape=shape), "label": tfds.features.ClassLabel(num_classes=10)}
    return tfds.core.DatasetInfo(
        builder=builder,
        description=description,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        homepage=homepage,
        citation=citation,
        disable_shuffling=True,
    )


def split_examples(images, labels):
    """Generators of (key, example), one per split, from the fixed stratified division."""
    return {name: _examples(images, labels, part) for name, part in stratified_split(labels).items()}


def _examples(images, labels, part):
    for index in part:
        yield int(index), {"image": images[index], "label": int(labels[index])}
