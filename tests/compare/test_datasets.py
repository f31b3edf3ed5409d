"""The bundled data, and what any data set must be."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfopt.compare.datasets.split import stratified_split
from tfopt.compare.images import load_images


def test_split_is_disjoint_complete_and_stratified():
    labels = np.random.default_rng(0).integers(0, 7, 1000)
    parts = stratified_split(labels, validation=0.2, test=0.1)
    everything = np.concatenate(list(parts.values()))
    assert sorted(everything) == list(range(1000))
    for label, count in enumerate(np.bincount(labels)):
        assert np.sum(labels[parts["validation"]] == label) == int(0.2 * count)
        assert np.sum(labels[parts["test"]] == label) == int(0.1 * count)


def test_split_depends_on_the_seed_alone():
    labels = np.arange(100) % 5
    first, again, other = (stratified_split(labels, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["test"], other["test"])


def _rows(images):
    return [image.tobytes() for image in np.asarray(images)]


def test_digits_come_back_from_disk_as_they_were(data_dir):
    images = load_images("digits", data_dir)
    source = load_digits()
    expected = sorted(_rows(np.round(source.images * 255 / 16).astype(np.uint8)))
    parts = (images.train, images.validation, images.test)
    assert sorted(row for part, _ in parts for row in _rows(part)) == expected
    assert images.shape == (8, 8, 1)
    by_image = dict(
        zip(_rows(np.round(source.images * 255 / 16).astype(np.uint8)), source.target, strict=True)
    )
    for part, labels in parts:
        assert [by_image[row] for row in _rows(part)] == np.asarray(labels).tolist()


def test_mnist5k_is_balanced_and_its_parts_are_disjoint(data_dir):
    images = load_images("mnist5k", data_dir)
    assert images.sizes() == {"train": 4000, "validation": 500, "test": 500}
    assert images.shape == (28, 28, 1)
    for part, labels in (images.train, images.validation, images.test):
        assert set(np.bincount(labels)) == {len(labels) // 10}
        assert np.max(part) == 255
    rows = [set(_rows(part)) for part, _ in (images.train, images.validation, images.test)]
    assert len(set.union(*rows)) == sum(map(len, rows))


def test_loading_again_gives_the_same_order(data_dir):
    first, again = load_images("digits", data_dir), load_images("digits", data_dir)
    assert _rows(first.train[0]) == _rows(again.train[0])


def test_any_tfds_name_goes_through_the_same_door(data_dir):
    load_images("digits", data_dir)
    assert load_images("tfds:digits", data_dir).sizes() == load_images("digits", data_dir).sizes()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("tfds:mnistt", "did you mean mnist"),
        ("tfds:imdb_reviews", "images of one shape with a class label"),
        ("tfds:oxford_iiit_pet", "images of one shape with a class label"),
    ],
)
def test_unfit_data_are_one_sentence(name, part, data_dir):
    with pytest.raises(ValueError, match=r"^compare") as caught:
        load_images(name, data_dir)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_it_says_so_at_once(data_dir, monkeypatch):
    def no_network(*_):
        raise OSError("Name or service not known")

    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    with pytest.raises(ValueError, match="out of reach") as caught:
        load_images("tfds:cifar10", data_dir)
    assert "--data-dir" in str(caught.value)


def test_a_data_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--data-dir"):
        load_images("digits", str(tmp_path / "file" / "data"))
