"""What a repair of the host is: one entry of a table, and the attributes it replaces."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Repair(NamedTuple):
    """One fault of Keras and what mends it.

    Attributes:
        name: Short name, unique in the table.
        subject: What is mended, in words.
        applies: ``applies(version)``: whether the repair was tried on this version of Keras.
        present: Whether the Keras that runs has the fault now.
        apply: Mend it.
        undo: Leave Keras exactly as it was before `apply`.
    """

    name: str
    subject: str
    applies: Callable[[str], bool]
    present: Callable[[], bool]
    apply: Callable[[], None]
    undo: Callable[[], None]


class Patch:
    """One attribute of a module or class, replaced and put back."""

    def __init__(self, owner: Any, name: str, replacement: Any):
        self.owner = owner
        self.name = name
        self.replacement = replacement
        self.original: Any = None

    def apply(self):
        """Put the replacement in the attribute's place."""
        self.original = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.replacement)

    def undo(self):
        """Put the original back, unless somebody else has replaced the replacement."""
        self.require_in_place()
        setattr(self.owner, self.name, self.original)

    def require_in_place(self):
        """Raise RuntimeError if somebody else has replaced the replacement."""
        if getattr(self.owner, self.name) is not self.replacement:
            raise RuntimeError(
                f"repair_keras: expected {self.owner.__name__}.{self.name} as the repair left it, found it "
                "replaced. Undo that first."
            )


class Patches:
    """Several attributes that are replaced and put back together."""

    def __init__(self, *patches: Patch):
        self.patches = patches

    def apply(self):
        """Put every replacement in its attribute's place."""
        for patch in self.patches:
            patch.apply()

    def undo(self):
        """Put every original back, or none where somebody else has replaced a replacement."""
        for patch in self.patches:
            patch.require_in_place()
        for patch in self.patches:
            patch.undo()
