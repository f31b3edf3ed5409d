"""Saved optimizer state, keyed by slot name and variable path."""

import numpy as np

COUNTERS = {("skipped", "")}  # kept or not as options and replicas ask; no state of the method itself


def save(optimizer, store):
    """Write every state variable to `store` under ``order:slot:path``."""
    for order, ((slot, path), variable) in enumerate(optimizer.named_state()):
        store[_key(order, slot, path)] = np.asarray(variable)


def load(optimizer, saved):
    """Assign `saved` to the optimizer, or raise a ValueError that names what differs and change nothing.

    Variables are matched by path. Where the paths differ, because the model or its layers were named anew,
    they are matched by path below the model's name, or else in order, provided that the weights' own names
    agree one to one.
    """
    entries = _parse(optimizer, saved)
    current = dict(optimizer.named_state())
    entries = _renamed(entries, current)
    problems = list(_differences(entries, current))
    if problems:
        raise ValueError(
            f"{type(optimizer).__name__}: the saved state does not fit this optimizer; nothing was loaded. "
            + "; ".join(problems)
            + "."
        )
    for key in current.keys() & entries.keys():
        current[key].assign(entries[key])


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
        if tuple(entries[key].shape) != tuple(current[key].shape):
            yield f"{_label(key)} has shape {tuple(current[key].shape)}, saved {tuple(entries[key].shape)}"


def _label(key):
    slot, path = key
    return f"{slot} of {path}" if path else slot
