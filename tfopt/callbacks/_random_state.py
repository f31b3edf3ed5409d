"""The state of Python's and NumPy's global random numbers, as arrays."""

import random

import numpy as np


def random_state():
    """Both states as a dict of arrays."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": np.array([version, *words], np.uint64),
        "python_gauss": np.array([] if gauss is None else [gauss], np.float64),
        "numpy_name": np.array(name),
        "numpy": np.asarray(keys),
        "numpy_place": np.array([position, has_gauss], np.int64),
        "numpy_gauss": np.array(cached, np.float64),
    }


def set_random_state(arrays):
    """Undo everything since `random_state` gave `arrays`."""
    version, *words = (int(word) for word in arrays["python"])
    gauss = arrays["python_gauss"]
    random.setstate((version, tuple(words), float(gauss[0]) if len(gauss) else None))
    position, has_gauss = (int(number) for number in arrays["numpy_place"])
    name = str(arrays["numpy_name"])
    np.random.set_state((name, arrays["numpy"], position, has_gauss, float(arrays["numpy_gauss"])))
