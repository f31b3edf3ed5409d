"""Finished pieces of a comparison on disk, so that an interrupted one can go on."""

import hashlib
import json
import os
import pathlib
import re
import tempfile


class Store:
    """One JSON file per finished piece, each written whole or not at all.

    Every file states the settings it was made under. A store opened with other settings refuses, so that
    pieces of two comparisons are never mixed.

    Args:
        directory: Folder of the comparison, or None to keep nothing.
        settings: Dictionary of everything that shapes a piece.
        fresh: Whether to remove the pieces that are there.

    Raises:
        ValueError: If the folder cannot be written, or holds pieces made under other settings.
    """

    def __init__(self, directory, settings, fresh=False):
        self.settings = json.loads(json.dumps(settings))
        self._pieces = {}
        self._folder = None
        if directory is not None:
            self._folder = pathlib.Path(directory) / "runs"
            check_writable(directory)
            for path in sorted(self._folder.glob("*.json")):
                path.unlink() if fresh else self._load(path, directory)

    def __len__(self):
        return len(self._pieces)

    def get(self, key):
        """The piece stored under this dictionary of plain values, or None."""
        return self._pieces.get(_name(key))

    def put(self, key, values):
        """Keep a piece; on disk its file appears complete or not at all."""
        name = _name(key)
        self._pieces[name] = values
        if self._folder is not None:
            write_whole(
                self._folder / name, json.dumps({"settings": self.settings, "key": key, "values": values})
            )

    def _load(self, path, directory):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            settings, values = content["settings"], content["values"]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(
                f"compare(output={str(directory)!r}): expected results of a comparison in {path.name}; "
                "--fresh starts over."
            ) from None
        for name, value in self.settings.items():
            if settings.get(name) != value:
                raise ValueError(
                    f"compare({name}={value!r}): expected {settings.get(name)!r} as in the results stored in "
                    f"{directory}; --fresh starts over."
                )
        self._pieces[path.name] = values


def write_whole(path, text):
    """Write a text file so that it never exists half-written."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise


def check_writable(directory):
    """Create the folder of a comparison, or raise a ValueError that says why it cannot be written."""
    folder = pathlib.Path(directory) / "runs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"compare(output={str(directory)!r}): expected a folder that can be written; {error.strerror}."
        ) from None


def _name(key):
    text = json.dumps(key, sort_keys=True)
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(str(value) for value in key.values())).strip("-")
    return f"{slug[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
