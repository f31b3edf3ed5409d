"""Finding: one thing a diagnostic has to say."""

from typing import NamedTuple


class Finding(NamedTuple):
    """What a diagnostic found, why it matters and what to try.

    Attributes:
        name: Name of the trouble, such as "vanishing gradient".
        sentence: What was measured.
        reason: Why it hinders training.
        advice: What to try.
    """

    name: str
    sentence: str
    reason: str
    advice: str
