"""The only file of asynchronous training that touches Keras' and TensorFlow's private hooks."""

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.trainer import TFEpochIterator

# What a worker says of a result that it had before it was started again; TensorFlow goes by the same words.
UNKNOWN = "Unable to find the relevant tensor remote_handle"


def batches_like_fit(**data):
    """The batches that Keras' own `fit` would train on, in its order; `data` are its arguments."""
    return TFEpochIterator(distribute_strategy=tf.distribute.get_strategy(), steps_per_execution=1, **data)


def restart(batches):
    """Let `batches` begin anew, as `fit` does before the first epoch."""
    batches.reset()


def build(model, spec):
    """Create what is missing of a model, its loss, metrics and optimizer, for batches of `spec`."""
    model._symbolic_build(data_batch=spec)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def strategy_of(optimizer):
    """The strategy under whose scope an optimizer was made."""
    return optimizer._distribution_strategy


def has_own_train_step(model):
    """Whether the model's class replaces Keras' train step."""
    return type(model).train_step is not keras.Model.train_step


def track_loss(model, loss, count):
    """Add the loss of a batch of `count` samples to what the model reports as `loss`."""
    model._loss_tracker.update_state(loss, sample_weight=count)


def first_epoch(model, initial_epoch):
    """The epoch to begin with: the one a callback has restored, or `initial_epoch`."""
    return model._initial_epoch or initial_epoch


def should_evaluate(model, epoch, frequency):
    """Whether `validation_freq` asks for a validation after this epoch."""
    return model._should_eval(epoch, frequency)


def cluster_of(strategy):
    """Dict from job to addresses of the cluster that a parameter server strategy is connected to."""
    return strategy._cluster_resolver.cluster_spec().as_dict()


def end_without_waiting(coordinator):
    """Let the process end although a worker died and did not come back.

    TensorFlow's thread that waits for such a worker holds a lock all the while, for which the coordinator's
    end would wait.
    """
    handler = coordinator._cluster.failure_handler

    def stop():
        handler._should_preemption_thread_run = False
        handler._cluster_due_for_update_or_finish.set()

    handler.stop = stop


def went_with_worker(error):
    """Whether a step's result was on a worker that died, or that was started again since."""
    if isinstance(error, tf.errors.InvalidArgumentError):
        return UNKNOWN in str(error)
    return isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError))
