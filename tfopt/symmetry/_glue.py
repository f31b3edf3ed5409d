"""The private hooks of Keras that tell how the layers of a model are connected."""

import keras


def calls_of(model):
    """(operation, input tensors, output tensors) of every call in a Sequential or functional model."""
    graph = model._functional if isinstance(model, keras.Sequential) else model
    return [
        (node.operation, list(node.input_tensors), list(node.outputs))
        for nodes in graph._nodes_by_depth.values()
        for node in nodes
        if not node.is_input
    ]
