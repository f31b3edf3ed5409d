"""Backups on disk: written beside the last good one, whole or not at all, and checked before reading."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil

KEPT = 2
SUMMARY = "summary.json"


class Backups:
    """The backups in one folder.

    A backup is a folder of files and a summary with the SHA-256 of each and its own. It is written under a
    temporary name, brought to the disk (fsync) and then renamed, which a file system does as a whole or not
    at all. The one before is kept. Nothing here knows what the files hold.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)

    def write(self, files, summary):
        """Add a backup and drop all but the last two; on failure those before stay as they are.

        Args:
            files: Dict from name to bytes.
            summary: Dict that JSON can hold; `read` gives it back.

        Raises:
            OSError: If the disk is full, or does not take the files for another reason.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = self._numbers()
        number = numbers[-1] + 1 if numbers else 0
        draft = self._folder / f"draft-{os.getpid()}"
        try:
            _write_draft(draft, files, summary)
            draft.rename(self._path(number))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _sync(self._folder)
        for old in numbers[: len(numbers) + 1 - KEPT]:
            shutil.rmtree(self._path(old))

    def read(self):
        """(folder, summary) of the newest backup that is whole, or None; and the names of the others."""
        bad: list[str] = []
        for number in reversed(self._numbers()):
            summary = _checked(self._path(number))
            if summary is not None:
                return (self._path(number), summary), bad
            bad.append(self._path(number).name)
        return None, bad

    def sweep(self):
        """Remove what interrupted writing has left."""
        for draft in self._folder.glob("draft-*"):
            shutil.rmtree(draft, ignore_errors=True)

    def clear(self):
        """Remove all backups, and the folder if nothing else lies in it."""
        self.sweep()
        for number in self._numbers():
            shutil.rmtree(self._path(number))
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def _path(self, number):
        return self._folder / f"backup-{number:08d}"

    def _numbers(self):
        names = (path.name.removeprefix("backup-") for path in self._folder.glob("backup-*"))
        return sorted(int(name) for name in names if name.isdigit())


def _write_draft(draft, files, summary):
    draft.mkdir()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    sealed = _sealed({"files": digests, "summary": summary})
    for name, content in {**files, SUMMARY: sealed.encode()}.items():
        (draft / name).write_bytes(content)
        _sync(draft / name)
    _sync(draft)


def _sealed(content):
    """JSON of a dict with a checksum of its own."""
    seal = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps(content | {"seal": seal})


def _checked(folder):
    """The summary of a backup whose files are what they were, else None."""
    try:
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        whole = _sealed({"files": found["files"], "summary": found["summary"]}) == json.dumps(found)
        if whole and all(_digest(folder / name) == digest for name, digest in found["files"].items()):
            return found["summary"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
