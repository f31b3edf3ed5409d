"""Whose turn it is: the order in which blocks of weights move."""

import tensorflow as tf

from tfopt.line_search._search import double
from tfopt.optimizers._machine import Slot
from tfopt.optimizers._noise import index_below, key_of, seed_slot

UNDECIDED = -1.0


class Turns:
    """The order of blocks, as a pure function of its slots.

    Attributes:
        slots: "block" is the one that moves, or UNDECIDED until a gradient is there to choose by; "taken" its
            steps in this turn; "turn" the number of turns before this one; "barred" a block that made no
            progress and may not be chosen at once again.
    """

    def __init__(self, order, seed):
        self.order = order
        self.slots = (
            Slot("block", UNDECIDED, scalar=True),
            Slot("barred", UNDECIDED, scalar=True),
            Slot("taken", scalar=True),
            Slot("turn", scalar=True),
            seed_slot(seed),
        )

    def opened(self, state, norms):
        """State with a block decided; ``norms()`` are the norms of the blocks' gradients."""
        decide = lambda: self._choice(state, norms)  # noqa: E731
        block = tf.cond(tf.equal(state["block"], UNDECIDED), decide, lambda: tf.identity(state["block"]))
        return state | {"block": block}

    def passed(self, state, count, barred=UNDECIDED):
        """State in which the next of `count` blocks has its turn; a greedy choice waits for a gradient."""
        state = state | {
            "turn": state["turn"] + 1.0,
            "taken": tf.zeros_like(state["taken"]),
            "barred": double(barred),
        }
        if self.order == "greedy":
            return state | {"block": double(UNDECIDED)}
        return state | {"block": self._planned(state, count)}

    def _choice(self, state, norms):
        values = norms()
        if self.order != "greedy":
            return self._planned(state, len(values))
        places = tf.range(len(values), dtype=tf.float64)
        allowed = tf.where(tf.equal(places, state["barred"]), double(-1.0), tf.stack(values))
        return double(tf.argmax(allowed))

    def _planned(self, state, count):
        if self.order == "cyclic":
            return state["turn"] % count
        return index_below(count, key_of(state, state["turn"]))
