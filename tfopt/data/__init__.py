"""Order, size and repetition of minibatches."""

from tfopt.data.full_batch import full_batch
from tfopt.data.growing_batches import GrowingBatches
from tfopt.data.repeat_each import repeat_each
from tfopt.data.shuffled import shuffled

__all__ = ["GrowingBatches", "full_batch", "repeat_each", "shuffled"]
