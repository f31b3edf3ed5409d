"""Finds variances whose gradient is stopped at the mean: second derivatives through them are wrong.

`tf.nn.moments` computes the variance of x as mean((x − stop_gradient(μ))²). That leaves first derivatives
right and drops a term of the second ones: 1 to 12 % of a Hessian-vector product.
"""

import functools
import logging

import keras
import tensorflow as tf

from tfopt.repair import _glue

log = logging.getLogger("tfopt")


def graph_has_stopped_moments(graph):
    """Whether a graph, a function it calls or a graph around it stops a mean's gradient in a variance."""
    return bool(stopped_moments(graph))


def stopped_moments(graph):
    """Names of the operations that stop the gradient of a mean within a variance.

    Looks at the shape of the computation, not at names: a SquaredDifference of x and the StopGradient of a
    Mean of x. Inside a loop or branch under construction the graphs around it are searched too.
    """
    found: list[str] = []
    for around in _glue.graphs_around(graph):
        definition = around.as_graph_def()
        bodies = [definition.node, *(function.node_def for function in definition.library.function)]
        found += [name for nodes in bodies for name in _stopped(nodes)]
    return list(dict.fromkeys(found))


def _stopped(nodes):
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        if node.op != "SquaredDifference":
            continue
        x, subtracted = node.input[:2]
        stop = _producer(by_name, subtracted, "StopGradient")
        mean = stop and _producer(by_name, stop.input[0], "Mean")
        if mean and mean.input[0] == x:
            yield stop.name


def _producer(by_name, reference, kind):
    """The node that makes a tensor, if it is of that kind."""
    node = by_name.get(reference.split(":")[0])
    return node if node is not None and node.op == kind else None


def keras_stops_moments():
    """Whether Keras, as it is now, stops the gradient of the mean in its variances."""
    with tf.Graph().as_default() as graph:
        keras.ops.moments(tf.zeros((2, 2)), axes=[0])
    return graph_has_stopped_moments(graph)


def unmended_layers(model):
    """The layers of a model, wrapped ones too, through which second derivatives are wrong; [] once repaired.

    BatchNormalization is among them for its training mode only: with the moving statistics it is right, and
    with statistics synchronized between replicas as well.
    """
    if not keras_stops_moments():
        return []
    return [layer for layer in _glue.layers_within(model) if _takes_moments(layer)]


def _takes_moments(layer):
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.trainable and not layer.synchronized
    if isinstance(layer, keras.layers.LayerNormalization):
        return not layer.rms_scaling
    return isinstance(layer, keras.layers.GroupNormalization)


def warn_of_stopped_moments(graph, model=None):
    """Log once that second derivatives taken in `graph` are wrong, where they are, and what helps."""
    stops = stopped_moments(graph)
    if not stops:
        return
    layers = unmended_layers(model) if model is not None else []
    names = [f"{layer.name} ({type(layer).__name__})" for layer in layers] or [_scope(stop) for stop in stops]
    _warn(", ".join(names), keras_stops_moments())


def _scope(stop):
    """The layer's scope in a name such as model/layer/moments/StopGradient."""
    return "/".join(stop.split("/")[:-2]) or "tf.nn.moments"


@functools.cache
def _warn(names, by_keras):
    cure = (
        "Call tfopt.repair_keras() before the model is compiled or traced; in a function of your own use "
        "tf.reduce_mean in place of tf.nn.moments."
        if by_keras
        else "Use tf.reduce_mean in place of tf.nn.moments, or trace what was traced before the repair again."
    )
    log.warning(
        "Second derivatives through %s are wrong: the variance stops the gradient of its mean. %s",
        names,
        cure,
    )
