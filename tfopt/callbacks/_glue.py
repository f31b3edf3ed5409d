"""The only file of the callbacks that touches Keras' private hooks."""


def seed_generators(model):
    """Every seed generator of a model's layers and of the model itself, each once."""
    found: dict = {}
    for layer in model._flatten_layers():
        found |= {id(generator): generator for generator in layer._seed_generators}
    return list(found.values())


def train_steps(optimizer):
    """Train steps so far; `optimizer.iterations` counts the updates of an accumulation."""
    return int(optimizer._iterations.numpy())
