"""Weights of two models, paired by the name of their layer."""

import collections

import keras

from tfopt.initializers._model_match import ModelMatch, Row
from tfopt.layers._weight_normalization.kernels import Kernel
from tfopt.layers.weight_normalization import kernels_within


def named_weights(model):
    """{path of a layer: {name of a weight: variable}}, each weight once.

    A path holds the names of the models that the layer lies in, without the outermost, and its own. Weights
    that belong to the model itself have the path (). A layer's second weight of a name is called "name 2".
    """
    found: dict = {}
    seen: set = set()
    for path, layer in (*_layers(model, ()), ((), model)):
        own = [weight for weight in layer.weights if id(weight) not in seen]
        seen.update(map(id, own))
        if own:
            found[path] = _by_name(own)
    return found


def _layers(model, path):
    for layer in model.layers:
        inner = (*path, layer.name)
        if isinstance(layer, keras.Model):
            yield from _layers(layer, inner)
        yield inner, layer


def _by_name(weights):
    counts: collections.Counter = collections.Counter()
    named = {}
    for weight in weights:
        counts[weight.name] += 1
        count = counts[weight.name]
        named[weight.name if count == 1 else f"{weight.name} {count}"] = weight
    return named


def plain(weights, kernels):
    """The weights of a layer with `Kernel`s, which stand for w, in the place of g, v and what sets them."""
    own = [kernels[id(weight)] for weight in weights.values() if id(weight) in kernels]
    hidden = {id(part) for kernel in own for part in (kernel.g, kernel.started)}
    return {
        name: kernels.get(id(weight), weight) for name, weight in weights.items() if id(weight) not in hidden
    }


def value(weight):
    """What a variable or a `Kernel` holds."""
    return weight.weight() if isinstance(weight, Kernel) else weight


def counterparts(model_paths, source_paths):
    """{path in the model: path in the source}: equal ones, else the only ones whose last name is equal."""
    pairs = {path: path for path in model_paths if path in source_paths}
    left = _by_last_name(path for path in model_paths if path not in pairs)
    offered = _by_last_name(path for path in source_paths if path not in pairs)
    for name, paths in left.items():
        others = offered.get(name, [])
        if len(paths) == len(others) == 1:
            pairs[paths[0]] = others[0]
    return pairs


def _by_last_name(paths):
    found = collections.defaultdict(list)
    for path in paths:
        if path:
            found[path[-1]].append(path)
    return found


def match(model, source):
    """(`ModelMatch`, [(weight of the model, weight of the source)]) of two models.

    A kernel that is normalised in one of the models alone is a `Kernel` there.
    """
    ours, theirs = named_weights(model), named_weights(source)
    pairs = counterparts(ours, theirs)
    kernels, offered_kernels = kernels_within(model), kernels_within(source)
    for path, other in pairs.items():
        if not _normalized_alike(ours[path], kernels, theirs[other], offered_kernels):
            ours[path], theirs[other] = plain(ours[path], kernels), plain(theirs[other], offered_kernels)
    rows, assignments, used = [], [], set()
    for path, weights in ours.items():
        offered = theirs.get(pairs.get(path), {})
        for name, weight in weights.items():
            other = offered.get(name)
            rows.append(_row(path, name, weight, other))
            used.add(id(other))
            if rows[-1].status == "matched":
                assignments.append((weight, other))
    unused = (
        Row("not in the model", "/".join(path), name, None, tuple(weight.shape))
        for path, weights in theirs.items()
        for name, weight in weights.items()
        if id(weight) not in used
    )
    return ModelMatch((*rows, *unused)), assignments


def _normalized_alike(weights, kernels, others, other_kernels):
    """Whether g and v of two layers mean the same, and none of the first's is still to be set by a batch."""
    ours, theirs = (
        {name: known[id(weight)] for name, weight in own.items() if id(weight) in known}
        for own, known in ((weights, kernels), (others, other_kernels))
    )
    same = {name: kernel.axes for name, kernel in ours.items()} == {
        name: kernel.axes for name, kernel in theirs.items()
    }
    return same and all(
        kernel.started is None or theirs[name].started is not None for name, kernel in ours.items()
    )


def _row(path, name, weight, other):
    shape = tuple(weight.shape)
    if other is None:
        return Row("not in the source", "/".join(path), name, shape, None)
    theirs = tuple(other.shape)
    return Row("matched" if theirs == shape else "in another shape", "/".join(path), name, shape, theirs)
