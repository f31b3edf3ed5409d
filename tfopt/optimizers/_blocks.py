"""Blocks of variables: by layer, by regular expression on paths, or by name."""

import re

from tfopt._check import require

OWNER = "BlockCoordinateDescent"


def require_blocks(blocks):
    """Require what `blocks_of` can take, as far as it can be told without the variables."""
    if isinstance(blocks, str):
        require(blocks == "layer", OWNER, "blocks", blocks, '"layer", or a list')
        return
    expected = 'regular expressions in a list, lists of names in a list, or "layer"'
    require(isinstance(blocks, (list, tuple)) and len(blocks) > 0, OWNER, "blocks", blocks, expected)
    names = [[block] if isinstance(block, str) else block for block in blocks]
    kinds = {isinstance(block, str) for block in blocks}
    listed = all(isinstance(block, (list, tuple)) and block for block in names)
    good = listed and len(kinds) == 1 and all(isinstance(name, str) for block in names for name in block)
    require(good, OWNER, "blocks", blocks, expected)
    if isinstance(blocks[0], str):
        for pattern in blocks:
            _require_pattern(pattern)


def blocks_of(blocks, paths):
    """For each block the places of its variables among `paths`.

    Raises:
        ValueError: If a pattern or a name fits no variable, a name several, a variable lies in two blocks, or
            in none.
    """
    if blocks == "layer":
        return list(_by_layer(paths).values())
    found = [
        _matching(block, paths) if isinstance(block, str) else [_place(name, paths) for name in block]
        for block in blocks
    ]
    _require_partition(found, blocks, paths)
    return found


def _by_layer(paths):
    """Places by the path without its last part, in order; a variable without a layer is by itself."""
    groups: dict = {}
    for place, path in enumerate(paths):
        groups.setdefault(path.rpartition("/")[0] or f"/{path}", []).append(place)
    return groups


def _matching(pattern, paths):
    found = [place for place, path in enumerate(paths) if re.search(pattern, path)]
    require(found, OWNER, "blocks", pattern, f"an expression that fits a variable: {_listed(paths)}")
    return found


def _place(name, paths):
    """The variable whose path is `name` or ends in it, a part of the path being whole."""
    found = [place for place, path in enumerate(paths) if path == name or path.endswith(f"/{name}")]
    require(found, OWNER, "blocks", name, f"the path of a variable, or its end: {_listed(paths)}")
    several = _listed([paths[place] for place in found])
    require(len(found) == 1, OWNER, "blocks", name, f"a name that fits one variable, not {several}")
    return found[0]


def _require_partition(found, blocks, paths):
    for place, path in enumerate(paths):
        owners = [block for block, places in zip(blocks, found, strict=True) for p in places if p == place]
        expected = f"blocks that do not overlap; {path} is in {_listed(map(repr, owners))}"
        require(len(owners) < 2, OWNER, "blocks", blocks, expected)
        expected = f"every variable in a block, {path} is in none; a layer with trainable=False needs none"
        require(owners, OWNER, "blocks", blocks, expected)


def _require_pattern(pattern):
    try:
        re.compile(pattern)
    except re.error as error:
        require(False, OWNER, "blocks", pattern, f"regular expressions on variable paths ({error})")


def _listed(names):
    return ", ".join(names)
