"""Saved optimizer state, keyed by slot name and variable path."""

import numpy as np

COUNTERS = {("skipped", "")}  # kept or not as options and replicas ask; no state of the method itself
# Where all variables are one vector, an entry for each says where it lies: in this order, of this shape.
PLACE = "shape"


def save(optimizer, store):
    """Write every state variable to `store` under ``order:slot:path``."""
    named = [*optimizer.named_state(), *_places(optimizer)]
    for order, ((slot, path), value) in enumerate(named):
        store[_key(order, slot, path)] = np.asarray(value)


def load(optimizer, saved):
    """Assign `saved` to the optimizer, or raise a ValueError that names what differs and change nothing.

    Variables are matched by path. Where the paths differ, because the model or its layers were named anew,
    they are matched by path below the model's name, or else in order, provided that the weights' own names
    agree one to one.
    """
    entries = _parse(optimizer, saved)
    state, places = dict(optimizer.named_state()), dict(_places(optimizer))
    entries = _renamed(entries, state | places)
    problems = [*_differences(entries, state | places), *_moved(entries, places)]
    if problems:
        raise ValueError(
            f"{type(optimizer).__name__}: the saved state does not fit this optimizer; nothing was loaded. "
            + "; ".join(problems)
            + "."
        )
    for key in state.keys() & entries.keys():
        state[key].assign(entries[key])


def _places(optimizer):
    """Pairs ((PLACE, path), shape) in the vector's order, where there is one."""
    return [((PLACE, path), np.array(shape, np.int64)) for path, shape in optimizer.layout()]


def _key(order, slot, path):
    return f"{order:06d}:{slot}:{path.replace('/', '|')}"


def _parse(optimizer, saved):
    if any(key.count(":") < 2 for key in saved):
        raise ValueError(
            f"{type(optimizer).__name__}: expected state saved by a tfopt optimizer, got entries named "
            f"{', '.join(sorted(saved)[:3])}…."
        )
    parsed = {}
    for key in sorted(saved):
        _, slot, path = key.split(":", 2)
        parsed[slot, path.replace("|", "/")] = np.asarray(saved[key])
    return parsed


def _renamed(entries, current):
    """`entries` under the current paths."""
    old, new = _paths(entries), _paths(current)
    below = {path.partition("/")[2]: path for path in new}
    if set(old) == set(new) or len(old) != len(new):
        renamed = {}
    elif {path.partition("/")[2] for path in old} == below.keys() and len(below) == len(new):
        renamed = {path: below[path.partition("/")[2]] for path in old}
    elif all(a.rsplit("/", 1)[-1] == b.rsplit("/", 1)[-1] for a, b in zip(old, new, strict=True)):
        renamed = dict(zip(old, new, strict=True))
    else:
        renamed = {}
    return {(slot, renamed.get(path, path)): value for (slot, path), value in entries.items()}


def _paths(keys):
    return list(dict.fromkeys(path for _, path in keys if path))


def _differences(entries, current):
    missing, unknown = current.keys() - entries.keys(), entries.keys() - current.keys()
    for name, keys in (("missing", missing - COUNTERS), ("unknown", unknown - COUNTERS)):
        if keys:
            yield f"{name}: {', '.join(sorted(_label(key) for key in keys))}"
    for key in sorted(entries.keys() & current.keys()):
        if key[0] != PLACE and tuple(entries[key].shape) != tuple(current[key].shape):
            yield f"{_label(key)} has shape {tuple(current[key].shape)}, saved {tuple(entries[key].shape)}"


def _moved(entries, places):
    """Whether variables have other places in the vector than they had."""
    saved = [key for key in entries if key[0] == PLACE]
    if set(saved) != places.keys():
        return  # named already
    for key in saved:
        if tuple(entries[key]) != tuple(places[key]):
            yield f"{key[1]} has shape {tuple(map(int, places[key]))}, saved {tuple(map(int, entries[key]))}"
    if saved != list(places):
        order = ", ".join(path for _, path in places)
        yield f"the variables' order is {order}, saved {', '.join(path for _, path in saved)}"


def _label(key):
    slot, path = key
    return f"{slot} of {path}" if path else slot
