"""Several train steps in one call, with nothing that synchronizes replicas inside a branch."""

import tensorflow as tf


def execution(one_step, steps):
    """A function of an iterator that takes up to `steps` steps and returns what the last of them did.

    The first step is taken outside the loop: the loop then knows what a step returns, and the end of the data
    shows as it does without a loop. Only batches are fetched within a branch.
    """

    @tf.autograph.experimental.do_not_convert
    def several_steps(iterator):
        def more(step, batch, _):
            return tf.logical_and(step < steps, batch.has_value())

        def take(step, batch, _):
            outputs = one_step(batch.get_value())
            batch = tf.cond(step + 1 < steps, iterator.get_next_as_optional, lambda: batch)
            return step + 1, batch, outputs

        outputs = one_step(iterator.get_next())
        return tf.while_loop(more, take, (1, iterator.get_next_as_optional(), outputs))[2]

    return several_steps


def train_function(one_step, steps, several_steps):
    """What Keras calls with an iterator over batches: TensorFlow's, or Python's own."""

    def function(iterator):
        if isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
            return several_steps(iterator)
        outputs = None
        for _, batch in zip(range(steps), iterator, strict=False):
            outputs = one_step(batch)
        return outputs

    return function
