"""Saved optimizer state, keyed by slot name and variable path."""

import logging

import numpy as np

log = logging.getLogger("tfopt")

COUNTERS = {("skipped", "")}  # kept or not as options and replicas ask; no state of the method itself
# A variable with a place for each weight, which a file knows by their paths.
FLAGS = ("exposed", "shown")
# Where all variables are one vector, an entry for each says where it lies: in this order, of this shape.
PLACE = "shape"
# All that there is before an optimizer is built.
SHARED = {("iteration", ""), ("learning_rate", "")}


def save(optimizer, store):
    """Write every state variable to `store` under ``order:slot:path``."""
    for order, ((slot, path), value) in enumerate([*_state(optimizer), *_places(optimizer)]):
        store[_key(order, slot, path)] = np.asarray(value)


def load(optimizer, saved):
    """Assign `saved` to the optimizer, or raise a ValueError that names what differs and change nothing.

    Variables are matched by path. Where the paths differ, because the model or its layers were named anew,
    they are matched by path below the model's name, or else in order, provided that the weights' own names
    agree one to one. A state that was saved before its optimizer was built has no slots, and gives this
    one's the values they start with. Rules leave out what was saved of weights that they do not train, as
    of layers that are frozen now.
    """
    entries = _parse(optimizer, saved)
    state, places = dict(_state(optimizer)), dict(_places(optimizer))
    if _is_before_building(entries):
        state, places = {key: value for key, value in state.items() if key in SHARED}, {}
    entries = _renamed(entries, state | places)
    others = [] if places else _others(entries, state)
    entries = {key: value for key, value in entries.items() if key[1] not in others}
    problems = [*_differences(entries, state | places), *_moved(entries, places)]
    if problems:
        raise ValueError(
            f"{type(optimizer).__name__}: the saved state does not fit this optimizer; nothing was loaded. "
            + "; ".join(problems)
            + "."
        )
    if others:
        log.warning(
            "%s: left out the saved state of weights that it does not train: %s.",
            type(optimizer).__name__,
            ", ".join(others),
        )
    _assign(optimizer, entries)


def _state(optimizer):
    """Pairs ((slot, path), value) of all state."""
    for (slot, path), variable in optimizer.named_state():
        if slot in FLAGS:
            yield from (((slot, p), flag) for p, flag in zip(optimizer.paths, variable.numpy(), strict=True))
        else:
            yield (slot, path), variable


def _is_before_building(entries):
    """Whether a state is that of an optimizer that has neither slots nor taken a step."""
    return entries.keys() <= SHARED and not entries.get(("iteration", ""), True)


def _others(entries, state):
    """Paths of the entries that have none in the state, where it has no others than they."""
    given, own = _paths(entries), set(_paths(state))
    return [path for path in given if path not in own] if own and own < set(given) else []


def _assign(optimizer, entries):
    """Assign the entries; what has none starts anew."""
    for (slot, path), variable in optimizer.named_state():
        initial = optimizer.initial_value(slot)
        if slot in FLAGS:
            value = [entries.get((slot, p), initial) for p in optimizer.paths]
        elif (slot, path) in entries:
            value = entries[slot, path]
        else:
            value = np.full(variable.shape, initial)
        variable.assign(np.asarray(value, variable.dtype))


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
    if set(old) >= set(new):
        renamed = {}
    elif len(old) > len(new):
        renamed = _found_among(old, new)
    else:
        renamed = _one_to_one(old, new)
    return {(slot, renamed.get(path, path)): value for (slot, path), value in entries.items()}


def _one_to_one(old, new):
    """The new path of each old one: by what is below the model's name, or else in order."""
    if len(old) != len(new):
        return {}
    below = {_below(path): path for path in new}
    if {_below(path) for path in old} == below.keys() and len(below) == len(new):
        return {path: below[_below(path)] for path in old}
    named_alike = all(a.rsplit("/", 1)[-1] == b.rsplit("/", 1)[-1] for a, b in zip(old, new, strict=True))
    return dict(zip(old, new, strict=True)) if named_alike else {}


def _found_among(old, new):
    """The new paths by the one old path that each must be, below the model's name or with that before it."""
    for meant in (_below, lambda path: path):
        found = {path: [o for o in old if _below(o) == meant(path)] for path in new}
        if all(len(among) == 1 for among in found.values()):
            return {among[0]: path for path, among in found.items()}
    return {}


def _below(path):
    return path.partition("/")[2]


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
